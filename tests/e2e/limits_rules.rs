//! Whose limits hold, for which calls, and what callers see of them.

use serde_json::{Value, json};
use tollgate_api::v1::{
    self, chat_service_client::ChatServiceClient, usage_service_client::UsageServiceClient,
};
use tonic_types::StatusExt as _;

use crate::{
    input,
    support::{
        ADMIN_KEY, Gateway, KEY,
        http::{Answer, Caller},
        upstream::{Seen, Upstream, completion, whole},
    },
};

/// A provider whose answers are 100 tokens in and 50 out, in OpenAI's words.
async fn upstream() -> Upstream {
    Upstream::start(|_| whole(200, "application/json", completion("hi", 100, 50))).await
}

/// A gateway with this configuration in place of `PROVIDER up`.
async fn gateway(yaml: &str) -> (Gateway, Upstream) {
    let upstream = upstream().await;
    let providers = format!("providers:\n{}", upstream.provider("up"));
    (Gateway::start(&format!("{yaml}\n{providers}")), upstream)
}

fn chat(model: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}).to_string()
}

async fn ask(gateway: &Gateway, key: &str, model: &str) -> Answer {
    Caller::new(gateway.addr, key).post("/v1/chat/completions", chat(model)).await
}

async fn tagged(gateway: &Gateway, model: &str, tags: &str) -> u16 {
    let headers = [("x-tollgate-tags", tags)];
    let answer = Caller::new(gateway.addr, KEY).open("/v1/chat/completions", chat(model), &headers).await;
    answer.status().as_u16()
}

