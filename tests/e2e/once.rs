//! A call that carries a `request_id` is served and charged once: on every surface, after a restart, at every replica.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tollgate_api::v1::{
    self, chat_service_client::ChatServiceClient, embed_service_client::EmbedServiceClient,
};
use tonic_types::StatusExt as _;

use crate::{
    chat, gateway, gateway_with, input, record, records,
    support::{
        ADMIN_KEY, Gateway, KEY,
        http::{Answer, Caller},
        upstream::{Seen, Step, Upstream, chunk, completion, delta, end, finish, stream_head, whole},
    },
};

pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A gateway whose alias `m` has a price: 1 USD for a million input tokens, 2 for a million of output.
fn priced(upstream: &Upstream) -> Gateway {
    Gateway::start(&price(upstream))
}

fn price(upstream: &Upstream) -> String {
    format!(
        "providers:\n{}models:\n  m:\n    targets: [{{ provider: up, model: m-1 }}]\n    \
         price: {{ input_per_million: 1, output_per_million: 2 }}\n",
        upstream.provider("up")
    )
}

/// An upstream whose every answer is another.
pub(crate) async fn counting() -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::start(move |seen| {
        let text = format!("answer {}", asked.fetch_add(1, Ordering::Relaxed));
        answer(seen, &text)
    })
    .await
}

pub(crate) fn answer(seen: &Seen, text: &str) -> Vec<Step> {
    if seen.json()["stream"] == true {
        return vec![stream_head(), chunk(delta(text)), chunk(finish(7, 2)), end()];
    }
    whole(200, "application/json", completion(text, 7, 2))
}

pub(crate) async fn post(caller: &Caller, id: &str, body: impl Into<String>) -> Answer {
    caller.try_post(CHAT, body.into(), &[("idempotency-key", id)]).await.expect("a whole answer")
}

fn code(answer: &Answer) -> Value {
    answer.json()["error"]["code"].clone()
}

