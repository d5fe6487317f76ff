//! Tests of which calls go by the Responses API, and of the adapter against a scripted upstream on loopback.

use futures_util::StreamExt as _;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinHandle};
use tollgate_api::v1;
use uuid::Uuid;

use super::{super::tests::read_request, *};
use crate::{
    call::{Event, Payload},
    provider::{Named, Settings, build, registry::Cloud, vendors},
};

const WHOLE: &str = r#"{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}"#;

fn only_o1(vendor: &str, model: &str) -> bool {
    vendor == "openai" && model == "o1-pro"
}

fn way(vendor: &str, api: Option<&str>) -> Result<Option<Responses>, String> {
    Responses::new(vendors::find(vendor).unwrap(), api, Some(only_o1))
}

/// Answers one request with that status and JSON, and returns what was asked.
async fn upstream(status: &'static str, body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = read_request(&mut socket).await;
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        request
    });
    (base, asked)
}

fn provider(base: String, api: Option<&str>) -> Named {
    let settings = Settings {
        name: "mine".to_owned(),
        dialect: "openai".to_owned(),
        base_url: Some(base),
        connect_timeout: std::time::Duration::from_secs(5),
        cloud: Cloud { api: api.map(str::to_owned), ..Cloud::default() },
        responses_only: Some(only_o1),
        ..Settings::default()
    };
    build(&settings).unwrap()
}

fn raw(dialect: Dialect) -> Payload<ChatInput> {
    let body = bytes::Bytes::from_static(br#"{"model":"alias","input":"hi"}"#);
    let raw = Raw { dialect, body, model: 9..16, stream_options: None, headers: ::http::HeaderMap::new() };
    Payload::raw(raw, |_, _| {
        let parts = vec![v1::Part { kind: Some(v1::part::Kind::Text("hi".into())), ..v1::Part::default() }];
        let message = v1::Message { role: v1::Role::User.into(), parts, name: String::new() };
        Ok(ChatInput { messages: vec![message], ..ChatInput::default() })
    })
}

fn outgoing<'a>(payload: &'a Payload<ChatInput>, model: &'a str) -> Outgoing<'a, ChatInput> {
    Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model,
        payload,
        streamed: false,
        usage_wanted: false,
        strict: false,
        traceparent: None,
        output_cap: None,
    }
}

#[test]
fn translated_calls_go_by_chat_unless_told_or_the_model_has_no_other_api() {
    let openai = vendors::find("openai").unwrap();
    let auto = way("openai", None).unwrap().unwrap();
    assert!(!auto.is_for(openai, "gpt-4o"));
    assert!(auto.is_for(openai, "o1-pro"));
    assert!(way("openai", Some("responses")).unwrap().unwrap().is_for(openai, "gpt-4o"));
    assert!(way("openai", Some("chat")).unwrap().is_none());
    assert!(way("compatible", None).unwrap().is_none());
    assert!(way("compatible", Some("responses")).unwrap().is_some());
    assert!(way("openai", Some("completions")).unwrap_err().contains("`completions`"));
}

#[tokio::test]
async fn bytes_of_the_same_dialect_are_patched_and_handed_on() {
    let (base, asked) = upstream("200 OK", WHOLE).await;
    let payload = raw(Dialect::OpenAiResponses);
    let answer = provider(base, None).adapter.chat(outgoing(&payload, "gpt-x")).await.unwrap();
    let items: Vec<_> = answer.items.collect().await;
    assert!(matches!(&items[..], [Ok(Item::Raw(raw, seen))] if raw == WHOLE && seen.last), "{items:?}");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /v1/responses HTTP/1.1"), "{asked}");
    assert!(asked.ends_with(r#"{"model":"gpt-x","input":"hi"}"#), "{asked}");
}

#[tokio::test]
async fn callers_of_other_dialects_reach_a_model_that_has_no_other_api() {
    for (api, model) in [(None, "o1-pro"), (Some("responses"), "gpt-x")] {
        let (base, asked) = upstream("200 OK", WHOLE).await;
        let payload = raw(Dialect::OpenAiChat);
        let answer = provider(base, api).adapter.chat(outgoing(&payload, model)).await.unwrap();
        let items: Vec<_> = answer.items.collect().await;
        assert!(
            items.iter().any(|item| matches!(item, Ok(Item::Event(Event::Text(text))) if text.text == "hi"))
        );
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("POST /v1/responses HTTP/1.1"), "{asked}");
        assert!(asked.contains(r#""input":[{"role":"user","content":"hi"}]"#), "{asked}");
    }
}

#[tokio::test]
async fn the_operators_word_keeps_responses_callers_on_chat() {
    let (base, asked) =
        upstream("200 OK", r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}"#)
            .await;
    let payload = raw(Dialect::OpenAiResponses);
    let answer = provider(base, Some("chat")).adapter.chat(outgoing(&payload, "o1-pro")).await.unwrap();
    assert!(answer.items.collect::<Vec<_>>().await.iter().all(Result::is_ok));
    assert!(asked.await.unwrap().starts_with("POST /v1/chat/completions HTTP/1.1"));
}

#[tokio::test]
async fn tokens_are_counted_by_the_vendor_else_estimated() {
    for (status, body, dialect, count) in [
        ("200 OK", r#"{"input_tokens":47}"#, Dialect::OpenAiResponses, Some(47)),
        ("200 OK", r#"{"input_tokens":47}"#, Dialect::AnthropicMessages, Some(47)),
        ("404 Not Found", "{}", Dialect::OpenAiChat, None),
    ] {
        let (base, asked) = upstream(status, body).await;
        let payload = raw(dialect);
        let answer = provider(base, None).adapter.count_tokens(outgoing(&payload, "gpt-x")).await.unwrap();
        let items: Vec<_> = answer.items.collect().await;
        let [Ok(Item::Counted(counted))] = &items[..] else { panic!("{items:?}") };
        assert_eq!(counted.estimated, count.is_none());
        assert!(count.is_none_or(|count| counted.input_tokens == count && counted.model == "gpt-x"));
        assert!(asked.await.unwrap().starts_with("POST /v1/responses/input_tokens HTTP/1.1"));
    }
}

#[test]
fn a_count_that_says_nothing_is_a_bad_response() {
    for body in ["", "<html>", "{}", r#"{"input_tokens":-1}"#] {
        assert_eq!(counted(body.as_bytes(), String::new()).unwrap_err().kind, Kind::BadResponse, "{body}");
    }
}
