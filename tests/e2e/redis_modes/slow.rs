//! A Redis that hangs or becomes slower and slower: after a moment calls are served as fast as without it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    shared_limits::{DEGRADED, LIMITED, WELL, chat, metric, start, until_ready, upstream},
    support::{
        Gateway,
        http::Caller,
        lateness::assert_kept,
        proxy::{Fate, Lane, Proxy},
        redis::Redis,
    },
};

const LIMITS: &str = "limits: { requests_per_minute: 1M }";

/// Makes so many calls from each of eight callers at a time, none of which fails. Returns what half of them took at most.
async fn calls(gateway: &Gateway, each: usize) -> Duration {
    let callers = (0..8).map(|_| {
        let caller = Caller::new(gateway.addr, LIMITED);
        tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..each {
                let began = Instant::now();
                let answer = caller.post("/v1/chat/completions", chat()).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                times.push(began.elapsed());
            }
            times
        })
    });
    let times = join_all(callers.collect::<Vec<_>>()).await;
    let mut times: Vec<_> = times.into_iter().flat_map(Result::unwrap).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Checks that calls are decided at once, without a word to Redis, as long as that is away.
async fn are_decided_alone(gateway: &Gateway, name: &str) {
    until_ready(gateway, DEGRADED).await;
    let [alone, exchange] =
        ["alone", "exchange"].map(|by| format!("tollgate_shared_claims_total{{by=\"{by}\"}}"));
    // Until it is found out, leases suffice.
    let leased = metric(gateway, &alone).await;
    while metric(gateway, &alone).await < leased + 0.5 {
        calls(gateway, 1).await;
    }
    let before = (metric(gateway, &alone).await, metric(gateway, &exchange).await);
    calls(gateway, 10).await;
    let after = (metric(gateway, &alone).await, metric(gateway, &exchange).await);
    assert_eq!(after, (before.0 + 80.0, before.1), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_redis_that_hangs_calls_are_decided_at_once() {
    let (redis, upstream) = (Redis::start(), upstream().await);
    let gateway = start(&redis.url(), LIMITS, "", &upstream);
    until_ready(&gateway, WELL).await;
    calls(&gateway, 100).await;
    redis.signal("-STOP");
    calls(&gateway, 10).await;
    are_decided_alone(&gateway, "hangs").await;
    redis.signal("-CONT");
    until_ready(&gateway, WELL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_calls_pile_up_behind_a_redis_that_becomes_slower_and_slower() {
    let (redis, upstream) = (Redis::start_with_port(), upstream().await);
    let proxy = Proxy::start(redis.addr, 3).await;
    let gateway = start(&format!("redis://{}", proxy.addr), LIMITS, "", &upstream);
    until_ready(&gateway, WELL).await;
    calls(&gateway, 3).await;
    // What a call takes on this machine, and less than a wait for Redis where that is far slower.
    let quick = calls(&gateway, 10).await * 2 + Duration::from_millis(100);
    let began = Instant::now();
    for latency in [1, 10, 50, 200, 1_500, 2_000] {
        let slow = Lane { latency: Duration::from_millis(latency), ..Lane::default() };
        proxy.fate(Fate { up: slow, down: Lane::default() });
        // What is connected stays as it is: its connections are made anew, as slow as that.
        proxy.die();
        proxy.revive();
        if latency >= 1_000 {
            are_decided_alone(&gateway, &format!("{latency} ms")).await;
        } else {
            // Until it is found out.
            calls(&gateway, 10).await;
        }
        assert_kept(quick, 3, &[gateway.pid()], async || calls(&gateway, 3).await).await;
    }
    // It is tried again each second, not for each call.
    let allowed = 90 + 4 * usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(proxy.accepted() < allowed, "{} connections", proxy.accepted());
    proxy.fate(Fate::default());
    proxy.die();
    proxy.revive();
    until_ready(&gateway, WELL).await;
}
