//! A call that carries a `request_id` is made once by all replicas that share a Redis, as long as that is there.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    chat, gateway_with,
    once::{CHAT, answer, counting, post},
    support::{
        KEY, PATIENCE,
        http::{Answer, Caller},
        proxy::{Fate, Lane, Proxy},
        redis::Redis,
        upstream::{Step, Upstream},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_with_a_redis_make_a_call_once_and_without_it_each_goes_on_by_itself() {
    let mut redis = Redis::start();
    let upstream = Upstream::start(|seen| {
        let slow = seen.json()["user"] == "slow";
        let mut steps = answer(seen, "shared");
        if slow {
            steps.insert(0, Step::Await(1));
        }
        steps
    })
    .await;
    let replica = || gateway_with(&upstream, &format!("shared: \"{}\"\n", redis.url()));
    let gateways = [replica(), replica()];
    let [one, two] = [&gateways[0], &gateways[1]].map(|gateway| Caller::new(gateway.addr, KEY));
    together(&one, &two).await;
    make_once([&one, &two], &upstream).await;

    redis.kill();
    for caller in [&one, &two] {
        for expected in ["bypass", "coalesced"] {
            assert_eq!(post(caller, "alone", chat(false)).await.header("x-tollgate-cache"), expected);
        }
    }
    redis.restart();
}

/// Makes calls at both replicas until the upstream saw one of them once. On a machine that is busy with other things Redis
/// may seem away, and each replica goes on by itself.
pub(crate) async fn make_once(replicas: [&Caller; 2], upstream: &Upstream) {
    let mut tries = (0..10).map(|number| format!("both-{number}"));
    while !made_once(replicas, upstream, &tries.next().expect("one call in ten tries")).await {}
}

/// Makes the same call ten times at once, at both replicas, and tells whether the upstream saw it once.
async fn made_once(replicas: [&Caller; 2], upstream: &Upstream, id: &str) -> bool {
    let before = upstream.seen().len();
    let slow = chat(false).replace("\"stream\"", "\"user\":\"slow\",\"stream\"");
    let calls: Vec<_> = (0..10_usize)
        .map(|number| {
            let (caller, id, slow) = (replicas[number % 2].clone(), id.to_owned(), slow.clone());
            tokio::spawn(async move { post(&caller, &id, slow).await })
        })
        .collect();
    upstream.asked(before + 1).await;
    let other = post(replicas[1], id, chat(false)).await;
    upstream.release();
    let answers: Vec<Answer> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let same = answers.iter().all(|answer| answer.body == answers[0].body);
    upstream.seen().len() == before + 1 && same && other.status == 422
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_leaves_its_ids_to_the_others() {
    let redis = Redis::start();
    let upstream = Upstream::start(|seen| {
        let mut steps = answer(seen, "done");
        if seen.json()["user"] == "slow" {
            steps.insert(0, Step::Await(1));
        }
        steps
    })
    .await;
    let shared = format!("shared: \"{}\"\n", redis.url());
    let (mut one, two) = (gateway_with(&upstream, &shared), gateway_with(&upstream, &shared));
    let (at_one, at_two) = (Caller::new(one.addr, KEY), Caller::new(two.addr, KEY));
    together(&at_one, &at_two).await;
    let before = upstream.seen().len();
    let slow = chat(false).replace("\"stream\"", "\"user\":\"slow\",\"stream\"");
    let first = tokio::spawn({
        let (caller, slow) = (at_one.clone(), slow.clone());
        async move { caller.try_post(CHAT, slow, &[("idempotency-key", "left")]).await }
    });
    upstream.asked(before + 1).await;
    one.kill();
    assert!(first.await.unwrap().is_none());
    upstream.release();
    // The mark of the dead one goes by itself after some seconds; until then its call is waited for.
    let again = post(&at_two, "left", slow).await;
    assert_eq!(
        (again.status.as_u16(), again.header("x-tollgate-cache")),
        (200, "bypass"),
        "{}",
        again.text()
    );
    assert_eq!(upstream.seen().len(), before + 2);
}

/// As long as a call waits for a Redis that does not answer.
const WAIT: Duration = Duration::from_millis(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_up_one_call_and_not_for_long() {
    let redis = Redis::start();
    let upstream = counting().await;
    let gateway = gateway_with(&upstream, &format!("shared: \"{}\"\n", redis.url()));
    let caller = Caller::new(gateway.addr, KEY);
    together(&caller, &caller).await;
    redis.signal("-STOP");
    // If each asked and waited, none would be quicker than that; a busy machine makes some slow, not all.
    let mut waits = Vec::new();
    for number in 0..60 {
        let began = Instant::now();
        assert_eq!(post(&caller, &format!("hung-{number}"), chat(false)).await.status, 200);
        waits.push(began.elapsed());
    }
    redis.signal("-CONT");
    let quick = waits.iter().filter(|wait| **wait < WAIT).count();
    assert!(quick >= 10, "{quick} of {} calls did not wait: {waits:?}", waits.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_redis_that_is_late_once_is_waited_for() {
    let redis = Redis::start_with_port();
    let upstream = counting().await;
    let other = gateway_with(&upstream, &format!("shared: \"{}\"\n", redis.url()));
    let proxy = Proxy::start(redis.addr, 1).await;
    // Later than an answer may be, earlier than a hiccup may last.
    let slow = Lane { latency: Duration::from_millis(40), ..Lane::default() };
    proxy.fate(Fate { up: slow, down: Lane::default() });
    let mut id = (0..).map(|number| format!("late-{number}"));
    // The second answer in a row that is late is one too many, so that each replica has one chance.
    for _ in 0..10 {
        let late = gateway_with(&upstream, &format!("shared: \"redis://{}\"\n", proxy.addr));
        let [late, other] = [&late, &other].map(|gateway| Caller::new(gateway.addr, KEY));
        // It connects beside its first calls.
        for id in id.by_ref().take(100) {
            post(&late, &id, chat(false)).await;
            if post(&other, &id, chat(false)).await.header("x-tollgate-cache") == "coalesced" {
                return;
            }
        }
    }
    panic!("the other replica never hears of a call whose claim was late");
}

/// Waits until what is answered at one is known at the other: both connect beside their first calls.
pub(crate) async fn together(one: &Caller, other: &Caller) {
    let patience = Instant::now() + PATIENCE;
    for number in 0.. {
        assert!(Instant::now() < patience, "they never hear of each other");
        let id = format!("warm-{number}");
        let first = post(one, &id, chat(false)).await;
        let again = post(other, &id, chat(false)).await;
        if again.header("x-tollgate-cache") == "coalesced" {
            assert_eq!(first.body, again.body);
            return;
        }
    }
}
