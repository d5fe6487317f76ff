//! Tests of the adapter against a scripted upstream on loopback.

use std::{net::SocketAddr, time::Duration};

use ::http::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tollgate_api::v1::ChatInput;
use uuid::Uuid;

use super::*;
use crate::{
    call::{Item, Payload},
    provider::{Kind, Named, Settings, build},
};

const STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const HEADERS: &str = "request-id: req_1\r\nanthropic-organization-id: org\r\nanthropic-ratelimit-requests-remaining: 7\r\nretry-after: 3\r\n";

/// Answers one request with that status line, type and body, and returns the request in lower case.
async fn upstream(
    status: &'static str,
    kind: &'static str,
    body: &'static str,
) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let request = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        while !text.ends_with(b"}") {
            let read = socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the request ended early");
            text.extend_from_slice(&buffer[..read]);
        }
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{HEADERS}content-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        String::from_utf8(text).unwrap().to_lowercase()
    });
    (address, request)
}

fn adapter(dialect: &str, base_url: String) -> Named {
    let mut settings = Settings {
        name: "mine".to_owned(),
        dialect: dialect.to_owned(),
        base_url: Some(base_url),
        api_key: Some("sk-secret".to_owned().into()),
        connect_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    settings.cloud.project = Some("p".to_owned());
    build(&settings).unwrap()
}

fn raw() -> Payload<ChatInput> {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-beta", "context-1m".parse().unwrap());
    headers.insert("anthropic-version", "2023-01-01".parse().unwrap());
    let body = Bytes::from_static(br#"{"model":"alias","stream":true}"#);
    let dialect = Dialect::AnthropicMessages;
    Payload::raw(Raw { dialect, body, model: 9..16, stream_options: None, headers }, |_, _| {
        Ok(ChatInput::default())
    })
}

fn outgoing(payload: &Payload<ChatInput>, streamed: bool) -> Outgoing<'_, ChatInput> {
    Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "claude-x",
        payload,
        streamed,
        usage_wanted: true,
        strict: false,
        traceparent: None,
        output_cap: None,
    }
}

#[tokio::test]
async fn an_retry_after_200_is_no_failure_and_raw_bytes_go_with_the_callers_headers() {
    let (address, request) = upstream("200 OK", "text/event-stream; charset=utf-8", STREAM).await;
    let named = adapter("anthropic", format!("http://{address}/anthropic/v1"));
    let payload = raw();
    let answer = named.adapter.chat(outgoing(&payload, true)).await.unwrap();
    assert_eq!((answer.http_status, answer.upstream_request_id.as_str()), (200, "req_1"));
    assert!(answer.headers.is_empty(), "limits and organization are the gateway's own");
    let items: Vec<_> = answer.items.map(Result::unwrap).collect().await;
    let Some(Item::Raw(bytes, seen)) = items.last() else { panic!("{items:?}") };
    assert_eq!((bytes.as_ref(), seen.last), (STREAM.as_bytes(), true));
    let request = request.await.unwrap();
    for line in [
        "post /anthropic/v1/messages http/1.1",
        "x-api-key: sk-secret",
        "anthropic-beta: context-1m",
        "anthropic-version: 2023-01-01",
        "accept: text/event-stream",
        r#"{"model":"claude-x","stream":true}"#,
    ] {
        assert!(request.contains(line), "{line} in {request}");
    }
}

#[tokio::test]
async fn a_typed_call_is_built_and_read() {
    let (address, request) = upstream("200 OK", "text/event-stream", STREAM).await;
    let named = adapter("anthropic", format!("http://{address}"));
    let payload = Payload::typed(ChatInput::default());
    let answer = named.adapter.chat(outgoing(&payload, true)).await.unwrap();
    let items: Vec<_> = answer.items.map(Result::unwrap).collect().await;
    assert!(items.iter().all(|item| matches!(item, Item::Event(_))) && items.len() == 3);
    let request = request.await.unwrap();
    assert!(request.contains("anthropic-version: 2023-06-01") && request.contains("\"max_tokens\":32000"));
}

#[tokio::test]
async fn an_vertex_form_is_spoken_to_vertex() {
    let (address, request) = upstream("200 OK", "application/json", r#"{"content":[]}"#).await;
    let named = adapter("vertex-anthropic", format!("http://{address}/v1"));
    let payload = raw();
    let answer = named.adapter.chat(outgoing(&payload, false)).await.unwrap();
    assert_eq!(answer.items.map(Result::unwrap).count().await, 1);
    let request = request.await.unwrap();
    for line in [
        "post /v1/projects/p/locations/global/publishers/anthropic/models/claude-x:rawpredict http/1.1",
        "authorization: bearer sk-secret",
        "anthropic-beta: context-1m",
        r#"{"anthropic_version":"vertex-2023-10-16","stream":true}"#,
    ] {
        assert!(request.contains(line), "{line} in {request}");
    }
    assert!(!request.contains("anthropic-version:"));
}

#[tokio::test]
async fn errors_keep_their_body_and_their_hint() {
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
    let (address, _request) = upstream("429 Too Many Requests", "application/json", body).await;
    let named = adapter("anthropic", format!("http://{address}"));
    let payload = raw();
    let Err(error) = named.adapter.chat(outgoing(&payload, true)).await else { panic!() };
    assert_eq!(error.kind, Kind::RateLimited { retry_after: Some(Duration::from_secs(3)) });
    assert_eq!(error.body.as_deref(), Some(body.as_bytes()));
    assert_eq!(error.request_id, "req_1");
}

#[tokio::test]
async fn json_in_place_of_events_is_a_bad_response_or_the_error_that_it_tells() {
    for (body, kind) in [
        (r#"{"type":"message","content":[]}"#, Kind::BadResponse),
        (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Kind::Unavailable),
    ] {
        let (address, _request) = upstream("200 OK", "application/json", body).await;
        let named = adapter("anthropic", format!("http://{address}"));
        let payload = raw();
        let mut answer = named.adapter.chat(outgoing(&payload, true)).await.unwrap();
        assert_eq!(answer.items.next().await.unwrap().unwrap_err().kind, kind);
    }
}

#[tokio::test]
async fn tokens_are_counted_by_the_vendor() {
    let counted = async |payload: Payload<ChatInput>| {
        let (address, request) = upstream("200 OK", "application/json", r#"{"input_tokens":7}"#).await;
        let named = adapter("anthropic", format!("http://{address}"));
        let mut answer = named.adapter.count_tokens(outgoing(&payload, true)).await.unwrap();
        let item = answer.items.next().await.unwrap().unwrap();
        let request = request.await.unwrap();
        assert!(request.starts_with("post /v1/messages/count_tokens http/1.1"), "{request}");
        assert!(request.contains("accept: application/json"), "{request}");
        item
    };
    let Item::Counted(count) = counted(Payload::typed(ChatInput::default())).await else { panic!() };
    assert_eq!((count.input_tokens, count.estimated, count.model.as_str()), (7, false, "claude-x"));
    assert!(
        matches!(counted(raw()).await, Item::Raw(body, seen) if body == r#"{"input_tokens":7}"# && seen.last)
    );
}

#[tokio::test]
async fn embeddings_are_refused() {
    let named = adapter("anthropic", "http://127.0.0.1:9".to_owned());
    let payload = Payload::typed(v1::EmbedRequest::default());
    let request = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "claude-x",
        payload: &payload,
        streamed: false,
        usage_wanted: false,
        strict: false,
        traceparent: None,
        output_cap: None,
    };
    let Err(error) = named.adapter.embed(request).await else { panic!() };
    assert_eq!(error.kind, Kind::Unsupported);
}
