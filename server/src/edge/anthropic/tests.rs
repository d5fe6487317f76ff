//! The surface from request to response, with a real key and a real ledger, and a provider that keeps what it is sent.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture, stream};
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tollgate_api::v1;
use tower::ServiceExt as _;

use super::*;
use crate::{
    call::{Dialect, Item, Payload, Raw, Seen},
    edge::testing::edge,
    provider::{Answer, Error as Failure, Kind, Outgoing, Provider},
};

const WHOLE: &str = "{ \"type\":\"message\",\"new\" : [1.50] }";
const COUNTED: &str = "{\"input_tokens\" : 12, \"new\":1}";

/// What reached the provider: the caller's bytes, or the typed view.
#[derive(Debug)]
enum Sent {
    Raw(Raw),
    Typed(Box<v1::ChatInput>),
}

/// Answers with fixed bytes, and keeps what it was sent.
#[derive(Clone, Default)]
struct Mirror(Arc<Mutex<Vec<Sent>>>);

impl Mirror {
    fn answer(&self, payload: &Payload<v1::ChatInput>, body: &'static str) -> Result<Answer, Failure> {
        let sent = match payload.as_raw(Dialect::AnthropicMessages) {
            Some(raw) => Sent::Raw(raw.clone()),
            None => Sent::Typed(Box::new(payload.view()?.clone())),
        };
        self.0.lock().unwrap().push(sent);
        let seen = Seen { content_events: 1, progress: true, last: true, ..Seen::default() };
        Ok(Answer {
            http_status: 200,
            upstream_request_id: "req_1".to_owned(),
            headers: HeaderMap::new(),
            warnings: Vec::new(),
            items: Box::pin(stream::iter([Ok(Item::Raw(Bytes::from_static(body.as_bytes()), seen))])),
        })
    }
}

impl Provider for Mirror {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move { self.answer(request.payload, WHOLE) }.boxed()
    }

    fn embed<'a>(&'a self, _: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Failure>> {
        async { Err(Failure::new(Kind::Invalid, "no vectors here")) }.boxed()
    }

    fn count_tokens<'a>(
        &'a self,
        request: Outgoing<'a, v1::ChatInput>,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move { self.answer(request.payload, COUNTED) }.boxed()
    }
}

struct House {
    app: Router,
    mirror: Mirror,
    key: String,
    _dir: tempfile::TempDir,
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::default();
    let edge = edge(dir.path(), mirror.clone());
    let key = edge.pipeline.auth.mint_first().unwrap().unwrap().expose_secret().to_owned();
    House { app: crate::edge::app(&edge).unwrap(), mirror, key, _dir: dir }
}

impl House {
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            self.app.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.send(Method::POST, path, &[("x-api-key", &self.key)], body).await
    }
}

