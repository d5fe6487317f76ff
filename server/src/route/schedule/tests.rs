//! What is tried next, by kind of failure, and what holds whatever happens.

use std::sync::Arc;

use proptest::prelude::*;

use super::{pauses::GUESSED, *};
use crate::{
    call::{Target, now},
    route::{
        Policy,
        health::State,
        testing::{self, HOUR},
    },
};

const LIMITED: Kind = Kind::RateLimited { retry_after: None };

/// A plan of so many ordinary targets, one for long prompts and one for what is filtered.
fn plan(count: usize, attempts: usize, fallbacks_on: bool) -> Plan {
    let candidate = |name: &str| testing::candidate(name, Arc::new(testing::Silent));
    let names = ["a", "b", "c", "d"];
    let mut plan = testing::plan(
        names[..count].iter().map(|name| candidate(name)).collect(),
        Policy { attempts, ..Policy::default() },
    );
    if fallbacks_on {
        plan.on_context_length.push(candidate("long"));
        plan.on_content_policy.push(candidate("free"));
    }
    plan
}

fn deadline(after: Duration) -> Deadline {
    Deadline { at: now() + after, by_caller: true }
}

fn lesson(kind: Kind, http_status: u16, retry_after: Option<Duration>) -> Lesson {
    Lesson { kind, http_status, retry_after, is_callers: false }
}

fn open(until: Instant) -> Refused {
    Refused { state: State::Open, until }
}

fn well(_: usize) -> View {
    View::default()
}

/// What comes after the only one, or the first of two targets failed so.
fn after(count: usize, told: Lesson) -> Step {
    let mut schedule = Schedule::new(&plan(count, 3, true), deadline(HOUR));
    let at = now();
    assert_eq!(schedule.next(well, 1.0, at), Step::Try(0));
    schedule.started(0);
    schedule.failed(0, told, at);
    schedule.next(well, 1.0, at)
}

#[test]
fn each_kind_of_failure_has_its_own_next_step() {
    let again = Step::Pause(Duration::from_millis(200), 0);
    let second = Duration::from_secs(1);
    let waited = Step::Pause(second.mul_f64(1.1), 0);
    for (told, with_one, with_two) in [
        (lesson(LIMITED, 429, None), again, Step::Try(1)),
        (lesson(LIMITED, 429, Some(second)), waited, Step::Try(1)),
        (lesson(LIMITED, 429, Some(Duration::from_secs(6))), Step::Stop, Step::Try(1)),
        (lesson(Kind::Timeout, 0, None), again, Step::Try(1)),
        (lesson(Kind::Unavailable, 503, None), again, Step::Try(1)),
        (lesson(Kind::Unavailable, 503, Some(second)), waited, Step::Try(1)),
        (lesson(Kind::BadResponse, 200, None), again, Step::Try(1)),
        (lesson(Kind::Denied, 401, None), Step::Stop, Step::Try(1)),
        (lesson(Kind::Invalid, 404, None), Step::Stop, Step::Try(1)),
        (lesson(Kind::Invalid, 405, None), Step::Stop, Step::Try(1)),
        (lesson(Kind::Invalid, 400, None), Step::Stop, Step::Stop),
        (lesson(Kind::Unsupported, 0, None), Step::Stop, Step::Stop),
        (lesson(Kind::ContextLength, 400, None), Step::Try(1), Step::Try(2)),
        (lesson(Kind::ContentPolicy, 400, None), Step::Try(2), Step::Try(3)),
        (Lesson { is_callers: true, ..lesson(Kind::Timeout, 0, None) }, Step::Stop, Step::Stop),
    ] {
        assert_eq!(after(1, told), with_one, "alone: {told:?}");
        assert_eq!(after(2, told), with_two, "with another: {told:?}");
    }
}

