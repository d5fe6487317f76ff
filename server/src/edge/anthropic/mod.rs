//! The Anthropic REST surface: messages, counts of tokens, models.
//!
//! Place in the path: first and last of calls by `POST /v1/messages` and `/v1/messages/count_tokens`. Config:
//! `limits_in.body`. Metrics: none of its own, `surface` labels tell it. Tests: in each file,
//! `tests/clients/python/test_anthropic_sdk.py`, `tests/clients/node/anthropic.test.js`.
//!
//! A request is scanned (`request`), and its typed view made if somebody asks for it (`parse`, `blocks`, `tools`,
//! `options`). An answer is written whole (`answer`) or as events (`stream`, `frames`), both of the same blocks (`content`).

mod answer;
mod blocks;
mod content;
mod error;
mod frames;
mod messages;
mod models;
mod options;
mod parse;
mod request;
mod source;
mod stream;
mod tools;
mod usage;

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{MethodRouter, any, get, post},
};
use http::HeaderMap;

pub(super) use self::models::{get as model, list as models};

use super::{
    Edge,
    readers::{Readers, Wording},
    rest::{self, head::Head, sse},
};

/// The family name of Anthropic's own tokens, extensions and options.
const FAMILY: &str = "anthropic";
/// What a caller sees that asks whether anybody is here; Claude Code does so before its first call.
const HERE: &str = "tollgate\n";

#[cfg(test)]
pub(super) fn payload_of(
    body: &[u8],
) -> Result<crate::call::Payload<tollgate_api::v1::ChatInput>, crate::error::Error> {
    crate::call::Payload::parsed(body, parse::parse)
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    edge: Edge,
    readers: Readers<sse::Piece>,
}

/// Builds the routes of this surface, below the prefixes that callers' base URLs end in. Must be called within a
/// Tokio runtime.
pub fn router(edge: Edge) -> Router {
    let wording = Wording { farewell: |error| Ok(error::in_stream(&error)), size: sse::size };
    let readers = Readers::start(edge.patience, wording);
    let mut router = Router::new().route("/", only("GET,HEAD", get(|| async { HERE })));
    for prefix in ["", "/v1", "/anthropic/v1"] {
        router = router
            .route(&format!("{prefix}/messages"), only("POST", post(messages::create)))
            .route(&format!("{prefix}/messages/count_tokens"), only("POST", post(messages::count_tokens)))
            .route(&format!("{prefix}/messages/{{*rest}}"), any(not_found));
    }
    router
        .route("/anthropic/v1/models", only("GET,HEAD", get(models::theirs)))
        .route("/anthropic/v1/models/{*id}", only("GET,HEAD", get(models::theirs_by_id)))
        .with_state(Shared { edge, readers })
}

/// Tells whether a request comes from a client of this dialect, where its path does not.
pub(super) fn speaks(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// Answers a path that nobody serves.
pub(super) async fn not_found(request: Request) -> Response {
    let (request, _) = request.into_parts();
    error::respond(&Head::of(&request), &super::unknown_path(&request))
}

/// Answers other methods of a known path in the words of this dialect.
fn only(allowed: &'static str, route: MethodRouter<Shared>) -> MethodRouter<Shared> {
    rest::only(allowed, route, error::respond)
}

#[cfg(test)]
mod tests;
