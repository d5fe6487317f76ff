//! Everything that speaks a wire to callers: framing, status codes and dialects live here and nowhere else.
//!
//! Place in the path: first and last. Config: `listen`, `ops_listen`, `tls`, `limits_in`. Metrics:
//! `tollgate_connections`. Tests: `tests/e2e`, `tests/clients`.

pub mod anthropic;
pub mod arrival;
pub mod continuity;
mod cors;
mod crowd;
mod explain;
pub mod fold;
pub mod grpc;
mod hints;
pub mod listen;
pub mod openai;
pub mod ops;
mod overview;
mod pace;
mod passthrough;
mod proto_json;
mod rate_limits;
pub mod readers;
mod rest;
mod route_header;
mod stall;
pub mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod twins;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, extract::Request, middleware::from_fn_with_state, response::Response};
use http::request::Parts;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
use crate::call::{Payload, Surface};
use crate::{
    error::{Error, Reason},
    pipeline::Pipeline,
    postgres::Postgres,
    shared::Shared,
};
#[cfg(test)]
use tollgate_api::v1::ChatInput;

/// Largest number of tokens that a request may ask for: what vendors hold in 32 bits.
const MAX_TOKENS: i64 = i32::MAX as i64;
/// Most answers to one request.
const MAX_CHOICES: i64 = 128;
/// Longest end-user id that goes into the record, in bytes.
const MAX_END_USER: usize = 512;
/// Longest part of an unknown path that is told back, in characters.
const MAX_SHOWN_PATH: usize = 200;
/// What the caller learns of a panic.
const PANICKED: &str = "the gateway failed at this request; its log has the place";

/// What every surface shares. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    /// The rooms.
    pub pipeline: Arc<Pipeline>,
    /// Sizes a caller may send.
    pub limits: Limits,
    /// Silence after which a stream gets a keep-alive comment.
    pub keep_alive: Duration,
    /// Longest time for which a caller may leave what is ready for it (`timeouts.write`).
    pub patience: Duration,
    /// Cancelled when the process drains: long watches end, readiness goes off.
    pub draining: CancellationToken,
    /// Origins whose scripts may call us from a browser (`cors`), as `https://host[:port]`. Empty: none.
    pub cors: Arc<[String]>,
    /// What the process was started with, for operators.
    pub about: Arc<About>,
}

/// What a process was started with.
#[derive(Clone, Debug)]
pub struct About {
    /// When it was ready.
    pub start_time: SystemTime,
    /// Hash of its configuration.
    pub config_hash: String,
    /// What it shares with other replicas.
    pub shared: Option<Arc<Shared>>,
    /// Where it keeps what all replicas know, if that is PostgreSQL.
    pub postgres: Option<Postgres>,
}

/// Largest sizes accepted from callers, in bytes (`limits_in`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All request headers together.
    pub header: usize,
    /// A REST body, after decompression.
    pub body: usize,
    /// A gRPC message, after decompression.
    pub message: usize,
}

/// Returns everything that callers use on one port: gRPC, REST and the JSON twins. Must be called within a Tokio runtime.
///
/// # Errors
/// A message if the descriptors that are built in cannot be read.
pub fn app(edge: &Edge) -> Result<Router, String> {
    let app = grpc::router(edge)?
        .merge(openai::router(edge.clone()))
        .merge(anthropic::router(edge.clone()))
        .merge(twins::router(edge))
        .merge(passthrough::router(edge))
        .fallback(not_here);
    if edge.cors.is_empty() {
        return Ok(app);
    }
    Ok(app.layer(from_fn_with_state(edge.cors.clone(), cors::allow)))
}

/// Cuts a text to at most this many bytes, between characters.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

/// Makes the typed view of a body as its surface would: for the tests of what becomes of it.
#[cfg(test)]
pub(crate) fn parsed_from(caller: &str, body: &[u8]) -> Result<Payload<ChatInput>, Error> {
    match caller {
        "chat" => openai::payload_of(Surface::OpenAiChat, body),
        "responses" => openai::payload_of(Surface::OpenAiResponses, body),
        "completions" => openai::payload_of(Surface::OpenAiCompletions, body),
        "messages" => anthropic::payload_of(body),
        other => unreachable!("no surface is called {other}"),
    }
}

async fn not_here(request: Request) -> Response {
    if grpc::is_grpc(request.headers()) {
        return grpc::unknown_rpc();
    }
    if anthropic::speaks(request.headers()) {
        return anthropic::not_found(request).await;
    }
    openai::not_found(request).await
}

/// Makes the error of a path that nobody serves.
fn unknown_path(request: &Parts) -> Error {
    let path: String = request.uri.path().chars().take(MAX_SHOWN_PATH).collect();
    Error::new(Reason::Unimplemented, format!("there is no `{} {path}` here", request.method))
}
