//! The gRPC services over real sockets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{Either, ready};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use secrecy::ExposeSecret as _;
use tokio::{net::TcpStream, sync::Semaphore};
use tollgate_api::{
    admin::{self, key_service_client::KeyServiceClient},
    v1::{
        self, chat_service_client::ChatServiceClient, model_service_client::ModelServiceClient,
        stream_complete_response::Event,
    },
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use super::router_with;
use crate::{
    edge::testing::{Running, Words, edge, known_keys, serve},
    pipeline::Pipeline,
};

struct Gateway {
    running: Running,
    pipeline: Arc<Pipeline>,
    _dir: tempfile::TempDir,
}

impl Gateway {
    async fn start(words: Words) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let edge = edge(dir.path(), words);
        let app = router_with(&edge, Arc::new(|headers| Either::Left(ready(known_keys(headers)))))
            .unwrap()
            .fallback(super::super::not_here);
        let running = serve(app, edge.draining.clone(), None).await;
        Self { running, pipeline: edge.pipeline, _dir: dir }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.running.addr)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Returns the record of the call that a status belongs to.
    async fn record(&self, status: &Status) -> v1::UsageRecord {
        let id = status.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        let admin = known_keys(with_key("Bearer admin", ()).metadata().as_ref()).unwrap();
        let request = v1::GetUsageRecordRequest { id };
        self.pipeline.meter.get_usage_record(&admin, request).await.unwrap().record.unwrap()
    }

    async fn chat(&self) -> ChatServiceClient<Channel> {
        ChatServiceClient::new(self.channel().await)
    }
}

fn with_key<T>(key: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", key.parse().unwrap());
    request
}

fn input(text: &str) -> v1::ChatInput {
    let part = v1::Part { kind: Some(v1::part::Kind::Text(text.to_owned())), ..Default::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![part], name: String::new() };
    v1::ChatInput { model: "words".to_owned(), messages: vec![message], ..Default::default() }
}

fn whole(input: v1::ChatInput) -> Request<v1::CompleteRequest> {
    with_key("Bearer chat", v1::CompleteRequest { input: Some(input), options: None })
}

fn streamed(input: v1::ChatInput) -> Request<v1::StreamCompleteRequest> {
    with_key("Bearer chat", v1::StreamCompleteRequest { input: Some(input), ..Default::default() })
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_whole_answer_is_the_folded_stream_and_says_who_served_it() {
    let gateway = Gateway::start(Words::at_once(&["hello", " world"])).await;
    let response = gateway.chat().await.complete(whole(input("hi"))).await.unwrap();
    let header = |name: &str| response.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("x-tollgate-target"), "fake/words-1");
    assert_eq!(header("x-tollgate-attempts"), "1");
    assert_eq!(header("x-request-id"), response.get_ref().id);
    let answer = response.into_inner();
    let part = answer.choices[0].message.clone().unwrap().parts.remove(0);
    assert_eq!(part.kind, Some(v1::part::Kind::Text("hello world".to_owned())));
    assert_eq!(answer.route.unwrap().requested_model, "words");
    assert_eq!(answer.usage.unwrap().output_tokens, Some(2));
}

#[tokio::test]
async fn a_stream_brings_each_word_before_the_provider_has_the_next() {
    let permits = Arc::new(Semaphore::new(1));
    let gateway = Gateway::start(Words::by_permit(&["one", "two"], &permits)).await;
    let mut stream = gateway.chat().await.stream_complete(streamed(input("hi"))).await.unwrap().into_inner();
    let mut texts = Vec::new();
    let mut last = None;
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(Event::Text(delta)) = &message.event {
            texts.push(delta.text.clone());
            permits.add_permits(1);
        }
        last = message.event;
    }
    assert_eq!(texts, ["one", "two"]);
    assert!(matches!(last, Some(Event::End(_))), "{last:?}");
}

#[tokio::test]
async fn tokens_are_counted_and_the_record_tells_no_usage() {
    let gateway = Gateway::start(Words::at_once(&["never"])).await;
    let count = |input| with_key("Bearer chat", v1::CountTokensRequest { input });
    let mut client = gateway.chat().await;
    let response = client.count_tokens(count(Some(input("hi")))).await.unwrap();
    assert_eq!(response.metadata().get("x-tollgate-target").unwrap(), "fake/words-1");
    let status = Status::with_metadata(Code::Ok, "", response.metadata().clone());
    let counted = response.into_inner();
    assert!(counted.input_tokens > 0 && counted.estimated && counted.model == "words-1", "{counted:?}");
    let record = gateway.record(&status).await;
    assert_eq!((record.operation.as_str(), record.status.as_str()), ("count_tokens", "OK"));
    assert_eq!(record.usage, None);
    let status = client.count_tokens(count(None)).await.unwrap_err();
    assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, "input");
    assert_eq!(gateway.record(&status).await.operation, "count_tokens");
}

