//! Errors in Anthropic's words: status, headers, envelope, and the error inside a stream.
//!
//! A target of this dialect that refuses the request itself is quoted: clients recover by its wording. So is one that
//! is overloaded, as that is true for everybody. Its rate limits are those of the gateway's own credential, named
//! with its organisation, and are told in our words with the same status and type.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    edge::{
        rate_limits,
        rest::{
            head::Head,
            refusal::{add_facts, upstreams_own},
            whole,
        },
        status,
    },
    error::{CameTo, Error, Reason},
};

/// Anthropic's status of a service that has too much to do.
const OVERLOADED: u16 = 529;
/// How the message of a full context begins; Claude Code makes room when it reads this.
const TOO_LONG: &str = "prompt is too long";
/// No context is smaller, so that smaller numbers in a message count something else.
const LEAST_CONTEXT: u64 = 512;

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    error: Told<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

#[derive(Serialize)]
struct Told<'a> {
    r#type: &'static str,
    message: &'a str,
    /// What was delivered and is billed of an answer that was interrupted. SDKs hand it on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    x_tollgate: Option<&'a CameTo>,
}

/// Makes the response of a call that failed before its first byte.
pub(super) fn respond(head: &Head, error: &Error) -> Response {
    let (status, kind) = kind(error);
    let own = quoted(error).filter(|(_, body)| is_envelope(body));
    let request_id = Some(head.id.to_string());
    let (status, body) = own.unwrap_or_else(|| (status, envelope(error, kind, request_id).into()));
    let mut headers = head.headers();
    add_facts(&mut headers, error);
    rate_limits::put_anthropic(&mut headers, &error.facts().rate_limits);
    let mut response = whole::json(headers, body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Makes the last event of a stream that failed.
pub(super) fn in_stream(error: &Error) -> Bytes {
    let mut frame = b"event: error\ndata: ".to_vec();
    frame.extend_from_slice(&envelope(error, kind(error).1, None));
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// Returns status and `error.type`.
fn kind(error: &Error) -> (u16, &'static str) {
    if is_overload(error) {
        return (OVERLOADED, "overloaded_error");
    }
    status::anthropic(error.facts())
}

/// Tells whether the upstream says that it has too much to do.
fn is_overload(error: &Error) -> bool {
    let Some(upstream) = &error.facts().upstream else { return false };
    let failed = matches!(error.reason(), Reason::UpstreamUnavailable | Reason::StreamInterrupted);
    failed
        && (matches!(upstream.failure.http_status, 503 | 529)
            || upstream.failure.r#type == "overloaded_error")
}

/// Returns what the upstream said itself, where it is quoted.
fn quoted(error: &Error) -> Option<(u16, Bytes)> {
    upstreams_own(error).or_else(|| {
        let upstream = error.facts().upstream.as_ref()?;
        let body = upstream.body.clone().filter(|_| is_overload(error))?;
        (upstream.failure.http_status == i32::from(OVERLOADED)).then_some((OVERLOADED, body))
    })
}

fn envelope(error: &Error, kind: &'static str, request_id: Option<String>) -> Vec<u8> {
    let x_tollgate = error.facts().came_to.as_ref();
    let told = Told { r#type: kind, message: &message(error), x_tollgate };
    let envelope = Envelope { r#type: "error", error: told, request_id };
    serde_json::to_vec(&envelope).unwrap_or_else(|_| br#"{"type":"error","error":{}}"#.to_vec())
}

/// Claude Code recognises a full context by the words of the message.
fn message(error: &Error) -> String {
    let message = error.to_string();
    if error.reason() != Reason::ContextLengthExceeded {
        return message;
    }
    match numbers(error) {
        Some((tokens, most)) => format!("{TOO_LONG}: {tokens} tokens > {most} maximum"),
        None => format!("{TOO_LONG} ({message})"),
    }
}

/// Finds out how long the prompt is and how long it may be: from the facts, or from the upstream's sentence, which
/// names both in either order before anything else.
fn numbers(error: &Error) -> Option<(u64, u64)> {
    let facts = error.facts();
    let fact = |name| {
        let (_, value) = facts.metadata.iter().find(|(key, _)| *key == name)?;
        value.parse().ok()
    };
    if let (Some(tokens), Some(most)) = (fact("input_tokens"), fact("max_tokens")) {
        return Some((tokens, most));
    }
    let told = &facts.upstream.as_ref()?.failure.message;
    let digits = told.replace(',', "");
    let mut numbers = digits
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse::<u64>().ok())
        .filter(|number| *number >= LEAST_CONTEXT);
    let (first, second) = (numbers.next()?, numbers.next()?);
    (first != second).then(|| (first.max(second), first.min(second)))
}

/// Tells whether a body is an error in this dialect.
fn is_envelope(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body<'a> {
        r#type: &'a str,
        #[serde(borrow, rename = "error")]
        _error: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(rename = "type")]
        _type: &'a str,
    }
    serde_json::from_slice::<Body<'_>>(body).is_ok_and(|body| body.r#type == "error")
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
