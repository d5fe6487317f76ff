//! What holds for all targets: retries, observers, settings, bounds.

use super::*;

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
    ticket.first_content(seconds(2), true, now);
    ticket.first_content(seconds(9), true, now);
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
