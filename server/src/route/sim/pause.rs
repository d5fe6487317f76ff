//! Many calls to the only target, which serves so many in each span of time and then asks for a pause until the next.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, pending};
use tokio::time::{sleep, sleep_until};
use tollgate_api::v1;
use uuid::Uuid;

use super::{
    fake::{answer, failed},
    follow,
};
use crate::{
    call::{Call, Deadline, now},
    config,
    load::Gates,
    provider::{Answer, Error, Kind, Outgoing, Provider},
    route::{Policy, Way, lot::Lot, testing},
};

/// The span, and what is served in each.
const SPAN: Duration = Duration::from_secs(3);
const SERVES: usize = 40;
/// Calls, which all come within the first span.
const CALLS: u64 = 70;

/// A provider with a quota.
#[derive(Debug)]
struct Limiter {
    start: Instant,
    /// When it was asked, and whether it served.
    asked: Mutex<Vec<(Instant, bool)>>,
}

impl Limiter {
    /// Returns how long to wait if the quota of this span is used up.
    fn ask(&self) -> Option<Duration> {
        let (at, mut asked) = (now(), self.asked.lock().unwrap());
        let span = |at: Instant| (at - self.start).as_secs() / SPAN.as_secs();
        let served = asked.iter().filter(|(then, served)| *served && span(*then) == span(at)).count();
        asked.push((at, served < SERVES));
        let next = self.start + SPAN * (u32::try_from(span(at)).unwrap() + 1);
        (served >= SERVES).then(|| next - at)
    }
}

impl Provider for Limiter {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let wait = self.ask();
            sleep(Duration::from_millis(if wait.is_some() { 2 } else { 20 })).await;
            match wait {
                None => Ok(answer(false)),
                retry_after => Err(Error { retry_after, ..failed(Kind::RateLimited { retry_after }, 429) }),
            }
        })
    }

    fn embed<'a>(&'a self, _: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(pending())
    }
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let (lot, start) = (Lot::seeded(seed), now());
        let limiter = Arc::new(Limiter { start, asked: Mutex::default() });
        let plan = testing::plan(vec![testing::candidate("a", limiter.clone())], Policy::default());
        let gates = Arc::new(Gates::new((&config::Load::default()).into()));
        let health = testing::way(plan.clone()).health;
        let mut calls = Vec::new();
        for number in 0..CALLS {
            let deadline = Deadline { at: start + Duration::from_secs(30), by_caller: true };
            let (gates, health) = (gates.clone(), health.clone());
            let way = Way { deadline, gates, health, ..testing::way(plan.clone()) };
            let begin = start + lot.up_to(SPAN - Duration::from_millis(100));
            calls.push(tokio::spawn(async move {
                sleep_until(begin.into()).await;
                let mut call = Call::for_test("m");
                call.id = Uuid::from_u64_pair(seed, number);
                let done = follow(Arc::new(way), &mut call).await;
                (call, done)
            }));
        }
        for call in calls {
            let (call, done) = call.await.unwrap();
            assert!(done.is_ok(), "{call:#?} {done:?}");
        }
        let asked = limiter.asked.lock().unwrap();
        let refused: Vec<Instant> = asked.iter().filter(|(_, served)| !served).map(|(at, _)| *at).collect();
        // Those who were on their way when the first was refused, and no others: nobody is asked in a pause.
        let first = refused[0];
        assert!(
            refused.iter().all(|at| *at <= first + Duration::from_millis(2)),
            "{refused:?} after {start:?}"
        );
        let next = start + SPAN;
        let in_time = |from: Instant, to: u64| {
            asked.iter().filter(|(at, _)| *at >= from && *at < from + Duration::from_millis(to)).count()
        };
        // The one that finds out, and those who were refused before and ask again; then two for each answer.
        assert!(in_time(next, 10) <= 1 + refused.len(), "{asked:?}");
        assert!(in_time(next, 40) <= 3 + 3 * refused.len(), "{asked:?}");
    });
}

#[test]
fn calls_that_come_in_a_pause_are_all_served_after_it_and_no_herd_comes_at_its_end() {
    (0..300).for_each(run);
}
