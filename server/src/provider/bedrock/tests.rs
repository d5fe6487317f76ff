//! Tests of the adapter against a scripted upstream on loopback.

use futures_util::StreamExt as _;
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};
use tollgate_api::v1::{ChatInput, EmbedInput, EmbedRequest, embed_input::Kind as Input};
use uuid::Uuid;

use super::*;
use crate::{
    call::{Event, Payload},
    provider::{Named, aws::frames::testing::event, registry::Cloud},
};

const MODEL: &str = "arn:aws:bedrock:us-east-1:1:inference-profile/us.x-v1:0";

/// Answers each connection with the same bytes, and hands out what was asked.
async fn upstream(answer: Vec<u8>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while !text.ends_with(b"}") {
                let read = socket.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the request ended early");
                text.extend_from_slice(&buffer[..read]);
            }
            asked.send(String::from_utf8(text).unwrap()).unwrap();
            socket.write_all(&answer).await.unwrap();
        }
    });
    (url, requests)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\nx-amzn-requestid: req-1\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn provider(url: String, api_key: Option<&str>) -> Named {
    let cloud = Cloud {
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("AKIDEXAMPLE".to_owned()),
        secret_access_key: Some(SecretString::from("secret")),
        session_token: Some(SecretString::from("session")),
        ..Cloud::default()
    };
    registry::build(&Settings {
        name: "mine".to_owned(),
        dialect: FAMILY.to_owned(),
        base_url: Some(url),
        api_key: api_key.map(SecretString::from),
        connect_timeout: std::time::Duration::from_secs(5),
        cloud,
        ..Settings::default()
    })
    .unwrap()
}

fn outgoing<'a, T>(payload: &'a Payload<T>, model: &'a str, streamed: bool) -> Outgoing<'a, T> {
    Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model,
        payload,
        streamed,
        usage_wanted: true,
        strict: false,
        traceparent: None,
        output_cap: None,
    }
}

fn chat() -> Payload<ChatInput> {
    Payload::typed(ChatInput::default())
}

#[tokio::test]
async fn br_model_arn_a_signed_stream_is_asked_for_and_read_to_its_end() {
    let body = [
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"hi"}}"#),
        event("messageStop", r#"{"stopReason":"end_turn"}"#),
        event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":1}}"#),
    ]
    .concat();
    let kind = "content-type: application/vnd.amazon.eventstream\r\n";
    let (url, mut requests) = upstream(answer("200 OK", kind, &body)).await;
    let payload = chat();
    let answer = provider(url, None).adapter.chat(outgoing(&payload, MODEL, true)).await.unwrap();
    assert_eq!(answer.upstream_request_id, "req-1");
    let items: Vec<_> = answer.items.map(Result::unwrap).collect().await;
    assert!(matches!(items.last(), Some(Item::Event(Event::End(_)))));
    let asked = requests.recv().await.unwrap().to_ascii_lowercase();
    let path =
        "post /model/arn%3aaws%3abedrock%3aus-east-1%3a1%3ainference-profile%2fus.x-v1%3a0/converse-stream ";
    assert!(asked.starts_with(path), "{asked}");
    assert!(asked.contains("accept: application/vnd.amazon.eventstream"), "{asked}");
    assert!(asked.contains("x-amz-security-token: session\r\n"), "{asked}");
    let signed =
        "/us-east-1/bedrock/aws4_request, signedheaders=content-type;host;x-amz-date;x-amz-security-token,";
    assert!(
        asked.contains("authorization: aws4-hmac-sha256 credential=akidexample/") && asked.contains(signed)
    );
    assert!(!asked.contains("secret\r\n"));
}

#[tokio::test]
async fn a_bedrock_api_key_is_sent_as_it_is() {
    let body = br#"{"output":{"message":{"content":[{"text":"hi"}]}},"stopReason":"end_turn"}"#;
    let (url, mut requests) = upstream(answer("200 OK", "content-type: application/json\r\n", body)).await;
    let payload = chat();
    let answer = provider(url, Some("key")).adapter.chat(outgoing(&payload, "m", false)).await.unwrap();
    assert_eq!(answer.items.filter(|item| std::future::ready(item.is_err())).count().await, 0);
    let asked = requests.recv().await.unwrap();
    assert!(asked.starts_with("POST /model/m/converse ") && asked.contains("authorization: Bearer key\r\n"));
    assert!(!asked.contains("x-amz-date"));
}

