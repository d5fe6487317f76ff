//! The OpenAI-compatible REST surface: chat completions, responses, legacy completions, embeddings, models; each path
//! also as Azure has it.
//!
//! Place in the path: first and last of calls by `POST /v1/chat/completions` and its siblings. Config:
//! `limits_in.body`. Metrics: none of its own, `surface` labels tell it. Tests: in each file, `tests/e2e/openai.rs`.

mod azure;
mod calls;
mod chat;
pub(in crate::edge) mod chat_chunks;
mod chat_delta;
mod chat_messages;
mod chat_parse;
mod chat_request;
mod chat_response;
mod completions;
mod completions_answer;
mod completions_request;
mod embeddings;
mod embeddings_request;
mod embeddings_response;
pub(in crate::edge) mod error;
mod models;
mod responses;
mod serve;
mod shapes;
mod tokens;

use axum::{
    Router,
    extract::{FromRef, Request},
    response::Response,
    routing::{MethodRouter, any, get, post},
};

pub(super) use models::since;

use tollgate_api::v1::{ChatInput, EmbedRequest};

use self::{chat::Chat, completions::Completions, responses::Responses, serve::complete};
use super::{
    Edge, PANICKED,
    readers::{Readers, Wording},
    rest::{self, head, sse},
};
use crate::{call::Unread, error::Error};

/// Makes the typed view of a chat request.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of what does not fit the contract.
pub fn parse_chat(body: &[u8]) -> Result<ChatInput, Error> {
    chat_parse::parse(body, &Unread::default())
}

/// Makes the typed view of a request for legacy completions.
///
/// # Errors
/// As `parse_chat`; `UNSUPPORTED_PARAMETER` for what no conversation can say.
pub fn parse_completion(body: &[u8]) -> Result<ChatInput, Error> {
    completions_request::parse(body, &Unread::default())
}

/// Makes the typed view of a request for vectors.
///
/// # Errors
/// As `parse_chat`.
pub fn parse_embed(body: &[u8]) -> Result<EmbedRequest, Error> {
    embeddings_request::parse(body, &Unread::default())
}

/// Makes the typed view of a Responses request.
///
/// # Errors
/// As `parse_chat`; `UNSUPPORTED_PARAMETER` for what needs a server that keeps responses.
pub fn parse_responses(body: &[u8]) -> Result<ChatInput, Error> {
    responses::parse(body, &Unread::default())
}

#[cfg(test)]
pub(super) fn payload_of(
    surface: crate::call::Surface,
    body: &[u8],
) -> Result<crate::call::Payload<ChatInput>, Error> {
    let parse = match surface {
        crate::call::Surface::OpenAiResponses => responses::parse,
        crate::call::Surface::OpenAiCompletions => completions_request::parse,
        _ => chat_parse::parse,
    };
    crate::call::Payload::parsed(body, parse)
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    edge: Edge,
    readers: Readers<sse::Piece>,
}

impl FromRef<Shared> for Edge {
    fn from_ref(shared: &Shared) -> Self {
        shared.edge.clone()
    }
}

/// Builds the routes of this surface, each with and without `/v1`, and below `/openai` as Azure has them. Must be called within a Tokio runtime.
pub fn router(edge: Edge) -> Router {
    let mut router = Router::new();
    for prefix in ["", "/v1", "/openai", "/openai/v1"] {
        router = router
            .route(&format!("{prefix}/chat/completions"), only("POST", post(complete::<Chat>)))
            .route(&format!("{prefix}/completions"), only("POST", post(complete::<Completions>)))
            .route(&format!("{prefix}/embeddings"), only("POST", post(embeddings::embed)))
            .route(&format!("{prefix}/responses"), only("POST", post(complete::<Responses>)))
            .route(&format!("{prefix}/responses/input_tokens"), only("POST", post(responses::count)))
            .route(&format!("{prefix}/responses/{{id}}"), any(responses::absent))
            .route(&format!("{prefix}/responses/{{id}}/{{what}}"), any(responses::absent))
            .route(&format!("{prefix}/models"), only("GET,HEAD", get(models::list)))
            .route(&format!("{prefix}/models/{{*id}}"), only("GET,HEAD", get(models::get)));
    }
    let router = router.merge(azure::deployments());
    let wording = Wording { farewell: |error| Ok(error::in_stream(&error)), size: sse::size };
    let readers = Readers::start(edge.patience, wording);
    router.with_state(Shared { edge, readers })
}

/// Answers a path that nobody serves.
pub async fn not_found(request: Request) -> Response {
    let (request, _) = request.into_parts();
    error::respond(&head::Head::of(&request), &super::unknown_path(&request))
}

/// Answers a request in whose handler the gateway panicked.
pub(super) fn broken() -> Response {
    refused(&Error::internal(PANICKED))
}

/// Answers a request that is refused with nothing known of it.
pub(super) fn refused(failed: &Error) -> Response {
    error::respond(&head::Head::of(&http::Request::new(()).into_parts().0), failed)
}

/// Answers other methods of a known path in our own words.
pub(super) fn only<S: Clone + Send + Sync + 'static>(
    allowed: &'static str,
    route: MethodRouter<S>,
) -> MethodRouter<S> {
    rest::only(allowed, route, error::respond)
}

#[cfg(test)]
mod router_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_path_is_told_in_the_envelope_without_its_query() {
        let uri = "/v1/nothing?key=secret";
        let request = Request::builder().uri(uri).body(axum::body::Body::empty()).unwrap();
        let response = not_found(request).await;
        assert_eq!(response.status(), http::StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["x-tollgate-reason"], "UNIMPLEMENTED");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.starts_with(r#"{"error":{"message":"there is no `GET /v1/nothing` here""#), "{body}");
    }
}
