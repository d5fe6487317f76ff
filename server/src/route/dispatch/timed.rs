//! Tests of attempts beside and after each other, of ways into targets, and of waits for a first token, by a clock that
//! is turned by hand.

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
    let mut way = way(&[Does::Nothing, Does::Content(5)], Policy::default());
    way.health = Arc::new(Health::new(Settings { failures: 1, ..Settings::default() }));
    way.deadline = Deadline { at: now() + ms(300), by_caller: true };
    let (health, target) = (way.health.clone(), way.plan.candidates[0].target.clone());
    let came = run(way, Call::for_test("m")).await;
    assert_eq!((came.to.unwrap_err(), came.after), (Reason::CallerDeadlineExceeded, ms(300)));
    assert_eq!(health.of(&target).view(now()).state, State::Closed);
    assert_eq!(came.call.attempts[0].outcome, "cancelled");
}