#[tokio::test]
async fn br_error_header_br_403_expired_name_the_failure() {
    for (status, header, body, kind) in [
        (
            "403 Forbidden",
            "ExpiredTokenException:http://internal.amazon.com/coral/",
            r#"{"message":"expired"}"#,
            Kind::Denied,
        ),
        (
            "400 Bad Request",
            "ValidationException:http://x/",
            r#"{"message":"Input is too long for requested model."}"#,
            Kind::ContextLength,
        ),
        ("400 Bad Request", "ValidationException", r#"{"message":"Malformed input request"}"#, Kind::Invalid),
        (
            "429 Too Many Requests",
            "ThrottlingException:",
            r#"{"message":"Too many tokens, please wait"}"#,
            Kind::RateLimited { retry_after: None },
        ),
        ("424 Failed Dependency", "ModelErrorException:", r#"{"message":"x"}"#, Kind::Unavailable),
    ] {
        let (url, _requests) =
            upstream(answer(status, &format!("x-amzn-errortype: {header}\r\n"), body.as_bytes())).await;
        let payload = chat();
        let error = provider(url, None).adapter.chat(outgoing(&payload, "m", false)).await.err().unwrap();
        assert_eq!(error.kind, kind, "{status} {header}");
        assert_eq!(error.upstream_type, header.split(':').next().unwrap());
        assert_eq!(error.request_id, "req-1");
    }
}

#[tokio::test]
async fn tokens_are_counted_or_estimated_where_the_model_cannot() {
    for (answer, estimated) in [
        (answer("200 OK", "", br#"{"inputTokens":12}"#), false),
        (
            answer(
                "400 Bad Request",
                "",
                br#"{"message":"The provided model doesn't support counting tokens."}"#,
            ),
            true,
        ),
    ] {
        let (url, mut requests) = upstream(answer).await;
        let payload = chat();
        let answer = provider(url, None).adapter.count_tokens(outgoing(&payload, "m", false)).await.unwrap();
        let items: Vec<_> = answer.items.map(Result::unwrap).collect().await;
        let [Item::Counted(counted)] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!((counted.estimated, counted.model.as_str()), (estimated, "m"));
        assert!(estimated || counted.input_tokens == 12);
        let asked = requests.recv().await.unwrap();
        assert!(asked.ends_with(r#"{"input":{"converse":{"messages":[]}}}"#), "{asked}");
    }
    let wrong = answer("400 Bad Request", "", br#"{"message":"The provided model identifier is invalid."}"#);
    let (url, _requests) = upstream(wrong).await;
    let payload = chat();
    let error = provider(url, None).adapter.count_tokens(outgoing(&payload, "m", false)).await.err().unwrap();
    assert_eq!(error.kind, Kind::Invalid);
}

#[tokio::test]
async fn several_inputs_for_titan_are_several_calls_and_one_usage() {
    let body = br#"{"embedding":[0.5],"inputTextTokenCount":3}"#;
    let (url, mut requests) = upstream(answer("200 OK", "", body)).await;
    let text = |text: &str| EmbedInput { kind: Some(Input::Text(text.to_owned())) };
    let payload =
        Payload::typed(EmbedRequest { inputs: vec![text("a"), text("b")], ..EmbedRequest::default() });
    let model = "amazon.titan-embed-text-v2:0";
    let answer = provider(url, None).adapter.embed(outgoing(&payload, model, false)).await.unwrap();
    let items: Vec<_> = answer.items.map(Result::unwrap).collect().await;
    let [Item::Embeddings(embedded)] = items.as_slice() else { panic!("{items:?}") };
    let indexes: Vec<i32> = embedded.embeddings.iter().map(|one| one.index).collect();
    assert_eq!(indexes, [0, 1]);
    assert_eq!(embedded.usage.as_ref().unwrap().input_tokens, Some(6));
    let mut asked = [requests.recv().await.unwrap(), requests.recv().await.unwrap()];
    asked.sort_by_key(|one| one.ends_with(r#"{"inputText":"b"}"#));
    assert!(asked[0].ends_with(r#"{"inputText":"a"}"#) && asked[1].ends_with(r#"{"inputText":"b"}"#));
    assert!(asked[0].starts_with("POST /model/amazon.titan-embed-text-v2%3A0/invoke "));
}

#[tokio::test]
async fn a_model_that_would_lead_elsewhere_is_refused() {
    let payload = chat();
    for model in ["..", ".", ""] {
        let provider = provider("http://127.0.0.1:9".to_owned(), None);
        let error = provider.adapter.chat(outgoing(&payload, model, false)).await.err().unwrap();
        assert_eq!(error.kind, Kind::Invalid, "{model}");
    }
}
