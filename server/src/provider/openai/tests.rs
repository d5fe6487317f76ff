//! Tests of the adapter against a scripted upstream on loopback.

use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::Full;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tollgate_api::v1::ChatInput;
use uuid::Uuid;

use super::{
    express::{Watch, whole_chat},
    response::Decoder,
};
use crate::{
    call::{Dialect, Item, Payload, Raw},
    provider::{
        Answer, Error, Kind, Outgoing, Settings, build,
        express::Express,
        follow::{Follow, Lane},
    },
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-request-id: req_1\r\nopenai-processing-ms: 7\r\nset-cookie: a=b\r\n\r\n";
const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// Reads one request and returns its text.
pub(super) async fn read_request(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the request ended early");
        text.extend_from_slice(&buffer[..read]);
        if text.ends_with(b"}") {
            return String::from_utf8(text).unwrap();
        }
    }
}

fn raw_payload() -> Payload<ChatInput> {
    let body = Bytes::from_static(br#"{"model":"alias","stream":true}"#);
    let raw = Raw {
        dialect: Dialect::OpenAiChat,
        body,
        model: 9..16,
        stream_options: None,
        headers: HeaderMap::new(),
    };
    Payload::raw(raw, |_, _| Ok(ChatInput::default()))
}

async fn ask(address: std::net::SocketAddr, payload: &Payload<ChatInput>) -> Result<Answer, Error> {
    let settings = Settings {
        name: "mine".to_owned(),
        dialect: "openai".to_owned(),
        base_url: Some(format!("http://{address}/v1")),
        api_key: Some("sk-secret".to_owned().into()),
        connect_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    ask_named(&build(&settings).unwrap(), payload).await
}

async fn ask_named(named: &crate::provider::Named, payload: &Payload<ChatInput>) -> Result<Answer, Error> {
    let request = Outgoing {
        call_id: Uuid::from_u128(7),
        provider: "mine",
        model: "gpt-x",
        payload,
        streamed: true,
        usage_wanted: false,
        strict: false,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        output_cap: None,
    };
    named.adapter.chat(request).await
}

#[tokio::test]
async fn the_request_has_what_it_needs_and_the_answer_what_is_safe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = read_request(&mut socket).await;
        socket.write_all(format!("{HEAD}{}{}0\r\n\r\n", chunk(TEXT), chunk(DONE)).as_bytes()).await.unwrap();
        request
    });
    let answer = ask(address, &raw_payload()).await.unwrap();
    assert_eq!((answer.http_status, answer.upstream_request_id.as_str()), (200, "req_1"));
    assert_eq!(answer.headers.len(), 1);
    assert_eq!(answer.headers["openai-processing-ms"], "7");
    let items: Vec<_> = answer.items.collect().await;
    assert!(matches!(items.last(), Some(Ok(Item::Raw(_, seen))) if seen.last));
    let request = upstream.await.unwrap().to_lowercase();
    for line in [
        "post /v1/chat/completions http/1.1",
        "authorization: bearer sk-secret",
        "accept: text/event-stream",
        "accept-encoding: identity",
        "x-client-request-id: 00000000-0000-0000-0000-000000000007",
        "traceparent: 00-0af7",
        "{\"stream_options\":{\"include_usage\":true},\"model\":\"gpt-x\",\"stream\":true}",
    ] {
        assert!(request.contains(line), "{line} in {request}");
    }
}

#[tokio::test]
async fn the_first_event_arrives_before_the_upstream_has_finished_and_a_drop_stops_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (closed, mut seen_close) = mpsc::channel(1);
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(format!("{HEAD}{}", chunk(TEXT)).as_bytes()).await.unwrap();
        let mut rest = [0; 1];
        let ended = matches!(socket.read(&mut rest).await, Ok(0) | Err(_));
        closed.send(ended).await.unwrap();
    });
    let mut answer = ask(address, &raw_payload()).await.unwrap();
    let first = answer.items.next().await.unwrap().unwrap();
    assert!(matches!(first, Item::Raw(raw, _) if raw == TEXT));
    drop(answer);
    let ended = tokio::time::timeout(Duration::from_secs(60), seen_close.recv()).await;
    assert_eq!(ended.unwrap(), Some(true));
}

#[tokio::test]
async fn a_complete_stream_leaves_its_connection_for_the_next_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            read_request(&mut socket).await;
            socket.write_all(format!("{HEAD}{}{}", chunk(TEXT), chunk(DONE)).as_bytes()).await.unwrap();
            socket.write_all(b"0\r\n\r\n").await.unwrap();
        }
    });
    let settings = Settings {
        name: "mine".to_owned(),
        dialect: "openai".to_owned(),
        base_url: Some(format!("http://{address}/v1")),
        api_key: None,
        connect_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    let named = build(&settings).unwrap();
    for _ in 0..2 {
        let mut answer = ask_named(&named, &raw_payload()).await.unwrap();
        while let Some(item) = answer.items.next().await {
            let Item::Raw(_, seen) = item.unwrap() else { panic!() };
            if seen.last {
                break;
            }
        }
        drop(answer);
        // The pool takes the connection back when its task has read the end of the body.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::timeout(Duration::from_secs(60), upstream).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_within_the_answer_is_an_error_item() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(format!("{HEAD}{}", chunk(TEXT)).as_bytes()).await.unwrap();
    });
    let items: Vec<_> = ask(address, &raw_payload()).await.unwrap().items.collect().await;
    let Some(Err(error)) = items.last() else { panic!("{items:?}") };
    assert_eq!(error.kind, Kind::Unavailable);
}

