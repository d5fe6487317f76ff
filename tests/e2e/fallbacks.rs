//! Other aliases take a call over: after failures, after refusals that another try would not change, and only where the
//! key may use them. What was done is counted.

use tollgate_api::v1::{self, chat_service_client::ChatServiceClient};

use crate::{
    chat, input, metrics, record, refusing, serving,
    support::{
        Gateway, KEY,
        http::Caller,
        upstream::{Upstream, whole},
    },
    tried,
};

/// A key that may use two of the aliases only.
const NARROW: &str = "tg_testnarrow001_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

const MODELS: &str = "models:
  m:
    targets: [{ provider: a, model: m-0 }]
    retry: { backoff: 1ms, max_backoff: 50ms }
    fallbacks: [second]
    fallbacks_on: { context_length: [long], content_policy: [lenient] }
  second: { targets: [{ provider: b, model: m-1 }], fallbacks: [third] }
  third: { targets: [{ provider: b, model: m-4 }] }
  long: { targets: [{ provider: b, model: m-2 }] }
  lenient: { targets: [{ provider: b, model: m-3 }] }
  \"ft-*\": { targets: [{ provider: a, model: \"x-*\" }], fallbacks: [\"spare-*\"] }
  \"spare-*\": { targets: [{ provider: b, model: \"y-*\" }] }
";

/// A gateway whose alias `m` goes to `a`, and on to aliases at `b`.
fn gateway(a: &Upstream, b: &Upstream) -> Gateway {
    let narrow = format!("- {{ name: narrow, key: {NARROW}, models: [m, third] }}\n");
    let calm = "breaker: { failures: 1000, min_calls: 1000 }\n";
    Gateway::start(&format!("{narrow}{calm}providers:\n{}{}{MODELS}", a.provider("a"), b.provider("b")))
}

fn ask(model: &str) -> String {
    chat(true).replace("\"m\"", &format!("\"{model}\""))
}

