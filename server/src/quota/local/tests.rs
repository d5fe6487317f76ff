mod model;
mod sweep;

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::*;
use crate::call::{Adjusted, Limit, Metric, Period, Subject};

/// What the ledger says of every calendar window.
struct Used(i64);

impl History for Used {
    fn used<'a>(&'a self, _: &'a Rule, _: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(std::future::ready(Ok(self.0)))
    }
}

fn rule(metric: Metric, period: Period, amount: i64) -> Arc<Rule> {
    Rule::new(Subject::Key("k".into()), Limit::new(metric, period, amount))
}

fn charges(rules: &[Arc<Rule>], most: Amounts) -> Vec<Charge> {
    let charge = |rule: &Arc<Rule>| Charge { rule: rule.clone(), amount: most.of(rule.limit.metric) };
    rules.iter().map(charge).collect()
}

fn claim(rules: &[Arc<Rule>], most: Amounts) -> Claim {
    Claim { call: Uuid::nil(), charges: charges(rules, most), deadline: Instant::now() }
}

fn tokens(input: i64, output: i64) -> Amounts {
    Amounts { input_tokens: input, output_tokens: output, cost_nanos: input + output }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// An engine that knows these rules since `at(0)`.
fn engine(rules: &[Arc<Rule>]) -> Local {
    let local = Local::new(Arc::new(Used(0)), Calendar::utc());
    for rule in rules {
        let new = || Window::new(&rule.limit, 0, &Calendar::utc(), at(0));
        local.counters().add(&rule.counter, new, |_| false);
    }
    local
}

impl Local {
    /// Takes from counters that are there.
    fn taken(&self, rules: &[Arc<Rule>], most: Amounts, now: SystemTime) -> Result<Held, Denied> {
        self.take(&charges(rules, most), now).unwrap_or_else(|Missing| panic!("a counter is missing"))
    }
}

#[test]
fn a_minute_admits_n_in_any_60_seconds() {
    let rules = [rule(Metric::Requests, Period::Minute, 3)];
    let local = engine(&rules);
    for second in [0, 30, 59] {
        let held = local.taken(&rules, tokens(1, 1), at(second)).unwrap();
        local.settle(held, tokens(1, 1));
    }
    let Err(Denied::Full { wait, .. }) = local.taken(&rules, tokens(1, 1), at(59)) else { panic!() };
    assert!(wait.unwrap() <= Duration::from_secs(3), "the first leaves the window at 60 s: {wait:?}");
    local.taken(&rules, tokens(1, 1), at(62)).unwrap();
    assert!(local.taken(&rules, tokens(1, 1), at(62)).is_err(), "the one at 30 still counts");
}

#[test]
fn what_was_not_used_is_given_back_and_concurrency_is_released() {
    let rules = [rule(Metric::Tokens, Period::Minute, 100), rule(Metric::Concurrent, Period::Total, 1)];
    let local = engine(&rules);
    let first = local.taken(&rules, tokens(10, 80), at(0)).unwrap();
    assert!(local.taken(&rules, tokens(1, 1), at(0)).is_err(), "one at a time");
    local.settle(first, tokens(10, 5));
    let second = local.taken(&rules, tokens(10, 75), at(1)).unwrap();
    local.settle(second, Amounts::default());
    let used: Vec<_> =
        rules.iter().map(|rule| local.counters().get_mut(&rule.counter).unwrap().used(at(1))).collect();
    assert_eq!(used, [15, 0]);
}

#[test]
fn a_refused_call_takes_nothing_from_any_limit() {
    let rules = [rule(Metric::Requests, Period::Day, 10), rule(Metric::CostNanos, Period::Month, 5)];
    let local = engine(&rules);
    assert!(local.taken(&rules, tokens(3, 3), at(0)).is_err());
    assert_eq!(local.counters().get_mut(&rules[0].counter).unwrap().used(at(0)), 0);
}

#[test]
fn a_soft_limit_counts_and_refuses_nothing() {
    let limit = Limit { soft: true, ..Limit::new(Metric::Requests, Period::Day, 1) };
    let rules = [Rule::new(Subject::Global, limit)];
    let local = engine(&rules);
    for _ in 0..3 {
        local.taken(&rules, tokens(1, 1), at(0)).unwrap();
    }
    assert_eq!(local.counters().get_mut(&rules[0].counter).unwrap().used(at(0)), 3);
}

#[tokio::test]
async fn a_budget_starts_with_what_the_ledger_says() {
    let rules = [rule(Metric::CostNanos, Period::Total, 100)];
    let local = Local::new(Arc::new(Used(90)), Calendar::utc());
    assert!(local.reserve(claim(&rules, tokens(6, 5))).await.is_err());
    let held = local.reserve(claim(&rules, tokens(5, 5))).await.unwrap();
    let standing = local.standing(&rules).await.unwrap();
    assert_eq!((standing[0].used, standing[0].reserved), (90, 10));
    local.settle(held, tokens(1, 1));
    let standing = local.standing(&rules).await.unwrap();
    assert_eq!((standing[0].used, standing[0].reserved), (92, 0));
}

#[test]
fn another_amount_of_the_same_limit_forgets_nothing() {
    let before = [rule(Metric::CostNanos, Period::Day, 100)];
    let local = engine(&before);
    let running = local.taken(&before, tokens(40, 40), at(0)).unwrap();
    let after = [rule(Metric::CostNanos, Period::Day, 90)];
    assert!(local.taken(&after, tokens(6, 5), at(1)).is_err(), "80 are reserved");
    local.settle(running, tokens(40, 45));
    assert_eq!(local.counters().get_mut(&after[0].counter).unwrap().used(at(1)), 85);
}

#[test]
fn parallel_calls_never_pass_a_limit() {
    let rules = [rule(Metric::Requests, Period::Minute, 100)];
    let local = engine(&rules);
    let admitted: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| (0..50).filter(|_| local.taken(&rules, tokens(1, 1), at(0)).is_ok()).count())
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(admitted, 100);
}

