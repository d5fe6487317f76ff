//! Replicas that share a Redis tell each other which targets are not well; without it each goes by what it knows.

use serde_json::{Value, json};

use crate::support::{
    Gateway, KEY,
    http::Caller,
    redis::Redis,
    upstream::{Upstream, completion, whole},
};

const FALLS_BACK: &str =
    "models: { m: { targets: [{ provider: up, model: m-1 }, { provider: spare, model: m-2 }] } }\n";

fn replica(shared: &str, up: &Upstream, spare: &Upstream, more: &str) -> Gateway {
    let providers = format!("providers:\n{}{}", up.provider("up"), spare.provider("spare"));
    // Open for long, so that nothing heals by itself within the test.
    let breaker = "breaker: { failures: 3, open: 30s }";
    Gateway::start(&format!("shared: \"{shared}\"\n{breaker}\n{more}{providers}{FALLS_BACK}"))
}

async fn broken() -> Upstream {
    Upstream::start(|_| whole(500, "application/json", r#"{"error":{"message":"boom"}}"#)).await
}

async fn well() -> Upstream {
    Upstream::start(|_| whole(200, "application/json", completion("hi", 1, 1))).await
}

async fn status(gateway: &Gateway) -> Value {
    Caller::new(gateway.ops, KEY).get("/status").await.json()
}

fn target(status: &Value, name: &str) -> Value {
    let targets = status["targets"].as_array().unwrap();
    targets.iter().find(|target| target["target"] == name).unwrap_or(&Value::Null).clone()
}

/// Asks a replica how it is until it is so. The test's own time limit is the only patience.
async fn until(gateway: &Gateway, holds: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = status(gateway).await;
        if holds(&status) {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

fn is_open(status: &Value) -> bool {
    target(status, "up/m-1")["state"] == "STATE_OPEN"
}

fn redis_is(status: &Value, reachable: bool) -> bool {
    let stores = status["stores"].as_array().unwrap();
    let redis = stores.iter().find(|store| store["name"] == "redis").unwrap();
    redis["reachable"].as_bool().unwrap_or(false) == reachable
}

async fn call(gateway: &Gateway) -> String {
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", crate::chat(false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-tollgate-target").to_owned()
}

#[tokio::test]
async fn a_breaker_that_opens_on_one_replica_is_open_on_all_and_on_those_that_start_later() {
    let (redis, up, spare) = (Redis::start(), broken().await, well().await);
    let one = replica(&redis.url(), &up, &spare, "");
    let other = replica(&redis.url(), &up, &spare, "");
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
    let late = replica(&redis.url(), &up, &spare, "");
    until(&late, is_open).await;
    assert_eq!(call(&late).await, "spare/m-2");
    assert_eq!(up.seen().len(), asked, "the others did not try for themselves");
}

#[tokio::test]
async fn without_its_redis_a_replica_serves_and_finds_out_for_itself_and_is_told_again_afterwards() {
    let (mut redis, up, spare) = (Redis::start(), broken().await, well().await);
    let one = replica(&redis.url(), &up, &spare, "");
    let other = replica(&redis.url(), &up, &spare, "");
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
async fn a_target_that_rests_is_probed_at_no_cost_and_used_again() {
    let up = Upstream::start(|seen| match seen.path.as_str() {
        "/v1/models" => whole(200, "application/json", "{}"),
        _ => whole(500, "application/json", "{}"),
    })
    .await;
    let (redis, spare) = (Redis::start(), well().await);
    let gateway = replica(&redis.url(), &up, &spare, "probe: { every: 100ms }\n");
    // The breaker's pause is over at once for the probe, not for calls: `open` is its length.
    for _ in 0..3 {
        call(&gateway).await;
    }
    until(&gateway, is_open).await;
    let asked = up.seen();
    assert!(asked.iter().all(|seen| seen.path != "/v1/models"), "it rests for its pause");
}
