//! The engine against a real Redis, and beside the local engine, whose answers it must give.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use proptest::prelude::*;
use secrecy::SecretString;

use super::*;
use crate::{
    call::{Limit, Metric, Period, Subject},
    quota::Local,
    redis_server::Redis,
};

/// What the ledger says of every calendar window.
struct Ledger(i64);

impl History for Ledger {
    fn used<'a>(&'a self, _: &'a Rule, _: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(std::future::ready(Ok(self.0)))
    }
}

fn replica(redis: &Redis, ledger: &str, used: i64) -> Replicated {
    // On a busy machine the breaker must not open for no fault of Redis.
    impatient(redis, ledger, used, Duration::from_secs(20))
}

fn impatient(redis: &Redis, ledger: &str, used: i64, patience: Duration) -> Replicated {
    let shared = Arc::new(Shared::new(&SecretString::from(redis.url())).unwrap());
    Replicated::start(shared, Arc::new(Ledger(used)), Calendar::utc(), ledger, patience).unwrap()
}

fn rule(metric: Metric, period: Period, amount: i64) -> Arc<Rule> {
    Rule::new(Subject::Key("k".into()), Limit::new(metric, period, amount))
}

fn tokens(input: i64, output: i64) -> Amounts {
    Amounts { input_tokens: input, output_tokens: output, cost_nanos: input + output }
}

async fn reserve(engine: &dyn Engine, rules: &[Arc<Rule>], most: Amounts) -> Result<Held, Denied> {
    let charge = |rule: &Arc<Rule>| Charge { rule: rule.clone(), amount: most.of(rule.limit.metric) };
    let charges = rules.iter().map(charge).collect();
    engine.reserve(Claim { call: Uuid::now_v7(), charges, deadline: Instant::now() }).await
}

