//! Errors as vendors send and document them, each with what it must mean here: a table beside this file.

use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;

use super::*;

const TABLE: &str = include_str!("known.tsv");
const LIMITED: Kind = Kind::RateLimited { retry_after: None };

const fn limited(millis: u64) -> Kind {
    Kind::RateLimited { retry_after: Some(Duration::from_millis(millis)) }
}

/// Writes a kind as the table does.
fn name(kind: Kind) -> String {
    match kind {
        Kind::RateLimited { retry_after: Some(wait) } => format!("RateLimited {}", wait.as_millis()),
        Kind::RateLimited { retry_after: None } => "RateLimited".to_owned(),
        kind => format!("{kind:?}"),
    }
}

#[test]
fn every_vendors_errors_mean_what_they_say() {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    let mut wrong = Vec::new();
    for row in rows {
        let [status, kind, r#type, code, body] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("a row has five columns: {row}")
        };
        let body = Bytes::from_static(body.as_bytes());
        let error = of_response(status.parse().unwrap(), &HeaderMap::new(), body.clone());
        let read = (name(error.kind), &*error.upstream_type, &*error.upstream_code);
        if (&*read.0, read.1, read.2) != (kind, r#type, code) {
            wrong.push(format!("{read:?}: {row}"));
        }
        assert!(!error.message.is_empty() && !error.message.contains("</"), "{row}");
        assert_eq!(error.body.is_some(), error.kind != Kind::Denied && !body.is_empty(), "{row}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_error_inside_an_answer_means_the_same() {
    for (payload, kind) in [
        // OpenAI and compatibles
        (r#"{"error":{"message":"The server had an error","type":"server_error"}}"#, Kind::Unavailable),
        (
            r#"{"error":{"message":"x","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            Kind::Denied,
        ),
        (
            r#"{"error":{"message":"x","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            Kind::ContextLength,
        ),
        (r#"{"error":{"message":"x","code":"tool_use_failed","status_code":400}}"#, Kind::Invalid),
        (
            r#"{"object":"error","message":"EngineDeadError","type":"InternalServerError","code":500}"#,
            Kind::Unavailable,
        ),
        (r#"{"error":{"code":"content_filter","message":"The response was filtered"}}"#, Kind::ContentPolicy),
        // Anthropic
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Kind::Unavailable),
        (r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#, LIMITED),
        (r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, Kind::Unavailable),
        (r#"{"type":"error","error":{"type":"timeout_error","message":"x"}}"#, Kind::Timeout),
        (
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
            Kind::ContentPolicy,
        ),
        // Responses
        (
            r#"{"type":"error","code":"rate_limit_exceeded","message":"x. Please try again in 2s.","param":null}"#,
            limited(2_000),
        ),
        (
            r#"{"type":"error","error":{"type":"server_error","code":"server_error","message":"x"}}"#,
            Kind::Unavailable,
        ),
        (
            r#"{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"x"}}"#,
            Kind::Unavailable,
        ),
        (
            r#"{"id":"resp_1","status":"failed","error":{"code":"invalid_prompt","message":"x"}}"#,
            Kind::Invalid,
        ),
        (
            r#"{"id":"resp_1","status":"failed","error":{"code":"vector_store_timeout","message":"x"}}"#,
            Kind::Timeout,
        ),
        (
            r#"{"id":"resp_1","status":"failed","error":{"code":"image_content_policy_violation","message":"x"}}"#,
            Kind::ContentPolicy,
        ),
        // Gemini
        (
            r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#,
            Kind::Unavailable,
        ),
        (r#"[{"error":{"code":504,"message":"x","status":"DEADLINE_EXCEEDED"}}]"#, Kind::Timeout),
        (r#"{"error":{"message":"x","status":"UNAVAILABLE"}}"#, Kind::Unavailable),
        (r#"{"error":{"message":"x","status":"INVALID_ARGUMENT"}}"#, Kind::Invalid),
        (r#"{"error":{"message":"x","status":"PERMISSION_DENIED"}}"#, Kind::Denied),
    ] {
        assert_eq!(of_payload(payload.as_bytes()).kind, kind, "{payload}");
    }
}

#[test]
fn the_exceptions_of_an_event_stream_mean_what_their_names_say() {
    for (name, kind) in [
        ("throttlingException", LIMITED),
        ("modelStreamErrorException", Kind::Unavailable),
        ("modelTimeoutException", Kind::Timeout),
        ("internalServerException", Kind::Unavailable),
        ("serviceUnavailableException", Kind::Unavailable),
        ("validationException", Kind::Invalid),
        ("accessDeniedException", Kind::Denied),
        ("unheardOfException", Kind::Unavailable),
    ] {
        assert_eq!(of_exception(name, br#"{"message":"x"}"#).kind, kind, "{name}");
    }
    let long =
        of_exception("validationException", br#"{"message":"Input is too long for requested model."}"#);
    assert_eq!(long.kind, Kind::ContextLength);
}
