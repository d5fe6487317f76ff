//! The health of targets as attempts meet it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::*;
use crate::provider::Kind;

const LIMITED: Kind = Kind::RateLimited { retry_after: None };

fn target(name: &str) -> Target {
    let (provider, model) = name.split_once('/').unwrap();
    Target {
        name: name.into(),
        provider: provider.into(),
        model: model.into(),
        vendor: provider.into(),
        rates: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn health() -> Health {
    Health::by_lot(Settings::default(), Lot::seeded(1))
}

fn one() -> Arc<TargetHealth> {
    health().of(&target("openai/m"))
}

fn fail(target: &Arc<TargetHealth>, kind: Kind, now: Instant) {
    target.admit(false, now).unwrap().failed(kind, now);
}

fn serve(target: &Arc<TargetHealth>, now: Instant) {
    target.admit(false, now).unwrap().complete(1, now);
}

/// Opens the breaker and returns when it may be probed.
fn opened(target: &Arc<TargetHealth>, now: Instant) -> Instant {
    while target.view(now).state == State::Closed {
        fail(target, Kind::Unavailable, now);
    }
    target.view(now).retry_at.unwrap()
}

#[test]
fn five_failures_in_a_row_open_the_breaker_for_about_a_second() {
    let (target, now) = (one(), Instant::now());
    (0..4).for_each(|_| fail(&target, Kind::Timeout, now));
    serve(&target, now);
    (0..4).for_each(|_| fail(&target, Kind::Denied, now));
    assert_eq!(target.view(now).state, State::Closed);
    fail(&target, Kind::BadResponse, now);
    let view = target.view(now);
    assert_eq!((view.state, view.consecutive_failures), (State::Open, 5));
    let open = view.retry_at.unwrap() - now;
    assert!(seconds(1).mul_f64(0.8) <= open && open <= seconds(1).mul_f64(1.2), "{open:?}");
    assert_eq!(target.admit(false, now).unwrap_err(), Refused { state: State::Open, until: now + open });
    assert_eq!(view.last_failure, Some(("bad_response", now)));
}

#[test]
fn half_of_twenty_calls_open_it_even_if_none_failed_in_a_row() {
    let (target, now) = (one(), Instant::now());
    for call in 0..19 {
        assert_eq!(target.view(now).state, State::Closed, "before call {call}");
        if call % 2 == 0 { serve(&target, now) } else { fail(&target, Kind::Unavailable, now) }
    }
    fail(&target, Kind::Unavailable, now);
    assert_eq!(target.view(now).state, State::Open);
}

#[test]
fn what_a_caller_did_wrong_counts_for_nothing() {
    let (target, now) = (one(), Instant::now());
    (0..4).for_each(|_| fail(&target, Kind::Unavailable, now));
    for kind in [Kind::Invalid, Kind::Unsupported, Kind::ContextLength, Kind::ContentPolicy] {
        (0..50).for_each(|_| fail(&target, kind, now));
    }
    (0..50).for_each(|_| drop(target.admit(false, now)));
    let view = target.view(now);
    assert_eq!((view.state, view.consecutive_failures, view.running), (State::Closed, 4, 0));
}

#[test]
fn after_the_pause_one_probe_decides() {
    for (kind, state) in [
        (None, State::Closed),
        (Some(Kind::Unavailable), State::Open),
        (Some(Kind::Invalid), State::Closed),
        (Some(Kind::Unsupported), State::HalfOpen),
        (Some(LIMITED), State::CoolingDown),
    ] {
        let target = one();
        let then = opened(&target, Instant::now());
        assert!(target.may_probe(then));
        let mut probe = target.admit(false, then).unwrap();
        assert!(!target.may_probe(then));
        assert_eq!(target.admit(false, then).unwrap_err().state, State::HalfOpen);
        match kind {
            None => probe.complete(1, then),
            Some(kind) => probe.failed(kind, then),
        }
        drop(probe);
        assert_eq!(target.view(then).state, state, "after {kind:?}");
    }
}

#[test]
fn the_probe_decides_with_its_first_content_and_is_an_attempt_as_any_other_from_then_on() {
    let target = one();
    let then = opened(&target, Instant::now());
    let mut probe = target.admit(false, then).unwrap();
    probe.first_content(seconds(1), then);
    assert_eq!(target.view(then).state, State::Closed);
    probe.failed(Kind::Unavailable, then);
    assert_eq!(target.view(then).consecutive_failures, 1);
    let next = opened(&target, then);
    assert!(next - then > seconds(1), "it opened again without a success between: {:?}", next - then);
}

#[test]
fn each_failed_probe_doubles_the_pause_and_a_success_ends_that() {
    let (target, mut now) = (one(), Instant::now());
    let mut until = opened(&target, now);
    let mut pauses = vec![until - now];
    for _ in 0..7 {
        now = until;
        fail(&target, Kind::Timeout, now);
        until = target.view(now).retry_at.unwrap();
        pauses.push(until - now);
    }
    for (pause, expected) in pauses.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        let expected = seconds(expected);
        assert!(expected.mul_f64(0.8) <= *pause && *pause <= expected.mul_f64(1.2), "{pauses:?}");
    }
    serve(&target, until);
    let again = opened(&target, until) - until;
    assert!(again <= seconds(1).mul_f64(1.2), "{again:?}");
}

#[test]
fn a_probe_that_goes_away_frees_its_place_at_once() {
    let target = one();
    let then = opened(&target, Instant::now());
    let probe = target.probe(then).unwrap();
    assert!(target.probe(then).is_none());
    drop(probe);
    assert!(target.probe(then).is_some());
}

#[test]
fn what_was_started_before_the_breaker_opened_neither_prolongs_nor_ends_it() {
    let (target, now) = (one(), Instant::now());
    let mut early: Vec<Ticket> = (0..200).map(|_| target.admit(false, now).unwrap()).collect();
    let until = opened(&target, now);
    let mut last = early.pop().unwrap();
    early.iter_mut().for_each(|ticket| ticket.failed(Kind::Unavailable, now));
    last.first_content(seconds(1), now);
    last.complete(1, now);
    let view = target.view(now);
    assert_eq!((view.state, view.retry_at, view.consecutive_failures), (State::Open, Some(until), 5));
    serve(&target, until);
    assert_eq!(target.view(until).state, State::Closed);
}

#[test]
fn a_last_resort_is_tried_ten_times_a_second_and_its_success_closes_the_breaker() {
    let (target, now) = (one(), Instant::now());
    opened(&target, now);
    let mut let_in: Vec<Ticket> = (0..100).filter_map(|_| target.admit(true, now).ok()).collect();
    assert_eq!(let_in.len(), 10);
    let before = target.view(now);
    let_in.iter_mut().skip(1).for_each(|ticket| ticket.failed(Kind::Unavailable, now));
    assert_eq!(target.view(now).retry_at, before.retry_at, "a failure changes nothing");
    let_in[0].complete(1, now);
    assert_eq!(target.view(now).state, State::Closed);
}

#[test]
fn a_429_is_a_pause_and_no_failure() {
    let (target, now) = (one(), Instant::now());
    let limited = Kind::RateLimited { retry_after: Some(seconds(7)) };
    let mut tickets: Vec<Ticket> = (0..10).map(|_| target.admit(false, now).unwrap()).collect();
    tickets.iter_mut().for_each(|ticket| ticket.failed(limited, now));
    let view = target.view(now);
    assert_eq!((view.state, view.retry_at), (State::CoolingDown, Some(now + seconds(7))));
    assert_eq!((view.consecutive_failures, view.failure_ratio), (0, None));
    assert_eq!(target.view(now + seconds(7)).state, State::Closed);
}

#[test]
fn a_503_that_says_how_long_is_a_failure_and_a_pause() {
    let (target, now) = (one(), Instant::now());
    let mut ticket = target.admit(false, now).unwrap();
    ticket.pause(seconds(3), now);
    ticket.failed(Kind::Unavailable, now);
    let view = target.view(now);
    assert_eq!((view.state, view.retry_at), (State::CoolingDown, Some(now + seconds(3))));
    assert_eq!(view.consecutive_failures, 1);
}

#[test]
fn the_longest_reason_is_the_one_that_is_told() {
    let (target, now) = (one(), Instant::now());
    let mut ticket = target.admit(false, now).unwrap();
    opened(&target, now);
    ticket.failed(Kind::RateLimited { retry_after: Some(seconds(30)) }, now);
    let view = target.view(now);
    assert_eq!((view.state, view.retry_at), (State::CoolingDown, Some(now + seconds(30))));
    let after = now + seconds(30);
    assert_eq!((target.view(after).state, target.view(after).retry_at), (State::HalfOpen, None));
}

/// Three siblings of twenty calls each, the first of which fails so many of them, the last not among them.
fn siblings(health: &Health, failures: usize, now: Instant) -> Vec<Target> {
    let targets: Vec<Target> = ["a/m", "b/m", "c/m"].map(target).into();
    for (index, target) in targets.iter().enumerate() {
        for call in 0..20 {
            let fails = index == 0 && call % 4 == 0 && call / 4 < failures;
            if fails { fail(&health.of(target), Kind::Timeout, now) } else { serve(&health.of(target), now) }
        }
    }
    targets
}

#[test]
fn an_outlier_is_left_out_for_a_while_and_then_judged_anew() {
    let (health, now) = (health(), Instant::now());
    let targets = siblings(&health, 5, now);
    let outlier = health.of(&targets[0]);
    assert_eq!(outlier.view(now).failure_ratio, Some(0.25));
    health.compare(&targets, now);
    let view = outlier.view(now);
    assert_eq!(view.state, State::Ejected);
    assert_eq!(outlier.admit(false, now).unwrap_err().state, State::Ejected);
    let as_last: Vec<_> = (0..100).map(|_| outlier.admit(true, now)).collect();
    assert!(as_last.iter().all(Result::is_ok), "without siblings it is as good as any");
    let back = view.retry_at.unwrap();
    serve(&outlier, back);
    health.compare(&targets, back);
    assert_eq!(outlier.view(back).state, State::Closed);
}

#[test]
fn who_fails_a_little_more_than_its_siblings_stays() {
    let (health, now) = (health(), Instant::now());
    let targets = siblings(&health, 1, now);
    health.compare(&targets, now);
    assert_eq!(health.of(&targets[0]).view(now).state, State::Closed);
}

#[test]
fn retries_are_bounded_by_target_and_by_process() {
    let (health, now) = (health(), Instant::now());
    let (busy, quiet) = (target("a/busy"), target("a/quiet"));
    (0..100).for_each(|_| serve(&health.of(&busy), now));
    let granted = |target: &Target| {
        let retry = || health.may_retry(target, 0.1, now) && health.of(target).admit(false, now).is_ok();
        (0..100).filter(|_| retry()).count()
    };
    assert_eq!(granted(&quiet), 10, "the floor of the target, within the share of the process");
    assert_eq!(granted(&busy), 10, "its own share is free; the process has only its floor left");
    assert_eq!(granted(&busy), 0);
}

#[test]
fn calls_that_fail_over_use_up_the_retries_of_the_process() {
    let (health, now) = (health(), Instant::now());
    let target = target("a/m");
    (0..1_000).for_each(|_| serve(&health.of(&target), now));
    (0..100).for_each(|_| health.failed_over(now));
    assert_eq!((0..100).filter(|_| health.may_retry(&target, 0.1, now)).count(), 10);
}

#[test]
fn another_replicas_finding_is_taken_over_within_bounds_and_marked() {
    let far = seconds(3_600);
    for (state, shown, pause) in [
        (State::Open, State::Open, Some(60)),
        (State::CoolingDown, State::CoolingDown, Some(60)),
        (State::Ejected, State::Ejected, Some(60)),
        (State::HalfOpen, State::Closed, None),
        (State::Closed, State::Closed, None),
    ] {
        let (target, now) = (one(), Instant::now());
        target.told(state, now + far, now);
        let view = target.view(now);
        assert_eq!((view.state, view.retry_at), (shown, pause.map(|pause| now + seconds(pause))));
        assert_eq!(view.told_by_replica, pause.is_some());
    }
    let (target, now) = (one(), Instant::now());
    opened(&target, now);
    target.told(State::Closed, now, now);
    assert_eq!(target.view(now).state, State::Closed);
    assert!(target.view(now).told_by_replica);
}

#[test]
fn observers_hear_of_each_change_once() {
    let health = health();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    health.on_change(move |change| {
        log.lock().unwrap().push((change.state, change.until.is_some(), change.told_by_replica));
    });
    let (target, now) = (health.of(&target("a/m")), Instant::now());
    serve(&target, now);
    let until = opened(&target, now);
    fail(&target, Kind::Timeout, until);
    let until = target.view(until).retry_at.unwrap();
    serve(&target, until);
    target.told(State::CoolingDown, until + seconds(5), until);
    assert_eq!(
        *heard.lock().unwrap(),
        [
            (State::Open, true, false),
            (State::HalfOpen, false, false),
            (State::Open, true, false),
            (State::HalfOpen, false, false),
            (State::Closed, false, false),
            (State::CoolingDown, true, true),
        ]
    );
}

#[test]
fn new_settings_hold_for_targets_that_are_known_and_keep_what_is_known_of_them() {
    let (health, now) = (health(), Instant::now());
    let target = health.of(&target("a/m"));
    fail(&target, Kind::Timeout, now);
    health.configure(Settings { failures: 2, ..Settings::default() });
    fail(&target, Kind::Timeout, now);
    assert_eq!(target.view(now).state, State::Open);
}

#[test]
fn a_stream_tells_its_pace() {
    let (target, now) = (one(), Instant::now());
    let mut ticket = target.admit(false, now).unwrap();
    assert_eq!(target.view(now).running, 1);
    ticket.first_content(seconds(2), now);
    ticket.first_content(seconds(9), now);
    ticket.complete(101, now + seconds(2));
    ticket.failed(Kind::Timeout, now + seconds(2));
    drop(ticket);
    let view = target.view(now + seconds(2));
    assert_eq!((view.first_token, view.tokens_per_second), (Some(seconds(2)), Some(50.0)));
    assert_eq!((view.consecutive_failures, view.running), (0, 0), "only the first word about its end counts");
}

#[test]
fn made_up_models_do_not_pile_up_and_push_nothing_out_that_matters() {
    let (health, now) = (health(), Instant::now());
    let broken = health.of(&target("a/broken"));
    let until = opened(&broken, now);
    let running = health.of(&target("a/running")).admit(false, now).unwrap();
    for made_up in 0..2 * MOST_TARGETS {
        health.of(&target(&format!("a/{made_up}")));
    }
    assert!(health.targets(now).len() <= MOST_TARGETS);
    assert_eq!(health.of(&target("a/broken")).view(now).retry_at, Some(until));
    assert_eq!(health.of(&target("a/running")).view(now).running, 1);
    drop(running);
}