async fn quotas(gateway: &Gateway, key: &str) -> Vec<Value> {
    let answer = Caller::new(gateway.addr, key).get("/v1/quota").await;
    answer.json()["quotas"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn limits_by_model_and_tag_count_only_those_calls() {
    let limits = "time_zone: Asia/Kolkata\nlimits_by:\n- { model: \"a-*\", limits: { requests_per_day: 1 } }\n\
                  - { tag: feature=batch, limits: { requests_per_day: 2 } }\n\
                  models:\n  a-x: { targets: [{ provider: up, model: m-1 }] }\n  b: { targets: [{ provider: up, model: m-1 }] }";
    let (gateway, _upstream) = gateway(limits).await;
    assert_eq!(tagged(&gateway, "a-x", "feature=chat").await, 200);
    assert_eq!(tagged(&gateway, "a-x", "feature=chat").await, 429);
    for expected in [200, 200, 429] {
        assert_eq!(tagged(&gateway, "b", "feature=batch").await, expected);
    }
    assert_eq!(tagged(&gateway, "b", "feature=chat").await, 200);
    let shown: Vec<_> = quotas(&gateway, KEY).await;
    assert!(
        shown[0]["reset_time"].as_str().unwrap().ends_with("T18:30:00Z"),
        "midnight in Kolkata: {}",
        shown[0]
    );
    let shown: Vec<_> =
        shown.iter().map(|one| (&one["subject"], &one["model"], &one["tag"], &one["used"])).collect();
    assert_eq!(
        shown,
        [
            (&json!("global"), &json!("a-*"), &json!(""), &json!("1")),
            (&json!("global"), &json!(""), &json!("feature=batch"), &json!("2")),
        ]
    );
}

#[tokio::test]
async fn model_and_gateway_limit_all_keys_together_and_the_refusal_names_which() {
    let (mut gateway, _upstream) = gateway(
        "limits: { requests_per_day: 3 }\nmodels:\n  m: { targets: [{ provider: up, model: m-1 }], limits: { requests_per_day: 2 } }\n  \
         n: { targets: [{ provider: up, model: m-1 }] }",
    )
    .await;
    assert_eq!(ask(&gateway, KEY, "m").await.status, 200);
    assert_eq!(ask(&gateway, ADMIN_KEY, "m").await.status, 200);
    let refused = ask(&gateway, KEY, "m").await;
    assert_eq!(refused.status, 429);
    let words = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(words.starts_with("the model `m` is limited to 2 requests per day; 2 are used"), "{words}");
    // In the last hour of the day it is soon enough to wait for.
    assert!(words.contains("it starts anew at 20") || words.contains("try again in "), "{words}");
    assert_eq!(ask(&gateway, KEY, "n").await.status, 200);
    let refused = ask(&gateway, ADMIN_KEY, "n").await;
    assert!(refused.text().contains("the gateway is limited to 3 requests per day"), "{}", refused.text());
    let used = |quotas: Vec<Value>| -> Vec<(Value, Value)> {
        quotas.iter().map(|one| (one["subject"].clone(), one["used"].clone())).collect()
    };
    let before = used(quotas(&gateway, KEY).await);
    assert_eq!(before, [(json!("model:m"), json!("2")), (json!("global"), json!("3"))]);
    gateway.kill();
    gateway.restart();
    assert_eq!(used(quotas(&gateway, KEY).await), before, "the ledger knows");
}

#[tokio::test]
async fn a_target_at_its_limit_is_passed_over_and_none_left_is_a_refusal() {
    let (gateway, _upstream) = gateway(
        "models:\n  m:\n    targets:\n    - { provider: up, model: m-1, limits: { requests_per_day: 1 } }\n    \
         - { provider: up, model: m-2, limits: { tokens_per_day: 300 } }",
    )
    .await;
    let mut served = Vec::new();
    for _ in 0..2 {
        let answer = ask(&gateway, KEY, "m").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        served.push(answer.header("x-tollgate-target").to_owned());
    }
    assert_eq!(served, ["up/m-1", "up/m-2"]);
    // 150 of 300 tokens are used, and a call may need some 70 more.
    assert_eq!(ask(&gateway, KEY, "m").await.header("x-tollgate-target"), "up/m-2");
    let refused = ask(&gateway, KEY, "m").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-should-retry")), (429, "true"));
    let words = refused.text();
    assert!(words.contains("the target `up/m-2` is limited to 300 tokens per day; 300 are used"), "{words}");
    let status = Caller::new(gateway.ops, KEY).get("/status").await.json();
    let shown = status["quotas"].as_array().unwrap().iter();
    let shown: Vec<_> =
        shown.map(|one| ["subject", "metric", "limit", "used"].map(|name| &one[name])).collect();
    let first = ["target:up/m-1", "requests", "1", "1"].map(|word| json!(word));
    let second = ["target:up/m-2", "tokens", "300", "300"].map(|word| json!(word));
    assert_eq!(shown, [first.each_ref(), second.each_ref()], "operators see it");
}

#[tokio::test]
async fn a_soft_limit_warns_and_refuses_nothing() {
    let (gateway, _upstream) = gateway(
        "limits_by: [{ soft: true, limits: { requests_per_day: 1 } }]\nmodels:\n  m: { targets: [{ provider: up, model: m-1 }] }",
    )
    .await;
    let mut warned = Vec::new();
    for _ in 0..3 {
        let answer = ask(&gateway, KEY, "m").await;
        assert_eq!(answer.status, 200);
        warned.push(answer.headers.contains_key("x-tollgate-warnings"));
        assert!(!answer.headers.contains_key("x-ratelimit-limit-requests"), "it limits nothing");
    }
    assert_eq!(warned, [false, true, true]);
    let last = ask(&gateway, KEY, "m").await;
    assert_eq!(last.header("x-tollgate-warnings"), "soft_limit");
    let quota = quotas(&gateway, KEY).await.remove(0);
    assert_eq!((&quota["soft"], &quota["used"], &quota["limit"]), (&json!(true), &json!("4"), &json!("1")));
    let metrics = Caller::new(gateway.ops, KEY).get("/metrics").await.text();
    assert!(
        metrics.contains("tollgate_soft_limits_passed_total{limit=\"rpm\",scope=\"global\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn every_surface_tells_how_the_tightest_limits_stand() {
    let (gateway, _upstream) = gateway(
        "limits: { requests_per_minute: 6, requests_per_day: 1000, tokens_per_day: 100k }\n\
         models:\n  m: { targets: [{ provider: up, model: m-1 }] }",
    )
    .await;
    let caller = Caller::new(gateway.addr, KEY);
    for (number, path) in ["/v1/chat/completions", "/v1/messages"].into_iter().enumerate() {
        let answer = caller.post(path, chat("m")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let left = (5 - number).to_string();
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "6");
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), left);
        assert!(answer.header("x-ratelimit-reset-requests").ends_with('s'));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), "100000");
        let tokens: i64 = answer.header("x-ratelimit-remaining-tokens").parse().unwrap();
        assert!((90_000..100_000).contains(&tokens), "{tokens}");
        if path == "/v1/messages" {
            assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), left);
            let reset: jiff::Timestamp = answer.header("anthropic-ratelimit-requests-reset").parse().unwrap();
            assert!(reset > jiff::Timestamp::now());
        } else {
            assert!(!answer.headers.contains_key("anthropic-ratelimit-requests-limit"));
        }
    }
    let mut grpc = ChatServiceClient::new(gateway.channel(KEY).await);
    let complete = || v1::CompleteRequest { input: Some(input("m")), ..Default::default() };
    let answer = grpc.complete(complete()).await.unwrap();
    assert_eq!(answer.metadata().get("x-ratelimit-remaining-requests").unwrap(), "3");
    for _ in 0..3 {
        grpc.complete(complete()).await.unwrap();
    }
    let refused = grpc.complete(complete()).await.unwrap_err();
    let metadata = |name: &str| refused.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(metadata("x-ratelimit-remaining-requests"), "0");
    assert!(metadata("grpc-retry-pushback-ms").parse::<u64>().unwrap() <= 61_000);
    let info = refused.get_details_error_info().unwrap().metadata;
    let told =
        ["subject", "metric", "window", "limit", "used", "reserved_amount"].map(|key| info[key].as_str());
    assert_eq!(told, ["global", "requests", "minute", "6", "6", "0"]);
    assert!(info.contains_key("reset_time"));
    let refused = caller.post("/v1/messages", chat("m")).await;
    assert_eq!(refused.header("anthropic-ratelimit-requests-remaining"), "0");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 60);
}

