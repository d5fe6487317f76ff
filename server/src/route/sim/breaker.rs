//! Many calls to the only target while its breaker is open, whose first token takes long.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, pending};
use tokio::time::{sleep, sleep_until};
use tollgate_api::v1;
use uuid::Uuid;

use super::{fake::answer, follow};
use crate::{
    call::{Call, Deadline, now},
    config,
    load::Gates,
    provider::{Answer, Error, Kind, Outgoing, Provider},
    route::{
        Health, Policy, Way,
        health::{Settings, TargetHealth},
        lot::Lot,
        testing,
    },
};

const FIRST_TOKEN: Duration = Duration::from_millis(300);
const CALLS: u64 = 50;

/// A provider that is well and slow, and when it was asked.
#[derive(Debug, Default)]
struct Slow(Mutex<Vec<Instant>>);

impl Provider for Slow {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            self.0.lock().unwrap().push(now());
            sleep(FIRST_TOKEN).await;
            Ok(answer(false))
        })
    }

    fn embed<'a>(&'a self, _: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(pending())
    }
}

/// Opens the breaker and returns when its pause is over.
fn open(target: &Arc<TargetHealth>) -> Instant {
    target.admit(false, now()).unwrap().failed(Kind::Unavailable, now());
    target.view(now()).retry_at.unwrap()
}

/// Has the gateway itself probe the target, for so long.
async fn probe(target: &Arc<TargetHealth>, from: Instant, during: Duration) {
    sleep_until(from.into()).await;
    let mut ticket = target.probe(now()).unwrap();
    tokio::spawn(async move {
        sleep(during).await;
        ticket.answered(now());
    });
}

fn run(seed: u64, probed: Option<Duration>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let slow = Arc::new(Slow::default());
        let plan = testing::plan(vec![testing::candidate("a", slow.clone())], Policy::default());
        let gates = Arc::new(Gates::new((&config::Load::default()).into()));
        let settings = Settings { failures: 1, ..Settings::default() };
        let health = Arc::new(Health::by_lot(settings, Lot::seeded(seed)));
        let target = health.of(&plan.candidates[0].target);
        let mut opens = open(&target);
        if let Some(during) = probed {
            probe(&target, opens, during).await;
            opens = now() + during;
        }
        let mut calls = Vec::new();
        for number in 0..CALLS {
            let deadline = Deadline { at: now() + Duration::from_secs(30), by_caller: true };
            let (gates, health) = (gates.clone(), health.clone());
            let way = Arc::new(Way { deadline, gates, health, ..testing::way(plan.clone()) });
            calls.push(tokio::spawn(async move {
                let mut call = Call::for_test("m");
                call.id = Uuid::from_u64_pair(seed, number);
                let done = follow(way, &mut call).await;
                (call, done)
            }));
        }
        for call in calls {
            let (call, done) = call.await.unwrap();
            assert!(done.is_ok() && call.attempts.len() == 1, "{call:#?} {done:?}");
        }
        let asked = slow.0.lock().unwrap();
        let first = asked[0];
        assert!(first >= opens, "nobody is asked before {opens:?}: {first:?}");
        let beside = asked.iter().filter(|at| **at < first + FIRST_TOKEN).count();
        assert_eq!(beside, 1, "one finds out: {asked:?}");
    });
}

#[test]
fn one_call_probes_a_slow_target_and_then_all_are_served() {
    for seed in 0..20 {
        run(seed, None);
        // The gateway's own probe comes first, and takes longer than anybody thought.
        run(seed, Some(Duration::from_millis(1_500)));
    }
}