#[tokio::test]
async fn each_refusal_goes_on_where_it_is_told_to() {
    for (status, code, served, outcome) in [
        (503, "x", "b/m-1", "unavailable"),
        (401, "invalid_api_key", "b/m-1", "denied"),
        (404, "model_not_found", "b/m-1", "invalid"),
        (400, "context_length_exceeded", "b/m-2", "context_length"),
        (400, "content_policy_violation", "b/m-3", "content_policy"),
    ] {
        let (a, b) = (Upstream::start(refusing(status, code)).await, Upstream::start(serving).await);
        let gateway = gateway(&a, &b);
        let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", ask("m")).await;
        assert_eq!(answer.status, 200, "{code}: {}", answer.text());
        assert_eq!(
            (answer.header("x-tollgate-target"), answer.header("x-tollgate-attempts")),
            (served, "2"),
            "{code}"
        );
        let rest = record(&gateway, answer.header("x-request-id")).await;
        let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
        let request = v1::CompleteRequest { input: Some(input("m")), options: None };
        let grpc = client.complete(request).await.unwrap().into_inner();
        let grpc = record(&gateway, &grpc.id).await;
        for record in [&rest, &grpc] {
            assert_eq!(tried(record), [("a/m-0", outcome), (served, "ok")], "{code}: {record}");
            assert_eq!(
                (&record["status"], &record["requested_model"]),
                (&"OK".into(), &"m".into()),
                "{record}"
            );
        }
        let counted = format!("tollgate_fallbacks_total{{model=\"m\",reason=\"{outcome}\"}} 2");
        let metrics = metrics(&gateway).await;
        assert!(metrics.contains(&counted), "no {counted} in {metrics}");
        assert!(!metrics.contains("tollgate_retries_total{"), "{code}: nothing was asked twice");
        assert_eq!((a.seen().len(), b.seen().len()), (2, 2), "{code}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_request_goes_nowhere() {
    let (a, b) = (Upstream::start(refusing(400, "weird")).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b);
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", ask("m")).await;
    assert_eq!((answer.status.as_u16(), b.seen().len()), (400, 0), "{}", answer.text());
}

#[tokio::test]
async fn a_fallbacks_own_fallback_comes_last_and_then_repeats_are_counted_as_such() {
    let (a, b) = (Upstream::start(refusing(503, "x")).await, Upstream::start(refusing(500, "x")).await);
    let gateway = gateway(&a, &b);
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", ask("m")).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let record = record(&gateway, answer.header("x-request-id")).await;
    let unavailable = |target| (target, "unavailable");
    assert_eq!(tried(&record), ["a/m-0", "b/m-1", "b/m-4"].map(unavailable), "{record}");
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", ask("third")).await;
    assert_eq!(answer.header("x-tollgate-attempts"), "3", "{}", answer.text());
    let metrics = metrics(&gateway).await;
    for counted in [
        "tollgate_fallbacks_total{model=\"m\",reason=\"unavailable\"} 2",
        "tollgate_retries_total{target=\"b/m-4\",reason=\"unavailable\"} 2",
    ] {
        assert!(metrics.contains(counted), "no {counted} in {metrics}");
    }
}

#[tokio::test]
async fn a_key_falls_back_to_models_it_may_use_and_to_no_others() {
    let (a, b) = (Upstream::start(refusing(503, "x")).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b);
    let narrow = Caller::new(gateway.addr, NARROW);
    let answer = narrow.post("/v1/chat/completions", ask("m")).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(b.seen().len(), 0, "`second` is not its model, nor what comes behind it");
    let with = async |hints| {
        let headers = [("x-tollgate-route", hints)];
        narrow.try_post("/v1/chat/completions", ask("m"), &headers).await.unwrap()
    };
    let allowed = with("fallback=third").await;
    assert_eq!((allowed.status.as_u16(), allowed.header("x-tollgate-target")), (200, "b/m-4"));
    let refused = with("fallback=third|second").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-tollgate-reason")), (403, "MODEL_NOT_ALLOWED"));
    let unwanted = Caller::new(gateway.addr, KEY)
        .try_post("/v1/chat/completions", ask("m"), &[("x-tollgate-route", "no-fallback")])
        .await
        .unwrap();
    assert_eq!((unwanted.status.as_u16(), b.seen().len()), (502, 1), "{}", unwanted.text());
}

#[tokio::test]
async fn a_pattern_falls_back_with_what_its_star_matched() {
    let (a, b) = (Upstream::start(refusing(503, "x")).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b);
    let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", ask("ft-large")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = record(&gateway, answer.header("x-request-id")).await;
    assert_eq!(tried(&record), [("a/x-large", "unavailable"), ("b/y-large", "ok")], "{record}");
    assert_eq!((a.seen()[0].model(), b.seen()[0].model()), ("x-large".to_owned(), "y-large".to_owned()));
}

#[tokio::test]
async fn the_state_of_a_breaker_is_a_metric() {
    let (a, b) =
        (Upstream::start(|_| whole(500, "application/json", "{}")).await, Upstream::start(serving).await);
    let gateway = Gateway::start(&format!(
        "breaker: {{ failures: 2, open: 60s }}\nproviders:\n{}{}{MODELS}",
        a.provider("a"),
        b.provider("b")
    ));
    let caller = Caller::new(gateway.addr, KEY);
    for (calls, state) in [(1, "0"), (2, "2"), (3, "2")] {
        assert_eq!(caller.post("/v1/chat/completions", ask("m")).await.status, 200);
        let metrics = metrics(&gateway).await;
        let line = |target, state| format!("tollgate_circuit_state{{target=\"{target}\"}} {state}");
        assert!(metrics.contains(&line("a/m-0", state)), "after {calls}: {metrics}");
        assert!(metrics.contains(&line("b/m-1", "0")), "after {calls}: {metrics}");
    }
    assert_eq!(a.seen().len(), 2);
    let counted = "tollgate_fallbacks_total{model=\"m\",reason=\"unhealthy\"} 1";
    assert!(metrics(&gateway).await.contains(counted), "who was passed over counts as well");
}
