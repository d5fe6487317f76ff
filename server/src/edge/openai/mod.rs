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
use http::{HeaderValue, StatusCode, header};

pub use chat_parse::parse as parse_chat;
pub use completions_request::parse as parse_completion;
pub use embeddings_request::parse as parse_embed;
pub use responses::parse as parse_responses;

use self::{chat::Chat, completions::Completions, responses::Responses, serve::complete};
use super::{
    Edge, PANICKED,
    readers::{PATIENCE, Readers},
    rest::{head, sse},
};
use crate::error::{Error, Reason};

/// Longest part of an unknown path that is told back, in characters.
const MAX_SHOWN_PATH: usize = 200;

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
    let readers = Readers::start(PATIENCE, |error| Ok(error::in_stream(&error)));
    router.with_state(Shared { edge, readers })
}

/// Answers a path that nobody serves.
pub async fn not_found(request: Request) -> Response {
    let (request, _) = request.into_parts();
    let path: String = request.uri.path().chars().take(MAX_SHOWN_PATH).collect();
    let message = format!("there is no `{} {path}` here", request.method);
    error::respond(&head::Head::of(&request), &Error::new(Reason::Unimplemented, message))
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
    route.fallback(move |request: Request| async move {
        let (request, _) = request.into_parts();
        let message = format!("this path takes {allowed}, not {}", request.method);
        let head = head::Head::of(&request);
        let mut response = error::respond(&head, &Error::new(Reason::Unimplemented, message));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        response
    })
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
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["x-tollgate-reason"], "UNIMPLEMENTED");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.starts_with(r#"{"error":{"message":"there is no `GET /v1/nothing` here""#), "{body}");
    }
}
