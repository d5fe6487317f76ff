//! The Responses API: the wire that OpenAI prefers, and the only one of some of its models.
//!
//! As for chat completions there are two lanes: `express` hands on bytes of the same API, `request` and `decoder`
//! translate. An answer is complete with `response.completed` or `response.incomplete`, and with nothing else.

mod closing;
mod content;
mod decoder;
mod event;
mod express;
mod hosted;
mod input;
mod item;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod lanes;
mod notes;
mod request;
mod token;
mod tools;
mod usage;

use ::http::Response;
use serde::Deserialize;
use tollgate_api::v1::{ChatInput, CountTokensResponse, Usage};

use super::{endpoints::Endpoints, json::Count};
use crate::{
    call::{Dialect, Item, Items, Raw},
    provider::{
        Answer, Error, Kind, Outgoing,
        express::{self as lane, Express},
        follow::Follow,
        http::{self, Incoming, MAX_ANSWER_BYTES},
        upstream::{Ask, Shape, Upstream, once},
        vendors::{ResponsesApi, Vendor},
    },
};

/// Reads the usage of an answer of the API, or of one that counts as it does.
pub(in crate::provider) fn usage_of(answer: &str) -> Option<Usage> {
    usage::of(&event::Node::read(answer))
}

/// What a vendor's Responses API can do, and which calls go there.
#[derive(Debug)]
pub(super) struct Responses {
    api: ResponsesApi,
    /// Every call goes there, whatever the model.
    always: bool,
    only_these: fn(&str, &str) -> bool,
}

/// The paths, as OpenAI has them.
const CREATE: &str = "responses";
const COUNT: &str = "responses/input_tokens";

/// How a vendor is reached, and what kind of vendor it is.
#[derive(Clone, Copy)]
pub(super) struct Door<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) endpoints: &'a Endpoints,
    pub(super) vendor: &'a Vendor,
}

impl Door<'_> {
    async fn send(self, path: &str, model: &str, ask: Ask) -> Result<Response<Incoming>, Error> {
        self.upstream.send(self.endpoints.uri(path, model)?.as_ref(), ask).await
    }
}

impl Responses {
    /// Makes the way to a vendor's Responses API. None if it has none, or the operator wants chat completions only.
    ///
    /// # Errors
    /// A message for operators.
    pub(super) fn new(
        vendor: &Vendor,
        wanted: Option<&str>,
        only_these: Option<fn(&str, &str) -> bool>,
    ) -> Result<Option<Self>, String> {
        let api = match (wanted, vendor.responses) {
            (Some("chat"), _) | (None, None) => return Ok(None),
            (None, Some(api)) => api,
            (Some("responses"), api) => api.unwrap_or_default(),
            (Some(other), _) => {
                return Err(format!("`api` must be `chat` or `responses`, not `{other}`"));
            }
        };
        Ok(Some(Self { api, always: wanted.is_some(), only_these: only_these.unwrap_or(|_, _| false) }))
    }

    /// Tells whether a request that is not in this dialect goes this way all the same.
    pub(super) fn is_for(&self, vendor: &Vendor, model: &str) -> bool {
        self.always || (self.only_these)(vendor.name, model)
    }

    /// Sends a caller's own bytes.
    pub(super) async fn express(
        &self,
        door: Door<'_>,
        raw: &Raw,
        request: &Outgoing<'_, ChatInput>,
    ) -> Result<Answer, Error> {
        let mut patches = vec![lane::model_patch(raw, request.model)?];
        if let Some(tokens) = request.output_cap {
            let cap = lane::member_patch(raw, "max_output_tokens", &tokens.to_string());
            patches.push(cap.ok_or_else(lane::broken_spans)?);
        }
        let ask = Ask::new(request, lane::patched(raw, patches)?, raw.headers.clone());
        let response = door.send(CREATE, request.model, ask).await?;
        let (answer, shape, body) = door.upstream.open(response, Vec::new());
        let items: Items<Error> = match (request.streamed, shape) {
            (true, Shape::Events) => Box::pin(Follow::new(body, Express(express::Watch::default()))),
            (true, Shape::Html | Shape::Json) => once(async move {
                let body = http::read_all(body, http::MAX_ERROR_BYTES).await?;
                Err(express::in_place_of_events(&body))
            }),
            (false, _) => once(async move {
                let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                Ok(vec![express::whole(body)?])
            }),
        };
        Ok(Answer { items, ..answer })
    }

    /// Sends a translated request.
    pub(super) async fn typed(
        &self,
        door: Door<'_>,
        request: &Outgoing<'_, ChatInput>,
    ) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let built = request::build(input, request, door.vendor, self.api)?;
        let decoder = decoder::Decoder::new(request.provider, input);
        let ask = Ask::new(request, built.body, built.headers);
        let response = door.send(CREATE, request.model, ask).await?;
        let whole = |decoder: decoder::Decoder, body: &[u8]| decoder.whole(body);
        Ok(door.upstream.translated(response, built.warnings, request.streamed, decoder, whole))
    }

    /// Asks the vendor for the number of tokens of a prompt. None if it cannot be asked.
    pub(super) async fn count(
        &self,
        door: Door<'_>,
        request: &Outgoing<'_, ChatInput>,
    ) -> Option<Result<Answer, Error>> {
        if !self.api.counts {
            return None;
        }
        let answer = self.ask_count(door, request).await;
        match answer {
            // A server of the same dialect that is not OpenAI's may not have the path.
            Err(error) if matches!(error.http_status, 404 | 405 | 501) => None,
            answer => Some(answer),
        }
    }

    async fn ask_count(&self, door: Door<'_>, request: &Outgoing<'_, ChatInput>) -> Result<Answer, Error> {
        let (ask, warnings) = match request.payload.as_raw(Dialect::OpenAiResponses) {
            Some(raw) => {
                let body = lane::patched(raw, vec![lane::model_patch(raw, request.model)?])?;
                (Ask::new(request, body, raw.headers.clone()), Vec::new())
            }
            None => {
                let built = request::build_count(request.payload.view()?, request, door.vendor)?;
                (Ask::new(request, built.body, built.headers), built.warnings)
            }
        };
        let model = request.model.to_owned();
        let uri = door.endpoints.uri(COUNT, request.model)?;
        door.upstream.whole(&uri, ask, warnings, move |body| Ok(vec![counted(&body, model)?])).await
    }
}

/// Reads the answer to a count.
fn counted(body: &[u8], model: String) -> Result<Item, Error> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        input_tokens: Count,
    }
    let told: Told = serde_json::from_slice(body).map_err(|_| crate::provider::refusal::not_json(body))?;
    let Some(input_tokens) = told.input_tokens.0 else {
        return Err(Error::new(Kind::BadResponse, "the answer is a JSON object without `input_tokens`"));
    };
    Ok(Item::Counted(Box::new(CountTokensResponse { input_tokens, estimated: false, model })))
}

/// Translates a request to OpenAI itself, for the tests of what becomes of it.
#[cfg(test)]
pub(super) fn request_of(outgoing: &Outgoing<'_, ChatInput>) -> Result<super::translate::Built, Error> {
    let vendor = &crate::provider::vendors::OPENAI;
    request::build(outgoing.payload.view()?, outgoing, vendor, vendor.responses.unwrap_or_default())
}

#[cfg(test)]
mod tests;
