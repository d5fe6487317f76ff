//! Places at targets: calls go on to another when one is full, wait when none has room, and never come too late.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};
use tollgate_api::admin::{GetStatusRequest, TargetStatus, config_service_client::ConfigServiceClient};

use crate::{
    records,
    support::{
        ADMIN_KEY, Gateway, KEY, PATIENCE,
        http::Caller,
        in_time,
        lateness::Lateness,
        upstream::{Seen, Step, Upstream, completion, whole},
    },
};

const PATH: &str = "/v1/chat/completions";

fn chat(text: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}],"max_tokens":5}}"#)
}

fn served() -> Vec<Step> {
    whole(200, "application/json", completion("hi", 1, 1))
}

/// Answers once it was released.
fn held(_: &Seen) -> Vec<Step> {
    [Step::Await(1)].into_iter().chain(served()).collect()
}

fn gateway(load: &str, upstreams: &[(&Upstream, &str)]) -> Gateway {
    let (mut providers, mut targets) = (String::new(), String::new());
    for ((upstream, more), name) in upstreams.iter().zip(["a", "b"]) {
        providers += &upstream.provider(name);
        targets += &format!("{{ provider: {name}, model: m-1{more} }}, ");
    }
    Gateway::start(&format!(
        "load: {{ max_lag: 0s, {load} }}\nproviders:\n{providers}models:\n  m: {{ targets: [{targets}] }}\n"
    ))
}

async fn status(gateway: &Gateway, target: &str) -> TargetStatus {
    let mut client = ConfigServiceClient::new(gateway.channel(ADMIN_KEY).await);
    let all = client.get_status(GetStatusRequest::default()).await.unwrap().into_inner().targets;
    all.into_iter().find(|status| status.target == target).expect("a target of the configuration")
}

async fn metrics(gateway: &Gateway) -> String {
    Caller::new(gateway.ops, "").get("/metrics").await.text()
}

fn depth(metrics: &str, target: &str) -> usize {
    let name = format!("tollgate_queue_depth{{target=\"{target}\"}} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(&name));
    found.map_or(0, |depth| depth.parse().unwrap())
}

async fn until_waiting(gateway: &Gateway, target: &str, count: usize) {
    let waits = async {
        while depth(&metrics(gateway).await, target) != count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("calls that wait", waits).await;
}

fn ask(gateway: &Gateway, calls: &mut JoinSet<(u16, Value)>) {
    let caller = Caller::new(gateway.addr, KEY);
    calls.spawn(async move {
        let answer = caller.post(PATH, chat("hi")).await;
        (answer.status.as_u16(), answer.json())
    });
}

#[tokio::test]
async fn what_a_full_target_has_no_room_for_goes_to_the_next_and_nobody_waits() {
    let (a, b) = (Upstream::start(held).await, Upstream::start(held).await);
    let gateway = gateway("queue: 10", &[(&a, ", concurrent: 2"), (&b, "")]);
    let mut calls = JoinSet::new();
    (0..6).for_each(|_| ask(&gateway, &mut calls));
    assert_eq!((a.asked(2).await.len(), b.asked(4).await.len()), (2, 4));
    let (first, second) = (status(&gateway, "a/m-1").await, status(&gateway, "b/m-1").await);
    assert_eq!((first.running_count, first.running_limit, first.waiting_count), (2, 2, 0));
    assert_eq!((second.running_count, second.running_limit, second.waiting_count), (4, 0, 0));
    a.release();
    b.release();
    while let Some(done) = calls.join_next().await {
        assert_eq!(done.unwrap().0, 200);
    }
    let all = records(&gateway).await;
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|record| record["queue_duration"].is_null()), "{all:?}");
}

