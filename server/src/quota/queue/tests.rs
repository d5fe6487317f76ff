use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use futures_util::future::{BoxFuture, Either};
use uuid::Uuid;

use super::*;
use crate::{
    call::{Limit, Period, Subject},
    config::Span,
    error::Error,
    quota::{Amounts, Decision, Standing},
};

/// Lets one call in each time that somebody has put one into it.
struct Gate {
    free: AtomicI64,
    wait: Option<Duration>,
}

impl Engine for Gate {
    fn reserve(&self, claim: Claim) -> Decision<'_> {
        let free = self.free.fetch_update(SeqCst, SeqCst, |free| (free > 0).then(|| free - 1)).is_ok();
        let Charge { rule, amount } = claim.charges[0].clone();
        let standing = Standing::new(&rule, (1, 0), None, std::time::SystemTime::now());
        let denied = Denied::Full { standing, amount, wait: self.wait };
        Either::Left(std::future::ready(if free { Ok(Vec::new()) } else { Err(denied) }))
    }

    fn settle(&self, _: Held, _: Amounts) {}

    fn standing<'a>(&'a self, _: &'a [Arc<Rule>]) -> BoxFuture<'a, Result<Vec<Standing>, Error>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

fn gate(wait_ms: u64) -> Arc<Gate> {
    Arc::new(Gate { free: AtomicI64::new(0), wait: Some(Duration::from_millis(wait_ms)) })
}

fn claim(metric: Metric, period: Period, within_ms: u64) -> Claim {
    let rule = Rule::new(Subject::Global, Limit::new(metric, period, 1));
    let deadline = now() + Duration::from_millis(within_ms);
    Claim { call: Uuid::nil(), charges: vec![Charge { rule, amount: 1 }], deadline }
}

fn queue(max_wait_ms: u64, size: u32) -> Arc<Queue> {
    let max_wait = Span(Duration::from_millis(max_wait_ms));
    Arc::new(Queue::new(&config::Queue { max_wait, size }))
}

fn call(queue: &Arc<Queue>, gate: &Arc<Gate>) -> tokio::task::JoinHandle<(bool, Duration)> {
    let (queue, gate, started) = (queue.clone(), gate.clone(), now());
    tokio::spawn(async move {
        let done = queue.reserve(&*gate, claim(Metric::Requests, Period::Minute, 60_000)).await;
        (done.is_ok(), now().duration_since(started))
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_to_come_is_the_first_to_go() {
    let (queue, gate) = (queue(10_000, 10), gate(50));
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(call(&queue, &gate));
        sleep(Duration::from_millis(1)).await;
    }
    for number in 0..3 {
        assert!(calls[number..].iter().all(|call| !call.is_finished()));
        gate.free.store(1, SeqCst);
        sleep(Duration::from_millis(200)).await;
        assert!(calls[number].is_finished(), "{number}");
    }
    assert_eq!(queue.waiting.load(SeqCst), 0);
    assert!(queue.lines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_those_who_wait() {
    let (queue, gate) = (queue(10_000, 10), gate(500));
    let first = call(&queue, &gate);
    sleep(Duration::from_millis(1)).await;
    gate.free.store(1, SeqCst);
    let second = call(&queue, &gate);
    sleep(Duration::from_millis(300)).await;
    assert!(first.is_finished() && !second.is_finished());
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_be_too_long_or_in_vain_is_refused_at_once() {
    let began = now();
    let refused = |queue: Arc<Queue>, gate: Arc<Gate>, claim| async move {
        queue.reserve(&*gate, claim).await.is_err()
    };
    let minute = |within_ms| claim(Metric::Requests, Period::Minute, within_ms);
    assert!(refused(queue(0, 10), gate(1), minute(60_000)).await, "off");
    assert!(refused(queue(1_000, 10), gate(1_500), minute(60_000)).await, "longer than the longest wait");
    assert!(refused(queue(9_000, 10), gate(1_500), minute(1_000)).await, "longer than the deadline");
    assert!(refused(queue(9_000, 10), gate(5), claim(Metric::Requests, Period::Day, 60_000)).await);
    assert!(refused(queue(9_000, 10), gate(5), claim(Metric::CostNanos, Period::Minute, 60_000)).await);
    assert!(refused(queue(9_000, 0), gate(5), minute(60_000)).await, "full");
    assert_eq!(now(), began);
}

#[tokio::test(start_paused = true)]
async fn who_waited_as_long_as_may_be_is_refused() {
    let (queue, gate) = (queue(1_000, 10), gate(50));
    let (first, second) = (call(&queue, &gate), call(&queue, &gate));
    for (admitted, waited) in [first.await.unwrap(), second.await.unwrap()] {
        assert!(!admitted && waited <= Duration::from_millis(1_000) && waited >= Duration::from_millis(900));
    }
    assert_eq!(queue.waiting.load(SeqCst), 0);
}
