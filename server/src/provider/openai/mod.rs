//! OpenAI's dialect, spoken by OpenAI and by every vendor of `provider/vendors.rs`.
//!
//! Two lanes. Bytes of the same dialect take `express`: patched, watched by `tap`, otherwise untouched. Everything
//! else is built from the contract by `request` and read back into its events by `response`.

mod choice;
mod chunk;
mod content;
mod cost;
mod embed;
pub mod endpoints;
mod executed;
mod express;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod lanes;
mod media;
mod message;
mod notes;
mod request;
pub mod response;
pub(in crate::provider) mod responses;
mod tap;
mod think;
mod toolcalls;
mod tools;
pub(in crate::provider) mod usage;
pub(in crate::provider) mod vectors;

use ::http::{HeaderMap, Response};
use futures_util::future::BoxFuture;
use tollgate_api::v1;

use self::{endpoints::Endpoints, responses::Responses};
use super::{
    Answer, Error, Outgoing, Place, Provider, estimate,
    express::Express,
    follow::Follow,
    http::{self, Incoming, MAX_ANSWER_BYTES},
    json::{self, members, write},
    refusal, translate,
    upstream::{Ask, Shape, Upstream, once},
    vendors::Vendor,
};
use crate::call::{Dialect, Endpoint, Item, Items, Payload, Raw};

/// What callers' SDKs read of the upstream's head and that is safe to forward.
pub const FORWARDED: &[&str] = &["openai-processing-ms", "openai-version"];

/// The name under which callers of these dialects have tokens, items and options of their own.
const FAMILY: &str = "openai";
const CHAT: &str = "chat/completions";
const COMPLETIONS: &str = "completions";
const EMBEDDINGS: &str = "embeddings";

/// The adapter of one provider.
pub struct OpenAi {
    upstream: Upstream,
    vendor: &'static Vendor,
    endpoints: Endpoints,
    responses: Option<Responses>,
}

/// Which of its wires a vendor is spoken to by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire<'a> {
    /// The operator's word: `chat` or `responses`.
    pub api: Option<&'a str>,
    /// As `Settings::responses_only`.
    pub responses_only: Option<fn(&str, &str) -> bool>,
}

impl<'a> Wire<'a> {
    /// Reads which wire a provider's settings ask for.
    pub fn of(settings: &'a super::Settings) -> Self {
        Self { api: settings.cloud.api.as_deref(), responses_only: settings.responses_only }
    }
}

impl OpenAi {
    /// Makes the adapter for a vendor at its endpoints.
    ///
    /// # Errors
    /// A message for operators if there is no such wire.
    pub fn new(
        upstream: Upstream,
        vendor: &'static Vendor,
        endpoints: Endpoints,
        wire: Wire<'_>,
    ) -> Result<Self, String> {
        let responses = Responses::new(vendor, wire.api, wire.responses_only)?;
        Ok(Self { upstream, vendor, endpoints, responses })
    }

