//! Limits of a key hold, and a refused caller learns which.

use serde_json::json;

use crate::support::{
    Gateway,
    http::Caller,
    upstream::{Upstream, completion, whole},
};

const LIMITED: &str = "tg_testlimited1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

async fn limited(limits: &str) -> (Gateway, Caller) {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await;
    // The key list that every test configuration starts with goes on here.
    let gateway = Gateway::start(&format!(
        "- {{ name: limited, key: {LIMITED}, {limits} }}\nproviders:\n{}models:\n  m:\n    targets: [{{ provider: up, model: m-1 }}]\n    \
         price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        upstream.provider("up")
    ));
    let caller = Caller::new(gateway.addr, LIMITED);
    (gateway, caller)
}

async fn ops(gateway: &Gateway) -> String {
    Caller::new(gateway.ops, LIMITED).get("/metrics").await.text()
}

fn chat() -> &'static str {
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":50}"#
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_parallel_calls_against_a_hundred_a_minute_admit_exactly_a_hundred() {
    let (_gateway, caller) = limited("limits: { requests_per_minute: 100 }").await;
    let calls = (0..300).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.post("/v1/chat/completions", chat()).await })
    });
    let mut admitted = 0;
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        if answer.status == 200 {
            admitted += 1;
            continue;
        }
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-should-retry")),
            (429, "true"),
            "{}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    assert_eq!(admitted, 100);
}

#[tokio::test]
async fn a_budget_is_settled_to_what_was_used_and_survives_a_restart() {
    // A call uses 100 * 1 + 50 * 2 = 200 micro-USD and reserves a little more than 100 for its output.
    let (mut gateway, caller) = limited("budget: { usd: 0.00065, per: month }").await;
    for _ in 0..3 {
        let answer = caller.post("/v1/chat/completions", chat()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let refused = caller.post("/v1/chat/completions", chat()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("x-should-retry")),
        (429, "false"),
        "{}",
        refused.text()
    );
    assert_eq!(refused.json()["error"]["code"], "insufficient_quota");
    gateway.kill();
    gateway.restart();
    let caller = Caller::new(gateway.addr, LIMITED);
    let quota = caller.get("/v1/quota").await.json()["quotas"][0].clone();
    assert_eq!(
        (&quota["metric"], &quota["window"], &quota["limit"], &quota["used"], &quota["reserved_amount"]),
        (&json!("cost_nanos"), &json!("month"), &json!("650000"), &json!("600000"), &json!("0")),
        "{quota}"
    );
    assert!(quota["subject"].as_str().unwrap().starts_with("key:") && quota["reset_time"].is_string());
    let again = caller.post("/v1/chat/completions", chat()).await;
    assert_eq!(again.status, 429, "{}", again.text());
}

#[tokio::test]
async fn calls_that_a_limit_refused_do_not_count_after_a_restart_either() {
    let (mut gateway, caller) = limited("limits: { requests_per_day: 3 }").await;
    let unknown = r#"{"model":"nope","messages":[{"role":"user","content":"hi"}]}"#;
    for _ in 0..5 {
        assert_eq!(caller.post("/v1/chat/completions", unknown).await.status, 404);
    }
    for _ in 0..2 {
        assert_eq!(caller.post("/v1/chat/completions", chat()).await.status, 200);
    }
    gateway.kill();
    gateway.restart();
    let caller = Caller::new(gateway.addr, LIMITED);
    assert_eq!(caller.get("/v1/quota").await.json()["quotas"][0]["used"], "2");
    assert_eq!(caller.post("/v1/chat/completions", chat()).await.status, 200);
    assert_eq!(caller.post("/v1/chat/completions", chat()).await.status, 429);
    let metrics = ops(&gateway).await;
    assert!(metrics.contains("tollgate_limit_rejections_total{limit=\"rpm\",scope=\"key\"} 1"), "{metrics}");
}
