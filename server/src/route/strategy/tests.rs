//! Orders by measure, with health as it might be.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::prelude::{Strategy as _, *};

use super::{Strategy, *};
use crate::{
    call::{Call, Target, now},
    provider::echo::Echo,
    route::{Health, Known, Models, health, testing},
};

/// Knows the price of a target by the digits in its name.
struct Prices;

impl Models for Prices {
    fn known(&self, _: &Target) -> Known {
        Known::default()
    }
    fn at_most(&self, _: &Call, target: &Target) -> Option<i64> {
        target.provider.trim_start_matches(|char: char| !char.is_ascii_digit()).parse().ok()
    }
}

/// Orders targets of these names, weights and views.
fn ordered(targets: &[(&str, u32, View)], measure: Measure, key: Option<&str>, seed: u64) -> Vec<String> {
    let health = Health::new(health::Settings::default());
    let call = Call::for_test("m");
    let asking = Asking { call: &call, models: &Prices, health: &health, now: now() };
    let lines: Vec<AliasTarget> = targets
        .iter()
        .map(|(name, weight, _)| {
            let candidate = testing::candidate(name, Arc::new(Echo));
            AliasTarget { weight: *weight, ..AliasTarget::plain(candidate.provider, "m") }
        })
        .collect();
    let group = |(line, (name, _, view)): (_, &(&str, u32, View))| Group {
        line,
        members: vec![Draft {
            candidate: testing::candidate(name, Arc::new(Echo)),
            line,
            view: OnceCell::from(*view),
        }],
    };
    let mut groups: Vec<Group<'_>> = lines.iter().zip(targets).map(group).collect();
    Order { measure, key, lot: &Lot::seeded(seed), asking: &asking }.sort(&mut groups);
    groups.iter().map(|group| group.best().candidate.target.provider.to_string()).collect()
}

fn well(name: &str, weight: u32) -> (&str, u32, View) {
    (name, weight, View::default())
}

fn fast(name: &str, millis: u64) -> (&str, u32, View) {
    (name, 1, View { first_token: Some(Duration::from_millis(millis)), ..View::default() })
}

/// Calls of which a share is taken.
const CALLS: u64 = 4_000;

/// Counts how often a target is first over many calls.
fn firsts(targets: &[(&str, u32, View)], measure: Measure, name: &str) -> usize {
    (0..CALLS).filter(|seed| ordered(targets, measure, None, *seed)[0] == name).count()
}

#[test]
fn weights_are_shares_and_weight_0_is_only_for_when_the_others_fail() {
    let targets = [well("a", 90), well("b", 9), well("c", 1), well("zero", 0)];
    let by_weight = Measure::By(Strategy::Weighted);
    // Five standard deviations to each side.
    assert!((3_505..=3_695).contains(&firsts(&targets, by_weight, "a")));
    assert!((270..=450).contains(&firsts(&targets, by_weight, "b")));
    assert!((9..=71).contains(&firsts(&targets, by_weight, "c")));
    for seed in 0..200 {
        assert_eq!(ordered(&targets, by_weight, None, seed)[3], "zero");
    }
}

#[test]
fn those_that_are_not_drawn_first_follow_by_weight_too() {
    let targets = [well("a", 100), well("b", 90), well("c", 10)];
    let second = (0..CALLS)
        .map(|seed| ordered(&targets, Measure::By(Strategy::Weighted), None, seed))
        .filter(|order| order[0] == "a");
    let (mut b, mut c) = (0, 0);
    second.for_each(|order| if order[1] == "b" { b += 1 } else { c += 1 });
    let share = f64::from(b) / f64::from(b + c);
    assert!((0.866..0.934).contains(&share), "{share}");
}

#[test]
fn the_cheapest_is_first_and_an_unknown_price_is_last() {
    let targets = [well("unknown", 1), well("p30", 1), well("p7", 1), well("p200", 1)];
    for measure in [Measure::By(Strategy::Cheapest), Measure::Cost] {
        assert_eq!(ordered(&targets, measure, Some("key"), 1), ["p7", "p30", "p200", "unknown"]);
    }
}

#[test]
fn the_better_of_two_is_first_and_the_slower_is_tried_now_and_then() {
    let targets = [fast("slow", 900), fast("fast", 100)];
    let slower = firsts(&targets, Measure::By(Strategy::Fastest), "slow");
    assert!((36..=124).contains(&slower), "{slower}");
    let targets = [fast("c", 300), fast("a", 100), fast("b", 200)];
    let best = firsts(&targets, Measure::Latency, "a");
    // Of three, the best is among two that are drawn two times in three.
    assert!((2_460..=2_770).contains(&best), "{best}");
    let order = (0..).map(|seed| ordered(&targets, Measure::Latency, None, seed));
    assert_eq!(order.into_iter().find(|order| order[0] == "b").unwrap(), ["b", "a", "c"]);
}

#[test]
fn failures_make_a_target_slower() {
    let mut failing = fast("failing", 100);
    failing.2.failure_ratio = Some(0.5);
    let share = firsts(&[failing, fast("steady", 150)], Measure::By(Strategy::Fastest), "steady");
    assert!(share > 3_850, "{share}");
}

