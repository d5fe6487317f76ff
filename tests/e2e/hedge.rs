//! Hedging: a second target is asked beside a slow one, the first content wins, and the loser is let go and billed for
//! no more than it did.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::sleep;
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient, stream_complete_response::Event};

use crate::{
    chat,
    client_faults::settled,
    input, metrics, record, serving,
    support::{
        Gateway, KEY,
        http::Caller,
        in_time,
        lateness::Lateness,
        upstream::{Seen, Step, Upstream, chunk, completion, delta, end, finish, head},
    },
    tried,
};

const AFTER: Duration = Duration::from_millis(150);
/// What the provider sees of a cancel, at the latest.
const PROMPTLY: Duration = Duration::from_millis(100);

/// A gateway whose alias `m` goes to `a` first and asks `b` beside it.
fn gateway(a: &Upstream, b: &Upstream, hedge: &str) -> Gateway {
    Gateway::start(&format!(
        "providers:\n{}{}models:\n  m: {{ hedge: {{ {hedge} }}, \
         targets: [{{ provider: a, model: m-0 }}, {{ provider: b, model: m-1 }}] }}\n",
        a.provider("a"),
        b.provider("b")
    ))
}

/// An answer that begins with its head, and brings its content when the test says so; then with usage 7 and 1.
fn when_released(seen: &Seen) -> Vec<Step> {
    let wait = [Step::Await(1)];
    let streamed = seen.json()["stream"] == true;
    let content = if streamed {
        vec![chunk(delta("hi")), chunk(finish(7, 1)), end()]
    } else {
        vec![chunk(completion("hi", 7, 1)), end()]
    };
    [vec![head_of(seen)], wait.to_vec(), content].concat()
}

fn head_of(seen: &Seen) -> Step {
    head(200, if seen.json()["stream"] == true { "text/event-stream" } else { "application/json" })
}

/// How a caller asks.
#[derive(Clone, Copy, Debug)]
enum By {
    Rest { streamed: bool },
    Grpc { streamed: bool },
}

/// Makes a call, and returns its id.
async fn call(gateway: &Gateway, by: By) -> String {
    let mut client = match by {
        By::Rest { streamed } => {
            let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", chat(streamed)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.text().contains("hi"), "{}", answer.text());
            return answer.header("x-request-id").to_owned();
        }
        By::Grpc { .. } => ChatServiceClient::new(gateway.channel(KEY).await),
    };
    if let By::Grpc { streamed: false } = by {
        let request = v1::CompleteRequest { input: Some(input("m")), options: None };
        return client.complete(request).await.unwrap().into_inner().id;
    }
    let request = v1::StreamCompleteRequest { input: Some(input("m")), ..Default::default() };
    let mut stream = client.stream_complete(request).await.unwrap().into_inner();
    let mut id = String::new();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(Event::Start(start)) = message.event {
            id = start.id;
        }
    }
    id
}

/// Makes a call whose winner answers once both were asked, and the loser has had the time to send its head. Returns its
/// record, and how much longer than promised the loser was held.
async fn raced(by: By, second_wins: bool, with_head: bool) -> (Value, Duration) {
    let loses = move |seen: &Seen| {
        let head = Some(head_of(seen)).filter(|_| with_head);
        head.into_iter().chain([Step::Hold]).collect()
    };
    let (winner, loser) = (Upstream::start(when_released).await, Upstream::start(loses).await);
    let (a, b) = if second_wins { (&loser, &winner) } else { (&winner, &loser) };
    let gateway = gateway(a, b, &format!("after: {}ms, at_most: 100%", AFTER.as_millis()));
    let (began, lateness) = (Instant::now(), Lateness::measure());
    let (id, released) = tokio::join!(call(&gateway, by), async {
        b.asked(1).await;
        let waited = began.elapsed();
        assert!(waited >= AFTER, "the second was asked after {waited:?}");
        sleep(Duration::from_millis(50)).await;
        winner.release();
        Instant::now()
    });
    let lag = loser.hung_up(1).await[0].duration_since(released);
    assert!(lag < Duration::from_secs(60), "the loser was let go after {lag:?}");
    let won = format!("tollgate_hedges_total{{model=\"m\",won=\"{second_wins}\"}} 1");
    let metrics = metrics(&gateway).await;
    assert!(metrics.contains(&won), "{by:?}: no {won} in {metrics}");
    (record(&gateway, &id).await, lag.saturating_sub(lateness.allows(PROMPTLY, 5)))
}

/// The same; where the loser is to have begun, as often as a busy gateway has not read its head in time.
async fn raced_as_wanted(by: By, second_wins: bool, with_head: bool) -> (Value, Duration) {
    for _ in 0..10 {
        let (record, late) = raced(by, second_wins, with_head).await;
        if !with_head || record["attempts"][0]["input_tokens"].is_string() {
            return (record, late);
        }
    }
    panic!("{by:?}, second wins: {second_wins}: a loser that has begun is never billed");
}