fn kind(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["type"], "error", "{body}");
    body["error"]["type"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_callers_bytes_and_betas_reach_a_target_of_this_dialect_and_its_own_come_back() {
    let house = house();
    let body = r#"{ "max_tokens":5,"new": {"x":1e400},"model" : "words", "messages":[{"role":"user","content":"hi"}] }"#;
    let headers = [
        ("x-api-key", house.key.as_str()),
        ("anthropic-beta", "a"),
        ("anthropic-beta", "b"),
        ("anthropic-version", "v"),
    ];
    for path in ["/v1/messages?beta=true", "/messages", "/anthropic/v1/messages"] {
        let (status, answer) = house.send(Method::POST, path, &headers, body).await;
        assert_eq!((status, answer.as_str()), (200, WHOLE), "{path}");
        let sent = house.mirror.0.lock().unwrap().remove(0);
        let Sent::Raw(raw) = sent else { panic!("{sent:?}") };
        assert_eq!(raw.body, body);
        assert_eq!(&raw.body[raw.model.clone()], b"\"words\"");
        let told: Vec<_> =
            raw.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected = [("anthropic-beta", &b"a"[..]), ("anthropic-beta", b"b"), ("anthropic-version", b"v")];
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn a_body_with_tokens_of_ours_takes_the_typed_lane_with_its_betas() {
    let house = house();
    let thinking = json!({"type": "thinking", "thinking": "", "signature": "tollgate.gemini.eA"});
    let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": [thinking]}]);
    let body = json!({"model": "words", "max_tokens": 5, "messages": messages}).to_string();
    let headers = [("x-api-key", house.key.as_str()), ("anthropic-beta", "a,b"), ("anthropic-beta", "c")];
    assert_eq!(house.send(Method::POST, "/v1/messages", &headers, &body).await.0, 200);
    let sent = house.mirror.0.lock().unwrap().remove(0);
    let Sent::Typed(input) = sent else { panic!("{sent:?}") };
    assert_eq!(input.messages[1].parts[0].continuity.as_ref().unwrap().provider, "gemini");
    assert_eq!(input.provider_options[0].headers["anthropic-beta"], "a,b,c");
}

#[tokio::test]
async fn a_count_needs_no_max_tokens_and_comes_back_as_it_was_told() {
    let house = house();
    let body = r#"{"model":"words","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let (status, answer) = house.post("/v1/messages/count_tokens", body).await;
    assert_eq!((status, answer.as_str()), (200, COUNTED));
    assert_eq!(kind(&house.post("/v1/messages", body).await.1), "invalid_request_error");
}

#[tokio::test]
async fn what_cannot_be_accepted_is_named() {
    let house = house();
    let good = json!({"model": "words", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in [
        ("model", json!("")),
        ("model", json!(1)),
        ("max_tokens", Value::Null),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!("5")),
        ("messages", json!([])),
        ("messages", json!("hi")),
        ("messages[0]", json!(["hi"])),
        ("messages[0].role", json!([{"content": "hi"}])),
        ("messages[0].role", json!([{"role": "tool", "content": "hi"}])),
        ("messages[0].content", json!([{"role": "user"}])),
        ("messages[0].content", json!([{"role": "user", "content": null}])),
        ("messages[0].content", json!([{"role": "user", "content": {}}])),
        ("system", json!({"text": "x"})),
        ("stream", json!("yes")),
        ("temperature", json!("hot")),
        ("tools", json!({})),
        ("tool_choice", json!("auto")),
        ("thinking", json!({"budget_tokens": 1})),
        ("stop_sequences", json!("x")),
        ("metadata.user_id", json!({"user_id": 1})),
    ] {
        let mut body = good.clone();
        body[name.split(['[', '.']).next().unwrap()] = value.clone();
        let (status, answer) = house.post("/v1/messages", &body.to_string()).await;
        assert_eq!((status, kind(&answer).as_str()), (400, "invalid_request_error"), "{name} {value}");
        assert!(answer.contains(&format!("`{name}")), "{name} {value}: {answer}");
    }
    assert!(house.mirror.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn paths_that_are_not_there_and_missing_keys_are_told_in_the_envelope() {
    let house = house();
    let version = [("anthropic-version", "2023-06-01")];
    for (method, path, headers, status, expected) in [
        (Method::POST, "/v1/messages", &[][..], 401, "authentication_error"),
        (Method::POST, "/v1/messages/batches", &[], 404, "not_found_error"),
        (Method::GET, "/v1/messages", &[], 405, "not_found_error"),
        (Method::GET, "/v1/nothing", &version, 404, "not_found_error"),
        (Method::GET, "/v1/models", &version, 401, "authentication_error"),
    ] {
        let (told, body) = house.send(method, path, headers, "{}").await;
        assert_eq!((told, kind(&body).as_str()), (status, expected), "{path}");
    }
    let (_, openai) = house.send(Method::GET, "/v1/nothing", &[], "").await;
    assert!(openai.starts_with("{\"error\""), "{openai}");
    assert_eq!(house.send(Method::HEAD, "/", &[], "").await, (200, String::new()));
    assert_eq!(house.send(Method::GET, "/", &[], "").await, (200, HERE.to_owned()));
}

#[tokio::test]
async fn models_have_anthropics_shape_for_its_clients_only() {
    let house = house();
    let theirs = [("x-api-key", house.key.as_str()), ("anthropic-version", "2023-06-01")];
    for (path, headers) in [("/v1/models", &theirs[..]), ("/anthropic/v1/models", &theirs[..1])] {
        let (_, body) = house.send(Method::GET, path, headers, "").await;
        let list: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(list["data"].as_array().unwrap().len(), 2, "{body}");
        assert_eq!(list["data"][0]["type"], "model");
        assert_eq!((&list["has_more"], &list["first_id"]), (&json!(false), &list["data"][0]["id"]));
        assert!(list["data"][0]["created_at"].as_str().unwrap().ends_with('Z'), "{body}");
    }
    let (_, one) = house.send(Method::GET, "/v1/models/words", &theirs, "").await;
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap()["display_name"], "words");
    let (status, none) = house.send(Method::GET, "/v1/models/nope", &theirs, "").await;
    assert_eq!((status, kind(&none).as_str()), (404, "not_found_error"));
    let (_, openai) = house.send(Method::GET, "/v1/models", &theirs[..1], "").await;
    assert!(openai.contains("\"object\":\"list\""), "{openai}");
}
