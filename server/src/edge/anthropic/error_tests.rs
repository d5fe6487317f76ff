//! Tests of statuses, envelopes, and of what an upstream is quoted with.

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tollgate_api::v1;

use super::*;
use crate::error::Upstream;

const THEIRS: &str = r#"{"type":"error","error":{"type":"x_error","message":"theirs"},"request_id":"req_1"}"#;

async fn told(error: &Error) -> (u16, String, Value) {
    let head = Head::of(&http::Request::new(()).into_parts().0);
    let (parts, body) = respond(&head, error).into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let retry = parts.headers["x-should-retry"].to_str().unwrap().to_owned();
    assert_eq!(parts.headers["request-id"], parts.headers["x-request-id"]);
    (parts.status.as_u16(), retry, serde_json::from_slice(&body).unwrap())
}

fn upstream(reason: Reason, http_status: i32, message: &str, body: &'static str) -> Error {
    Error::new(reason, "ours").upstream(Upstream {
        kind: "invalid",
        failure: v1::UpstreamFailure { http_status, message: message.to_owned(), ..Default::default() },
        body: (!body.is_empty()).then(|| Bytes::from_static(body.as_bytes())),
    })
}

#[tokio::test]
async fn reasons_have_anthropics_statuses_and_types() {
    for (reason, status, kind, retry) in [
        (Reason::ApiKeyInvalid, 401, "authentication_error", "false"),
        (Reason::ModelNotAllowed, 403, "permission_error", "false"),
        (Reason::ModelNotFound, 404, "not_found_error", "false"),
        (Reason::InvalidRequest, 400, "invalid_request_error", "false"),
        (Reason::RequestIdReused, 400, "invalid_request_error", "false"),
        (Reason::RequestTooLarge, 413, "request_too_large", "false"),
        (Reason::RateLimited, 429, "rate_limit_error", "true"),
        (Reason::BudgetExhausted, 429, "billing_error", "false"),
        (Reason::GatewayOverloaded, 529, "overloaded_error", "true"),
        (Reason::UpstreamTimeout, 504, "timeout_error", "false"),
        (Reason::UpstreamUnavailable, 500, "api_error", "false"),
        (Reason::UpstreamAuthFailed, 500, "api_error", "false"),
        (Reason::Internal, 500, "api_error", "true"),
    ] {
        let (told_status, told_retry, body) = told(&Error::new(reason, "why")).await;
        assert_eq!((told_status, told_retry.as_str()), (status, retry), "{reason:?}");
        assert_eq!(body["error"], json!({"type": kind, "message": "why"}), "{reason:?}");
        assert!(body["type"] == "error" && body["request_id"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn an_anthropic_upstream_is_quoted_where_its_words_are_for_the_caller() {
    for (reason, http_status, status) in [
        (Reason::UpstreamRejected, 400, 400),
        (Reason::ContextLengthExceeded, 400, 400),
        (Reason::UpstreamRejected, 413, 413),
        (Reason::UpstreamRejected, 404, 404),
        (Reason::UpstreamUnavailable, 529, 529),
    ] {
        let (told_status, _, body) = told(&upstream(reason, http_status, "", THEIRS)).await;
        assert_eq!((told_status, &body["error"]["message"]), (status, &json!("theirs")), "{reason:?}");
    }
}

#[tokio::test]
async fn limits_and_credentials_of_the_gateway_and_other_dialects_are_told_in_our_words() {
    for (reason, http_status, body, status) in [
        (Reason::UpstreamRateLimited, 429, THEIRS, 429),
        (Reason::UpstreamAuthFailed, 401, THEIRS, 500),
        (Reason::UpstreamUnavailable, 500, THEIRS, 500),
        (Reason::UpstreamRejected, 400, r#"{"error":{"message":"openai's"}}"#, 400),
        (Reason::UpstreamRejected, 400, "<html>", 400),
        (Reason::UpstreamUnavailable, 529, "<html>", 529),
        (Reason::UpstreamUnavailable, 503, "", 529),
    ] {
        let (told_status, _, told) = told(&upstream(reason, http_status, "", body)).await;
        assert_eq!((told_status, &told["error"]["message"]), (status, &json!("ours")), "{reason:?} {body}");
    }
}

#[test]
fn a_full_context_is_told_with_its_numbers_where_they_are_known() {
    let said = |told: &str| message(&upstream(Reason::ContextLengthExceeded, 400, told, ""));
    for (told, expected) in [
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9,000 tokens (8000 in the messages)",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "prompt is too long: 1200000 tokens > 1048576 maximum",
        ),
        ("too long", "prompt is too long (ours)"),
        ("over by 12 at 70000", "prompt is too long (ours)"),
    ] {
        assert_eq!(said(told), expected);
    }
    let facts =
        Error::new(Reason::ContextLengthExceeded, "ours").with("input_tokens", "9").with("max_tokens", "8");
    assert_eq!(message(&facts), "prompt is too long: 9 tokens > 8 maximum");
}

#[test]
fn an_overload_within_a_stream_has_its_own_type() {
    let mut failed = upstream(Reason::StreamInterrupted, 0, "", "");
    assert!(!is_overload(&failed));
    failed = failed.upstream(Upstream {
        failure: v1::UpstreamFailure { r#type: "overloaded_error".to_owned(), ..Default::default() },
        ..Default::default()
    });
    let frame = in_stream(&failed);
    assert!(
        frame
            .starts_with(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"")
    );
}
