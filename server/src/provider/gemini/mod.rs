//! Google's Gemini dialect: `generateContent` and its kin, spoken by AI Studio and by Vertex.
//!
//! One lane: `request` builds what is asked from the contract, `response` reads what is answered back into its events.
//! `place` knows the URLs of the two APIs.

mod choice;
mod count;
mod embed;
mod finish;
mod frames;
mod generation;
mod grounding;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod lanes;
mod logprobs;
mod messages;
mod partial;
mod parts;
pub mod place;
mod ran;
mod request;
mod response;
mod tools;
pub(in crate::provider) mod usage;

use futures_util::future::BoxFuture;
use tollgate_api::v1;

use self::{
    place::{Api, Place},
    response::Decoder,
};
use super::{
    Answer, Error, Outgoing, Provider,
    follow::Follow,
    http::{self, MAX_ERROR_BYTES},
    refusal,
    upstream::{self, Ask, Shape, Upstream, once},
};
use crate::call::{Endpoint, Item, Items};

/// What callers' SDKs read of the upstream's head and that is safe to forward.
pub(super) const FORWARDED: &[&str] = &["x-gemini-service-tier"];
/// The family of providers that read each other's continuity tokens.
const FAMILY: &str = "gemini";

/// The adapter of one provider.
pub(super) struct Gemini {
    upstream: Upstream,
    place: Place,
}

impl Gemini {
    fn new(upstream: Upstream, place: Place) -> Self {
        Self { upstream, place }
    }

    async fn answer(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let built = request::build(input, request, self.place.api)?;
        let method = if request.streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let uri = self.place.method(request.model, method)?;
        let response = self.upstream.send(&uri, Ask::new(request, built.body, built.headers)).await?;
        let (answer, shape, body) = self.upstream.open(response, built.warnings);
        let items: Items<Error> = match shape {
            Shape::Html => {
                once(async move { Err(refusal::not_json(&http::read_all(body, MAX_ERROR_BYTES).await?)) })
            }
            // Whether the answer is an event stream, a list or one object shows in its first byte.
            Shape::Events | Shape::Json => {
                Box::pin(Follow::new(body, Decoder::new(request.provider, request.call_id)))
            }
        };
        Ok(Answer { items, ..answer })
    }

    async fn embeddings(&self, request: &Outgoing<'_, v1::EmbedRequest>) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let api = self.place.api;
        let built = embed::build(input, request, &self.place)?;
        let method = if api == Api::Vertex { "predict" } else { "batchEmbedContents" };
        let uri = self.place.method(request.model, method)?;
        let ask = Ask::new(request, built.body, built.headers);
        let (inputs, model) = (input.inputs.len(), request.model.to_owned());
        let decode = move |body: bytes::Bytes| {
            Ok(vec![Item::Embeddings(Box::new(embed::decode(&body, inputs, &model)?))])
        };
        self.upstream.whole(&uri, ask, built.warnings, decode).await
    }

    async fn counted(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let built = count::build(request.payload.view()?, request, &self.place)?;
        let uri = self.place.method(request.model, "countTokens")?;
        let ask = Ask { streamed: false, ..Ask::new(request, built.body, built.headers) };
        let model = request.model.to_owned();
        let decode =
            move |body: bytes::Bytes| Ok(vec![Item::Counted(Box::new(count::decode(&body, &model)?))]);
        self.upstream.whole(&uri, ask, built.warnings, decode).await
    }
}

impl Provider for Gemini {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.answer(&request).await })
    }

    fn embed<'a>(&'a self, request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.embeddings(&request).await })
    }

    fn listing(&self) -> &'static str {
        "v1beta/models"
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

/// Translates a request, for the tests of what becomes of it.
#[cfg(test)]
pub(super) fn request_of(outgoing: &Outgoing<'_, v1::ChatInput>) -> Result<super::translate::Built, Error> {
    request::build(outgoing.payload.view()?, outgoing, place::Api::Studio)
}

#[cfg(test)]
mod tests;