#[tokio::test]
async fn a_repeat_gets_the_same_answer_for_nothing() {
    let upstream = counting().await;
    let gateway = priced(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    for streamed in [false, true] {
        let id = format!("id-{streamed}");
        let first = post(&caller, &id, chat(streamed)).await;
        let again = post(&caller, &id, chat(streamed)).await;
        assert!(first.status == 200 && again.status == 200, "{}", again.text());
        assert_eq!(first.body, again.body, "to the byte");
        assert_eq!(first.header("content-type"), again.header("content-type"));
        assert_eq!(
            (first.header("x-tollgate-cache"), again.header("x-tollgate-cache")),
            ("bypass", "coalesced")
        );
        assert_ne!(first.header("x-request-id"), again.header("x-request-id"), "each has its record");
        assert_eq!(again.header("x-tollgate-original-request-id"), first.header("x-request-id"));
        assert_eq!(again.header("x-tollgate-target"), "up/m-1");
        if !streamed {
            assert_eq!(
                (first.header("x-tollgate-cost-usd"), again.header("x-tollgate-cost-usd")),
                ("0.000011", "0")
            );
        }
        let record = record(&gateway, again.header("x-request-id")).await;
        assert_eq!(record["cache_status"], "CACHE_STATUS_COALESCED", "{record}");
        assert_eq!((&record["status"], &record["provider"]), (&json!("OK"), &json!("")), "{record}");
        let usage = &record["usage"];
        assert_eq!(
            (&usage["source"], &usage["output_tokens"]),
            (&json!("SOURCE_CACHE"), &json!("2")),
            "{record}"
        );
        let cost = (&usage["cost"]["amount_nanos"], &usage["cost"]["saved_nanos"]);
        assert_eq!(cost, (&json!("0"), &json!("11000")), "{record}");
        assert_eq!(record["attempts"], json!([]), "{record}");
    }
    assert_eq!(upstream.seen().len(), 2, "one call each");
    assert_eq!(records(&gateway).await.len(), 4, "a record each");
    // Another key's id, the same id of another operation, and no id at all are calls of their own.
    let admin = Caller::new(gateway.addr, ADMIN_KEY);
    assert_ne!(post(&admin, "id-false", chat(false)).await.header("x-tollgate-cache"), "coalesced");
    assert_eq!(caller.post(CHAT, chat(false)).await.header("x-tollgate-cache"), "bypass");
    assert_eq!(upstream.seen().len(), 4);
}

#[tokio::test]
async fn another_request_under_the_id_is_refused() {
    let upstream = counting().await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    post(&caller, "id-1", chat(false)).await;
    for other in [chat(false).replace("hello", "hullo"), chat(true)] {
        let refused = post(&caller, "id-1", other).await;
        assert_eq!((refused.status.as_u16(), code(&refused)), (422, json!("request_id_reused")));
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_of_a_running_call_wait_and_those_of_a_running_stream_are_told_to_come_again() {
    let upstream = Upstream::start(|seen| {
        let mut steps = answer(seen, "slow");
        let at = usize::from(seen.json()["stream"] == true) * 2;
        steps.insert(at, Step::Await(1));
        steps
    })
    .await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move { post(&caller, "whole", chat(false)).await })
        })
        .collect();
    let stream = caller.open(CHAT, chat(true), &[("idempotency-key", "streamed")]).await;
    let refused = post(&caller, "streamed", chat(true)).await;
    assert_eq!((refused.status.as_u16(), code(&refused)), (409, json!("request_in_progress")));
    assert!(!refused.header("retry-after").is_empty() && refused.header("x-should-retry") == "true");
    // A repeat waits no longer than its own deadline.
    let headers = [("idempotency-key", "whole"), ("x-tollgate-timeout-ms", "50")];
    let late = caller.try_post(CHAT, chat(false), &headers).await.unwrap();
    assert_eq!((late.status.as_u16(), code(&late)), (504, json!("caller_deadline_exceeded")));
    upstream.release();
    let answers: Vec<Answer> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    let repeats = answers.iter().filter(|answer| answer.header("x-tollgate-cache") == "coalesced").count();
    assert_eq!(repeats, 19);
    let streamed = stream.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(post(&caller, "streamed", chat(true)).await.body, streamed);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn what_failed_or_was_given_up_may_be_tried_again() {
    let upstream = Upstream::start(|seen| match seen.json()["user"].as_str() {
        Some("refused") => {
            whole(400, "application/json", r#"{"error":{"message":"no","type":"t","code":"c"}}"#)
        }
        Some("held") => vec![Step::Hold],
        Some("cut") => vec![stream_head(), chunk(delta("half")), Step::Close],
        _ => answer(seen, "at last"),
    })
    .await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let of = |user: &str, streamed| {
        chat(streamed).replace("\"stream\"", &format!("\"user\":\"{user}\",\"stream\""))
    };
    assert_eq!(post(&caller, "id", of("refused", false)).await.status, 400);
    let headers = [("idempotency-key", "id"), ("x-tollgate-timeout-ms", "100")];
    assert_eq!(caller.try_post(CHAT, of("held", false), &headers).await.unwrap().status, 504);
    let before = upstream.seen().len();
    let cut = post(&caller, "id", of("cut", true)).await;
    assert!(cut.text().contains("error") && !cut.text().contains("[DONE]"), "{}", cut.text());
    assert!(post(&caller, "id", chat(false)).await.text().contains("at last"));
    assert_eq!(post(&caller, "id", chat(false)).await.header("x-tollgate-cache"), "coalesced");
    assert_eq!(upstream.seen().len(), before + 2);
}

#[tokio::test]
async fn an_answer_that_was_seen_outlives_kill_9() {
    let upstream = counting().await;
    let mut gateway = priced(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let mut seen = Vec::new();
    for number in 0..20 {
        let (id, streamed) = (format!("id-{number}"), number % 2 == 0);
        let answer = post(&caller, &id, chat(streamed)).await;
        seen.push((id, streamed, answer));
    }
    // Not a moment later.
    gateway.kill();
    gateway.restart();
    let caller = Caller::new(gateway.addr, KEY);
    for (id, streamed, first) in &seen {
        let again = post(&caller, id, chat(*streamed)).await;
        assert_eq!((again.header("x-tollgate-cache"), &again.body), ("coalesced", &first.body), "{id}");
    }
    let other = post(&caller, "id-0", chat(false)).await;
    assert_eq!(other.status, 422, "the request is remembered too");
    assert_eq!(upstream.seen().len(), 20);
    let sums = caller.get("/v1/usage?bucket=none").await.json();
    assert_eq!(sums["rows"][0]["usage"]["cost"]["amount_nanos"], "220000", "charged once: {sums}");
}

#[tokio::test]
async fn a_crash_before_an_answer_is_kept_makes_the_repeat_a_new_call() {
    for (step, calls, cache) in [("keep:before", 2, "bypass"), ("keep:after", 1, "coalesced")] {
        let upstream = counting().await;
        let mut gateway = Gateway::start_with_env(&price(&upstream), &[("TOLLGATE_FAILPOINT", step)]);
        let headers = [("idempotency-key", "id")];
        let first = Caller::new(gateway.addr, KEY).try_post(CHAT, chat(false), &headers).await;
        assert!(first.is_none() && gateway.wait().is_none(), "it was to die at {step}");
        gateway.restart();
        let again = post(&Caller::new(gateway.addr, KEY), "id", chat(false)).await;
        assert_eq!((again.status.as_u16(), again.header("x-tollgate-cache")), (200, cache), "{step}");
        assert_eq!(upstream.seen().len(), calls, "{step}");
        let records = records(&gateway).await;
        assert!(records.len() == 2 && records.iter().all(|record| record["status"] == "OK"), "{records:?}");
    }
}

#[tokio::test]
async fn an_answer_goes_when_its_time_is_over_or_it_is_too_large() {
    let upstream = counting().await;
    let gateway = gateway_with(&upstream, "idempotency: { keep: 300ms, max_answer_bytes: 4KiB }\n");
    let caller = Caller::new(gateway.addr, KEY);
    let first = post(&caller, "id", chat(false)).await;
    // Until it is another answer; the test's own time limit is the only patience.
    while post(&caller, "id", chat(false)).await.body == first.body {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let large = Upstream::start(|seen| answer(seen, &"x".repeat(5_000))).await;
    let gateway = gateway_with(&large, "idempotency: { max_answer_bytes: 4KiB }\n");
    let caller = Caller::new(gateway.addr, KEY);
    for _ in 0..2 {
        assert_eq!(post(&caller, "id", chat(false)).await.header("x-tollgate-cache"), "bypass");
    }
    let off = gateway_with(&upstream, "idempotency: { keep: 0s }\n");
    let caller = Caller::new(off.addr, KEY);
    for _ in 0..2 {
        assert_eq!(post(&caller, "id", chat(false)).await.header("x-tollgate-cache"), "bypass");
    }
    assert!(!off.data_dir().join("data/once.db").exists(), "nothing is written");
}

#[tokio::test]
async fn grpc_calls_are_made_once_too_whatever_the_order_of_their_maps() {
    let upstream = counting().await;
    let gateway = priced(&upstream);
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let request = |id: &str| {
        let mut input = input("m");
        input.metadata = (0..10).map(|number| (format!("k{number}"), "v".to_owned())).collect();
        let options = v1::CallOptions { request_id: id.to_owned(), ..Default::default() };
        v1::CompleteRequest { input: Some(input), options: Some(options) }
    };
    let first = client.complete(request("id")).await.unwrap().into_inner();
    let again = client.complete(request("id")).await.unwrap();
    assert_eq!(again.metadata().get("x-tollgate-cache").unwrap(), "coalesced");
    let again = again.into_inner();
    assert_eq!((&again.id, &again.choices), (&first.id, &first.choices));
    let route = again.route.unwrap();
    assert_eq!((route.cache_status(), route.target.as_str()), (v1::CacheStatus::Coalesced, "up/m-1"));
    assert!(route.attempts.is_empty());
    let cost = |usage: Option<v1::Usage>| usage.unwrap().cost.unwrap();
    let (paid, saved) = (cost(first.usage), cost(again.usage));
    assert_eq!((paid.amount_nanos, saved.amount_nanos, saved.saved_nanos), (11_000, 0, 11_000));

    let mut other = request("id");
    other.input.as_mut().unwrap().max_output_tokens = Some(5);
    let refused = client.complete(other).await.unwrap_err();
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "ERROR_REASON_REQUEST_ID_REUSED");

    let stream = || v1::StreamCompleteRequest {
        input: Some(input("m")),
        options: Some(v1::CallOptions { request_id: "s".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut stream = client.stream_complete(stream()).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(message) = stream.message().await.unwrap() {
            if let Some(v1::stream_complete_response::Event::Text(delta)) = message.event {
                events.push(delta.text);
            }
        }
        texts.push(events.concat());
    }
    assert_eq!(texts[0], texts[1]);
    assert_eq!(upstream.seen().len(), 2);
    let embedding = EmbedServiceClient::new(gateway.channel(KEY).await)
        .embed(v1::EmbedRequest {
            options: Some(v1::CallOptions { request_id: "id".to_owned(), ..Default::default() }),
            ..Default::default()
        })
        .await;
    assert_eq!(embedding.unwrap_err().code(), tonic::Code::InvalidArgument, "it is checked first");
}