#[tokio::test]
async fn a_call_without_a_key_is_refused_with_details() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let request = v1::CompleteRequest { input: Some(input("hi")), options: None };
    let status = gateway.chat().await.complete(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "ERROR_REASON_API_KEY_MISSING")
    );
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
}

#[tokio::test]
async fn a_key_without_the_scope_and_a_model_it_may_not_call_are_refused() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let mut client = gateway.chat().await;
    let request = with_key("Bearer admin", v1::CompleteRequest { input: Some(input("hi")), options: None });
    let status = client.complete(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::PermissionDenied, "ERROR_REASON_SCOPE_DENIED")
    );
    let other = v1::ChatInput { model: "other".to_owned(), ..input("hi") };
    let status = client.complete(whole(other)).await.unwrap_err();
    assert_eq!(reason(&status), "ERROR_REASON_MODEL_NOT_ALLOWED");
    let record = gateway.record(&status).await;
    assert_eq!((record.requested_model.as_str(), record.status.as_str()), ("other", "PERMISSION_DENIED"));
}

#[tokio::test]
async fn a_wrong_field_is_named_by_its_path() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let wrong = v1::ChatInput {
        sampling: Some(v1::Sampling { temperature: Some(f64::NAN), ..Default::default() }),
        ..input("hi")
    };
    let status = gateway.chat().await.stream_complete(streamed(wrong)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "input.sampling.temperature");
}

#[tokio::test]
async fn a_message_over_the_limit_is_out_of_range_compressed_or_not() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let large = "x".repeat(100 * 1024);
    let status = gateway.chat().await.complete(whole(input(&large))).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::OutOfRange, "ERROR_REASON_REQUEST_TOO_LARGE")
    );
    let mut packed = gateway.chat().await.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let status = packed.complete(whole(input(&large))).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::OutOfRange, "ERROR_REASON_REQUEST_TOO_LARGE")
    );
    let record = gateway.record(&status).await;
    assert_eq!((record.status.as_str(), record.error_reason.as_str()), ("OUT_OF_RANGE", "REQUEST_TOO_LARGE"));
}

#[tokio::test]
async fn the_callers_deadline_ends_a_running_stream() {
    let permits = Arc::new(Semaphore::new(1));
    let gateway = Gateway::start(Words::by_permit(&["one", "never"], &permits)).await;
    let mut request = streamed(input("hi"));
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let mut stream = gateway.chat().await.stream_complete(request).await.unwrap().into_inner();
    let mut usage = None;
    let status = loop {
        match stream.message().await {
            Ok(message) => match message.expect("the stream has no good end").event {
                Some(Event::Usage(told)) => usage = Some(told),
                event => assert!(!matches!(event, Some(Event::End(_)))),
            },
            Err(status) => break status,
        }
    };
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "ERROR_REASON_CALLER_DEADLINE_EXCEEDED")
    );
    assert!(usage.unwrap().r#final, "what was produced is told before the status");
    let record = gateway.record(&status).await;
    assert_eq!((record.status.as_str(), record.delivered_event_count), ("DEADLINE_EXCEEDED", 1));
}

#[tokio::test]
async fn models_are_those_the_key_may_call() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let listed = client.list_models(with_key("Bearer chat", v1::ListModelsRequest::default())).await.unwrap();
    let names: Vec<String> = listed.into_inner().models.into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["words"]);
    let name = "nothing".to_owned();
    let status = client.get_model(with_key("Bearer chat", v1::GetModelRequest { name })).await.unwrap_err();
    assert_eq!(reason(&status), "ERROR_REASON_MODEL_NOT_ALLOWED");
}