#[tokio::test]
async fn a_budget_bounds_answers_that_the_caller_does_not() {
    let (gateway, upstream) = gateway(
        "models:\n  free: { targets: [{ provider: up, model: m-1 }] }\n  \
         m: { targets: [{ provider: up, model: m-1 }], budget: { usd: 5 }, price: { input_per_million: 1, output_per_million: 2 } }",
    )
    .await;
    let caller = Caller::new(gateway.addr, KEY);
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    let bodies = [
        ("/v1/chat/completions", format!(r#"{{"model":"m",{messages}}}"#)),
        ("/v1/chat/completions", format!(r#"{{"max_completion_tokens":null,"model":"m",{messages}}}"#)),
        ("/v1/chat/completions", format!(r#"{{"model":"m",{messages},"max_completion_tokens":7}}"#)),
        ("/v1/chat/completions", format!(r#"{{"model":"free",{messages}}}"#)),
    ];
    for (path, body) in bodies {
        let answer = caller.post(path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let mut grpc = ChatServiceClient::new(gateway.channel(KEY).await);
    for model in ["m", "free"] {
        grpc.complete(v1::CompleteRequest { input: Some(input(model)), ..Default::default() }).await.unwrap();
    }
    let cap = |seen: &Seen| seen.json()["max_completion_tokens"].clone();
    let caps: Vec<_> = upstream.seen().iter().map(cap).collect();
    assert_eq!(caps, [json!(4096), json!(4096), json!(7), Value::Null, json!(4096), Value::Null]);
    let twice = |seen: &Seen| String::from_utf8_lossy(&seen.body).matches("max_completion_tokens").count();
    assert_eq!(upstream.seen().iter().map(twice).collect::<Vec<_>>(), [1, 1, 1, 0, 1, 0]);
}

#[tokio::test]
async fn a_spent_budget_has_the_status_that_is_configured_and_no_price_is_refused_if_asked_for() {
    let (gateway, _upstream) = gateway(
        "budget: { usd: 0.00001, per: total }\nbudget_status: 402\nunpriced: refuse\nmodels:\n  \
         m: { targets: [{ provider: up, model: m-1 }], price: { input_per_million: 1, output_per_million: 2 } }\n  \
         unknown: { targets: [{ provider: up, model: m-1 }] }\n  \
         both: { targets: [{ provider: up, model: m-9 }, { alias: m }] }",
    )
    .await;
    let caller = Caller::new(gateway.addr, KEY);
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let refused = caller.post(path, chat("m")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("x-should-retry")),
            (402, "false"),
            "{}",
            refused.text()
        );
        assert!(
            refused.text().contains("the gateway is limited to $0.00001 per total"),
            "{}",
            refused.text()
        );
        assert!(!refused.headers.contains_key("retry-after"));
    }
    let refused = caller.post("/v1/chat/completions", chat("unknown")).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("no price is known of the model `unknown`"), "{}", refused.text());
    assert_eq!(
        caller.post("/v1/chat/completions", chat("both")).await.status,
        402,
        "its priced target is left"
    );
}

#[tokio::test]
async fn calls_near_a_rate_wait_for_it_if_that_is_configured() {
    let (gateway, _upstream) = gateway(
        "limits: { requests_per_second: 2 }\nqueue: { max_wait: 60s, size: 5 }\n\
         models:\n  m: { targets: [{ provider: up, model: m-1 }] }",
    )
    .await;
    let began = std::time::Instant::now();
    let calls = (0..6).map(|_| ask(&gateway, KEY, "m"));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert!(began.elapsed() >= std::time::Duration::from_millis(2_000), "{:?}", began.elapsed());
    // A caller with no time is not kept waiting: the first second is full again.
    let caller = Caller::new(gateway.addr, KEY);
    let hurried = [("x-tollgate-timeout-ms", "500")];
    let mut refused = false;
    for _ in 0..20 {
        let hasty = (0..6).map(|_| caller.open("/v1/chat/completions", chat("m"), &hurried));
        let statuses: Vec<_> = futures_util::future::join_all(hasty)
            .await
            .iter()
            .map(|answer| answer.status().as_u16())
            .collect();
        assert!(statuses.iter().all(|status| [200, 429, 504].contains(status)), "{statuses:?}");
        refused |= statuses.contains(&429);
        if refused {
            break;
        }
    }
    assert!(refused, "nobody who had no time was told to come again");
}

#[tokio::test]
async fn a_watch_tells_when_a_threshold_is_passed() {
    let (gateway, _upstream) =
        gateway("limits: { requests_per_day: 4 }\nmodels:\n  m: { targets: [{ provider: up, model: m-1 }] }")
            .await;
    let mut usage = UsageServiceClient::new(gateway.channel(KEY).await);
    let wrong = v1::WatchQuotaRequest { thresholds: vec![0.5, -1.0] };
    assert_eq!(usage.watch_quota(wrong).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let mut watch = usage.watch_quota(v1::WatchQuotaRequest::default()).await.unwrap().into_inner();
    let mut told = Vec::new();
    for round in 0..60 {
        if round < 4 {
            assert_eq!(ask(&gateway, KEY, "m").await.status, 200);
        }
        let next = tokio::time::timeout(std::time::Duration::from_millis(800), watch.message());
        if let Ok(message) = next.await {
            let message = message.unwrap().unwrap();
            assert_eq!(message.quota.unwrap().subject, "global");
            told.push(message.threshold);
        }
        if told.last() == Some(&1.0) {
            break;
        }
    }
    // What was passed before it first looked is not told.
    assert!(told == [0.5, 1.0] || told == [1.0], "{told:?}");
}
