//! What programs that use the library rely on: metadata, streams, cancellation, retries, deadlines.

use std::time::{Duration, Instant};

use tollgate_client::{
    ChatCall, Client, Error, Event, Kind,
    api::{
        admin::{CreateKeyRequest, UpdateKeyRequest},
        v1::{ErrorReason, part},
    },
};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::gateway::{Gateway, ending, start, text};

const KEY: &str = "tg_AAAAAAAAAAAA_0123456789abcdef0123456789abcdef";

async fn connected() -> (Gateway, Client) {
    let gateway = Gateway::start().await;
    let client = Client::connect(gateway.addr(), KEY).await.unwrap();
    (gateway, client)
}

/// A refusal with a pushback in milliseconds, or without one.
fn refusal(code: Code, pushback: Option<i32>) -> Status {
    let mut metadata = MetadataMap::new();
    if let Some(pushback) = pushback {
        metadata.insert("grpc-retry-pushback-ms", pushback.into());
    }
    Status::with_metadata(code, "not now", metadata)
}

#[tokio::test]
async fn the_key_and_the_deadline_go_into_the_metadata() {
    let (gateway, client) = connected().await;
    client.with_timeout(Some(Duration::from_secs(20))).models().await.unwrap();
    assert_eq!(gateway.metadata("authorization")[0], Some(format!("Bearer {KEY}")));
    let timeout = gateway.metadata("grpc-timeout")[0].clone().unwrap();
    let left: u64 = timeout.trim_end_matches(char::is_alphabetic).parse().unwrap();
    assert!(timeout.ends_with('u') && (1_000_000..=20_000_000).contains(&left), "{timeout}");
}

#[tokio::test]
async fn models_of_every_page_are_listed() {
    let (gateway, client) = connected().await;
    let models = client.models().await.unwrap();
    assert_eq!(models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(gateway.calls(), ["ListModels", "ListModels"]);
}

#[tokio::test]
async fn an_event_arrives_before_the_answer_has_ended() {
    let (gateway, client) = connected().await;
    let sender = gateway.chat_stream();
    sender.send(start()).await.unwrap();
    let mut stream = client.stream(ChatCall::new("echo", "hi")).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(Event::Start(_)))));
    sender.send(text("one")).await.unwrap();
    let Some(Ok(Event::Text(delta))) = stream.next().await else { panic!("no text") };
    assert_eq!(delta.text, "one");
    for event in ending() {
        sender.send(event).await.unwrap();
    }
    drop(sender);
    let answer = stream.collect().await.unwrap();
    assert_eq!(answer.usage.unwrap().input_tokens, Some(3));
}

#[tokio::test]
async fn the_text_of_a_stream_is_all_of_it_in_order() {
    let (gateway, client) = connected().await;
    let sender = gateway.chat_stream();
    for event in [start(), text("one "), text("two")].into_iter().chain(ending()) {
        sender.send(event).await.unwrap();
    }
    drop(sender);
    let mut pieces = client.stream(ChatCall::new("echo", "hi")).await.unwrap().text();
    let mut whole = String::new();
    while let Some(piece) = pieces.next().await {
        whole.push_str(&piece.unwrap());
    }
    assert_eq!(whole, "one two");
}

#[tokio::test]
async fn a_stream_without_its_end_is_an_error_even_if_the_status_is_ok() {
    let (gateway, client) = connected().await;
    let sender = gateway.chat_stream();
    sender.send(start()).await.unwrap();
    sender.send(text("half")).await.unwrap();
    drop(sender);
    let error = client.stream(ChatCall::new("echo", "hi")).await.unwrap().collect().await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::Unavailable, Some(ErrorReason::StreamInterrupted)));
}

#[tokio::test]
async fn dropping_a_stream_cancels_the_call_at_the_server() {
    let (gateway, client) = connected().await;
    let sender = gateway.chat_stream();
    sender.send(start()).await.unwrap();
    let stream = client.stream(ChatCall::new("echo", "hi")).await.unwrap();
    assert!(!sender.is_closed());
    drop(stream);
    tokio::time::timeout(Duration::from_secs(60), sender.closed()).await.expect("the call goes on");
}

