//! Tests of the adapter against a scripted upstream on loopback.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tollgate_api::v1::{ChatInput, EmbedInput, EmbedRequest, embed_input::Kind as Input};
use uuid::Uuid;

use crate::{
    call::{Event, Item, Payload},
    provider::{Answer, Error, Kind, Named, Outgoing, Settings, build},
};

/// Answers one request with these pieces and returns the request; the pieces after the first wait for nothing.
async fn upstream(kind: &'static str, body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"}") {
            let read = socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&buffer[..read]);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (base, served)
}

fn provider(dialect: &str, base: String) -> Named {
    let mut settings = Settings {
        name: "mine".to_owned(),
        dialect: dialect.to_owned(),
        base_url: Some(base),
        api_key: Some("AIza-secret".to_owned().into()),
        connect_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    if dialect == "vertex" {
        settings.cloud.project = Some("p".to_owned());
        settings.cloud.region = Some("eu".to_owned());
    }
    build(&settings).unwrap()
}

fn outgoing<T>(payload: &Payload<T>, streamed: bool) -> Outgoing<'_, T> {
    Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "gemini-2.5-pro",
        payload,
        streamed,
        usage_wanted: true,
        strict: false,
        traceparent: None,
        output_cap: None,
    }
}

async fn items(answer: Result<Answer, Error>) -> Vec<Result<Item, Error>> {
    answer.unwrap().items.collect().await
}

const CHUNK: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n";

#[tokio::test]
async fn a_stream_goes_to_the_models_method_with_the_key_in_its_header() {
    for (dialect, path) in [
        ("gemini", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        (
            "vertex",
            "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        ),
    ] {
        let (base, served) = upstream("text/event-stream", CHUNK).await;
        let payload = Payload::typed(ChatInput::default());
        let told = items(provider(dialect, base).adapter.chat(outgoing(&payload, true)).await).await;
        assert!(matches!(told.last(), Some(Ok(Item::Event(Event::End(_))))), "{told:?}");
        let request = served.await.unwrap();
        assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains("x-goog-api-key: AIza-secret\r\n"), "{request}");
    }
}

#[tokio::test]
async fn a_list_in_place_of_the_event_stream_is_read_as_well() {
    let body = r#"[{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}]"#;
    let (base, _served) = upstream("application/json; charset=UTF-8", body).await;
    let payload = Payload::typed(ChatInput::default());
    let told = items(provider("gemini", base).adapter.chat(outgoing(&payload, true)).await).await;
    assert!(told.iter().all(Result::is_ok) && told.len() == 5, "{told:?}");
}

#[tokio::test]
async fn pages_and_cut_answers_are_failures() {
    for (kind, body, expected) in [
        ("text/html", "<html>", Kind::BadResponse),
        ("application/json", "", Kind::BadResponse),
        ("application/json", r#"{"candidates":[{"content""#, Kind::Unavailable),
        ("text/event-stream", "data: {\"candidates\":[{\"content\"", Kind::Unavailable),
        ("text/event-stream", "data: {\"candidates\":[{\"content\":{}}]}\n\n", Kind::Unavailable),
    ] {
        let (base, _served) = upstream(kind, body).await;
        let payload = Payload::typed(ChatInput::default());
        let told = items(provider("gemini", base).adapter.chat(outgoing(&payload, true)).await).await;
        let Some(Err(error)) = told.last() else { panic!("{body}: {told:?}") };
        assert_eq!(error.kind, expected, "{body}");
    }
}

#[tokio::test]
async fn counts_and_embeddings_have_methods_of_their_own() {
    let (base, served) = upstream("application/json", r#"{"totalTokens":5}"#).await;
    let payload = Payload::typed(ChatInput::default());
    let told = items(provider("gemini", base).adapter.count_tokens(outgoing(&payload, false)).await).await;
    assert!(matches!(&told[..], [Ok(Item::Counted(counted))] if counted.input_tokens == 5), "{told:?}");
    assert!(served.await.unwrap().contains(":countTokens HTTP/1.1"));

    let body = r#"{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":4}}}]}"#;
    let (base, served) = upstream("application/json", body).await;
    let inputs = vec![EmbedInput { kind: Some(Input::Text("a".to_owned())) }];
    let payload = Payload::typed(EmbedRequest { inputs, ..EmbedRequest::default() });
    let told = items(provider("vertex", base).adapter.embed(outgoing(&payload, false)).await).await;
    assert!(matches!(&told[..], [Ok(Item::Embeddings(_))]), "{told:?}");
    assert!(served.await.unwrap().contains("/gemini-2.5-pro:predict HTTP/1.1"));
}