#[tokio::test]
async fn calls_wait_at_the_only_target_and_those_it_is_too_much_for_are_told_which_it_is() {
    let upstream = Upstream::start(held).await;
    let gateway = gateway("queue: 1, max_wait: 600s", &[(&upstream, ", concurrent: 1")]);
    let mut served = JoinSet::new();
    ask(&gateway, &mut served);
    upstream.asked(1).await;
    ask(&gateway, &mut served);
    until_waiting(&gateway, "a/m-1", 1).await;
    let full = status(&gateway, "a/m-1").await;
    assert_eq!((full.running_count, full.running_limit, full.waiting_count), (1, 1, 1));
    let refused = Caller::new(gateway.addr, KEY).post(PATH, chat("hi")).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-tollgate-reason")), (503, "GATEWAY_OVERLOADED"));
    assert!(refused.text().contains("a/m-1"), "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    upstream.release();
    while let Some(done) = served.join_next().await {
        assert_eq!(done.unwrap().0, 200);
    }
    assert_eq!(upstream.seen().len(), 2);
    let text = metrics(&gateway).await;
    assert_eq!(depth(&text, "a/m-1"), 0);
    assert!(text.contains("tollgate_queue_wait_seconds_count{target=\"a/m-1\"} 1"), "{text}");
    let all = records(&gateway).await;
    let waited = |record: &&Value| record["status"] == "OK" && !record["queue_duration"].is_null();
    assert_eq!((all.len(), all.iter().filter(waited).count()), (3, 1), "{all:?}");
}

/// Seconds as a record tells them.
fn seconds(span: &Value) -> f64 {
    span.as_str().map_or(0.0, |text| text.trim_end_matches('s').parse().unwrap())
}

/// Calls that an upstream needs ten times as long for as they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_reaches_a_slow_upstream_after_its_deadline_and_the_queue_stays_bounded() {
    const DEADLINE: Duration = Duration::from_millis(300);
    const QUEUE: usize = 20;
    for (load, target, queue) in [("concurrent: 4, ", "", "_gateway"), ("", ", concurrent: 4", "a/m-1")] {
        let began = Instant::now();
        let latest = Arc::new(AtomicU64::new(0));
        let seen = latest.clone();
        let upstream = Upstream::start(move |asked| {
            let sent = asked.json()["messages"][0]["content"].as_str().unwrap().parse().unwrap();
            seen.fetch_max(
                began.elapsed().saturating_sub(Duration::from_millis(sent)).as_millis() as u64,
                Relaxed,
            );
            [Step::Work(10 * DEADLINE)].into_iter().chain(served()).collect()
        })
        .await;
        let gateway = gateway(&format!("{load}queue: {QUEUE}, max_wait: 30s"), &[(&upstream, target)]);
        let lateness = Lateness::measure();
        let (mut calls, mut ticks, mut deepest) = (JoinSet::new(), interval(Duration::from_millis(10)), 0);
        for made in 0..200 {
            ticks.tick().await;
            let caller = Caller::new(gateway.addr, KEY);
            calls.spawn(async move {
                let (text, wait) =
                    (began.elapsed().as_millis().to_string(), DEADLINE.as_millis().to_string());
                let answer = caller.try_post(PATH, chat(&text), &[("x-tollgate-timeout-ms", &wait)]).await;
                answer.expect("an answer").status.as_u16()
            });
            if made % 20 == 0 {
                deepest = deepest.max(depth(&metrics(&gateway).await, queue));
            }
        }
        let statuses = calls.join_all().await;
        assert!(statuses.iter().all(|status| [503, 504].contains(status)), "{statuses:?}");
        assert!((1..=QUEUE).contains(&deepest), "{deepest} wait");
        let all = records(&gateway).await;
        assert_eq!(all.len(), statuses.len());
        let tried = || all.iter().filter(|record| record["attempts"] != json!([]));
        // A deadline may pass after the attempt was written down and before it was sent.
        let (tried_count, sent) = (tried().count(), upstream.seen().len());
        assert!((4..=tried_count).contains(&sent), "{sent} of {tried_count}");
        // By the gateway's clock none; by ours, which runs while a busy machine lets them wait elsewhere, hardly.
        let late = tried().find(|record| seconds(&record["queue_duration"]) >= DEADLINE.as_secs_f64());
        assert!(late.is_none(), "{late:?}");
        let allowed = lateness.allows(3 * DEADLINE, 5);
        assert!(Duration::from_millis(latest.load(Relaxed)) < allowed, "{latest:?} ms of {allowed:?}");
    }
}

/// An upstream that serves so many at a time, each for so long, and refuses the others.
async fn serving_only(most: usize, work: Duration) -> Upstream {
    let running = Mutex::new(VecDeque::new());
    Upstream::start(move |_| {
        let (now, mut running) = (Instant::now(), running.lock().unwrap());
        while running.front().is_some_and(|until| *until <= now) {
            running.pop_front();
        }
        if running.len() >= most {
            let refusal = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\n{}";
            return vec![Step::Send(refusal.into())];
        }
        running.push_back(now + work);
        [Step::Work(work)].into_iter().chain(served()).collect()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upstream_bears_is_found_out_by_its_refusals() {
    const BEARS: usize = 10;
    // Calls that are served until it has found out, and those that are looked at then.
    const FINDS_OUT: usize = 150;
    const MEASURED: usize = 250;
    let upstream = serving_only(BEARS, Duration::from_millis(100)).await;
    let gateway = gateway("queue: 100, max_wait: 60s", &[(&upstream, "")]);
    let found_out = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..4 * BEARS {
        let (caller, found_out) = (Caller::new(gateway.addr, KEY), found_out.clone());
        callers.spawn(async move {
            let (mut served, mut all) = (0, 0);
            loop {
                let before = found_out.load(Relaxed);
                if before >= FINDS_OUT + MEASURED {
                    return (served, all);
                }
                let answer = caller.post(PATH, chat("hi")).await;
                found_out.fetch_add(usize::from(answer.status == 200), Relaxed);
                served += usize::from(before >= FINDS_OUT && answer.status == 200);
                all += usize::from(before >= FINDS_OUT);
            }
        });
    }
    let (mut limits, patience) = (Vec::new(), Instant::now() + PATIENCE);
    while found_out.load(Relaxed) < FINDS_OUT + MEASURED {
        assert!(Instant::now() < patience, "{found_out:?} served");
        sleep(Duration::from_millis(100)).await;
        if found_out.load(Relaxed) >= FINDS_OUT {
            limits.push(status(&gateway, "a/m-1").await.running_limit);
        }
    }
    let (served, all) = in_time("the last answers", callers.join_all())
        .await
        .into_iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    limits.sort_unstable();
    let typical = limits[limits.len() / 2];
    eprintln!("{served} of {all} served, limits {limits:?}, {} upstream calls", upstream.seen().len());
    assert!(served * 100 >= all * 80, "{served} of {all}");
    assert!((5..=14).contains(&typical), "{limits:?}");
}
