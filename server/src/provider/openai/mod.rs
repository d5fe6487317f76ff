//! OpenAI's dialect, spoken by OpenAI and by every vendor of `provider/vendors.rs`.
//!
//! Two lanes. Bytes of the same dialect take `express`: patched, watched by `tap`, otherwise untouched. Everything
//! else is built from the contract by `request` and read back into its events by `response`.

mod choice;
mod chunk;
mod content;
mod embed;
mod express;
mod message;
mod notes;
mod request;
pub mod response;
mod responses;
mod tap;
mod toolcalls;
mod tools;
mod usage;

use ::http::{HeaderMap, Uri};
use futures_util::future::BoxFuture;
use tollgate_api::v1;

use self::responses::Responses;
use super::{
    Answer, Error, Outgoing, Provider, estimate,
    express::Express,
    follow::Follow,
    http::{self, MAX_ANSWER_BYTES},
    json::{self, members, write},
    refusal, translate,
    upstream::{Ask, Shape, Upstream, endpoint, once},
    vendors::Vendor,
};
use crate::call::{Dialect, Item, Items};

/// What callers' SDKs read of the upstream's head and that is safe to forward.
pub const FORWARDED: &[&str] = &["openai-processing-ms", "openai-version"];

/// The adapter of one provider.
pub struct OpenAi {
    upstream: Upstream,
    vendor: &'static Vendor,
    chat: Uri,
    embeddings: Uri,
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

impl OpenAi {
    /// Makes the adapter for a vendor at a base URL, which is used as it is.
    ///
    /// # Errors
    /// A message for operators if the URL cannot be used in a request, or there is no such wire.
    pub fn new(
        upstream: Upstream,
        vendor: &'static Vendor,
        base: &Uri,
        wire: Wire<'_>,
    ) -> Result<Self, String> {
        let responses = Responses::new(vendor, base, wire.api, wire.responses_only)?;
        let (chat, embeddings) = (endpoint(base, "chat/completions")?, endpoint(base, "embeddings")?);
        Ok(Self { upstream, vendor, chat, embeddings, responses })
    }

    async fn chat_express(&self, request: &Outgoing<'_, v1::ChatInput>) -> Option<Result<Answer, Error>> {
        let raw = request.payload.as_raw(Dialect::OpenAiChat)?;
        let sent = match express::request(raw, request.model, request.streamed) {
            Ok(body) => self.upstream.send(&self.chat, Ask::new(request, body, HeaderMap::new())).await,
            Err(error) => Err(error),
        };
        Some(sent.map(|response| {
            let (answer, shape, body) = self.upstream.open(response, Vec::new());
            let items: Items<Error> = match (request.streamed, shape) {
                (true, Shape::Events) => {
                    Box::pin(Follow::new(body, Express(express::Watch::new(request.usage_wanted))))
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

    /// Sends the call by the Responses API, if that is its way.
    async fn by_responses(&self, request: &Outgoing<'_, v1::ChatInput>) -> Option<Result<Answer, Error>> {
        let responses = self.responses.as_ref()?;
        if let Some(raw) = request.payload.as_raw(Dialect::OpenAiResponses) {
            return Some(responses.express(&self.upstream, raw, request).await);
        }
        let this_way = responses.is_for(self.vendor, request.model);
        if this_way { Some(responses.typed(&self.upstream, self.vendor, request).await) } else { None }
    }

    async fn chat_typed(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let built = request::build(input, request, self.vendor)?;
        let decoder = response::Decoder::new(request.provider, input);
        let response = self.upstream.send(&self.chat, Ask::new(request, built.body, built.headers)).await?;
        let (answer, shape, body) = self.upstream.open(response, built.warnings);
        let items: Items<Error> = if request.streamed && shape == Shape::Events {
            Box::pin(Follow::new(body, decoder))
        } else {
            once(async move {
                let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                decoder.whole(&body)
            })
        };
        Ok(Answer { items, ..answer })
    }

    async fn embeddings(&self, request: &Outgoing<'_, v1::EmbedRequest>) -> Result<Answer, Error> {
        if let Some(raw) = request.payload.as_raw(Dialect::OpenAiEmbeddings) {
            let ask = Ask::new(request, express::request(raw, request.model, false)?, HeaderMap::new());
            return self
                .upstream
                .whole(&self.embeddings, ask, Vec::new(), |body| Ok(vec![embed::whole(body)?]))
                .await;
        }
        let input = request.payload.view()?;
        let inputs = input.inputs.len();
        let built = embed::build(input, request, self.vendor)?;
        let ask = Ask::new(request, built.body, built.headers);
        self.upstream
            .whole(&self.embeddings, ask, built.warnings, move |body| {
                Ok(vec![Item::Embeddings(Box::new(embed::decode(&body, inputs)?))])
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

    fn count_tokens<'a>(
        &'a self,
        request: Outgoing<'a, v1::ChatInput>,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            if let Some(responses) = &self.responses
                && let Some(counted) = responses.count(&self.upstream, self.vendor, &request).await
            {
                return counted;
            }
            estimate::count_tokens(request.payload.view()?, request.model)
        })
    }
}

#[cfg(test)]
mod tests;
