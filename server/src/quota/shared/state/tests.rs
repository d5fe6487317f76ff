//! Replicas by a clock of the test's own, with the model in place of Redis.

mod sweep;

use super::*;
use crate::{
    call::{Adjusted, Limit, Metric, Period, Subject},
    quota::shared::{
        counter::time,
        model::Model,
        wire::{Owner, Reply, Told},
    },
};

/// Noon of a day.
const NOON_MS: i64 = 1_800_014_400_000;
const HOUR_MS: i64 = 3_600_000;

/// Replicas that share a Redis, and a ledger.
struct World {
    redis: Model,
    replicas: Vec<(State<()>, Owner)>,
    now_ms: i64,
    drawn: i64,
    /// What calls used, of which counter, and when they were made.
    ledger: Vec<(Arc<str>, i64, i64)>,
    /// Whether replicas drop counters as soon as they may.
    sweeps: bool,
}

impl World {
    fn new(replicas: usize) -> Self {
        let mut world = Self {
            redis: Model::default(),
            replicas: Vec::new(),
            now_ms: 0,
            drawn: 0,
            ledger: Vec::new(),
            sweeps: false,
        };
        world.replicas = (0..replicas).map(Self::replica).collect();
        world
    }

    fn replica(number: usize) -> (State<()>, Owner) {
        let owner = Owner { id: number.to_string().into(), ledger: "l".into(), ttl_ms: 10_000 };
        let state = State::new("l".into(), Calendar::utc(), Duration::from_secs(1), time(NOON_MS));
        (state, owner)
    }

    fn now(&self) -> Duration {
        span(self.now_ms)
    }

    /// Has a replica exchange once, and returns what calls were told.
    fn exchange(&mut self, replica: usize) -> Vec<Outcome> {
        let now = self.now();
        let (state, owner) = &mut self.replicas[replica];
        let exchange = state.next(now);
        let draw = |_| {
            self.drawn += 1;
            Told { id: self.drawn, period: 0, used: 0, reserved: 0, free: 0, lease: 0, ledgers: Vec::new() }
        };
        let counters = exchange.asks.iter().map(draw).collect();
        let drawn = Reply { now_ms: NOON_MS + self.now_ms, owners: 0, counters, verdicts: Vec::new() };
        let reply = self.redis.exchange(&exchange, owner, &drawn);
        let told = state.apply(&reply, now, now);
        told.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Lets time pass, and all replicas tell what they have to tell.
    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        for _ in 0..2 {
            for replica in 0..self.replicas.len() {
                self.exchange(replica);
                let now = self.now();
                if self.sweeps {
                    self.replicas[replica].0.sweep(usize::MAX, Duration::ZERO, now);
                }
            }
            self.now_ms += 1_100;
        }
    }

    fn used(&self, rule: &Rule) -> i64 {
        let at = |ms: i64| Calendar::utc().span(rule.limit.period, time(NOON_MS + ms));
        let now = at(self.now_ms);
        let counts = |(counter, ms, _): &&(Arc<str>, i64, i64)| *counter == rule.counter && at(*ms) == now;
        self.ledger.iter().filter(counts).map(|(.., used)| used).sum()
    }

    fn learn(&mut self, replica: usize, rules: &[Arc<Rule>]) {
        for rule in rules {
            let (used, now) = (if rule.limit.period.is_calendar() { self.used(rule) } else { 0 }, self.now());
            self.replicas[replica].0.learn(rule, used, now);
        }
    }

    fn reserve(&mut self, replica: usize, rules: &[Arc<Rule>], amount: i64) -> Outcome {
        let charge = |rule: &Arc<Rule>| Charge {
            rule: rule.clone(),
            amount: if rule.limit.metric == Metric::Concurrent { 1 } else { amount },
        };
        let charges: Vec<Charge> = rules.iter().map(charge).collect();
        let now = self.now();
        loop {
            match self.replicas[replica].0.admit(&charges, now) {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => break,
                Err(Missing) => self.learn(replica, rules),
            }
        }
        self.replicas[replica].0.enqueue(charges, (), now);
        loop {
            if let Some(outcome) = self.exchange(replica).pop() {
                return outcome;
            }
            // Others give back what they hold free, or tell anew.
            (0..self.replicas.len()).filter(|other| *other != replica).for_each(|other| {
                rules.iter().for_each(|rule| self.replicas[other].0.recall(&rule.counter));
                self.exchange(other);
            });
            self.now_ms += 50;
        }
    }

    fn settle(&mut self, replica: usize, held: Held, used: i64) {
        for part in &held {
            self.ledger.push((part.rule().counter.clone(), self.now_ms, used));
        }
        let used = Amounts { input_tokens: used, output_tokens: 0, cost_nanos: used };
        self.replicas[replica].0.settle(held, used);
    }

    /// What is used and reserved of a limit, and the most, after all have told all.
    fn stands(&mut self, replica: usize, rule: &Arc<Rule>) -> (i64, i64, i64) {
        self.learn(replica, std::slice::from_ref(rule));
        self.pass(0);
        let now = self.now();
        self.replicas[replica].0.look(std::slice::from_ref(rule), now);
        self.exchange(replica);
        let standing = self.replicas[replica].0.standing(rule, now).unwrap();
        (standing.used, standing.reserved, standing.limit)
    }
}