/// Asks how the first limit stands until it is so. The test's own time limit is the only patience.
async fn until(engine: &dyn Engine, rules: &[Arc<Rule>], holds: impl Fn(i64, i64) -> bool) {
    loop {
        let standing = engine.standing(rules).await.unwrap();
        if holds(standing[0].used, standing[0].reserved) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until a replica is so.
async fn until_state(replica: &Replicated, holds: impl Fn(&State<Waiter>) -> bool) {
    while !holds(&replica.core.state()) {
        tokio::task::yield_now().await;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Reserve { rules: Vec<usize>, input: i64, output: i64 },
    Settle { which: usize, input: i64, output: i64 },
    Standing,
}

fn step() -> impl Strategy<Value = Step> {
    let rules = proptest::sample::subsequence((0..7).collect::<Vec<usize>>(), 1..5);
    prop_oneof![
        6 => (rules, 0_i64..30, 0_i64..30).prop_map(|(rules, input, output)| Step::Reserve { rules, input, output }),
        4 => (0_usize..20, 0_i64..40, 0_i64..40).prop_map(|(which, input, output)| Step::Settle { which, input, output }),
        1 => Just(Step::Standing),
    ]
}

/// Limits that are reached within a few steps.
fn limits() -> Vec<Arc<Rule>> {
    let soft = Limit { soft: true, ..Limit::new(Metric::Tokens, Period::Day, 50) };
    vec![
        rule(Metric::Requests, Period::Minute, 8),
        rule(Metric::Requests, Period::Month, 12),
        rule(Metric::Tokens, Period::Hour, 300),
        rule(Metric::InputTokens, Period::Day, 150),
        rule(Metric::CostNanos, Period::Total, 400),
        rule(Metric::Concurrent, Period::Total, 5),
        Rule::new(Subject::Global, soft),
    ]
}

/// Does the steps and notes every answer, without the times.
async fn answers(engine: &dyn Engine, steps: &[Step]) -> Vec<String> {
    let (limits, mut held, mut notes) = (limits(), Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Reserve { rules, input, output } => {
                let rules: Vec<_> = rules.iter().map(|index| limits[*index].clone()).collect();
                notes.push(match reserve(engine, &rules, tokens(*input, *output)).await {
                    Ok(parts) => {
                        let used: Vec<_> =
                            parts.iter().map(|part| (part.amount, part.standing.taken())).collect();
                        held.push(parts);
                        format!("held {used:?}")
                    }
                    Err(Denied::Full { standing, amount, .. } | Denied::Away { standing, amount, .. }) => {
                        let Standing { rule, used, reserved, .. } = standing;
                        format!("full {}: {amount} {used} {reserved}", rule.counter)
                    }
                    Err(Denied::Unknown(error)) => format!("unknown {error}"),
                });
            }
            Step::Settle { which, input, output } if !held.is_empty() => {
                let index = which % held.len();
                engine.settle(held.swap_remove(index), tokens(*input, *output));
            }
            Step::Settle { .. } => {}
            Step::Standing => {
                let standing = engine.standing(&limits).await.unwrap();
                let told = standing.iter().map(|one| (one.used, one.reserved)).collect::<Vec<_>>();
                notes.push(format!("stands {told:?}"));
            }
        }
    }
    notes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_replica_with_redis_answers_as_the_local_engine_does(
        steps in proptest::collection::vec(step(), 1..60), used in 0_i64..100,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let redis = Redis::start();
        let (local, shared) = runtime.block_on(async {
            let local = Local::new(Arc::new(Ledger(used)), Calendar::utc());
            (answers(&local, &steps).await, answers(&replica(&redis, "l", used), &steps).await)
        });
        prop_assert_eq!(local, shared);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_hold_over_replicas_while_calls_end_in_every_way_and_nothing_stays_reserved() {
    let redis = Redis::start();
    let rules = Arc::new([
        rule(Metric::CostNanos, Period::Month, 20_000),
        rule(Metric::Tokens, Period::Hour, 90_000),
    ]);
    let replicas: Vec<_> = ["a", "b", "c"].iter().map(|name| Arc::new(replica(&redis, name, 0))).collect();
    let spent = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let calls = (0..600_i64).map(|n| {
        let engine = replicas[usize::try_from(n).unwrap() % 3].clone();
        let (rules, spent) = (rules.clone(), spent.clone());
        tokio::spawn(async move {
            let Ok(held) = reserve(&*engine, &*rules, tokens(50 + n % 7, 50)).await else { return false };
            tokio::task::yield_now().await;
            // Some use all, some little, some nothing.
            let used = if n % 5 == 0 { Amounts::default() } else { tokens(50, n % 50) };
            spent.fetch_add(used.cost_nanos, std::sync::atomic::Ordering::SeqCst);
            engine.settle(held, used);
            true
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let spent = spent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(spent <= 20_000, "{spent}");
    for engine in &replicas {
        until(&**engine, &*rules, |used, reserved| (used, reserved) == (spent, 0)).await;
    }
    // All that is left can be had by one of them, although the others may still hold some of it free.
    let rest = 20_000 - spent;
    let held = reserve(&*replicas[0], &rules[..1], tokens(rest, 0)).await;
    assert!(held.is_ok(), "{rest} of 20000 are left: {held:?}");
    assert!(reserve(&*replicas[1], &rules[..1], tokens(1, 0)).await.is_err());
}

#[tokio::test]
async fn calls_far_from_a_limit_need_no_exchange_of_their_own() {
    let redis = Redis::start();
    let replica = replica(&redis, "l", 0);
    let rules =
        [rule(Metric::Requests, Period::Minute, 1_000_000), rule(Metric::CostNanos, Period::Month, 1 << 40)];
    // The first calls learn and ask; their lease grows with what is used.
    let began = Instant::now();
    for _ in 0..2_000 {
        replica.settle(reserve(&replica, &rules, tokens(10, 10)).await.unwrap(), tokens(10, 5));
    }
    let exchanges = *replica.core.answered.borrow();
    // One every 100 ms tells what was used; the rest is what the lease took to grow.
    let told = u64::try_from(began.elapsed().as_millis() / 100).unwrap();
    assert!(exchanges <= 20 + 2 * told, "{exchanges} exchanges in {told} tenths of a second");
}

#[tokio::test]
async fn what_redis_forgets_is_told_anew_by_all() {
    let redis = Redis::start();
    let replicas = [replica(&redis, "a", 100), replica(&redis, "b", 30)];
    let rules = [rule(Metric::CostNanos, Period::Total, 1_000)];
    let per_minute = [rule(Metric::Requests, Period::Minute, 10)];
    let mut running = Vec::new();
    for replica in &replicas {
        running.push(reserve(replica, &rules, tokens(300, 0)).await.unwrap());
        replica.settle(reserve(replica, &rules, tokens(50, 0)).await.unwrap(), tokens(20, 0));
        for _ in 0..4 {
            replica.settle(reserve(replica, &per_minute, tokens(1, 0)).await.unwrap(), tokens(1, 0));
        }
    }
    for replica in &replicas {
        until(replica, &rules, |used, reserved| (used, reserved) == (170, 600)).await;
        until(replica, &per_minute, |used, _| used == 8).await;
    }
    redis.flush();
    assert!(reserve(&replicas[0], &rules, tokens(231, 0)).await.is_err(), "230 are left");
    let third = replica(&redis, "c", 0);
    assert!(reserve(&third, &rules, tokens(231, 0)).await.is_err(), "whoever comes now is told too");
    for _ in 0..2 {
        third.settle(reserve(&third, &per_minute, tokens(1, 0)).await.unwrap(), tokens(1, 0));
    }
    assert!(reserve(&replicas[1], &per_minute, tokens(1, 0)).await.is_err(), "ten in this minute");
    replicas[0].settle(running.remove(0), tokens(10, 0));
    until(&third, &rules, |used, reserved| (used, reserved) == (180, 300)).await;
}

#[tokio::test]
async fn a_ledger_is_counted_once_however_often_its_replica_starts() {
    let redis = Redis::start();
    let rules = [rule(Metric::CostNanos, Period::Day, 1_000)];
    let first = replica(&redis, "a", 100);
    first.settle(reserve(&first, &rules, tokens(50, 0)).await.unwrap(), tokens(40, 0));
    first.leave().await;
    drop(first);
    // Its ledger has the call by now, and one more that was not told before a crash.
    let again = replica(&redis, "a", 100 + 40 + 7);
    until(&again, &rules, |used, reserved| (used, reserved) == (147, 0)).await;
    let other = replica(&redis, "b", 3);
    until(&other, &rules, |used, reserved| (used, reserved) == (150, 0)).await;
}

#[tokio::test]
async fn without_redis_rates_are_shared_out_and_budgets_end_with_what_is_held() {
    let redis = Redis::start();
    let (one, other) = (impatient(&redis, "a", 0, Duration::from_millis(500)), replica(&redis, "b", 0));
    let rate = [rule(Metric::Requests, Period::Minute, 10)];
    let budget = [rule(Metric::CostNanos, Period::Month, 100_000)];
    for replica in [&one, &other] {
        for rules in [&rate, &budget] {
            replica.settle(reserve(replica, rules, tokens(500, 0)).await.unwrap(), tokens(500, 0));
        }
    }
    until(&one, &budget, |used, _| used == 1_000).await;
    let held = one.core.state().held_free(&budget[0]);
    redis.signal("-STOP");
    let mut admitted = 0;
    let refused = loop {
        match reserve(&one, &rate, tokens(1, 0)).await {
            Ok(held) => one.settle(held, tokens(1, 0)),
            Err(denied) => break denied,
        }
        admitted += 1;
    };
    assert!((4..=5).contains(&admitted), "half of ten, and one is used: {admitted}");
    assert!(matches!(refused, Denied::Away { wait: Some(_), .. }), "{refused:?}");
    let mut spent = 0;
    let refused = loop {
        match reserve(&one, &budget, tokens(100, 0)).await {
            Ok(held) => one.settle(held, tokens(100, 0)),
            Err(denied) => break denied,
        }
        spent += 100;
    };
    assert!(spent <= held, "{spent} of {held}");
    assert!(matches!(refused, Denied::Away { .. }), "{refused:?}");
    redis.signal("-CONT");
    until_state(&one, |state| !state.is_away()).await;
    until(&other, &budget, |used, reserved| (used, reserved) == (1_000 + spent, 0)).await;
    assert!(reserve(&one, &budget, tokens(90_000, 0)).await.is_ok());
}

#[tokio::test]
async fn a_call_that_hangs_up_while_it_waits_gives_back_what_it_is_granted() {
    let redis = Redis::start();
    let replica = replica(&redis, "a", 0);
    let rules = [rule(Metric::Concurrent, Period::Total, 1)];
    for _ in 0..20 {
        let mut waits = Box::pin(reserve(&replica, &rules, tokens(0, 0)));
        // On a busy machine Redis may have answered already.
        if let std::task::Poll::Ready(held) = futures_util::poll!(&mut waits) {
            replica.settle(held.unwrap(), Amounts::default());
        }
        drop(waits);
        until(&replica, &rules, |used, _| used == 0).await;
        replica.leave().await;
    }
    assert!(reserve(&replica, &rules, tokens(0, 0)).await.is_ok());
}

/// A ledger that replicas share, which may be away, and the own one of this replica.
struct Away(AtomicBool);

impl History for Away {
    fn used<'a>(&'a self, _: &'a Rule, _: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
        let away = self.0.load(Relaxed).then(stopped);
        Box::pin(std::future::ready(away.map_or(Ok(90), Err)))
    }

    fn used_here<'a>(&'a self, _: &'a Rule, _: SystemTime) -> Option<BoxFuture<'a, Result<i64, Error>>> {
        Some(Box::pin(std::future::ready(Ok(10))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_could_not_tell_at_first_is_told_to_all_when_it_is_back() {
    let redis = Redis::start();
    let shared = Arc::new(Shared::new(&SecretString::from(redis.url())).unwrap());
    let history = Arc::new(Away(AtomicBool::new(true)));
    let engine =
        Replicated::start(shared, history.clone(), Calendar::utc(), "pg", Duration::from_secs(20)).unwrap();
    let rules = [rule(Metric::Tokens, Period::Total, 100)];
    until(&engine, &rules, |used, _| used == 10).await;
    history.0.store(false, Relaxed);
    until(&engine, &rules, |used, _| used == 90).await;
    let other = replica(&redis, "pg", 0);
    until(&other, &rules, |used, _| used == 90).await;
}
