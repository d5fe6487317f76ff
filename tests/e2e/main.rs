//! End to end: the real binary, real sockets, a scripted upstream. One module per promise.
#![allow(clippy::unwrap_used, reason = "a failing step is the test's failure")]

mod cancel;
mod client_faults;
mod failover;
mod failures;
mod framing;
mod http2;
mod keys;
mod ledger;
mod limits;
mod mixed;
mod overload;
mod parameters;
mod passthrough;
mod places;
mod replicas;
mod resume;
mod routing;
mod start;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod upstream_faults;

use support::{ADMIN_KEY, Gateway, http::Caller, upstream::Upstream};

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