fn limit() -> Limit {
    Limit::new(Metric::Tokens, Period::Day, 100)
}

fn plain() -> [Arc<Rule>; 1] {
    [Rule::new(Subject::Global, limit())]
}

/// The same limit after a reset that found so much, until midnight.
fn after_reset(forgiven: i64, topped_up: i64) -> [Arc<Rule>; 1] {
    let until = Some(time(NOON_MS + 12 * HOUR_MS));
    [Rule::adjusted(Subject::Global, limit(), |_| Adjusted { topped_up, forgiven, until })]
}

#[test]
fn a_reset_shows_as_zero_used_on_all_replicas_and_leaves_the_whole_limit_and_no_more() {
    let mut world = World::new(2);
    for replica in 0..2 {
        let held = world.reserve(replica, &plain(), 45).unwrap();
        world.settle(replica, held, 40);
        world.pass(0);
    }
    let running = world.reserve(0, &plain(), 10).unwrap();
    assert_eq!(world.stands(1, &plain()[0]), (80, 10, 100));
    let reset = after_reset(80, 0);
    for replica in 0..2 {
        assert_eq!(world.stands(replica, &reset[0]), (0, 10, 100));
    }
    // The call that ran meanwhile counts as what it used in the end.
    world.settle(0, running, 10);
    assert!(world.reserve(1, &reset, 91).is_err());
    let held = world.reserve(1, &reset, 90).unwrap();
    let Err(Denied::Full { standing, .. }) = world.reserve(0, &reset, 1) else { panic!("it is full") };
    assert_eq!((standing.used, standing.reserved, standing.limit), (10, 90, 100));
    world.settle(1, held, 90);
    assert_eq!(world.stands(0, &after_reset(80, 5)[0]), (100, 0, 105), "a top-up beside it");
}

#[test]
fn a_reset_outlives_redis_and_replicas_and_ends_with_its_window() {
    let mut world = World::new(2);
    let held = world.reserve(0, &plain(), 80).unwrap();
    world.settle(0, held, 80);
    world.pass(0);
    let reset = after_reset(80, 0);
    assert_eq!(world.stands(1, &reset[0]), (0, 0, 100));
    world.redis = Model::default();
    assert_eq!(world.stands(0, &reset[0]), (0, 0, 100), "after FLUSHALL");
    let held = world.reserve(1, &reset, 30).unwrap();
    world.settle(1, held, 30);
    world.pass(0);
    world.replicas[0] = World::replica(7);
    assert_eq!(world.stands(0, &reset[0]), (30, 0, 100), "a replica that starts");
    world.redis = Model::default();
    world.replicas = (8..10).map(World::replica).collect();
    assert_eq!(world.stands(1, &reset[0]), (30, 0, 100), "nobody but the ledger knows");
    world.pass(13 * HOUR_MS);
    assert_eq!(world.stands(0, &reset[0]), (0, 0, 100));
    assert!(world.reserve(0, &reset, 101).is_err(), "what was forgiven belongs to the day before");
    assert!(world.reserve(0, &reset, 100).is_ok());
}

#[test]
fn what_is_given_back_without_becoming_a_lease_is_told_too() {
    let mut world = World::new(2);
    let soft = [Rule::new(Subject::Global, Limit { soft: true, ..limit() })];
    let held = world.reserve(0, &soft, 60).unwrap();
    world.pass(0);
    assert_eq!(world.stands(1, &soft[0]), (0, 60, 100));
    world.settle(0, held, 0);
    world.pass(1_000);
    assert_eq!(world.stands(1, &soft[0]), (0, 0, 100));
}

#[test]
fn without_redis_only_what_is_known_to_be_spent_is_refused_for_certain() {
    let mut world = World::new(1);
    let held = world.reserve(0, &plain(), 40).unwrap();
    world.settle(0, held, 40);
    world.pass(0);
    let now = world.now();
    world.replicas[0].0.go_away(now);
    let refused = world.reserve(0, &plain(), 30).unwrap_err();
    assert!(matches!(refused, Denied::Away { .. }), "{refused:?}");
    let refused = world.reserve(0, &plain(), 61).unwrap_err();
    assert!(matches!(refused, Denied::Full { .. }), "{refused:?}");
}

#[test]
fn without_redis_a_rate_that_is_spent_or_none_admits_nobody_and_one_of_less_than_one_each_admits_one_each() {
    let limits = [Metric::Requests, Metric::Concurrent].into_iter();
    for (metric, (most, before, alone)) in
        limits.flat_map(|metric| [(0, 0, 0), (3, 3, 0), (2, 0, 3)].map(|case| (metric, case)))
    {
        let mut world = World::new(3);
        let rate = [Rule::new(Subject::Global, Limit::new(metric, Period::Minute, most))];
        let running: Vec<Held> = (0..before).map(|call| world.reserve(call % 3, &rate, 1).unwrap()).collect();
        for replica in 0..3 {
            world.stands(replica, &rate[0]);
        }
        let now = world.now();
        world.replicas.iter_mut().for_each(|(state, _)| drop(state.go_away(now)));
        let admitted: Vec<Held> = (0..9).filter_map(|call| world.reserve(call % 3, &rate, 1).ok()).collect();
        assert_eq!(admitted.len(), alone, "{metric:?}: {most}, {before} made");
        drop(running);
    }
}
