//! Tests of what is dispatched and what is not.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, ready},
    stream,
};
use http::HeaderMap;
use tollgate_api::v1;

use super::*;
use crate::{
    call::{Attempt, Event, Item, Seen},
    error::Reason,
    provider::{Answer, Outgoing, Provider},
    route::{Policy, testing},
};

/// Answers with pings and nothing else, and counts how often it was asked.
#[derive(Default)]
struct Pinging(AtomicUsize);

impl Provider for Pinging {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let ping = || Ok(Item::Raw(Bytes::from_static(b": ping\n\n"), Seen::default()));
        Box::pin(ready(Ok(Answer {
            warnings: Vec::new(),
            headers: HeaderMap::new(),
            http_status: 200,
            upstream_request_id: String::new(),
            items: Box::pin(stream::repeat_with(ping)),
        })))
    }

    fn embed<'a>(
        &'a self,
        _: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        Box::pin(ready(Err(provider::Error::new(Kind::Unsupported, "no embeddings here"))))
    }
}

/// Dispatches to the pinging provider; tells the error, the attempts of the call, and how often it was asked.
async fn run(deadline: Instant, journal: Result<(), Error>) -> (Error, Vec<Attempt>, usize) {
    let pinging = Arc::new(Pinging::default());
    let policy = Policy { attempts: 1, ..Policy::default() };
    let plan = testing::plan(vec![testing::candidate("p", pinging.clone())], policy);
    let deadline = Deadline { at: deadline, by_caller: true };
    let way = Way { deadline, ..testing::way(plan) };
    let mut call = Call::for_test("m");
    let done = dispatch(Arc::new(way), &mut call, |_| journal.clone()).await;
    (done.err().unwrap(), call.attempts, pinging.0.load(Ordering::Relaxed))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[tokio::test]
async fn nothing_is_dispatched_after_the_deadline() {
    let (error, attempts, asked) = run(Instant::now(), Ok(())).await;
    assert_eq!(error.reason(), Reason::CallerDeadlineExceeded);
    assert_eq!((attempts.len(), asked), (0, 0));
}

#[tokio::test]
async fn an_attempt_that_cannot_be_written_down_is_not_made_and_not_told_of() {
    let (error, attempts, asked) = run(soon(), Err(Error::new(Reason::StoreUnavailable, "full"))).await;
    assert_eq!(error.reason(), Reason::StoreUnavailable);
    assert_eq!((attempts.len(), asked, error.facts().attempts.len()), (0, 0, 0));
}

#[tokio::test]
async fn a_stream_that_never_comes_to_its_content_is_not_held_for_ever() {
    let (error, attempts, asked) = run(soon(), Ok(())).await;
    assert_eq!(error.reason(), Reason::UpstreamBadResponse);
    assert_eq!((attempts[0].outcome, asked), ("bad_response", 1));
}

/// Answers with one word and then falls silent.
struct Stalling;

impl Provider for Stalling {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        let seen = Seen { content_events: 1, progress: true, ..Seen::default() };
        let word = Ok(Item::Raw(Bytes::from_static(b"data: {}\n\n"), seen));
        Box::pin(ready(Ok(Answer {
            warnings: Vec::new(),
            headers: HeaderMap::new(),
            http_status: 200,
            upstream_request_id: String::new(),
            items: Box::pin(stream::iter([word]).chain(stream::pending())),
        })))
    }

    fn embed<'a>(
        &'a self,
        _: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        Box::pin(ready(Err(provider::Error::new(Kind::Unsupported, "no embeddings here"))))
    }
}

#[tokio::test(start_paused = true)]
async fn silence_that_is_too_long_for_the_caller_alone_is_not_held_against_the_target() {
    let minute = Duration::from_secs(60);
    for (callers, failures, told) in [(None, 1, "`timeouts.idle` = 60s"), (Some(1), 0, "`idle_timeout` = 1s")]
    {
        let plan = testing::plan(vec![testing::candidate("p", Arc::new(Stalling))], Policy::default());
        let way = testing::way(plan);
        let timeouts = Timeouts { idle: minute, ..way.timeouts };
        let way = Arc::new(Way { timeouts, ..way });
        let mut call = Call::for_test("m");
        call.options.idle_timeout = callers.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let answer = dispatch(way.clone(), &mut call, |_| Ok(())).await.unwrap();
        let error = answer.items.filter_map(|item| ready(item.err())).next().await.unwrap();
        assert!(error.to_string().contains(told), "{error}");
        let health = way.health.of(&way.plan.candidates[0].target);
        assert_eq!(health.view(now()).consecutive_failures, failures, "{callers:?}");
    }
}

#[tokio::test]
async fn a_degraded_answer_names_the_model_that_was_asked_for() {
    let policy = Policy { attempts: 1, degraded: Some("later".into()), ..Policy::default() };
    let plan = testing::plan(vec![testing::candidate("p", Arc::new(Pinging::default()))], policy);
    let mut call = Call::for_test("chat");
    let answer = dispatch(Arc::new(testing::way(plan)), &mut call, |_| Ok(())).await.unwrap();
    assert_eq!((answer.warnings[0].code.as_str(), call.attempts.len()), ("degraded_answer", 1));
    let steps: Vec<_> = answer.items.map(Result::unwrap).collect().await;
    let models = steps.iter().filter_map(|step| match step {
        crate::call::Step::Item(Item::Event(Event::Start(start))) => Some(start.model.as_str()),
        _ => None,
    });
    assert_eq!(models.collect::<Vec<_>>(), ["chat"]);
}
