//! What opens a breaker, and what closes it.

use super::*;

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
    probe.first_content(seconds(1), true, then);
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
    last.first_content(seconds(1), true, now);
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
fn a_probe_that_is_answered_closes_the_breaker_but_does_not_forget_how_often_it_opened() {
    let (target, now) = (one(), Instant::now());
    let mut then = opened(&target, now);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        target.probe(then).unwrap().answered(then);
        assert_eq!(target.view(then).state, State::Closed);
        let until = opened(&target, then);
        pauses.push((until - then).as_secs_f64().log2().round());
        then = until;
    }
    assert_eq!(pauses, [1.0, 2.0, 3.0], "two, four and eight seconds");
}
