//! A replica that drops counters as soon as it may answers as one that never does.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Reserve { rules: Vec<usize>, amount: i64 },
    Settle { which: usize, used: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let rules = proptest::sample::subsequence((0..5).collect::<Vec<usize>>(), 1..4);
    let pass = prop_oneof![0..5_000_i64, 0..3 * HOUR_MS, 20 * HOUR_MS..30 * HOUR_MS];
    prop_oneof![
        3 => pass.prop_map(Step::Pass),
        6 => (rules, 1..40_i64).prop_map(|(rules, amount)| Step::Reserve { rules, amount }),
        5 => (any::<usize>(), 0..50_i64).prop_map(|(which, used)| Step::Settle { which, used }),
    ]
}

fn limits() -> Vec<Arc<Rule>> {
    let limit = |metric, period, amount| Rule::new(Subject::Global, Limit::new(metric, period, amount));
    vec![
        limit(Metric::Tokens, Period::Day, 100),
        limit(Metric::CostNanos, Period::Total, 400),
        limit(Metric::Tokens, Period::Minute, 60),
        limit(Metric::OutputTokens, Period::Hour, 80),
        limit(Metric::Concurrent, Period::Total, 3),
    ]
}

/// Does the steps and notes every answer.
fn answers(steps: &[Step], sweeps: bool) -> Vec<String> {
    let mut world = World { sweeps, ..World::new(1) };
    let (limits, mut running, mut notes) = (limits(), Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Pass(ms) => world.pass(*ms),
            Step::Reserve { rules, amount } => {
                let rules: Vec<_> = rules.iter().map(|index| limits[*index].clone()).collect();
                let began = world.now_ms;
                notes.push(match world.reserve(0, &rules, *amount) {
                    Ok(held) => {
                        running.push((held, began));
                        "held".to_owned()
                    }
                    Err(Denied::Full { standing, .. }) => {
                        format!("full {} {} {}", standing.rule.counter, standing.used, standing.reserved)
                    }
                    Err(denied) => format!("{denied:?}"),
                });
            }
            Step::Settle { which, used } if !running.is_empty() => {
                let (held, began): (Held, i64) = running.swap_remove(which % running.len());
                let from = world.ledger.len();
                world.settle(0, held, *used);
                // The ledger has a call by when it began.
                world.ledger[from..].iter_mut().for_each(|entry| entry.1 = began);
            }
            Step::Settle { .. } => {}
        }
        for limit in &limits {
            world.learn(0, std::slice::from_ref(limit));
            let now = world.now();
            let standing = world.replicas[0].0.standing(limit, now).unwrap();
            notes.push(format!("{} {}", standing.used, standing.reserved));
        }
    }
    notes
}

proptest! {
    #[test]
    fn counters_that_are_dropped_are_not_missed(steps in proptest::collection::vec(step(), 1..60)) {
        prop_assert_eq!(answers(&steps, true), answers(&steps, false));
    }
}

#[test]
fn counters_of_what_is_over_are_dropped_and_those_of_what_runs_are_not() {
    let mut world = World { sweeps: true, ..World::new(1) };
    let limits = limits();
    let running = world.reserve(0, &limits, 20).unwrap();
    world.pass(2 * HOUR_MS);
    assert_eq!(world.replicas[0].0.counters.len(), 3, "a day, a total, and a place");
    world.settle(0, running, 20);
    world.pass(0);
    assert_eq!(world.replicas[0].0.counters.len(), 2);
    world.pass(24 * HOUR_MS);
    assert_eq!(world.replicas[0].0.counters.len(), 1, "the total");
}
