//! Replicas that share a Redis tell each other which targets are not well; without it each goes by what it knows. Targets
//! that rest are probed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Gateway, KEY, PATIENCE,
    http::Caller,
    redis::Redis,
    upstream::{Upstream, completion, whole},
};

const FALLS_BACK: &str =
    "models: { m: { targets: [{ provider: up, model: m-1 }, { provider: spare, model: m-2 }] } }\n";

/// A gateway that goes to `up` first and to `spare` next.
fn gateway(up: &Upstream, spare: &Upstream, more: &str) -> Gateway {
    let providers = format!("providers:\n{}{}", up.provider("up"), spare.provider("spare"));
    Gateway::start(&format!("{more}{providers}{FALLS_BACK}"))
}

pub(crate) fn replica(shared: &str, up: &Upstream, spare: &Upstream) -> Gateway {
    // Open for long, so that nothing heals by itself within the test.
    gateway(
        up,
        spare,
        &format!("shared: \"{shared}\"\nbreaker: {{ failures: 3, open: 600s, max_open: 600s }}\n"),
    )
}

pub(crate) async fn broken() -> Upstream {
    Upstream::start(|_| whole(500, "application/json", r#"{"error":{"message":"boom"}}"#)).await
}

pub(crate) async fn well() -> Upstream {
    Upstream::start(|_| whole(200, "application/json", completion("hi", 1, 1))).await
}

pub(crate) async fn status(gateway: &Gateway) -> Value {
    Caller::new(gateway.ops, KEY).get("/status").await.json()
}

fn target(status: &Value, name: &str) -> Value {
    let targets = status["targets"].as_array().unwrap();
    targets.iter().find(|target| target["target"] == name).unwrap_or(&Value::Null).clone()
}

/// Asks a replica how it is until it is so.
pub(crate) async fn until(gateway: &Gateway, holds: impl Fn(&Value) -> bool) -> Value {
    let patience = Instant::now() + PATIENCE;
    loop {
        let status = status(gateway).await;
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < patience, "it stays so: {status}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn is_open(status: &Value) -> bool {
    target(status, "up/m-1")["state"] == "STATE_OPEN"
}

pub(crate) fn redis_is(status: &Value, reachable: bool) -> bool {
    let stores = status["stores"].as_array().unwrap();
    let redis = stores.iter().find(|store| store["name"] == "redis").unwrap();
    redis["reachable"].as_bool().unwrap_or(false) == reachable
}

pub(crate) async fn call(gateway: &Gateway) -> String {
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", crate::chat(false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-tollgate-target").to_owned()
}

#[tokio::test]
async fn a_breaker_that_opens_on_one_replica_is_open_on_all_and_on_those_that_start_later() {
    let (redis, up, spare) = (Redis::start(), broken().await, well().await);
    let one = replica(&redis.url(), &up, &spare);
    let other = replica(&redis.url(), &up, &spare);
    for gateway in [&one, &other] {
        until(gateway, |status| redis_is(status, true)).await;
    }
    for _ in 0..3 {
        assert_eq!(call(&one).await, "spare/m-2");
    }
    let asked = up.seen().len();
    let told = until(&other, is_open).await;
    assert_eq!(target(&told, "up/m-1")["told_by"], json!("replica"), "{told}");
    assert_eq!(call(&other).await, "spare/m-2");
    let late = replica(&redis.url(), &up, &spare);
    until(&late, is_open).await;
    assert_eq!(call(&late).await, "spare/m-2");
    assert_eq!(up.seen().len(), asked, "the others did not try for themselves");
}

#[tokio::test]
async fn without_its_redis_a_replica_serves_and_finds_out_for_itself_and_is_told_again_afterwards() {
    let (mut redis, up, spare) = (Redis::start(), broken().await, well().await);
    let one = replica(&redis.url(), &up, &spare);
    let other = replica(&redis.url(), &up, &spare);
    for gateway in [&one, &other] {
        until(gateway, |status| redis_is(status, true)).await;
    }
    redis.kill();
    for gateway in [&one, &other] {
        until(gateway, |status| redis_is(status, false)).await;
    }
    assert_eq!(call(&one).await, "spare/m-2");
    assert!(!is_open(&status(&other).await));
    redis.restart();
    for gateway in [&one, &other] {
        until(gateway, |status| redis_is(status, true)).await;
    }
    for _ in 0..3 {
        call(&one).await;
    }
    until(&other, is_open).await;
}

#[tokio::test]
async fn a_target_that_rests_is_probed_at_no_cost_and_used_again_once_it_answers() {
    let (failing, listing) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (fails, lists) = (failing.clone(), listing.clone());
    let up = Upstream::start(move |seen| match seen.path.as_str() {
        "/v1/models" if lists.load(Ordering::SeqCst) => whole(200, "application/json", r#"{"data":[]}"#),
        "/v1/chat/completions" if !fails.load(Ordering::SeqCst) => crate::serving(seen),
        _ => whole(500, "application/json", r#"{"error":{"message":"boom"}}"#),
    })
    .await;
    let spare = well().await;
    let gateway = gateway(
        &up,
        &spare,
        "breaker: { failures: 3, open: 300ms, max_open: 300ms }\nprobe: { every: 50ms }\n",
    );
    for _ in 0..3 {
        assert_eq!(call(&gateway).await, "spare/m-2");
    }
    let calls = || up.seen().iter().filter(|seen| seen.path == "/v1/chat/completions").count();
    let probes = || up.seen().iter().filter(|seen| seen.path == "/v1/models").count();
    // It could serve again, but as long as it does not even list its models no call finds out.
    failing.store(false, Ordering::SeqCst);
    up.asked(3 + 3).await;
    assert_eq!((calls(), probes() >= 3), (3, true));
    until(&gateway, is_open).await;
    listing.store(true, Ordering::SeqCst);
    until(&gateway, |status| target(status, "up/m-1")["state"] == "STATE_CLOSED").await;
    assert_eq!(calls(), 3, "no call was spent on it");
    assert_eq!(call(&gateway).await, "up/m-1");
    let records = crate::records(&gateway).await;
    let attempts: usize = records.iter().map(|record| crate::tried(record).len()).sum();
    assert_eq!((records.len(), attempts), (4, 7), "probes are in no record: {records:?}");
}
