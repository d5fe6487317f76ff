//! Errors in OpenAI's words: status, headers, envelope, and the error inside a stream.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    edge::{
        rest::{
            head::Head,
            refusal::{add_facts, upstreams_own},
        },
        status,
    },
    error::{CameTo, Error, Reason},
};

#[derive(Serialize)]
struct Envelope<'a> {
    error: Told<'a>,
}

/// What is wrong, in OpenAI's words.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    pub(super) message: String,
    pub(super) r#type: &'static str,
    pub(super) param: Option<&'a str>,
    pub(super) code: &'static str,
    /// What was delivered and is billed of an answer that was interrupted. SDKs hand it on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) x_tollgate: Option<&'a CameTo>,
}

impl<'a> Told<'a> {
    pub(super) fn of(error: &'a Error) -> Self {
        let row = status::of(error.reason());
        let param = error.facts().field.as_deref();
        let x_tollgate = error.facts().came_to.as_ref();
        let r#type = status::openai_type(error.facts());
        Self { message: message(error), r#type, param, code: row.openai_code, x_tollgate }
    }
}

/// Makes the response of a call that failed before its first byte.
pub(in crate::edge) fn respond(head: &Head, error: &Error) -> Response {
    with_own(head, error, upstreams_own(error).filter(|(_, body)| is_envelope(body)))
}

/// As `respond`, but for a caller who speaks the provider's own dialect and reads its errors, whatever they look like.
pub(in crate::edge) fn respond_natively(head: &Head, error: &Error) -> Response {
    with_own(head, error, upstreams_own(error))
}

fn with_own(head: &Head, error: &Error, own: Option<(u16, Bytes)>) -> Response {
    let (status, body) = own.unwrap_or_else(|| (status::http(error.facts()), envelope(error).into()));
    let mut headers = head.headers();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    add_facts(&mut headers, error);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}

/// Makes the last frame of a stream that failed.
pub(in crate::edge) fn in_stream(error: &Error) -> Bytes {
    let mut frame = b"data: ".to_vec();
    frame.extend_from_slice(&envelope(error));
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

fn envelope(error: &Error) -> Vec<u8> {
    serde_json::to_vec(&Envelope { error: Told::of(error) }).unwrap_or_else(|_| b"{\"error\":{}}".to_vec())
}

/// LangChain and LiteLLM recognise a full context by the words of the message.
fn message(error: &Error) -> String {
    let message = error.to_string();
    let recognised = ["context_length_exceeded", "exceeds the context window"];
    if error.reason() != Reason::ContextLengthExceeded
        || recognised.iter().any(|words| message.contains(words))
    {
        return message;
    }
    format!("{message} (context_length_exceeded: the prompt exceeds the context window)")
}

/// Tells whether a body is an error in this dialect.
fn is_envelope(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "error")]
        _error: IgnoredAny,
    }
    serde_json::from_slice::<Body>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use http_body_util::BodyExt as _;
    use tollgate_api::v1;

    use super::*;
    use crate::error::Upstream;

    fn head() -> Head {
        Head::of(&http::Request::new(()).into_parts().0)
    }

    async fn told(error: &Error) -> (u16, HeaderMap, serde_json::Value) {
        let (parts, body) = respond(&head(), error).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap())
    }

    fn rejected(http_status: i32, body: &'static str) -> Error {
        Error::new(Reason::UpstreamRejected, "ours").upstream(Upstream {
            kind: "invalid",
            failure: v1::UpstreamFailure { http_status, ..Default::default() },
            body: Some(Bytes::from_static(body.as_bytes())),
        })
    }

    #[tokio::test]
    async fn a_refusal_names_the_parameter_and_forbids_retries() {
        let (status, headers, body) = told(&Error::invalid("messages[3].role", "bad role")).await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            serde_json::json!({"error": {"message": "bad role", "type": "invalid_request_error",
                "param": "messages[3].role", "code": "invalid_request"}})
        );
        assert_eq!(headers["x-should-retry"], "false");
        assert_eq!(headers["x-tollgate-reason"], "INVALID_REQUEST");
        assert_eq!(headers["x-request-id"], headers["request-id"]);
        assert_eq!(headers["content-type"], "application/json");
    }

    #[tokio::test]
    async fn a_rate_limit_says_when_in_both_units() {
        let wait =
            |ms| Error::new(Reason::RateLimited, "slow down").retry_after(Some(Duration::from_millis(ms)));
        for (ms, seconds, millis) in
            [(1, "1", "1"), (1500, "2", "1500"), (900_000, "60", "60000"), (0, "1", "1")]
        {
            let (status, headers, _) = told(&wait(ms)).await;
            assert_eq!(status, 429);
            assert_eq!(headers["retry-after"], seconds);
            assert_eq!(headers["retry-after-ms"], millis);
            assert_eq!(headers["x-should-retry"], "true");
        }
    }

    #[tokio::test]
    async fn the_upstreams_refusal_of_the_request_arrives_as_it_came() {
        let (status, _, body) = told(&rejected(404, r#"{"error":{"message":"theirs"}}"#)).await;
        assert_eq!((status, &body["error"]["message"]), (404, &"theirs".into()));
        let (status, headers, body) = told(&rejected(409, r#"{"error":{"message":"theirs"}}"#)).await;
        assert_eq!((status, &body["error"]["message"]), (422, &"theirs".into()));
        assert_eq!(headers["x-should-retry"], "false");
    }

    #[tokio::test]
    async fn what_the_upstream_says_of_our_own_credential_or_in_no_json_is_not_handed_on() {
        for (http_status, body) in [
            (401, r#"{"error":{"message":"theirs"}}"#),
            (403, r#"{"error":{"message":"theirs"}}"#),
            (429, r#"{"error":{"message":"theirs"}}"#),
            (500, r#"{"error":{"message":"theirs"}}"#),
            (400, "<html>theirs</html>"),
            (400, r#"{"detail":"theirs"}"#),
        ] {
            let (status, _, told) = told(&rejected(http_status, body)).await;
            assert_eq!((status, &told["error"]["message"]), (400, &"ours".into()), "{http_status} {body}");
        }
    }

    #[tokio::test]
    async fn a_full_context_is_told_in_the_words_that_clients_look_for() {
        let (_, _, body) = told(&Error::new(Reason::ContextLengthExceeded, "too long")).await;
        assert!(body["error"]["message"].as_str().unwrap().contains("exceeds the context window"));
        assert_eq!(body["error"]["code"], "context_length_exceeded");
    }

    #[test]
    fn text_of_others_cannot_split_the_event_it_is_told_in() {
        let frame = in_stream(&Error::new(Reason::StreamInterrupted, "a\n\ndata: [DONE]\r\n\r\nb"));
        let text = std::str::from_utf8(&frame).unwrap();
        assert_eq!(text.matches('\n').count(), 2);
        assert!(
            text.starts_with("data: {\"error\":{\"message\":\"a\\n\\ndata: [DONE]")
                && text.ends_with("}}\n\n")
        );
        assert!(text.contains(r#""param":null,"code":"stream_interrupted""#), "{text}");
    }
}
