//! Anthropic's Messages dialect, spoken by Anthropic, by Azure under another root, and by Google's Vertex.
//!
//! Two lanes. Bytes of the same dialect take `express`: patched, watched, otherwise untouched. Everything else is built
//! from the contract by `request` and read back into its events by `response`. `place` knows the addresses, `model`
//! what each generation of models can do. Bedrock's `InvokeModel` carries the same bodies: `request::build` with
//! `Form::Bedrock`, and `response::Decoder`.

mod block;
mod citation;
mod content;
mod count;
pub(in crate::provider) mod express;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod lanes;
mod media;
mod message;
mod model;
pub mod place;
pub mod request;
pub mod response;
mod sampling;
mod thinking;
mod tools;
pub(in crate::provider) mod usage;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use futures_util::future::BoxFuture;
use tollgate_api::v1;

use self::{place::Place, request::Form};
use super::{
    Answer, Error, Outgoing, Provider,
    express::Express,
    follow::Follow,
    http::{self, MAX_ANSWER_BYTES, MAX_ERROR_BYTES},
    json::{self, members, write},
    refusal, translate,
    upstream::{self, Ask, Shape, Upstream, once},
};
use crate::call::{Dialect, Endpoint, Items, Raw};

/// The family of providers that read each other's continuity tokens.
const FAMILY: &str = "anthropic";
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The version of the API that is spoken unless the caller names one.
const THIS_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The adapter of one provider.
pub struct Claude {
    upstream: Upstream,
    place: Place,
}

impl Claude {
    async fn chat_express(&self, request: &Outgoing<'_, v1::ChatInput>, raw: &Raw) -> Result<Answer, Error> {
        let uri = self.place.messages(request.model, request.streamed)?;
        let body = express::request(raw, request.model, self.place.form())?;
        let ask = Ask::new(request, body, self.headers(raw.headers.clone()));
        let (answer, shape, body) = self.upstream.open(self.upstream.send(&uri, ask).await?, Vec::new());
        let items: Items<Error> = match (request.streamed, shape) {
            (true, Shape::Events) => Box::pin(Follow::new(body, Express(express::Watch::default()))),
            (true, Shape::Html | Shape::Json) => once(async move {
                let body = http::read_all(body, MAX_ERROR_BYTES).await?;
                Err(failure::in_place_of_events(&body))
            }),
            (false, _) => once(async move {
                let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                Ok(vec![express::whole(body)?])
            }),
        };
        Ok(Answer { items, ..answer })
    }

    async fn chat_typed(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let uri = self.place.messages(request.model, request.streamed)?;
        let built = request::build(request.payload.view()?, request, self.place.form())?;
        let ask = Ask::new(request, built.body, self.headers(built.headers));
        let (answer, shape, body) = self.upstream.open(self.upstream.send(&uri, ask).await?, built.warnings);
        let decoder = response::Decoder::new(request.provider);
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

    async fn counted(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let uri = self.place.count()?;
        let unstreamed = |ask: Ask| Ask { streamed: false, ..ask };
        if let Some(raw) = request.payload.as_raw(Dialect::AnthropicMessages) {
            let body = express::request(raw, request.model, Form::Count)?;
            let ask = unstreamed(Ask::new(request, body, self.headers(raw.headers.clone())));
            return self.upstream.whole(&uri, ask, Vec::new(), |body| Ok(vec![express::count(body)?])).await;
        }
        let built = request::build(request.payload.view()?, request, Form::Count)?;
        let ask = unstreamed(Ask::new(request, built.body, self.headers(built.headers)));
        let model = request.model.to_owned();
        let decode = move |body: bytes::Bytes| Ok(vec![count::decode(&body, &model)?]);
        self.upstream.whole(&uri, ask, built.warnings, decode).await
    }

    /// Adds the version of the API, which Vertex wants in the body alone.
    fn headers(&self, mut headers: HeaderMap) -> HeaderMap {
        match self.place {
            Place::Own { .. } => {
                headers.entry(VERSION).or_insert(THIS_VERSION);
            }
            Place::Vertex { .. } => {
                headers.remove(VERSION);
            }
        }
        headers
    }
}

impl Provider for Claude {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            match request.payload.as_raw(Dialect::AnthropicMessages) {
                Some(raw) => self.chat_express(&request, raw).await,
                None => self.chat_typed(&request).await,
            }
        })
    }

    fn embed<'a>(&'a self, _request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        let why = "Anthropic's models make no embeddings";
        Box::pin(async move { Err(translate::unsupported("model", why)) })
    }

    fn continues(&self, model: &str) -> bool {
        continues(model)
    }

    fn place(&self, endpoint: Endpoint, _: &str) -> Option<super::Place<'_>> {
        upstream::native(endpoint, &self.upstream, self.place.root())
    }

    fn count_tokens<'a>(
        &'a self,
        request: Outgoing<'a, v1::ChatInput>,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.counted(&request).await })
    }
}

/// Tells whether a model of Claude's goes on with a last message of the assistant, on whichever cloud.
pub(super) fn continues(model: &str) -> bool {
    model::Generation::of(model).takes_prefill()
}

/// Translates a request, for the tests of what becomes of it.
#[cfg(test)]
pub(super) fn request_of(outgoing: &Outgoing<'_, v1::ChatInput>) -> Result<super::translate::Built, Error> {
    request::build(outgoing.payload.view()?, outgoing, request::Form::Own)
}

#[cfg(test)]
mod tests;