#[tokio::test]
async fn refusals_and_redirects_are_errors_and_never_followed() {
    for (reply, kind) in [
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 29\r\n\r\n{\"error\":{\"message\":\"sk-sec\"}}",
            Kind::Denied,
        ),
        (
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            Kind::BadResponse,
        ),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", Kind::Unavailable),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await;
            socket.write_all(reply.as_bytes()).await.unwrap();
        });
        let Err(error) = ask(address, &raw_payload()).await else { panic!("{reply}") };
        assert_eq!(error.kind, kind, "{reply}");
        assert!(!format!("{error:?}").contains("sk-sec"), "{error:?}");
    }
}

#[tokio::test]
async fn json_or_html_in_place_of_a_stream_is_a_bad_response() {
    for (kind, body) in [("text/html", "<html></html>"), ("application/json", "{\"choices\":[]}")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await;
            let length = body.len();
            let reply =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
            socket.write_all(reply.as_bytes()).await.unwrap();
        });
        let items: Vec<_> = ask(address, &raw_payload()).await.unwrap().items.collect().await;
        assert!(matches!(&items[..], [Err(error)] if error.kind == Kind::BadResponse), "{items:?}");
    }
}

#[tokio::test]
async fn a_call_dropped_before_the_answer_begins_stops_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, mut heard) = mpsc::channel(2);
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        told.send("request").await.unwrap();
        let mut rest = [0; 1];
        assert!(matches!(socket.read(&mut rest).await, Ok(0) | Err(_)));
        told.send("closed").await.unwrap();
    });
    let payload = raw_payload();
    let call = ask(address, &payload);
    tokio::select! {
        _ = call => panic!("the upstream never answers"),
        word = heard.recv() => assert_eq!(word, Some("request")),
    }
    let closed = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await;
    assert_eq!(closed.unwrap(), Some("closed"));
}

/// Chunks whose members are of the right and of the wrong types.
fn odd_chunks() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "null",
        "7",
        "-1",
        "1e400",
        "\"x\"",
        "\"\"",
        "[]",
        "{}",
        "[null]",
        "[{}]",
        "true",
        "[[1]]",
        "{\"a\":{\"b\":[]}}",
    ]);
    let path = prop::sample::select(vec![
        "{\"choices\":@}",
        "{\"usage\":@,\"choices\":[]}",
        "{\"usage\":{\"prompt_tokens\":@,\"prompt_tokens_details\":@}}",
        "{\"id\":@,\"model\":@,\"error\":@}",
        "{\"choices\":[{\"index\":@,\"finish_reason\":@}]}",
        "{\"choices\":[{\"delta\":@}]}",
        "{\"choices\":[{\"delta\":{\"content\":@,\"reasoning_details\":@}}]}",
        "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":@,\"id\":@,\"function\":{\"name\":@,\"arguments\":@}}]}}]}",
        "{\"choices\":[{\"delta\":{\"audio\":@,\"annotations\":@,\"function_call\":@},\"logprobs\":{\"content\":@}}]}",
        "{\"x\":@,\"x_groq\":{\"usage\":@}}",
        "[DONE]",
        "@",
    ]);
    let chunk = (path, value).prop_map(|(path, value)| format!("data: {}\n\n", path.replace('@', value)));
    prop::collection::vec(chunk, 0..8).prop_map(|chunks| chunks.concat())
}

proptest! {
    #[test]
    fn no_answer_makes_a_lane_panic_and_a_failure_is_the_last_item(body in odd_chunks()) {
        let express = items_of(&body, Express(Watch::new(false)));
        let typed = items_of(&body, Decoder::new("mine", &ChatInput::default()));
        for items in [express, typed] {
            let failures = items.iter().filter(|item| item.is_err()).count();
            prop_assert!(failures == 0 || (failures == 1 && items.last().is_some_and(Result::is_err)));
        }
        let _ = Decoder::new("mine", &ChatInput::default()).whole(body.as_bytes());
        let _ = whole_chat(body.into());
    }
}

fn items_of(body: &str, lane: impl Lane + 'static) -> Vec<Result<Item, Error>> {
    let frame = Bytes::copy_from_slice(body.as_bytes());
    futures_util::FutureExt::now_or_never(Follow::new(Full::new(frame), lane).collect()).unwrap()
}
