//! Tests of attempts beside and after each other, of ways into targets, and of waits for a first token, by a clock that
//! is turned by hand.

mod slow;

use std::time::Duration;

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, pending},
    stream,
};
use http::HeaderMap;
use tokio::time::sleep;
use tollgate_api::v1;

use super::*;
use crate::{
    call::{Event, Item},
    error::Reason,
    provider::{Answer, Outgoing, Provider},
    route::{
        Policy,
        health::{Settings, State},
        testing,
    },
};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a provider does so long after it was asked. Its head comes after a millisecond.
#[derive(Clone, Copy, Debug)]
enum Does {
    Content(u64),
    Fail(Kind, u64),
    Nothing,
}

impl Provider for Does {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        Box::pin(async move {
            sleep(ms(1)).await;
            let does = *self;
            let items = stream::once(async move {
                match does {
                    Self::Content(after) => {
                        sleep(ms(after - 1)).await;
                        let text = v1::TextDelta { text: "hi".to_owned(), choice: 0, part: 0 };
                        Ok(Item::Event(Event::Text(text)))
                    }
                    Self::Fail(kind, after) => {
                        sleep(ms(after - 1)).await;
                        Err(provider::Error::new(kind, "no"))
                    }
                    Self::Nothing => pending().await,
                }
            });
            Ok(Answer {
                http_status: 200,
                upstream_request_id: "up".to_owned(),
                headers: HeaderMap::new(),
                warnings: Vec::new(),
                items: items.boxed(),
            })
        })
    }

    fn embed<'a>(
        &'a self,
        _: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        Box::pin(pending())
    }
}

/// A way to targets `a/m`, `b/m` and so on that do this.
fn way(does: &[Does], policy: Policy) -> Way {
    let names = ["a", "b", "c"];
    let candidates = names.iter().zip(does).map(|(name, does)| testing::candidate(name, Arc::new(*does)));
    testing::way(testing::plan(candidates.collect(), policy))
}

/// How a call came out: its answer's target or the error, after how long, and its attempts.
struct Came {
    to: Result<String, Reason>,
    after: Duration,
    call: Call,
}

impl Came {
    fn attempts(&self) -> Vec<(&str, &str, bool)> {
        let attempts = self.call.attempts.iter();
        attempts.map(|one| (&*one.target.name, one.outcome, one.hedged)).collect()
    }
}

async fn run(way: Way, mut call: Call) -> Came {
    let began = now();
    let done = dispatch(Arc::new(way), &mut call, |_| Ok(())).await;
    let to = done.map(|answer| answer.target.unwrap().name.to_string()).map_err(|error| error.reason());
    Came { to, after: now() - began, call }
}

