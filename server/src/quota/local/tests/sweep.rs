//! An engine that drops counters as soon as it may answers as one that never does.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Reserve { rules: Vec<usize>, amount: i64 },
    Settle { which: usize, used: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let rules = proptest::sample::subsequence((0..6).collect::<Vec<usize>>(), 1..4);
    let pass = prop_oneof![0..3_u64, 0..10_000_u64, 70_000..100_000_u64];
    prop_oneof![
        3 => pass.prop_map(Step::Pass),
        6 => (rules, 1..40_i64).prop_map(|(rules, amount)| Step::Reserve { rules, amount }),
        5 => (any::<usize>(), 0..50_i64).prop_map(|(which, used)| Step::Settle { which, used }),
    ]
}

fn limits() -> Vec<Arc<Rule>> {
    vec![
        rule(Metric::Tokens, Period::Day, 100),
        rule(Metric::CostNanos, Period::Total, 400),
        rule(Metric::Tokens, Period::Second, 50),
        rule(Metric::Tokens, Period::Minute, 60),
        rule(Metric::Tokens, Period::Hour, 80),
        rule(Metric::Concurrent, Period::Total, 3),
    ]
}

/// An engine and the ledger behind it.
struct House {
    local: Local,
    /// What calls used, of which counter, and when they were made.
    ledger: Vec<(Arc<str>, SystemTime, i64)>,
    now: SystemTime,
    sweeps: bool,
}

impl House {
    fn new(sweeps: bool) -> Self {
        let local = Local::new(Arc::new(Used(0)), Calendar::utc());
        Self { local, ledger: Vec::new(), now: at(0), sweeps }
    }

    /// Makes the counters that are not there, of what the ledger says.
    fn learn(&self, rules: &[Arc<Rule>]) {
        for rule in rules {
            let of = |at| Calendar::utc().span(rule.limit.period, at);
            let counts = |(counter, at, _): &&(Arc<str>, SystemTime, i64)| {
                *counter == rule.counter && of(*at) == of(self.now)
            };
            let used = self.ledger.iter().filter(counts).map(|(.., used)| used).sum();
            let used = if rule.limit.period.is_calendar() { used } else { 0 };
            let new = || Window::new(&rule.limit, used, &Calendar::utc(), self.now);
            self.local.counters().add(&rule.counter, new, |_| false);
        }
    }

    fn note(&self, rules: &[Arc<Rule>]) -> String {
        self.learn(rules);
        let mut counters = self.local.counters();
        let stands = rules.iter().map(|rule| {
            let standing = counters.get_mut(&rule.counter).unwrap().standing(rule, self.now);
            format!("{} {} ", standing.used, standing.reserved)
        });
        stands.collect()
    }

    fn sweep(&self) {
        if self.sweeps {
            self.local.counters().sweep(usize::MAX, |window| window.is_over(self.now, Duration::ZERO));
        }
    }
}

fn answers(steps: &[Step], sweeps: bool) -> Vec<String> {
    let (mut house, limits) = (House::new(sweeps), limits());
    let (mut running, mut notes): (Vec<(Held, SystemTime)>, _) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Pass(seconds) => house.now += Duration::from_secs(*seconds),
            Step::Reserve { rules, amount } => {
                let rules: Vec<_> = rules.iter().map(|index| limits[*index].clone()).collect();
                house.learn(&rules);
                match house.local.taken(&rules, tokens(*amount, 0), house.now) {
                    Ok(held) => running.push((held, house.now)),
                    Err(Denied::Full { standing, wait, .. }) => {
                        notes.push(format!("{} {wait:?}", standing.rule.counter));
                    }
                    Err(denied) => notes.push(format!("{denied:?}")),
                }
            }
            Step::Settle { which, used } if !running.is_empty() => {
                let (held, began) = running.swap_remove(which % running.len());
                let entries = held.iter().map(|part| (part.rule().counter.clone(), began, *used));
                house.ledger.extend(entries);
                house.local.settle(held, tokens(*used, 0));
            }
            Step::Settle { .. } => {}
        }
        house.sweep();
        notes.push(house.note(&limits));
        house.sweep();
    }
    notes
}

proptest! {
    #[test]
    fn counters_that_are_dropped_are_not_missed(steps in proptest::collection::vec(step(), 1..80)) {
        prop_assert_eq!(answers(&steps, true), answers(&steps, false));
    }
}

#[test]
fn counters_of_what_is_over_are_dropped_while_others_call() {
    let (busy, idle) = ([rule(Metric::Requests, Period::Minute, 1_000)], limits());
    let local = engine(&busy);
    let house = House { local, ..House::new(false) };
    house.learn(&idle);
    let running = house.local.taken(&idle, tokens(20, 0), at(0)).unwrap();
    let call = |seconds| {
        for _ in 0..10 {
            house.local.settle(house.local.taken(&busy, tokens(1, 0), at(seconds)).unwrap(), tokens(1, 0));
        }
        house.local.counters().len() - busy.len()
    };
    assert_eq!(call(3_599), idle.len(), "who calls now and then does not ask the ledger each time");
    assert_eq!(call(3_800), 3, "a day, a total, and a place");
    house.local.settle(running, tokens(20, 0));
    assert_eq!(call(3_801), 2);
    assert_eq!(call(100_000), 1, "the total");
}
