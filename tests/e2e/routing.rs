//! What is told of routing: attempts in answers, errors, headers and records are those that the upstreams saw; a route is
//! explained without being taken; the status says how the targets are.

use prost::Message as _;
use tollgate_api::{
    admin::{self, config_service_client::ConfigServiceClient},
    v1::{self, chat_service_client::ChatServiceClient, stream_complete_response::Event},
};
use tonic::{Code, Status};

use crate::{
    chat, input, record, refusing, serving,
    support::{ADMIN_KEY, Gateway, KEY, http::Caller, upstream::Upstream},
};

/// A target as it stands in an attempt: name, outcome, HTTP status, the upstream's id.
type Tried = (String, String, i32, String);

/// A gateway whose alias `m` goes to `a` first and to `b` next.
fn gateway(a: &Upstream, b: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "breaker: {{ failures: 100, min_calls: 100 }}\nproviders:\n{}{}models:\n  m: {{ retry: {{ attempts: 2 }}, \
         targets: [{{ provider: a, model: m-0 }}, {{ provider: b, model: m-1, region: eu }}] }}\n",
        a.provider("a"),
        b.provider("b")
    ))
}

fn tried(attempts: &[v1::Attempt]) -> Vec<Tried> {
    let one = |one: &v1::Attempt| {
        (one.target.clone(), one.outcome.clone(), one.http_status, one.upstream_request_id.clone())
    };
    attempts.iter().map(one).collect()
}

fn recorded(record: &serde_json::Value) -> Vec<Tried> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let one = |one: &serde_json::Value| {
        let status = one["http_status"].as_i64().unwrap_or_default();
        let status = i32::try_from(status).unwrap();
        (text(&one["target"]), text(&one["outcome"]), status, text(&one["upstream_request_id"]))
    };
    record["attempts"].as_array().unwrap().iter().map(one).collect()
}

fn expected(last: &str, status: i32) -> Vec<Tried> {
    let one = |target: &str, outcome: &str, status| {
        (target.to_owned(), outcome.to_owned(), status, "up-1".to_owned())
    };
    vec![one("a/m-0", "unavailable", 503), one("b/m-1", last, status)]
}

fn details<M: prost::Message + Default>(status: &Status, name: &str) -> M {
    let all = tonic_types::pb::Status::decode(status.details()).unwrap();
    let any = all.details.iter().find(|any| any.type_url.ends_with(name)).expect("the detail is there");
    M::decode(&any.value[..]).unwrap()
}

/// The REST surfaces: path and body of a call.
fn rest() -> Vec<(&'static str, String)> {
    vec![
        ("/v1/chat/completions", chat(false)),
        ("/v1/chat/completions", chat(true)),
        (
            "/v1/messages",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#.to_owned(),
        ),
    ]
}

#[tokio::test]
async fn every_surface_tells_the_attempts_that_the_upstreams_saw() {
    let (a, b) = (Upstream::start(refusing(503, "x")).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b);
    let caller = Caller::new(gateway.addr, KEY);
    let mut calls = 0;
    for (path, body) in rest() {
        let answer = caller.post(path, body).await;
        calls += 1;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let told = ["target", "provider", "model", "attempts", "upstream-request-id"]
            .map(|name| answer.header(&format!("x-tollgate-{name}")).to_owned());
        assert_eq!(told, ["b/m-1", "b", "m-1", "2", "up-1"], "{path}");
        let record = record(&gateway, answer.header("x-request-id")).await;
        assert_eq!(recorded(&record), expected("ok", 200), "{path}");
    }
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let request = v1::CompleteRequest { input: Some(input("m")), options: None };
    let answer = client.complete(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-tollgate-target").unwrap(), "b/m-1");
    assert_eq!(answer.metadata().get("x-tollgate-attempts").unwrap(), "2");
    let answer = answer.into_inner();
    assert_eq!(tried(&answer.route.unwrap().attempts), expected("ok", 200));
    assert_eq!(recorded(&record(&gateway, &answer.id).await), expected("ok", 200));
    let request = v1::StreamCompleteRequest { input: Some(input("m")), ..Default::default() };
    let mut stream = client.stream_complete(request).await.unwrap().into_inner();
    let (mut first, mut last) = (None, None);
    while let Some(message) = stream.message().await.unwrap() {
        match message.event {
            Some(Event::Start(start)) => first = start.route,
            Some(Event::End(end)) => last = end.route,
            _ => {}
        }
    }
    let targets: Vec<_> = first.unwrap().attempts.into_iter().map(|attempt| attempt.target).collect();
    assert_eq!(targets, ["a/m-0", "b/m-1"], "the start tells what was tried until then");
    assert_eq!(tried(&last.unwrap().attempts), expected("ok", 200));
    calls += 2;
    assert_eq!((a.seen().len(), b.seen().len()), (calls, calls));
}

#[tokio::test]
async fn a_failure_lists_every_attempt_on_every_surface() {
    let (a, b) = (Upstream::start(refusing(503, "x")).await, Upstream::start(refusing(503, "x")).await);
    let gateway = gateway(&a, &b);
    let caller = Caller::new(gateway.addr, KEY);
    for (path, body) in rest() {
        let answer = caller.post(path, body).await;
        assert!(answer.status.is_server_error(), "{path}: {}", answer.text());
        let told = ["target", "provider", "attempts", "upstream-request-id", "reason"]
            .map(|name| answer.header(&format!("x-tollgate-{name}")).to_owned());
        assert_eq!(told, ["b/m-1", "b", "2", "up-1", "UPSTREAM_UNAVAILABLE"], "{path}");
        assert_eq!(answer.header("x-should-retry"), "false", "{path}: the gateway has retried");
        let record = record(&gateway, answer.header("x-request-id")).await;
        assert_eq!(recorded(&record), expected("unavailable", 503), "{path}");
    }
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let request = v1::CompleteRequest { input: Some(input("m")), options: None };
    let status = client.complete(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let failure: v1::RouteFailure = details(&status, "tollgate.v1.RouteFailure");
    assert_eq!(tried(&failure.attempts), expected("unavailable", 503));
    let id = status.metadata().get("x-request-id").unwrap().to_str().unwrap();
    assert_eq!(recorded(&record(&gateway, id).await), expected("unavailable", 503));
    assert_eq!((a.seen().len(), b.seen().len()), (4, 4));
}

#[tokio::test]
async fn hints_of_the_header_narrow_every_rest_call_and_wrong_ones_are_named() {
    let (a, b) = (Upstream::start(serving).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b);
    let caller = Caller::new(gateway.addr, KEY);
    for (path, body) in rest() {
        let answer = caller.try_post(path, body, &[("x-tollgate-route", "deny=a")]).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("x-tollgate-target")), (200, "b/m-1"), "{path}");
    }
    let refused = async |hints| {
        let headers = [("x-tollgate-route", hints)];
        let answer = caller.try_post("/v1/chat/completions", chat(false), &headers).await.unwrap();
        (answer.status.as_u16(), answer.header("x-tollgate-reason").to_owned(), answer.text())
    };
    let (status, reason, text) = refused("alow=a").await;
    assert_eq!((status, reason.as_str()), (400, "INVALID_REQUEST"));
    assert!(text.contains("did you mean `allow`"), "{text}");
    let (status, reason, _) = refused("pin=b/m-1").await;
    assert_eq!((status, reason.as_str()), (403, "SCOPE_DENIED"));
    let (status, reason, _) = refused("allow=a, deny=a").await;
    assert_eq!((status, reason.as_str()), (503, "NO_TARGET_AVAILABLE"));
    // A word that names nothing would leave nothing out, and nobody would know.
    for hints in ["deny=aa", "allow=a|bb", "region=moon"] {
        let (status, reason, text) = refused(hints).await;
        assert_eq!((status, reason.as_str()), (400, "INVALID_REQUEST"), "{text}");
    }
    assert!(refused("deny=aa").await.2.contains("did you mean `a`?"));
    assert_eq!((a.seen().len(), b.seen().len()), (0, 3));
}

