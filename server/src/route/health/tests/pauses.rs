//! Pauses that a target asks for, that its siblings cause, and that other replicas tell of.

use super::*;

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
fn a_target_that_asked_for_a_pause_gets_few_last_resorts_or_it_would_never_take_any() {
    let (target, now) = (one(), Instant::now());
    let limited = Kind::RateLimited { retry_after: Some(seconds(60)) };
    target.admit(false, now).unwrap().failed(limited, now);
    let let_in = |after| (0..100).filter(|_| target.admit(true, now + seconds(after)).is_ok()).count();
    assert_eq!([let_in(0), let_in(1), let_in(9), let_in(10), let_in(59)], [10, 0, 0, 10, 10]);
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