    /// Finds the caller's own bytes if they may go as they are, and which endpoint takes them.
    fn own<'r>(&self, payload: &'r Payload<v1::ChatInput>) -> Option<(&'r Raw, &'static str)> {
        if !self.vendor.express {
            return None;
        }
        if let Some(raw) = payload.as_raw(Dialect::OpenAiChat) {
            return Some((raw, CHAT));
        }
        let raw = payload.as_raw(Dialect::OpenAiCompletions).filter(|_| self.vendor.completions);
        raw.map(|raw| (raw, COMPLETIONS))
    }

    async fn chat_express(&self, request: &Outgoing<'_, v1::ChatInput>) -> Option<Result<Answer, Error>> {
        let (raw, path) = self.own(request.payload)?;
        let ask_for_usage = request.streamed && self.vendor.stream_options;
        let member = if path == CHAT { self.vendor.max_tokens } else { "max_tokens" };
        let cap = request.output_cap.map(|tokens| (member, tokens));
        let body = match express::request(raw, request.model, ask_for_usage, cap) {
            Ok(body) => body,
            Err(error) => return Some(Err(error)),
        };
        let sent = self.send(path, request.model, Ask::new(request, body, HeaderMap::new())).await;
        Some(sent.map(|response| {
            let (answer, shape, body) = self.upstream.open(response, Vec::new());
            let items: Items<Error> = match (request.streamed, shape) {
                (true, Shape::Events) => {
                    let watch = express::Watch::new(request.usage_wanted).of(self.vendor);
                    Box::pin(Follow::new(body, Express(watch)))
                }
                (true, Shape::Html | Shape::Json) => once(async move {
                    let body = http::read_all(body, http::MAX_ERROR_BYTES).await?;
                    Err(response::json_in_place_of_events(&body))
                }),
                (false, _) => once(async move {
                    let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                    Ok(vec![express::whole_chat(body)?])
                }),
            };
            Answer { items, ..answer }
        }))
    }

    async fn send(&self, path: &str, model: &str, ask: Ask) -> Result<Response<Incoming>, Error> {
        self.upstream.send(self.endpoints.uri(path, model)?.as_ref(), ask).await
    }

    /// The way to the Responses API.
    fn door(&self) -> responses::Door<'_> {
        responses::Door { upstream: &self.upstream, endpoints: &self.endpoints, vendor: self.vendor }
    }

    /// Sends the call by the Responses API, if that is its way.
    async fn by_responses(&self, request: &Outgoing<'_, v1::ChatInput>) -> Option<Result<Answer, Error>> {
        let responses = self.responses.as_ref()?;
        if let Some(raw) = request.payload.as_raw(Dialect::OpenAiResponses) {
            return Some(responses.express(self.door(), raw, request).await);
        }
        let this_way = responses.is_for(self.vendor, request.model);
        if this_way { Some(responses.typed(self.door(), request).await) } else { None }
    }

    async fn chat_typed(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let built = request::build(input, request, self.vendor)?;
        let decoder = response::Decoder::new(request.provider, input).of(self.vendor);
        let ask = Ask::new(request, built.body, built.headers);
        let response = self.send(CHAT, request.model, ask).await?;
        let whole = |decoder: response::Decoder, body: &[u8]| decoder.whole(body);
        Ok(self.upstream.translated(response, built.warnings, request.streamed, decoder, whole))
    }

    async fn embeddings(&self, request: &Outgoing<'_, v1::EmbedRequest>) -> Result<Answer, Error> {
        let uri = self.endpoints.uri(EMBEDDINGS, request.model)?;
        let raw = request.payload.as_raw(Dialect::OpenAiEmbeddings);
        if let Some(raw) = raw.filter(|_| self.vendor.express) {
            let ask = Ask::new(request, express::request(raw, request.model, false, None)?, HeaderMap::new());
            return self.upstream.whole(&uri, ask, Vec::new(), |body| Ok(vec![embed::whole(body)?])).await;
        }
        let input = request.payload.view()?;
        let inputs = input.inputs.len();
        let (built, form) = embed::build(input, request, self.vendor)?;
        let ask = Ask::new(request, built.body, built.headers);
        self.upstream
            .whole(&uri, ask, built.warnings, move |body| {
                Ok(vec![Item::Embeddings(Box::new(embed::decode(&body, inputs, form)?))])
            })
            .await
    }
}

impl Provider for OpenAi {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            if let Some(answer) = self.by_responses(&request).await {
                return answer;
            }
            match self.chat_express(&request).await {
                Some(answer) => answer,
                None => self.chat_typed(&request).await,
            }
        })
    }

    fn embed<'a>(&'a self, request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.embeddings(&request).await })
    }

    fn continues(&self, model: &str) -> bool {
        let chat = self.responses.as_ref().is_none_or(|responses| !responses.is_for(self.vendor, model));
        chat && self.vendor.prefix
    }

    fn listing(&self) -> &'static str {
        "models"
    }

    fn place(&self, endpoint: Endpoint, model: &str) -> Option<Place<'_>> {
        let path = self.endpoints.path(endpoint.path(), model).ok()?;
        Some(Place { upstream: &self.upstream, base: self.endpoints.base(), path })
    }

    fn count_tokens<'a>(
        &'a self,
        request: Outgoing<'a, v1::ChatInput>,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            if let Some(responses) = &self.responses
                && let Some(counted) = responses.count(self.door(), &request).await
            {
                return counted;
            }
            estimate::count_tokens(request.payload.view()?, request.model)
        })
    }
}

/// Translates a request to a vendor's chat API, for the tests of what becomes of it.
#[cfg(test)]
pub(super) fn chat_body(
    vendor: &str,
    outgoing: &Outgoing<'_, v1::ChatInput>,
) -> Result<super::translate::Built, Error> {
    let vendor = super::vendors::find(vendor).expect("the vendor is in the table");
    request::build(outgoing.payload.view()?, outgoing, vendor)
}

/// As `chat_body`, to OpenAI's Responses API.
#[cfg(test)]
pub(super) fn responses_body(
    outgoing: &Outgoing<'_, v1::ChatInput>,
) -> Result<super::translate::Built, Error> {
    responses::request_of(outgoing)
}

#[cfg(test)]
mod quirks;
#[cfg(test)]
mod tests;