#[tokio::test]
async fn a_refusal_with_a_pushback_is_repeated_after_it() {
    let (gateway, client) = connected().await;
    gateway.fail([refusal(Code::Unavailable, Some(60)), refusal(Code::ResourceExhausted, Some(0))]);
    let begun = Instant::now();
    let answer = client.chat(ChatCall::new("echo", "hi")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(60));
    let parts = &answer.choices[0].message.as_ref().unwrap().parts;
    assert_eq!(parts[0].kind, Some(part::Kind::Text("hi".into())));
    let attempts = [None, Some("1".to_owned()), Some("2".to_owned())];
    assert_eq!(gateway.metadata("grpc-previous-rpc-attempts"), attempts);
}

#[tokio::test]
async fn a_stream_that_was_refused_before_its_first_message_is_repeated_too() {
    let (gateway, client) = connected().await;
    gateway.fail([refusal(Code::Unavailable, Some(0))]);
    let sender = gateway.chat_stream();
    sender.send(start()).await.unwrap();
    client.stream(ChatCall::new("echo", "hi")).await.unwrap();
    assert_eq!(gateway.calls().len(), 2);
}

#[tokio::test]
async fn the_third_refusal_is_the_callers() {
    let (gateway, client) = connected().await;
    gateway.fail((0..4).map(|_| refusal(Code::Unavailable, Some(0))));
    let error = client.chat(ChatCall::new("echo", "hi")).await.unwrap_err();
    assert_eq!((error.retry_after(), gateway.calls().len()), (Some(Duration::ZERO), 3));
}

#[tokio::test]
async fn nothing_else_is_repeated() {
    let (gateway, client) = connected().await;
    for failure in [
        refusal(Code::Unavailable, None),
        refusal(Code::Unavailable, Some(-1)),
        refusal(Code::Internal, Some(0)),
        refusal(Code::Unavailable, Some(3_600_000)),
    ] {
        let before = gateway.calls().len();
        gateway.fail([failure]);
        assert!(client.chat(ChatCall::new("echo", "hi")).await.is_err());
        assert_eq!(gateway.calls().len(), before + 1);
    }
}

#[tokio::test]
async fn a_change_is_repeated_only_if_the_server_can_recognise_it() {
    let (gateway, client) = connected().await;
    let failed = |error: Result<_, Error>| error.unwrap_err().code();
    gateway.fail([refusal(Code::Unavailable, Some(0))]);
    let create = CreateKeyRequest::default();
    assert_eq!(failed(client.keys().create(create.clone()).await.map(drop)), Code::Unavailable);
    gateway.fail([refusal(Code::Unavailable, Some(0))]);
    assert_eq!(failed(client.keys().update(UpdateKeyRequest::default()).await.map(drop)), Code::Unavailable);
    gateway.fail([refusal(Code::Unavailable, Some(0))]);
    client.keys().create(CreateKeyRequest { request_id: "r1".into(), ..create }).await.unwrap();
    assert_eq!(gateway.calls(), ["CreateKey", "UpdateKey", "CreateKey", "CreateKey"]);
}

#[tokio::test]
async fn the_deadline_ends_a_stream_that_goes_on() {
    let (gateway, client) = connected().await;
    let client = client.with_timeout(Some(Duration::from_millis(200)));
    let (sender, mut stream) = loop {
        let sender = gateway.chat_stream();
        sender.send(start()).await.unwrap();
        // A busy machine may use up all of the time before the first event.
        let Ok(mut stream) = client.stream(ChatCall::new("echo", "hi")).await else { continue };
        if stream.next().await.unwrap().is_ok() {
            break (sender, stream);
        }
    };
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::CallerDeadlineExceeded));
    assert!(stream.next().await.is_none());
    tokio::time::timeout(Duration::from_secs(60), sender.closed()).await.expect("the call goes on");
}

#[tokio::test]
async fn an_address_where_nothing_listens_is_told_apart() {
    // Taken, and not listened on.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = held.local_addr().unwrap();
    let error = Client::connect(port.to_string(), KEY).await.unwrap_err();
    assert!(error.kind() == Kind::Connect && error.is_connection_refused(), "{error:?}");
    let lazy = Client::builder(port.to_string()).key(KEY).connect_lazy().unwrap();
    let error = lazy.models().await.unwrap_err();
    assert!(error.kind() == Kind::Connect && error.is_connection_refused(), "{error:?}");
}

#[tokio::test]
async fn debug_of_a_client_does_not_show_the_key() {
    let (_gateway, client) = connected().await;
    assert!(!format!("{client:?}").contains("0123456789abcdef"));
    assert!(!format!("{:?}", Client::builder("a:1").key(KEY)).contains("0123456789abcdef"));
}