#[tokio::test(start_paused = true)]
async fn the_first_content_of_two_wins_and_stands_last() {
    use Does::{Content, Fail};
    let down = |after| Fail(Kind::Unavailable, after);
    let (a, b) = ("a/m", "b/m");
    for (first, second, after, attempts) in [
        (Content(19), Content(5), 19, vec![(a, "", false)]),
        (Content(100), Content(10), 30, vec![(a, "cancelled", false), (b, "", true)]),
        (Content(40), Content(100), 40, vec![(b, "cancelled", true), (a, "", false)]),
        (down(30), Content(100), 120, vec![(a, "unavailable", false), (b, "", true)]),
        (Content(40), down(5), 40, vec![(b, "unavailable", true), (a, "", false)]),
        // Before the wait is over it is an ordinary failure.
        (down(10), Content(5), 15, vec![(a, "unavailable", false), (b, "", false)]),
    ] {
        let hedge = Some(Hedge { after: ms(20), at_most: 1.0 });
        let came =
            run(way(&[first, second], Policy { hedge, ..Policy::default() }), Call::for_test("m")).await;
        let name = format!("{first:?} {second:?}: {:?}", came.call.attempts);
        let served = attempts.last().unwrap().0;
        assert_eq!((came.to.as_deref(), came.after), (Ok(served), ms(after)), "{name}");
        let came: Vec<_> = came.attempts();
        let unfinished = |outcome| if outcome == "ok" { "" } else { outcome };
        let came: Vec<_> =
            came.into_iter().map(|(target, outcome, hedged)| (target, unfinished(outcome), hedged)).collect();
        assert_eq!(came, attempts, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_target_is_passed_over_and_if_all_are_full_the_call_waits_at_the_first() {
    for all in [false, true] {
        let mut way = way(&[Does::Content(5), Does::Content(5)], Policy::default());
        way.gates = Arc::new(Gates::new((&crate::config::Load::default()).into()));
        way.plan.candidates.iter_mut().for_each(|candidate| candidate.concurrent = Some(1));
        let enter = |at: usize| way.gates.of(&way.plan.candidates[at].target.name, Some(1)).try_enter();
        let (held, other) = (enter(0).unwrap(), all.then(|| enter(1).unwrap()));
        tokio::spawn(async move {
            sleep(ms(50)).await;
            drop((held, other));
        });
        let came = run(way, Call::for_test("m")).await;
        let (served, waited) = if all { ("a/m", ms(50)) } else { ("b/m", ms(0)) };
        assert_eq!((came.to.as_deref(), came.call.waited), (Ok(served), waited), "all full: {all}");
        assert_eq!(came.after, waited + ms(5));
    }
}

#[tokio::test(start_paused = true)]
async fn if_none_is_well_the_one_that_rests_shortest_is_tried_once() {
    for (does, came_to) in [
        (Does::Content(5), Ok("b/m".to_owned())),
        (Does::Fail(Kind::Unavailable, 5), Err(Reason::UpstreamUnavailable)),
    ] {
        let way = way(&[does, does], Policy::default());
        for (candidate, pause) in way.plan.candidates.iter().zip([30, 20]) {
            let mut ticket = way.health.of(&candidate.target).admit(false, now()).unwrap();
            ticket.failed(Kind::RateLimited { retry_after: Some(Duration::from_secs(pause)) }, now());
        }
        let came = run(way, Call::for_test("m")).await;
        assert_eq!((came.to, came.call.attempts.len()), (came_to, 1), "{does:?}");
        assert_eq!(&*came.call.attempts[0].target.name, "b/m");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_token_that_is_late_for_the_caller_alone_says_nothing_against_the_target() {
    let second = Duration::from_secs(1);
    for (ours, theirs, after, state) in [
        (second, None, second, State::Open),
        (second, Some(2 * second), second, State::Open),
        (second, Some(second / 2), second / 2, State::Closed),
    ] {
        let mut way = way(&[Does::Nothing], Policy { attempts: 1, ..Policy::default() });
        way.health = Arc::new(Health::new(Settings { failures: 1, ..Settings::default() }));
        way.plan.candidates[0].first_token = Some(ours);
        let (health, target) = (way.health.clone(), way.plan.candidates[0].target.clone());
        let mut call = Call::for_test("m");
        call.options.first_token_timeout = theirs.map(|wait| wait.try_into().unwrap());
        let came = run(way, call).await;
        assert_eq!((came.to.unwrap_err(), came.after), (Reason::UpstreamTimeout, after));
        assert_eq!(health.of(&target).view(now()).state, state, "{ours:?} {theirs:?}");
        assert_eq!((came.call.attempts[0].outcome, came.call.attempts[0].http_status), ("timeout", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_is_no_failure_of_the_target_and_ends_the_call_on_time() {
    // The second target, if there is one, is no help: it asked for a pause.
    for does in [vec![Does::Nothing], vec![Does::Nothing, Does::Content(5)]] {
        let mut way = way(&does, Policy::default());
        way.health = Arc::new(Health::new(Settings { failures: 1, ..Settings::default() }));
        way.deadline = Deadline { at: now() + ms(300), by_caller: true };
        for candidate in way.plan.candidates.iter().skip(1) {
            let mut ticket = way.health.of(&candidate.target).admit(false, now()).unwrap();
            ticket.failed(Kind::RateLimited { retry_after: Some(ms(30_000)) }, now());
        }
        let (health, target) = (way.health.clone(), way.plan.candidates[0].target.clone());
        let came = run(way, Call::for_test("m")).await;
        assert_eq!((came.to.as_ref().unwrap_err(), came.after), (&Reason::CallerDeadlineExceeded, ms(300)));
        assert_eq!(health.of(&target).view(now()).state, State::Closed);
        assert_eq!(came.attempts(), [("a/m", "cancelled", false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_target_leaves_the_others_time_before_the_callers_deadline() {
    use Does::{Content, Nothing};
    for (does, usual, after, state) in [
        (vec![Nothing, Content(5)], None, 2_005, State::Closed),
        // Ten times as long as it usually takes: that is the target, not the caller.
        (vec![Nothing, Content(5)], Some(200), 2_005, State::Open),
        (vec![Nothing, Content(5)], Some(400), 2_005, State::Closed),
        (vec![Nothing, Nothing, Content(5)], None, 1_500 + 1_000 + 5, State::Closed),
        // It is only slow, and the other one is not needed.
        (vec![Content(1_999), Content(5)], None, 1_999, State::Closed),
    ] {
        let mut way = way(&does, Policy::default());
        way.health = Arc::new(Health::new(Settings { failures: 1, ..Settings::default() }));
        way.deadline = Deadline { at: now() + ms(3_000), by_caller: true };
        let first = way.health.of(&way.plan.candidates[0].target);
        if let Some(usual) = usual {
            let mut ticket = first.admit(false, now()).unwrap();
            ticket.first_content(ms(usual), true, now());
            ticket.complete(1, now());
        }
        let came = run(way, Call::for_test("m")).await;
        assert_eq!(came.after, ms(after), "{does:?} {usual:?}");
        assert!(came.to.is_ok(), "{:?}", came.to);
        let outcomes: Vec<_> = came.attempts().iter().map(|attempt| attempt.1).collect();
        let late = outcomes.len() - 1;
        assert!(outcomes[..late].iter().all(|outcome| *outcome == "timeout"), "{outcomes:?}");
        assert_eq!((late > 0, first.view(now()).state), (after != 1_999, state), "{does:?} {usual:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_asked_beside_a_slow_one_needs_no_more_of_its_time() {
    for (at_most, after, attempts) in [
        (1.0, 2_500, vec![("b/m", "cancelled", true), ("a/m", "", false)]),
        // Without a hedge the second has to have time.
        (0.0, 2_100, vec![("a/m", "timeout", false), ("b/m", "", false)]),
    ] {
        let hedge = Some(Hedge { after: ms(20), at_most });
        let second = if at_most > 0.0 { Does::Nothing } else { Does::Content(100) };
        let mut way = way(&[Does::Content(2_500), second], Policy { hedge, ..Policy::default() });
        if at_most == 0.0 {
            assert!(way.plan.policy.hedges.take(), "the first is free");
        }
        way.deadline = Deadline { at: now() + ms(3_000), by_caller: true };
        let came = run(way, Call::for_test("m")).await;
        assert_eq!(came.after, ms(after));
        let outcomes: Vec<_> = came
            .attempts()
            .into_iter()
            .map(|(target, outcome, hedged)| (target, if outcome == "ok" { "" } else { outcome }, hedged))
            .collect();
        assert_eq!(outcomes, attempts);
    }
}

/// Has the only target of a way ask for a pause.
fn pause(way: &Way, wait: Duration) {
    let mut ticket = way.health.of(&way.plan.candidates[0].target).admit(false, now()).unwrap();
    ticket.failed(Kind::RateLimited { retry_after: Some(wait) }, now());
}

#[tokio::test(start_paused = true)]
async fn a_short_pause_of_the_only_target_is_waited_for_and_a_long_one_is_told() {
    for (wait, within, came_to, after) in [
        (2_000, 60_000, Ok("a/m".to_owned()), 2_005),
        (5_000, 60_000, Ok("a/m".to_owned()), 5_005),
        // Longer than `max_backoff`, or than the caller has: the last resort is tried at once.
        (5_001, 60_000, Ok("a/m".to_owned()), 5),
        (2_000, 1_900, Ok("a/m".to_owned()), 5),
    ] {
        let mut way = way(&[Does::Content(5)], Policy::default());
        way.gates = Arc::new(Gates::new((&crate::config::Load::default()).into()));
        way.deadline = Deadline { at: now() + ms(within), by_caller: true };
        pause(&way, ms(wait));
        let came = run(way, Call::for_test("m")).await;
        assert_eq!((came.to, came.after), (came_to, ms(after)), "{wait} {within}");
        let waited = if after == 5 { 0 } else { wait };
        assert_eq!((came.call.waited, came.call.attempts.len()), (ms(waited), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_to_wait_a_call_is_refused_at_once_with_the_time_that_is_left() {
    let mut way = way(&[Does::Content(5)], Policy::default());
    let load = crate::config::Load { queue: 0, ..crate::config::Load::default() };
    way.gates = Arc::new(Gates::new((&load).into()));
    pause(&way, ms(2_000));
    let way = Arc::new(way);
    let mut errors = Vec::new();
    for _ in 0..11 {
        let (began, mut call) = (now(), Call::for_test("m"));
        errors.extend(dispatch(way.clone(), &mut call, |_| Ok(())).await.err().map(|error| (error, began)));
    }
    let [(error, began)] = &errors[..] else { panic!("ten are the last resort: {errors:?}") };
    assert_eq!((now(), error.reason()), (*began, Reason::UpstreamRateLimited));
    assert!(error.facts().retry_after.is_some_and(|wait| wait > ms(1_900)), "{error:?}");
}