#[test]
fn an_unknown_target_is_found_out_by_one_call_at_a_time() {
    let mut unknown = well("unknown", 1);
    let fastest = Measure::By(Strategy::Fastest);
    assert!(firsts(&[fast("fast", 1), unknown], fastest, "unknown") > 3_850);
    unknown.2.running = 1;
    assert!(firsts(&[fast("slow", 9_000), unknown], fastest, "slow") > 3_850);
}

#[test]
fn throughput_is_tokens_per_second() {
    let speed = |name, speed| (name, 1, View { tokens_per_second: Some(speed), ..View::default() });
    let share = firsts(&[speed("slow", 20.0), speed("quick", 90.0)], Measure::Throughput, "quick");
    assert!(share > 3_850, "{share}");
}

#[test]
fn the_least_busy_is_first_and_equals_take_turns() {
    let busy = |name, running| (name, 1, View { running, ..View::default() });
    let targets = [busy("three", 3), busy("one", 1), busy("other", 1)];
    let one = firsts(&targets, Measure::By(Strategy::LeastBusy), "one");
    assert!((1_840..=2_160).contains(&one), "{one}");
    assert_eq!(ordered(&targets, Measure::By(Strategy::LeastBusy), None, 3)[2], "three");
}

#[test]
fn who_is_left_alone_comes_last_until_its_time() {
    let unwell = |state, millis: u64| View {
        state,
        retry_at: Some(now() + Duration::from_millis(millis)),
        ..View::default()
    };
    for state in [State::Open, State::CoolingDown, State::Ejected] {
        let targets = [("a", 1, unwell(state, 60_000)), well("b", 1)];
        assert_eq!(ordered(&targets, Measure::By(Strategy::Ordered), None, 1), ["b", "a"], "{state:?}");
        let targets = [("a", 1, unwell(state, 0)), well("b", 1)];
        assert_eq!(ordered(&targets, Measure::By(Strategy::Ordered), None, 1), ["a", "b"], "{state:?}");
    }
    let targets = [("a", 1, unwell(State::HalfOpen, 60_000)), well("b", 1)];
    assert_eq!(ordered(&targets, Measure::By(Strategy::Ordered), None, 1), ["a", "b"]);
}

#[test]
fn calls_with_a_key_stay_where_they_are_unless_a_wish_says_otherwise() {
    let targets = [fast("a", 100), fast("b", 200), fast("c", 300)];
    for strategy in [Strategy::Weighted, Strategy::Fastest, Strategy::LeastBusy] {
        let first = ordered(&targets, Measure::By(strategy), Some("session"), 0);
        assert!(
            (1..100).all(|seed| ordered(&targets, Measure::By(strategy), Some("session"), seed) == first)
        );
    }
    let wished: BTreeSet<String> =
        (0..200).map(|seed| ordered(&targets, Measure::Latency, Some("session"), seed)[0].clone()).collect();
    assert!(wished.len() > 1, "{wished:?}");
}

fn measures() -> impl proptest::strategy::Strategy<Value = Measure> {
    prop::sample::select(vec![
        Measure::By(Strategy::Ordered),
        Measure::By(Strategy::Weighted),
        Measure::By(Strategy::Cheapest),
        Measure::By(Strategy::Fastest),
        Measure::By(Strategy::LeastBusy),
        Measure::Cost,
        Measure::Latency,
        Measure::Throughput,
    ])
}

fn views() -> impl proptest::strategy::Strategy<Value = View> {
    let states = vec![State::Closed, State::Open, State::HalfOpen, State::CoolingDown, State::Ejected];
    let millis = prop::option::of(0..10_000_u64);
    (prop::sample::select(states), any::<bool>(), millis, 0..5_usize, prop::option::of(0.0..=1.0_f64))
        .prop_map(|(state, waits, millis, running, failure_ratio)| View {
            state,
            retry_at: waits.then(|| now() + Duration::from_secs(60)),
            first_token: millis.map(Duration::from_millis),
            tokens_per_second: millis.map(|millis| f64::from(u32::try_from(millis).unwrap())),
            running,
            failure_ratio,
            ..View::default()
        })
}

proptest! {
    #[test]
    fn every_order_holds_each_target_once_and_the_well_first(
        targets in prop::collection::vec((0..200_u32, views()), 1..8),
        measure in measures(),
        key in prop::option::of("[a-z]{1,8}"),
        seed in any::<u64>(),
    ) {
        let names: Vec<String> = (0..targets.len()).map(|number| format!("t{number}")).collect();
        let named: Vec<(&str, u32, View)> = names
            .iter()
            .zip(&targets)
            .map(|(name, (weight, view))| (name.as_str(), *weight, *view))
            .collect();
        let order = ordered(&named, measure, key.as_deref(), seed);
        prop_assert_eq!(order.len(), names.len());
        prop_assert_eq!(order.iter().collect::<BTreeSet<_>>(), names.iter().collect::<BTreeSet<_>>());
        let unwell = |name: &String| {
            let view = &named.iter().find(|(other, _, _)| other == name).unwrap().2;
            is_unwell(view, now())
        };
        let flags: Vec<bool> = order.iter().map(unwell).collect();
        prop_assert!(flags.is_sorted(), "{flags:?}");
    }
}
