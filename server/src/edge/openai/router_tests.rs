//! The surface from request to response, with real keys and a real ledger, and a provider that plays a part.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tollgate_api::v1;
use tower::ServiceExt as _;

use super::{Edge, router};
use crate::{
    auth::{Auth, Declared, DeclaredKey},
    call::{Dialect, Event, Item, Items, Priority, Seen},
    edge::Limits,
    meter::{Catalog, Meter},
    pipeline::Pipeline,
    provider::{Answer, Error as Failure, Kind, Named, Outgoing, Provider, echo::Echo},
    route::{Alias, Routes},
};

mod surfaces;

const KEY: &str = "tg_aaaaaaaaaaaa_0123456789012345678901234567890123456789012";
const NARROW: &str = "tg_bbbbbbbbbbbb_0123456789012345678901234567890123456789012";

type Played = Box<dyn FnOnce(bool) -> Result<Items<Failure>, Failure> + Send>;

/// Plays one answer, and keeps what it was sent.
#[derive(Default)]
struct Player {
    next: Mutex<Option<Played>>,
    sent: Mutex<Option<Bytes>>,
    /// The dialect whose bytes it takes as they are; chat's unless told.
    dialect: Mutex<Option<Dialect>>,
}

impl Player {
    fn play(&self, raw: Option<Bytes>, streamed: bool) -> Result<Answer, Failure> {
        *self.sent.lock().unwrap() = raw;
        let items = self.next.lock().unwrap().take().expect("nothing left to play")(streamed)?;
        let headers = [("openai-processing-ms", "7"), ("x-request-id", "theirs")];
        Ok(Answer {
            http_status: 200,
            upstream_request_id: "up-1".to_owned(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            warnings: Vec::new(),
            items,
        })
    }
}

impl Provider for Player {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Failure>> {
        let dialect = self.dialect.lock().unwrap().unwrap_or(Dialect::OpenAiChat);
        let raw = request.payload.as_raw(dialect).map(|raw| raw.body.clone());
        if dialect == Dialect::OpenAiChat {
            request.payload.view().expect("the typed view of a scanned body");
        }
        Box::pin(async move { self.play(raw, request.streamed) })
    }

    fn embed<'a>(
        &'a self,
        request: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        let raw = request.payload.as_raw(Dialect::OpenAiEmbeddings).map(|raw| raw.body.clone());
        Box::pin(async move { self.play(raw, false) })
    }
}

struct House {
    router: Router,
    player: Arc<Player>,
    _dir: tempfile::TempDir,
}

fn key(name: &str, key: &str, scopes: Option<Vec<String>>, models: Vec<String>) -> DeclaredKey {
    DeclaredKey {
        name: name.to_owned(),
        key: SecretString::from(key),
        team: String::new(),
        scopes,
        models,
        tags: Default::default(),
        limits: Vec::new(),
        priority: Priority::default(),
        expires: None,
    }
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("t.db");
    let keys = vec![
        key("wide", KEY, None, Vec::new()),
        key("narrow", NARROW, Some(vec!["models".to_owned(), "chat".to_owned()]), vec!["play".to_owned()]),
    ];
    let player = Arc::new(Player::default());
    let provider = Named::new("p", "openai", player.clone());
    let alias = |model: &str| Alias::plain(provider.clone(), model);
    let echo = Named::new("echo", "echo", Arc::new(Echo));
    let aliases = [
        ("play".to_owned(), alias("m-1")),
        ("vendor/*".to_owned(), alias("*")),
        ("echo".to_owned(), Alias::plain(echo, "echo")),
    ];
    let declared = Declared { keys, ..Declared::default() };
    let auth = Auth::start(dir.path(), &store, declared, None).unwrap();
    let meter = Meter::start(dir.path(), &store, Arc::new(Catalog::default())).unwrap();
    let pipeline = Pipeline::for_test(auth, meter, Routes::new(aliases));
    let edge = Edge {
        pipeline: Arc::new(pipeline),
        limits: Limits { header: 16_384, body: 4096, message: 4096 },
        keep_alive: Duration::from_secs(15),
        patience: Duration::from_secs(20),
        draining: CancellationToken::new(),
        cors: Arc::default(),
        about: Arc::new(crate::edge::testing::about()),
    };
    House { router: router(edge), player, _dir: dir }
}

impl House {
    fn plays(&self, items: Vec<Result<Item, Failure>>) -> &Self {
        self.acts(move |_| Ok(Box::pin(stream::iter(items))))
    }