#[tokio::test]
async fn health_is_public_and_turns_off_when_the_gateway_drains() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let mut client = HealthClient::new(gateway.channel().await);
    let service = "tollgate.v1.ChatService".to_owned();
    let now = client.check(HealthCheckRequest { service: service.clone() }).await.unwrap();
    assert_eq!(now.into_inner().status(), ServingStatus::Serving);
    let unknown = client.check(HealthCheckRequest { service: "nobody.Knows".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watch = client.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    gateway.running.draining.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let mut client = ServerReflectionClient::new(gateway.channel().await);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in super::SERVICES {
        assert!(names.iter().any(|name| name == service), "{service} is missing in {names:?}");
    }
}

#[tokio::test]
async fn an_unknown_rpc_is_unimplemented() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    for origin in ["http://h/tollgate.v1.ChatService", "http://h/nobody"] {
        let mut client = ChatServiceClient::with_origin(gateway.channel().await, origin.parse().unwrap());
        let status = client.complete(whole(input("hi"))).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unimplemented, "ERROR_REASON_UNIMPLEMENTED"),
            "{origin}"
        );
    }
}

#[tokio::test]
async fn a_request_in_flight_ends_well_while_the_gateway_drains() {
    let permits = Arc::new(Semaphore::new(1));
    let gateway = Gateway::start(Words::by_permit(&["one", "two"], &permits)).await;
    let mut stream = gateway.chat().await.stream_complete(streamed(input("hi"))).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(first.encoded_len() > 0);
    gateway.running.draining.cancel();
    while TcpStream::connect(gateway.running.addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    permits.add_permits(1);
    let mut last = None;
    while let Some(message) = stream.message().await.unwrap() {
        last = message.event;
    }
    assert!(matches!(last, Some(Event::End(_))), "{last:?}");
    tokio::time::timeout(Duration::from_secs(60), gateway.running.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_browser_gets_its_answer_over_grpc_web_and_http_1() {
    let gateway = Gateway::start(Words::at_once(&["hello"])).await;
    let message = v1::CompleteRequest { input: Some(input("hi")), options: None }.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let stream = TcpStream::connect(gateway.running.addr).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/tollgate.v1.ChatService/Complete")
        .header("host", "localhost")
        .header("content-type", "application/grpc-web+proto")
        .header("authorization", "Bearer chat")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let len = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    let answer = v1::CompleteResponse::decode(&body[5..5 + len]).unwrap();
    assert_eq!(answer.model, "words-1");
    let trailers = &body[5 + len..];
    assert_eq!(trailers[0], 0x80, "the trailers are the last frame");
    assert!(trailers[5..].starts_with(b"grpc-status:0"), "{trailers:?}");
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake_and_recorded() {
    let gateway = Gateway::start(Words::at_once(&["x"])).await;
    let stream = TcpStream::connect(gateway.running.addr).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // Not protobuf; an unknown compression flag; shorter than it says; nothing at all.
    for body in [&b"\0\0\0\0\x02\xff\xff"[..], b"\x07\0\0\0\0", b"\0\0\0\0\x09x", b""] {
        let request = http::Request::post("http://h/tollgate.v1.ChatService/Complete")
            .header("content-type", "application/grpc")
            .header("authorization", "Bearer chat")
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{body:?}");
        assert_eq!(gateway.record(&status).await.error_reason, "INVALID_REQUEST", "{body:?}");
    }
}

#[tokio::test]
async fn an_admin_makes_a_key_that_may_chat_and_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let edge = edge(dir.path(), Words::at_once(&["hello"]));
    let secret = edge.pipeline.auth.mint_first().unwrap().unwrap();
    let running = serve(crate::edge::app(&edge).unwrap(), edge.draining.clone(), None).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", running.addr)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut keys = KeyServiceClient::new(channel.clone());
    let key = admin::Key { name: "app".to_owned(), scopes: vec!["chat".to_owned()], ..Default::default() };
    let make = admin::CreateKeyRequest { key: Some(key), ..Default::default() };
    let with =
        |secret: &str| -> tonic::metadata::MetadataValue<_> { format!("Bearer {secret}").parse().unwrap() };
    let mut request = Request::new(make.clone());
    request.metadata_mut().insert("authorization", with(secret.expose_secret()));
    let made = keys.create_key(request).await.unwrap().into_inner();
    let mut request = whole(input("hi"));
    request.metadata_mut().insert("authorization", with(&made.secret));
    ChatServiceClient::new(channel).complete(request).await.unwrap();
    let mut request = Request::new(make);
    request.metadata_mut().insert("authorization", with(&made.secret));
    assert_eq!(reason(&keys.create_key(request).await.unwrap_err()), "ERROR_REASON_SCOPE_DENIED");
}
