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
mod tap;
mod toolcalls;
mod tools;
mod usage;

use ::http::{HeaderMap, Uri};
use futures_util::future::BoxFuture;
use tollgate_api::v1;

use super::{
    Answer, Error, Outgoing, Provider,
    express::Express,
    follow::Follow,
    http::{self, MAX_ANSWER_BYTES},
    json::{self, members, write},
    refusal, translate,
    upstream::{Ask, Shape, Upstream, endpoint, once},
    vendors::Vendor,
};
use crate::call::{Dialect, Item, Items, Payload, Raw};

/// What callers' SDKs read of the upstream's head and that is safe to forward.
pub const FORWARDED: &[&str] = &["openai-processing-ms", "openai-version"];

/// The adapter of one provider.
pub struct OpenAi {
    upstream: Upstream,
    vendor: &'static Vendor,
    chat: Uri,
    embeddings: Uri,
    completions: Uri,
}

impl OpenAi {
    /// Makes the adapter for a vendor at a base URL, which is used as it is.
    ///
    /// # Errors
    /// A message for operators if the URL cannot be used in a request.
    pub fn new(upstream: Upstream, vendor: &'static Vendor, base: &Uri) -> Result<Self, String> {
        let (chat, embeddings) = (endpoint(base, "chat/completions")?, endpoint(base, "embeddings")?);
        let completions = endpoint(base, "completions")?;
        Ok(Self { upstream, vendor, chat, embeddings, completions })
    }

    /// Finds the caller's own bytes if they may go as they are, and where to.
    fn own<'r>(&self, payload: &'r Payload<v1::ChatInput>) -> Option<(&'r Raw, &Uri)> {
        if let Some(raw) = payload.as_raw(Dialect::OpenAiChat) {
            return Some((raw, &self.chat));
        }
        let raw = payload.as_raw(Dialect::OpenAiCompletions).filter(|_| self.vendor.has_completions());
        raw.map(|raw| (raw, &self.completions))
    }

    async fn chat_express(&self, request: &Outgoing<'_, v1::ChatInput>) -> Option<Result<Answer, Error>> {
        let (raw, uri) = self.own(request.payload)?;
        let sent = match express::request(raw, request.model, request.streamed) {
            Ok(body) => self.upstream.send(uri, Ask::new(request, body, HeaderMap::new())).await,
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
            match self.chat_express(&request).await {
                Some(answer) => answer,
                None => self.chat_typed(&request).await,
            }
        })
    }

    fn embed<'a>(&'a self, request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.embeddings(&request).await })
    }
}

#[cfg(test)]
mod tests;