    fn acts(&self, play: impl FnOnce(bool) -> Result<Items<Failure>, Failure> + Send + 'static) -> &Self {
        *self.player.next.lock().unwrap() = Some(Box::new(play));
        self
    }

    fn expects(&self, dialect: Dialect) {
        *self.player.dialect.lock().unwrap() = Some(dialect);
    }

    async fn send(&self, request: Request) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> Response {
        self.send(post(path, body)).await
    }

    async fn get(&self, key: &str, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        let response = self.send(request.body(Body::empty()).unwrap()).await;
        (response.status(), body_of(response).await)
    }
}

fn post(path: &str, body: &str) -> Request {
    let request = Request::post(path).header("authorization", format!("Bearer {KEY}"));
    request.body(Body::from(body.to_owned())).unwrap()
}

fn chat(more: &str) -> String {
    format!(r#"{{"model":"play","messages":[{{"role":"user","content":"hi"}}]{more}}}"#)
}

async fn body_of(response: Response) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}

async fn text_of(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

fn raw(bytes: &'static str, last: bool) -> Result<Item, Failure> {
    let seen = Seen { content_events: 1, progress: true, last, ..Seen::default() };
    Ok(Item::Raw(Bytes::from_static(bytes.as_bytes()), seen))
}

fn typed() -> Vec<Result<Item, Failure>> {
    let text = |text: &str| Event::Text(v1::TextDelta { text: text.to_owned(), choice: 0, part: 0 });
    let usage =
        v1::Usage { input_tokens: Some(1), output_tokens: Some(2), r#final: true, ..Default::default() };
    let ended = v1::ChoiceEnd { finish_reason: v1::FinishReason::Stop.into(), ..Default::default() };
    let start = v1::StreamStart { model: "m-1".to_owned(), ..Default::default() };
    let events = [
        Event::Start(Box::new(start)),
        text("Hel"),
        text("lo"),
        Event::ChoiceEnd(Box::new(ended)),
        Event::Usage(Box::new(usage)),
        Event::End(Box::default()),
    ];
    events.into_iter().map(|event| Ok(Item::Event(event))).collect()
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_whole_answer_of_the_same_dialect_arrives_byte_for_byte() {
    let house = house();
    let answer = "{\"id\" : \"theirs\",\n \"new\":1}";
    let response = house.plays(vec![raw(answer, true)]).post("/v1/chat/completions", &chat("")).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(header(&headers, "content-type"), "application/json");
    assert_eq!(header(&headers, "x-tollgate-provider"), "p");
    assert_eq!(header(&headers, "x-tollgate-model"), "m-1");
    assert_eq!(header(&headers, "x-tollgate-target"), "p/m-1");
    assert_eq!(header(&headers, "x-tollgate-attempts"), "1");
    assert_eq!(header(&headers, "x-tollgate-upstream-request-id"), "up-1");
    assert_eq!(header(&headers, "openai-processing-ms"), "7");
    assert_eq!(header(&headers, "x-request-id").len(), 36, "ours, not theirs");
    assert_eq!(text_of(response).await, answer);
    assert_eq!(house.player.sent.lock().unwrap().as_deref(), Some(chat("").as_bytes()));
}

#[tokio::test]
async fn a_typed_answer_is_folded_with_our_id() {
    let house = house();
    let response = house.plays(typed()).post("/chat/completions", &chat("")).await;
    let id = header(response.headers(), "x-request-id").to_owned();
    let body = body_of(response).await;
    assert_eq!(body["id"], format!("chatcmpl-{id}"));
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("m-1")));
    assert_eq!(body["choices"][0]["message"]["content"], "Hello");
    assert_eq!(body["usage"]["total_tokens"], 3);
}

#[tokio::test]
async fn a_typed_stream_has_one_id_its_usage_and_its_end() {
    let house = house();
    let body = chat(r#","stream":true,"stream_options":{"include_usage":true}"#);
    let response = house.plays(typed()).post("/v1/chat/completions", &body).await;
    let headers = response.headers().clone();
    assert_eq!(header(&headers, "content-type"), "text/event-stream");
    assert_eq!(header(&headers, "cache-control"), "no-cache");
    assert_eq!(header(&headers, "x-accel-buffering"), "no");
    let id = format!("chatcmpl-{}", header(&headers, "x-request-id"));
    let text = text_of(response).await;
    assert_eq!(text.matches(&id).count(), 4, "{text}");
    assert!(
        text.ends_with("data: [DONE]\n\n") && text.contains(r#""choices":[],"usage":{"prompt_tokens":1"#),
        "{text}"
    );
}

#[tokio::test]
async fn tokens_leave_before_the_upstream_has_finished() {
    let house = house();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    house.acts(|streamed| {
        assert!(streamed);
        Ok(Box::pin(tokio_stream::wrappers::UnboundedReceiverStream::new(receiver)))
    });
    sender.send(raw("data: {\"a\":1}\n\n", false)).unwrap();
    let response = house.post("/v1/chat/completions", &chat(r#","stream":true"#)).await;
    let mut body = response.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "data: {\"a\":1}\n\n");
    sender.send(raw("data: {\"a\":2}\n\n", false)).unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), "data: {\"a\":2}\n\n");
    drop(body);
    assert!(sender.is_closed(), "a caller that goes away must stop the upstream at once");
}

#[tokio::test]
async fn an_http_2_stream_that_nobody_reads_is_ended() {
    let house = house();
    let (alive, mut dropped) = tokio::sync::oneshot::channel::<()>();
    house.acts(move |_| {
        let items = stream::iter([raw("data: {}\n\n", false)]).chain(stream::pending());
        Ok(Box::pin(items.map(move |item| {
            let _ = &alive;
            item
        })))
    });
    let mut request = post("/v1/chat/completions", &chat(r#","stream":true"#));
    *request.version_mut() = http::Version::HTTP_2;
    let response = house.send(request).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    assert!(dropped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty));
    assert!(tokio::time::timeout(Duration::from_secs(30), dropped).await.unwrap().is_err());
    let late = text_of(response).await;
    assert!(late.contains(r#""code":"cancelled""#) && !late.contains("[DONE]"), "{late}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_in_an_error_and_without_an_end() {
    let house = house();
    let broke = Err(Failure::new(Kind::Unavailable, "reset"));
    let items = vec![raw("data: {\"a\":1}\n\n", false), broke];
    let response = house.plays(items).post("/v1/chat/completions", &chat(r#","stream":true"#)).await;
    assert_eq!(response.status(), 200);
    let text = text_of(response).await;
    assert!(text.starts_with("data: {\"a\":1}\n\ndata: {\"error\":{\"message\":"), "{text}");
    assert!(text.contains(r#""code":"stream_interrupted""#) && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn an_upstreams_refusal_keeps_its_status_and_its_words() {
    let house = house();
    house.acts(|_| {
        Err(Failure {
            http_status: 422,
            body: Some(Bytes::from_static(b"{\"error\":{\"message\":\"theirs\"}}")),
            ..Failure::new(Kind::Invalid, "theirs")
        })
    });
    let response = house.post("/v1/chat/completions", &chat("")).await;
    assert_eq!(response.status(), 422);
    assert_eq!(header(response.headers(), "x-tollgate-reason"), "UPSTREAM_REJECTED");
    assert_eq!(header(response.headers(), "x-tollgate-provider"), "p");
    assert_eq!(text_of(response).await, "{\"error\":{\"message\":\"theirs\"}}");
}

#[tokio::test]
async fn strangers_are_refused_before_their_body_is_read() {
    let house = house();
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let response = house.send(Request::post("/v1/chat/completions").body(never).unwrap()).await;
    assert_eq!(response.status(), 401);
    assert_eq!(header(response.headers(), "x-request-id").len(), 36);
    assert_eq!(body_of(response).await["error"]["code"], "invalid_api_key");
}

#[tokio::test]
async fn a_body_beyond_the_limit_closes_the_connection() {
    let house = house();
    let response = house.post("/v1/chat/completions", &chat(&" ".repeat(4096))).await;
    assert_eq!(response.status(), 413);
    assert_eq!(header(response.headers(), "connection"), "close");
    assert_eq!(body_of(response).await["error"]["code"], "request_too_large");
}

#[tokio::test]
async fn refusals_name_the_field_and_the_model() {
    let house = house();
    let response = house.post("/v1/chat/completions", &chat(r#","n":0"#)).await;
    assert_eq!(response.status(), 400);
    assert_eq!(body_of(response).await["error"]["param"], "n");
    let response = house.post("/v1/chat/completions", &chat("").replace("play", "plaz")).await;
    assert_eq!(response.status(), 404);
    assert!(text_of(response).await.contains("did you mean `play`"));
    let mut request = post("/v1/chat/completions", &chat(""));
    request.headers_mut().insert("x-tollgate-tags", "Bad=1".parse().unwrap());
    let response = house.send(request).await;
    assert_eq!(
        (response.status(), body_of(response).await["error"]["param"].clone()),
        (StatusCode::BAD_REQUEST, json!("x-tollgate-tags"))
    );
}

#[tokio::test]
async fn other_methods_are_told_which_to_use() {
    let house = house();
    for (method, path, allow) in [
        (Method::GET, "/v1/chat/completions", "POST"),
        (Method::DELETE, "/embeddings", "POST"),
        (Method::POST, "/v1/models", "GET,HEAD"),
        (Method::PUT, "/models/a/b", "GET,HEAD"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = house.send(request).await;
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(response.headers().get_all("allow").iter().collect::<Vec<_>>(), [allow], "{path}");
        assert_eq!(header(response.headers(), "x-tollgate-reason"), "UNIMPLEMENTED");
        assert_eq!(body_of(response).await["error"]["code"], "unimplemented", "{path}");
    }
}

#[tokio::test]
async fn models_are_those_the_key_may_call() {
    let house = house();
    let ids = |list: &Value| -> Vec<String> {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (status, list) = house.get(KEY, "/v1/models").await;
    assert_eq!(
        (status, ids(&list)),
        (StatusCode::OK, vec!["echo".to_owned(), "play".to_owned(), "vendor/*".to_owned()])
    );
    assert_eq!((&list["object"], &list["data"][0]["owned_by"]), (&json!("list"), &json!("tollgate")));
    assert_eq!(ids(&house.get(NARROW, "/models").await.1), ["play"]);

    let (status, one) = house.get(KEY, "/v1/models/vendor/some/model").await;
    assert_eq!((status, &one["id"]), (StatusCode::OK, &json!("vendor/some/model")));
    assert_eq!(house.get(KEY, "/v1/models/nothing").await.0, 404);
    assert_eq!(house.get(NARROW, "/v1/models/vendor%2Fx").await.0, 403);
    assert_eq!(house.get("tg_wrong", "/v1/models").await.0, 401);
}

#[tokio::test]
async fn embeddings_are_raw_bytes_or_base64_as_asked() {
    let house = house();
    let body = r#"{"model":"play","input":"x","encoding_format":"base64"}"#;
    let response = house.plays(vec![raw("{ \"object\":\"list\"}", true)]).post("/v1/embeddings", body).await;
    assert_eq!(text_of(response).await, "{ \"object\":\"list\"}");
    let vector = v1::FloatVector { values: vec![1.0] };
    let entry = v1::Embedding { index: 0, vector: Some(v1::embedding::Vector::Dense(vector)) };
    let answer = v1::EmbedResponse { embeddings: vec![entry], ..Default::default() };
    house.plays(vec![Ok(Item::Embeddings(Box::new(answer)))]);
    let response = house.post("/embeddings", body).await;
    assert_eq!(body_of(response).await["data"][0]["embedding"], "AACAPw==");
    let response = house.post("/v1/embeddings", r#"{"model":"play","input":[]}"#).await;
    assert_eq!(
        (response.status(), body_of(response).await["error"]["param"].clone()),
        (StatusCode::BAD_REQUEST, json!("input"))
    );
}

#[tokio::test]
async fn the_built_in_provider_answers_whole_streamed_and_with_vectors() {
    let house = house();
    let body = r#"{"model":"echo","messages":[{"role":"user","content":"one two three"}]}"#;
    let whole = body_of(house.post("/v1/chat/completions", body).await).await;
    assert_eq!(whole["choices"][0]["message"]["content"], "one two three");
    assert!(whole["usage"]["completion_tokens"].as_i64().unwrap() > 0, "{whole}");

    let streamed = body.replace("]}", r#"],"stream":true}"#);
    let text = text_of(house.post("/v1/chat/completions", &streamed).await).await;
    let chunks: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|frame| frame.strip_prefix("data: ").unwrap())
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let said: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "one two three");
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"usage\""), "{text}");

    let response = house.post("/v1/embeddings", r#"{"model":"echo","input":["a","b"]}"#).await;
    assert_eq!(response.status(), 200);
    assert_eq!(body_of(response).await["data"].as_array().unwrap().len(), 2);
}