#[tokio::test]
async fn a_route_is_explained_and_nothing_happens() {
    let (a, b) = (Upstream::start(serving).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b);
    let options = |hints| Some(v1::CallOptions { route: Some(hints), ..Default::default() });
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let hints = v1::RouteHints { denied_providers: vec!["a".to_owned()], ..Default::default() };
    let request = v1::ExplainRouteRequest { input: Some(input("m")), options: options(hints) };
    let explained = client.explain_route(request).await.unwrap().into_inner();
    let places: Vec<_> =
        explained.candidates.iter().map(|one| (one.target.as_str(), one.rank, one.eligible)).collect();
    assert_eq!(places, [("b/m-1", 1, true), ("a/m-0", 0, false)]);
    assert_eq!(explained.strategy, "ordered");
    let caller = Caller::new(gateway.addr, KEY);
    let body = r#"{"input":{"model":"m","messages":[{"role":"ROLE_USER","parts":[{"text":"hi"}]}]}}"#;
    let none =
        caller.try_post("/v1/explain", body, &[("x-tollgate-route", "allow=a, deny=a")]).await.unwrap();
    assert_eq!(none.status, 200, "{}", none.text());
    let candidates = none.json()["candidates"].clone();
    assert_eq!(candidates.as_array().unwrap().len(), 2, "who is left out is told why: {candidates}");
    assert!(candidates.as_array().unwrap().iter().all(|one| one["rank"] == 0 && one["reason"] != ""));
    let wrong = caller.post("/v1/explain", r#"{"input":{"modle":"m"}}"#).await;
    assert_eq!((wrong.status.as_u16(), wrong.header("x-tollgate-reason")), (400, "INVALID_REQUEST"));
    assert_eq!((a.seen().len(), b.seen().len()), (0, 0));
    assert!(crate::records(&gateway).await.is_empty(), "nothing is recorded");
}

#[tokio::test]
async fn the_status_names_targets_models_and_stores_to_operators_only() {
    let (a, b) = (Upstream::start(refusing(503, "x")).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b);
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", chat(false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut stranger = ConfigServiceClient::new(gateway.channel(KEY).await);
    let denied = stranger.get_status(admin::GetStatusRequest {}).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let mut operator = ConfigServiceClient::new(gateway.channel(ADMIN_KEY).await);
    let status = operator.get_status(admin::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.config_hash.len(), status.draining), (16, false));
    assert!(status.stores.iter().all(|store| store.name == "sqlite" && store.reachable), "{status:?}");
    let target = |name: &str| status.targets.iter().find(|target| target.target == name).unwrap();
    let failing = target("a/m-0");
    assert_eq!((failing.provider.as_str(), failing.model.as_str()), ("a", "m-0"));
    assert_eq!((failing.consecutive_failure_count, failing.last_failure.as_str()), (1, "unavailable"));
    assert_eq!(failing.models, ["m"]);
    assert_eq!(target("b/m-1").state(), admin::target_status::State::Closed);
    assert!(status.load.is_some());
    let shown = Caller::new(gateway.ops, "").get("/status").await;
    assert_eq!(shown.json()["config_hash"], status.config_hash);
    assert!(!shown.text().contains("sk-upstream") && !shown.text().contains(KEY), "{}", shown.text());
}