#[tokio::test]
async fn the_first_content_wins_and_the_loser_is_let_go_and_billed_for_its_prompt_if_it_had_begun() {
    let every = [false, true].into_iter().flat_map(|streamed| [By::Rest { streamed }, By::Grpc { streamed }]);
    let mut late = Vec::new();
    for by in every {
        for (second_wins, with_head) in [(true, true), (true, false), (false, true), (false, false)] {
            let (record, lag) = raced_as_wanted(by, second_wins, with_head).await;
            late.push(lag);
            let name = format!("{by:?}, second wins: {second_wins}, head: {with_head}: {record}");
            let (served, lost) = if second_wins { ("b/m-1", "a/m-0") } else { ("a/m-0", "b/m-1") };
            // The one that served stands last.
            assert_eq!(tried(&record), [(lost, "cancelled"), (served, "ok")], "{name}");
            let hedged = |place: usize| record["attempts"][place]["hedged"].as_bool().unwrap_or(false);
            assert_eq!((hedged(0), hedged(1)), (!second_wins, second_wins), "{name}");
            assert_eq!((&record["status"], &record["target"]), (&json!("OK"), &json!(served)), "{name}");
            let number = |value: &Value| value.as_str().map(|text| text.parse::<i64>().unwrap());
            let input = number(&record["usage"]["input_tokens"]);
            let parts = [0, 1].map(|place| number(&record["attempts"][place]["input_tokens"]));
            if with_head {
                assert_eq!(parts[1], Some(7), "{name}");
                assert!(parts[0].is_some_and(|tokens| tokens > 0), "{name}");
                assert_eq!(record["attempts"][0]["estimated"], true, "{name}");
                assert_eq!(input, parts[0].map(|tokens| tokens + 7), "{name}");
                assert_eq!(record["usage"]["source"], "SOURCE_ESTIMATED", "{name}");
            } else {
                assert_eq!((parts, input), ([None, None], Some(7)), "{name}");
                assert_eq!(record["usage"]["source"], "SOURCE_PROVIDER", "{name}");
            }
            assert_eq!(record["usage"]["output_tokens"], "1", "{name}");
        }
    }
    // On a busy machine not all are let go in time, but half of them are.
    late.sort_unstable();
    assert!(late[late.len() / 2].is_zero(), "too late by {late:?}");
}

#[tokio::test]
async fn a_quick_first_target_is_never_asked_twice() {
    let (a, b) = (Upstream::start(serving).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b, "after: 60s, at_most: 100%");
    for streamed in [false, true] {
        call(&gateway, By::Rest { streamed }).await;
    }
    assert_eq!((a.seen().len(), b.seen().len()), (2, 0));
    assert!(!metrics(&gateway).await.contains("tollgate_hedges_total{"));
}

#[tokio::test]
async fn no_more_calls_are_asked_twice_than_the_share_allows() {
    let slow = |seen: &Seen| [vec![Step::Work(Duration::from_millis(60))], serving(seen)].concat();
    let (a, b) = (Upstream::start(slow).await, Upstream::start(serving).await);
    let gateway = gateway(&a, &b, "after: 5ms, at_most: 10%");
    let calls = stream::iter(0..200).map(|_| call(&gateway, By::Rest { streamed: true }));
    let ids: Vec<String> = calls.buffer_unordered(4).collect().await;
    assert_eq!(ids.len(), 200);
    let hedges = b.seen().len();
    // One in ten, and the first.
    assert!((10..=21).contains(&hedges), "{hedges} of 200");
    assert_eq!(a.seen().len(), 200);
}

/// Waits until the gateway has noticed that a target failed.
async fn seen_to_fail(gateway: &Gateway, target: &str) {
    let is_it = |one: &Value| one["target"] == target && one["last_failure"] == "unavailable";
    loop {
        let status = Caller::new(gateway.ops, "").get("/status").await.json();
        if status["targets"].as_array().unwrap().iter().any(is_it) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn whichever_of_the_two_fails_the_other_one_serves() {
    for first_fails in [true, false] {
        let fails = |_: &Seen| vec![Step::Await(1), Step::Close];
        let (failing, other) = (Upstream::start(fails).await, Upstream::start(when_released).await);
        let (a, b) = if first_fails { (&failing, &other) } else { (&other, &failing) };
        let gateway = gateway(a, b, "after: 50ms, at_most: 100%");
        let (id, ()) = tokio::join!(call(&gateway, By::Rest { streamed: true }), async {
            b.asked(1).await;
            failing.release();
            in_time("it is seen", seen_to_fail(&gateway, if first_fails { "a/m-0" } else { "b/m-1" })).await;
            other.release();
        });
        let record = record(&gateway, &id).await;
        let (lost, served) = if first_fails { ("a/m-0", "b/m-1") } else { ("b/m-1", "a/m-0") };
        assert_eq!(tried(&record), [(lost, "unavailable"), (served, "ok")], "{record}");
        assert_eq!((a.seen().len(), b.seen().len()), (1, 1));
        assert_eq!(record["usage"]["input_tokens"], "7", "who failed is not billed: {record}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_lets_both_go() {
    let hold = |_: &Seen| vec![Step::Hold];
    let (a, b) = (Upstream::start(hold).await, Upstream::start(hold).await);
    let gateway = gateway(&a, &b, "after: 20ms, at_most: 100%");
    let caller = Caller::new(gateway.addr, KEY);
    let call = tokio::spawn(async move { caller.open("/v1/chat/completions", chat(true), &[]).await });
    b.asked(1).await;
    let (left, lateness) = (Instant::now(), Lateness::measure());
    call.abort();
    for upstream in [&a, &b] {
        let lag = upstream.hung_up(1).await[0].duration_since(left);
        assert!(lag < lateness.allows(Duration::from_secs(1), 5), "{lag:?}");
    }
    let records = settled(&gateway, 1).await;
    assert_eq!(tried(&records[0]), [("a/m-0", "cancelled"), ("b/m-1", "cancelled")]);
    assert_eq!(records[0]["status"], "CANCELLED");
}
