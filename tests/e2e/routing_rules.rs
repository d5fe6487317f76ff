//! Which target a call goes to: weights, arms of experiments, affinity, conditions, credentials, pins. Proven by what
//! the upstreams were asked.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    chat, metrics, record, serving,
    support::{
        ADMIN_KEY, Gateway, KEY,
        http::{Answer, Caller},
        upstream::{Seen, Step, Upstream},
    },
    tried,
};

/// A gateway with one upstream, as the providers `a` and `b`.
fn gateway(upstream: &Upstream, models: &str) -> Gateway {
    let (a, b) = (upstream.provider("a"), upstream.provider("b"));
    Gateway::start(&format!("providers:\n{a}{b}models:\n{models}"))
}

async fn ask(gateway: &Gateway, key: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let caller = Caller::new(gateway.addr, key);
    caller.try_post("/v1/chat/completions", body.to_string(), headers).await.unwrap()
}

/// Makes a call and returns the vendor's model that it came to.
async fn model(gateway: &Gateway, headers: &[(&str, &str)]) -> String {
    let answer = ask(gateway, KEY, &hello(), headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-tollgate-model").to_owned()
}

fn hello() -> Value {
    serde_json::from_str(&chat(false)).unwrap()
}

/// How often each model was asked for.
fn asked(seen: &[Seen]) -> BTreeMap<String, usize> {
    seen.iter().fold(BTreeMap::new(), |mut asked, seen| {
        *asked.entry(seen.model()).or_default() += 1;
        asked
    })
}

#[tokio::test]
async fn a_canary_gets_its_share_and_what_weighs_nothing_gets_none() {
    let upstream = Upstream::start(serving).await;
    let targets = "{ provider: a, model: old, weight: 90 }, { provider: a, model: new, weight: 10 }, \
                   { provider: a, model: off, weight: 0 }";
    let gateway = gateway(&upstream, &format!("  m: {{ strategy: weighted, targets: [{targets}] }}\n"));
    for _ in 0..300 {
        model(&gateway, &[]).await;
    }
    let asked = asked(&upstream.seen());
    // Five standard deviations: 30 ± 26.
    assert!((4..=56).contains(&asked["new"]), "{asked:?}");
    assert_eq!(asked["old"] + asked["new"], 300, "{asked:?}");
}

#[tokio::test]
async fn calls_with_the_same_affinity_stay_together() {
    let upstream = Upstream::start(serving).await;
    let targets: String = (0..4).map(|n| format!("{{ provider: a, model: m-{n} }}, ")).collect();
    let models = format!("  m: {{ strategy: weighted, targets: [{targets}] }}\n");
    let gateway = gateway(&upstream, &models);
    let mut used = BTreeMap::new();
    for user in 0..12 {
        let affinity = format!("affinity=user-{user}");
        let session = format!("session-{user}");
        for headers in [("x-tollgate-route", affinity.as_str()), ("x-tollgate-session-id", session.as_str())]
        {
            let first = model(&gateway, &[headers]).await;
            for _ in 0..4 {
                assert_eq!(model(&gateway, &[headers]).await, first, "{headers:?}");
            }
            *used.entry(first).or_insert(0) += 1;
        }
    }
    assert!(used.len() > 1, "not all in one place: {used:?}");
}

#[tokio::test]
async fn an_experiment_tags_its_calls_and_its_arms_are_compared_by_usage() {
    let upstream = Upstream::start(serving).await;
    let arms = "control: { weight: 1, targets: [{ provider: a, model: old }] }, \
                candidate: { weight: 1, targets: [{ provider: b, model: new }] }";
    let gateway = gateway(&upstream, &format!("  m: {{ experiment: {{ name: x, arms: {{ {arms} }} }} }}\n"));
    let mut calls = BTreeMap::new();
    for user in 0..16 {
        let affinity = format!("affinity=user-{user}");
        let mut arm = String::new();
        for _ in 0..2 {
            let answer = ask(&gateway, KEY, &hello(), &[("x-tollgate-route", &affinity)]).await;
            let record = record(&gateway, answer.header("x-request-id")).await;
            let tag = record["tags"]["experiment.x"].as_str().unwrap().to_owned();
            assert!(arm.is_empty() || arm == tag, "user {user} was moved from {arm} to {tag}");
            let rule = format!("experiment:x/{tag}");
            assert_eq!((answer.header("x-tollgate-rule"), &record["rule"]), (rule.as_str(), &json!(rule)));
            let model = if tag == "control" { "old" } else { "new" };
            assert_eq!(answer.header("x-tollgate-model"), model, "{tag}");
            *calls.entry(tag.clone()).or_insert(0) += 1;
            arm = tag;
        }
    }
    assert_eq!(calls.len(), 2, "{calls:?}");
    let sums = Caller::new(gateway.addr, ADMIN_KEY);
    let sums = sums.get("/v1/usage?group_by=tag:experiment.x&bucket=none").await.json();
    let row = |row: &Value| {
        let count = row["request_count"].as_str().unwrap().parse().unwrap();
        (row["group"]["tag:experiment.x"].as_str().unwrap().to_owned(), count)
    };
    let rows: BTreeMap<String, i32> = sums["rows"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows, calls, "{sums}");
}

#[tokio::test]
async fn a_target_takes_only_calls_that_meet_its_conditions() {
    let upstream = Upstream::start(serving).await;
    let gateway = gateway(
        &upstream,
        "  m:
    targets:
      - { provider: a, model: tagged, when: { tags: { env: \"prod-*\" } } }
      - { provider: a, model: tools, when: { needs: [tools] } }
      - { provider: a, model: team, when: { teams: [blue] } }
      - { provider: a, model: stream, when: { streamed: true } }
      - { provider: a, model: long, when: { min_input_tokens: 1k } }
      - { provider: a, model: rest }
",
    );
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let with = |name: &str, value: Value| {
        let mut body = hello();
        body[name] = value;
        body
    };
    let long = json!([{"role": "user", "content": "word ".repeat(2_000)}]);
    for (body, tags, expected) in [
        (hello(), "env=prod-eu", "tagged"),
        (hello(), "env=test", "rest"),
        (with("tools", tool.clone()), "", "tools"),
        (with("tools", tool), "env=prod-1", "tagged"),
        (with("stream", json!(true)), "", "stream"),
        (with("messages", long), "", "long"),
        (hello(), "", "rest"),
    ] {
        let answer = ask(&gateway, KEY, &body, &[("x-tollgate-tags", tags)]).await;
        assert_eq!(answer.header("x-tollgate-model"), expected, "{tags} {}", answer.text());
    }
}

#[tokio::test]
async fn a_limited_credential_rests_and_the_other_one_serves_each_with_its_own_key() {
    let limited = |seen: &Seen| match seen.header("authorization") {
        // For longer than the test takes.
        "Bearer sk-x" => {
            vec![Step::Send("HTTP/1.1 429 X\r\nretry-after: 60\r\ncontent-length: 2\r\n\r\n{}".into())]
        }
        _ => serving(seen),
    };
    let upstream = Upstream::start(limited).await;
    let gateway = Gateway::start(&format!(
        "providers:\n  p: {{ dialect: openai, base_url: \"http://{}/v1\", \
         api_keys: {{ x: sk-x, y: sk-y }} }}\nmodels:\n  m: {{ targets: [{{ provider: p, model: m-1 }}] }}\n",
        upstream.addr
    ));
    let (mut limited, mut served) = (0, 0);
    for _ in 0..20 {
        let answer = ask(&gateway, KEY, &hello(), &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-tollgate-target")), (200, "p:y/m-1"));
        let record = record(&gateway, answer.header("x-request-id")).await;
        let tried = tried(&record);
        limited += tried.iter().filter(|attempt| **attempt == ("p:x/m-1", "rate_limited")).count();
        served += tried.iter().filter(|attempt| **attempt == ("p:y/m-1", "ok")).count();
    }
    let keys = upstream.seen().iter().fold(BTreeMap::new(), |mut keys, seen| {
        *keys.entry(seen.header("authorization").to_owned()).or_insert(0) += 1;
        keys
    });
    assert_eq!(served, 20);
    assert_eq!((keys["Bearer sk-x"], keys["Bearer sk-y"]), (limited, served), "attempts go by their own key");
    assert!((1..=4).contains(&limited), "it rests after a refusal: {limited}");
    let metrics = metrics(&gateway).await;
    assert!(metrics.contains("tollgate_circuit_state{target=\"p:x/m-1\"}"), "{metrics}");
    assert!(metrics.contains("tollgate_circuit_state{target=\"p:y/m-1\"} 0"), "{metrics}");
}

#[tokio::test]
async fn hints_that_choose_the_target_need_their_scope() {
    let upstream = Upstream::start(serving).await;
    let models = "  m: { targets: [{ provider: a, model: m-0 }, { provider: b, model: m-1, labels: { tier: gold } }] }\n";
    let gateway = gateway(&upstream, models);
    for hint in ["pin=b/m-1", "label.tier=gold"] {
        let refused = ask(&gateway, KEY, &hello(), &[("x-tollgate-route", hint)]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("x-tollgate-reason")),
            (403, "SCOPE_DENIED"),
            "{hint}"
        );
        let served = ask(&gateway, ADMIN_KEY, &hello(), &[("x-tollgate-route", hint)]).await;
        assert_eq!((served.status.as_u16(), served.header("x-tollgate-target")), (200, "b/m-1"), "{hint}");
    }
    assert_eq!(asked(&upstream.seen()), [("m-1".to_owned(), 2)].into());
}
