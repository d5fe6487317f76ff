//! End to end: the real binary, real sockets, a scripted upstream. One module per promise.
#![allow(clippy::unwrap_used, reason = "a failing step is the test's failure")]

mod alerts;
mod cancel;
mod capped;
mod client_faults;
mod crash;
mod degraded;
mod drains;
mod failover;
mod failures;
mod fallbacks;
mod framing;
mod hedge;
mod http2;
mod keys;
mod ledger;
mod limits;
mod limits_away;
mod limits_reset;
mod limits_rules;
mod limits_streams;
mod mixed;
mod once;
mod once_replicas;
mod overload;
mod parameters;
mod passthrough;
mod pauses;
mod places;
mod postgres;
mod reconcile;
mod redis_modes;
mod replicas;
mod resume;
mod routing;
mod routing_rules;
mod shared_keys;
mod shared_limits;
mod signals;
mod start;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod teams;
mod unknown_keys;
mod upstream_faults;
mod usage_scale;

use support::{
    ADMIN_KEY, Gateway, KEY,
    http::Caller,
    upstream::{Seen, Step, Upstream, chunk, completion, delta, end, finish, stream_head, whole},
};
use tollgate_api::v1;

/// A gateway whose alias `m` goes to this upstream, as model `m-1`.
fn gateway(upstream: &Upstream) -> Gateway {
    gateway_with(upstream, "")
}

/// The same, with further configuration.
fn gateway_with(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{more}providers:\n{}models:\n  m: {{ targets: [{{ provider: up, model: m-1 }}] }}\n",
        upstream.provider("up")
    ))
}

/// A chat request to the alias `m`.
fn chat(streamed: bool) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hello there"}}],"stream":{streamed}}}"#)
}

/// The same in the contract's words, to any alias.
fn input(model: &str) -> v1::ChatInput {
    let text = v1::Part { kind: Some(v1::part::Kind::Text("hello".to_owned())), ..Default::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![text], ..Default::default() };
    v1::ChatInput { model: model.to_owned(), messages: vec![message], ..Default::default() }
}

/// An upstream that is well: a short answer, streamed or not.
fn serving(seen: &Seen) -> Vec<Step> {
    if seen.json()["stream"] == true {
        return vec![stream_head(), chunk(delta("hi")), chunk(finish(1, 1)), end()];
    }
    whole(200, "application/json", completion("hi", 1, 1))
}

/// An upstream that refuses every call with this status and code.
fn refusing(status: u16, code: &'static str) -> impl Fn(&Seen) -> Vec<Step> {
    move |_| {
        let body = format!(r#"{{"error":{{"message":"no","type":"t","code":"{code}"}}}}"#);
        whole(status, "application/json", body)
    }
}

/// The lines that an operator reads at `/metrics`.
async fn metrics(gateway: &Gateway) -> String {
    Caller::new(gateway.ops, KEY).get("/metrics").await.text()
}

/// Targets and outcomes of the attempts in a record, in their order.
fn tried(record: &serde_json::Value) -> Vec<(&str, &str)> {
    let attempts = record["attempts"].as_array().into_iter().flatten();
    attempts.map(|one| (one["target"].as_str().unwrap(), one["outcome"].as_str().unwrap())).collect()
}

/// The record of that call, as the admin sees it.
async fn record(gateway: &Gateway, id: &str) -> serde_json::Value {
    let answer = Caller::new(gateway.addr, ADMIN_KEY).get(&format!("/v1/usage/records/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["record"].clone()
}

/// Every record, newest first.
async fn records(gateway: &Gateway) -> Vec<serde_json::Value> {
    let caller = Caller::new(gateway.addr, ADMIN_KEY);
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let page = caller.get(&format!("/v1/usage/records?page_size=1000&page_token={token}")).await.json();
        all.extend(page["records"].as_array().into_iter().flatten().cloned());
        token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return all;
        }
    }
}
