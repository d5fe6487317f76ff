//! A Redis that hangs or becomes slower and slower: after a moment calls are served as fast as without it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    shared_limits::{DEGRADED, LIMITED, WELL, chat, start, until_ready, upstream},
    support::{
        Gateway,
        http::Caller,
        proxy::{Fate, Lane, Proxy},
        redis::Redis,
    },
};

const LIMITS: &str = "limits: { requests_per_minute: 1M }";
/// On a machine that is busy with other things the slowest calls are slow without Redis too.
const BUSY: Duration = Duration::from_millis(400);

/// Makes so many calls from each of eight callers at a time, none of which fails. Returns how long they took, in order.
async fn times(gateway: &Gateway, each: usize) -> Vec<Duration> {
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
    times
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_redis_that_hangs_calls_are_as_fast_as_with_one_that_is_well() {
    let (redis, upstream) = (Redis::start(), upstream().await);
    let gateway = start(&redis.url(), LIMITS, "", &upstream);
    until_ready(&gateway, WELL).await;
    times(&gateway, 10).await;
    let well = times(&gateway, 100).await;
    redis.signal("-STOP");
    let began = Instant::now();
    let mut first = Vec::new();
    while began.elapsed() < Duration::from_secs(1) {
        first.extend(times(&gateway, 10).await);
    }
    first.sort_unstable();
    until_ready(&gateway, DEGRADED).await;
    // Some of several looks is not disturbed by what else the machine does.
    let mut hangs = Vec::new();
    for _ in 0..5 {
        hangs.push(times(&gateway, 25).await);
    }
    hangs.sort_by_key(|times| percentile(times, 99));
    for (name, times) in [("well", &well), ("first second", &first), ("hangs", &hangs[0])] {
        let [half, most, all] = [50, 99, 100].map(|percent| percentile(times, percent));
        println!("{name}: p50 {half:?}, p99 {most:?}, max {all:?} of {}", times.len());
    }
    let [before, after] = [&well, &hangs[0]].map(|times| percentile(times, 99));
    assert!(
        after < before + Duration::from_millis(20),
        "less than any wait for Redis: {before:?}, {after:?}"
    );
    assert!(percentile(&first, 100) < percentile(&well, 100) * 3 + BUSY, "one wait, and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_calls_pile_up_behind_a_redis_that_becomes_slower_and_slower() {
    let (redis, upstream) = (Redis::start_with_port(), upstream().await);
    let proxy = Proxy::start(redis.addr, 3).await;
    let gateway = start(&format!("redis://{}", proxy.addr), LIMITS, "", &upstream);
    until_ready(&gateway, WELL).await;
    times(&gateway, 10).await;
    let well = times(&gateway, 25).await;
    for latency in [1, 10, 50, 200, 1_000, 2_000] {
        let slow = Lane { latency: Duration::from_millis(latency), ..Lane::default() };
        proxy.fate(Fate { up: slow, down: Lane::default() });
        // What is connected stays as it is: its connections are made anew, as slow as that.
        proxy.die();
        proxy.revive();
        let slow = times(&gateway, 25).await;
        let [half, most, all] = [50, 99, 100].map(|percent| percentile(&slow, percent));
        println!("{latency} ms: p50 {half:?}, p99 {most:?}, max {all:?}");
        assert!(all < percentile(&well, 100) * 3 + BUSY, "{latency} ms: {slow:?}");
    }
    assert!(proxy.accepted() < 90, "{} connections", proxy.accepted());
    proxy.fate(Fate::default());
    proxy.die();
    proxy.revive();
    until_ready(&gateway, WELL).await;
}