/// A limit of 100 tokens a day after a reset that found so much, until then.
fn after_reset(forgiven: i64, until: SystemTime) -> [Arc<Rule>; 1] {
    let limit = Limit::new(Metric::Tokens, Period::Day, 100);
    let adjusted = |_: &str| Adjusted { topped_up: 0, forgiven, until: Some(until) };
    [Rule::adjusted(Subject::Key("k".into()), limit, adjusted)]
}

#[test]
fn a_reset_shows_as_zero_used_and_leaves_the_whole_limit_until_the_window_ends() {
    let before = [rule(Metric::Tokens, Period::Day, 100)];
    let local = engine(&before);
    let settled = local.taken(&before, tokens(80, 0), at(0)).unwrap();
    local.settle(settled, tokens(80, 0));
    let running = local.taken(&before, tokens(15, 0), at(0)).unwrap();
    let stands = |rules: &[Arc<Rule>], now| {
        let standing = local.counters().get_mut(&rules[0].counter).unwrap().standing(&rules[0], now);
        (standing.used, standing.reserved, standing.limit)
    };
    let midnight = Calendar::utc().span(Period::Day, at(0)).end.unwrap();
    let reset = after_reset(80, midnight);
    assert_eq!(stands(&reset, at(1)), (0, 15, 100), "what runs stays reserved");
    assert!(local.taken(&reset, tokens(86, 0), at(1)).is_err());
    local.settle(running, tokens(10, 0));
    let Err(Denied::Full { standing, .. }) = local.taken(&reset, tokens(91, 0), at(2)) else { panic!() };
    assert_eq!((standing.used, standing.limit), (10, 100));
    let held = local.taken(&reset, tokens(90, 0), at(2)).unwrap();
    assert_eq!((held[0].standing.used, held[0].standing.taken()), (10, 100));
    // A caller who came in before midnight has the rule of the day that is over.
    let tomorrow = midnight + Duration::from_secs(1);
    assert!(local.taken(&reset, tokens(101, 0), tomorrow).is_err());
    assert!(local.taken(&reset, tokens(100, 0), tomorrow).is_ok());
}

#[tokio::test]
async fn a_reset_holds_for_what_the_ledger_says_too() {
    let end = Calendar::utc().span(Period::Day, SystemTime::now()).end.unwrap();
    for (ledger, used) in [(95, 15), (80, 0), (70, 0)] {
        let local = Local::new(Arc::new(Used(ledger)), Calendar::utc());
        let rules = after_reset(80, end + Duration::from_secs(86_400));
        let standing = local.standing(&rules).await.unwrap();
        assert_eq!((standing[0].used, standing[0].limit), (used, 100), "{ledger}");
        assert!(local.reserve(claim(&rules, tokens(101 - used, 0))).await.is_err(), "{ledger}");
        assert!(local.reserve(claim(&rules, tokens(100 - used, 0))).await.is_ok(), "{ledger}");
    }
}

/// A ledger that replicas share, which may hang, and the own one of this replica.
struct Hanging(AtomicBool);

impl History for Hanging {
    fn used<'a>(&'a self, _: &'a Rule, _: SystemTime) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(async {
            while self.0.load(Relaxed) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(90)
        })
    }

    fn used_here<'a>(&'a self, _: &'a Rule, _: SystemTime) -> Option<BoxFuture<'a, Result<i64, Error>>> {
        Some(Box::pin(std::future::ready(Ok(10))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_ledger_that_hangs_holds_up_one_call_for_a_moment_and_is_asked_again_when_it_is_back() {
    let history = Arc::new(Hanging(AtomicBool::new(true)));
    let local = Local::new(history.clone(), Calendar::utc());
    let rules = [rule(Metric::CostNanos, Period::Total, 100)];
    let others = [rule(Metric::Tokens, Period::Month, 100), rule(Metric::Requests, Period::Day, 100)];
    let began = tokio::time::Instant::now();
    let held = local.reserve(claim(&rules, tokens(3, 2))).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let known = tokio::time::Instant::now();
    local.reserve(claim(&others, tokens(3, 2))).await.unwrap();
    assert!(known.elapsed().is_zero(), "nobody else waits: {:?}", known.elapsed());
    let standing = local.standing(&rules).await.unwrap();
    assert_eq!((standing[0].used, standing[0].reserved), (10, 5), "what this replica knows");

    history.0.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let standing = local.standing(&rules).await.unwrap();
    assert_eq!((standing[0].used, standing[0].reserved), (90, 5));
    assert!(local.reserve(claim(&rules, tokens(6, 0))).await.is_err(), "others have spent it");
    local.settle(held, tokens(1, 1));
    assert_eq!(local.standing(&rules).await.unwrap()[0].used, 92);
}