#[test]
fn another_credential_helps_against_a_limit_but_not_against_a_server_that_is_down() {
    let mut plan = plan(4, 4, false);
    for (index, name) in ["a:x/m", "a:y/m", "a:z/m"].into_iter().enumerate() {
        plan.candidates[index].target = Arc::new(Target {
            name: name.into(),
            provider: "a".into(),
            model: "m".into(),
            vendor: "a".into(),
            rates: None,
        });
    }
    let mut schedule = Schedule::new(&plan, deadline(HOUR));
    schedule.started(0);
    assert_eq!(schedule.others(0).collect::<Vec<_>>(), [3], "nor against its silence");
    schedule.failed(0, lesson(Kind::Timeout, 0, None), now());
    schedule.started(3);
    assert_eq!(schedule.others(3).count(), 0);
    let order = |told: Lesson| {
        let mut schedule = Schedule::new(&plan, deadline(HOUR));
        let mut order = Vec::new();
        while let Step::Try(index) = schedule.next(well, 0.5, now()) {
            order.push(index);
            schedule.started(index);
            schedule.failed(index, told, now());
        }
        order
    };
    for told in
        [lesson(LIMITED, 429, None), lesson(Kind::Denied, 401, None), lesson(Kind::Invalid, 404, None)]
    {
        assert_eq!(order(told), [0, 1, 2, 3], "{told:?}");
    }
    for told in [lesson(Kind::Unavailable, 503, None), lesson(Kind::Timeout, 0, None)] {
        assert_eq!(order(told), [0, 3, 1, 2], "{told:?}");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_final_without_a_target_for_it() {
    let mut schedule = Schedule::new(&plan(2, 3, false), deadline(HOUR));
    schedule.started(0);
    schedule.failed(0, lesson(Kind::ContextLength, 400, None), now());
    assert_eq!(schedule.next(well, 0.5, now()), Step::Stop);
}

#[test]
fn targets_that_are_not_well_are_the_last_resort_and_full_ones_are_waited_for() {
    let mut schedule = Schedule::new(&plan(2, 3, false), deadline(HOUR));
    let at = now();
    schedule.refused(0, open(at + Duration::from_secs(5)));
    assert_eq!(schedule.next(well, 0.5, at), Step::Try(1));
    schedule.refused(1, open(at + Duration::from_secs(2)));
    assert_eq!(schedule.next(well, 0.5, at), Step::LastResort(1));
    schedule.full(0);
    assert_eq!(schedule.next(well, 0.5, at), Step::Wait(0));
    schedule.busy(0);
    assert_eq!(schedule.next(well, 0.5, at), Step::Stop, "one that has no room is not a broken one");
}

#[test]
fn a_short_pause_of_all_is_waited_for_within_its_bounds_and_once() {
    let (start, second) = (now(), Duration::from_secs(1));
    let next = |refused: Refused, view: View, more: &dyn Fn(&mut Schedule)| {
        let deadline = Deadline { at: start + 4 * second, by_caller: true };
        let mut schedule = Schedule::new(&plan(1, 3, false), deadline);
        schedule.refused(0, refused);
        more(&mut schedule);
        schedule.next(|_| view, 0.5, start)
    };
    let nothing: &dyn Fn(&mut Schedule) = &|_| {};
    let asked = |wait| Refused { state: State::CoolingDown, until: start + wait };
    let slow = View { first_token: Some(2 * second), ..View::default() };
    let last = Step::LastResort(0);
    for (refused, view, more, expected) in [
        (asked(3 * second), View::default(), nothing, Step::Rest(asked(3 * second), 0)),
        // It could not answer in time; nor could one that is slow.
        (asked(4 * second), View::default(), nothing, last),
        (asked(3 * second), slow, nothing, last),
        // It waits already, or waited in vain.
        (asked(3 * second), View::default(), &|schedule| schedule.rests(start - 3 * second), last),
        (asked(second), View::default(), &|schedule| schedule.rested_in_vain(), last),
        // How long a broken one rests is a guess, and one that is worse than its siblings may be tried now.
        (open(start + second), View::default(), nothing, Step::Rest(open(start + second), 0)),
        (open(start + 2 * second), View::default(), nothing, last),
        (Refused { state: State::Ejected, until: start + second }, View::default(), nothing, last),
    ] {
        assert_eq!(next(refused, view, more), expected, "{refused:?}");
    }
}

#[test]
fn what_is_well_soon_is_waited_for_when_the_others_have_failed_for_good() {
    let mut schedule = Schedule::new(&plan(2, 3, false), deadline(HOUR));
    let at = now();
    let refused = Refused { state: State::CoolingDown, until: at + Duration::from_secs(2) };
    schedule.started(0);
    schedule.failed(0, lesson(Kind::Denied, 401, None), at);
    schedule.refused(1, refused);
    assert_eq!(schedule.next(well, 0.5, at), Step::Rest(refused, 1));
}

#[test]
fn a_target_is_not_asked_again_while_it_is_open_or_if_it_could_not_answer_in_time() {
    let start = now();
    let mut schedule = Schedule::new(&plan(1, 3, false), deadline(Duration::from_secs(2)));
    schedule.started(0);
    schedule.failed(0, lesson(Kind::Unavailable, 500, None), start);
    let with = |view: View| schedule.next(|_| view, 0.0, start);
    let typical = |first_token| View { first_token: Some(first_token), ..View::default() };
    assert_eq!(with(View::default()), Step::Pause(Duration::ZERO, 0));
    assert_eq!(with(typical(Duration::from_secs(1))), Step::Pause(Duration::ZERO, 0));
    assert_eq!(with(typical(Duration::from_secs(3))), Step::Stop);
    assert_eq!(with(View { state: State::Open, ..View::default() }), Step::Stop);
    let cooling = |wait| View { state: State::CoolingDown, retry_at: Some(start + wait), ..View::default() };
    assert_eq!(with(cooling(Duration::from_secs(1))), Step::Pause(Duration::from_secs(1), 0));
    assert_eq!(with(cooling(Duration::from_secs(3))), Step::Stop);
}

#[test]
fn the_same_target_twice_in_a_plan_is_one() {
    let mut twice = plan(1, 3, false);
    twice.candidates.push(twice.candidates[0].clone());
    let mut schedule = Schedule::new(&twice, deadline(HOUR));
    schedule.started(0);
    schedule.failed(0, lesson(Kind::Denied, 401, None), now());
    assert_eq!(schedule.next(well, 0.5, now()), Step::Stop);
}

/// What may happen when a target is tried.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Refused(State, u64),
    Full,
    Failed(Lesson),
}

fn fates() -> impl Strategy<Value = Fate> {
    let kind = prop_oneof![
        3 => Just(LIMITED),
        3 => Just(Kind::Unavailable),
        2 => Just(Kind::Timeout),
        1 => Just(Kind::BadResponse),
        1 => Just(Kind::Denied),
        1 => Just(Kind::ContextLength),
        1 => Just(Kind::ContentPolicy),
        1 => Just(Kind::Invalid),
    ];
    let wait = prop::option::of((0_u64..9_000).prop_map(Duration::from_millis));
    let status = prop::sample::select(vec![0_u16, 200, 400, 404, 429, 503]);
    let failed =
        (kind, status, wait).prop_map(|(kind, status, wait)| Fate::Failed(lesson(kind, status, wait)));
    let state = prop::sample::select(vec![State::CoolingDown, State::Open, State::HalfOpen, State::Ejected]);
    let refused = (state, 1_u64..9_000).prop_map(|(state, pause)| Fate::Refused(state, pause));
    prop_oneof![1 => refused, 1 => Just(Fate::Full), 4 => failed]
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold(
        count in 1_usize..=4,
        attempts in 1_usize..=6,
        fallbacks_on in any::<bool>(),
        within in 1_u64..20_000,
        fates in prop::collection::vec((fates(), 0_u64..2_000, 0.0_f64..1.0), 64),
    ) {
        let plan = plan(count, attempts, fallbacks_on);
        let all = plan.all().count();
        let deadline = deadline(Duration::from_millis(within));
        let mut schedule = Schedule::new(&plan, deadline);
        let (mut at, mut calls, mut steps) = (now(), vec![Vec::<Lesson>::new(); all], 0);
        let mut rests_since = None;
        for (fate, took, draw) in fates {
            steps += 1;
            let step = schedule.next(well, draw, at);
            let index = match step {
                Step::Stop => break,
                Step::Try(index) => {
                    prop_assert!(calls[index].is_empty());
                    index
                }
                Step::Wait(index) => index,
                Step::Rest(refused, index) => {
                    let longest = match refused.state {
                        State::CoolingDown => plan.policy.max_backoff,
                        State::Open | State::HalfOpen => GUESSED,
                        State::Closed | State::Ejected => Duration::ZERO,
                    };
                    let since = *rests_since.get_or_insert(at);
                    prop_assert!(refused.until <= since + longest, "{refused:?}");
                    prop_assert!(calls[index].is_empty());
                    schedule.rests(at);
                    at = at.max(refused.until);
                    index
                }
                Step::LastResort(index) => {
                    prop_assert!(calls.iter().all(Vec::is_empty));
                    index
                }
                Step::Pause(pause, index) => {
                    prop_assert!(pause <= plan.policy.max_backoff);
                    let again = calls[index].last().map(|lesson| lesson.kind);
                    prop_assert!(!matches!(again, None | Some(Kind::Denied | Kind::Invalid)), "{again:?}");
                    at += pause;
                    index
                }
            };
            prop_assert!(at < deadline.at);
            match (fate, step) {
                (Fate::Refused(..), Step::LastResort(_)) => schedule.give_up(),
                (Fate::Refused(state, pause), _) => {
                    schedule.refused(index, Refused { state, until: at + Duration::from_millis(pause) });
                }
                (Fate::Full, Step::Rest(..)) => schedule.rested_in_vain(),
                (Fate::Full, Step::Try(_)) => schedule.full(index),
                (Fate::Full, _) => schedule.busy(index),
                (Fate::Failed(lesson), _) => {
                    schedule.started(index);
                    at += Duration::from_millis(took);
                    schedule.failed(index, lesson, at);
                    calls[index].push(lesson);
                }
            }
        }
        prop_assert!(steps < 64, "every run ends");
        let made: usize = calls.iter().map(Vec::len).sum();
        prop_assert!(made <= attempts);
        prop_assert_eq!(schedule.made(), made);
    }

    #[test]
    fn a_target_that_is_well_is_tried_before_the_call_is_given_up(
        count in 1_usize..=4,
        attempts in 1_usize..=6,
        refused in prop::collection::vec(any::<bool>(), 4),
        kind in prop::sample::select(vec![LIMITED, Kind::Unavailable, Kind::Timeout, Kind::BadResponse, Kind::Denied]),
    ) {
        let plan = plan(count, attempts, false);
        let mut schedule = Schedule::new(&plan, deadline(HOUR));
        let (at, mut tried) = (now(), Vec::new());
        while let Step::Try(index) = schedule.next(well, 0.5, at) {
            if refused[index] {
                schedule.refused(index, open(at + Duration::from_secs(60)));
            } else {
                schedule.started(index);
                schedule.failed(index, lesson(kind, 0, None), at);
                tried.push(index);
            }
        }
        let expected: Vec<usize> = (0..count).filter(|index| !refused[*index]).take(attempts).collect();
        prop_assert_eq!(tried, expected);
    }
}
