//! Tests of answers that are read on though their callers have gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use futures_util::future::pending;

use super::{
    attempts::{answered, end, item, other, reroute, start},
    *,
};
use crate::error::Upstream;

impl Room {
    /// Hears so many items of an answer to a call, leaves, and returns the record.
    async fn leaves_after(&self, heard: usize, steps: Steps, drains: bool) -> v1::UsageRecord {
        self.leave(heard, steps, drains).await;
        in_time(async || !self.rows().is_empty()).await;
        self.row()
    }

    async fn leave(&self, heard: usize, steps: Steps, drains: bool) {
        let mut answer = self.dispatched(1).follow_and_drain(steps, Vec::new(), drains);
        for _ in 0..heard {
            answer.next().await.unwrap().unwrap();
        }
    }
}

async fn in_time(is_so: impl AsyncFn() -> bool) {
    while !is_so().await {
        tokio::task::yield_now().await;
    }
}

fn steps(steps: Vec<Result<Step, Error>>) -> Steps {
    Box::pin(stream::iter(steps))
}

fn answered_by_one_that_drains() -> Result<Step, Error> {
    Ok(Step::Answered { http_status: 200, upstream_request_id: String::new(), drains: true })
}

/// What the record says of the last attempt, the output, and who counted it.
fn came_to(row: &v1::UsageRecord) -> (&str, i64, v1::usage::Source) {
    assert_eq!((&*row.status, &*row.error_reason), ("CANCELLED", "CANCELLED"));
    let usage = row.usage.as_ref().unwrap();
    (&row.attempts.last().unwrap().outcome, usage.output_tokens.unwrap(), usage.source())
}

#[tokio::test]
async fn an_answer_that_is_billed_to_its_end_is_read_to_its_end() {
    let whole = vec![start(), item(text("one")), item(text("two")), item(usage(7, 30)), end()];
    let row = Room::new().leaves_after(2, steps(whole), true).await;
    assert_eq!(came_to(&row), ("ok", 30, v1::usage::Source::Provider));
}

#[tokio::test]
async fn bytes_that_pass_through_say_no_finish_reason_and_are_whole_all_the_same() {
    let raw = |seen| item(Ok(Item::Raw(bytes::Bytes::from_static(b"{}"), seen)));
    let told = v1::Usage { input_tokens: Some(7), output_tokens: Some(30), ..Default::default() };
    let content = || Seen { content_events: 1, output_tokens: 1, progress: true, ..Seen::default() };
    let last = Seen { usage: Some(Box::new(told)), last: true, ..content() };
    let row = Room::new().leaves_after(1, steps(vec![raw(content()), raw(last)]), true).await;
    assert_eq!(came_to(&row), ("ok", 30, v1::usage::Source::Provider));
}

#[tokio::test]
async fn a_provider_that_fails_while_it_is_read_on_has_failed() {
    let failed = Upstream { kind: "timeout", ..Upstream::default() };
    let failed = Error::new(Reason::UpstreamTimeout, "silent").upstream(failed);
    let row = Room::new().leaves_after(2, steps(vec![start(), item(text("one")), Err(failed)]), true).await;
    assert_eq!(came_to(&row), ("timeout", 1, v1::usage::Source::Estimated));
}

#[tokio::test]
async fn an_answer_goes_on_nowhere_for_nobody() {
    let asked = Arc::new(AtomicBool::new(false));
    let begun = steps(vec![start(), item(text("one")), reroute(other())]);
    let next = stream::once({
        let asked = asked.clone();
        async move {
            asked.store(true, SeqCst);
            answered_by_one_that_drains()
        }
    });
    let row = Room::new().leaves_after(2, Box::pin(begun.chain(next)), true).await;
    assert_eq!(came_to(&row), ("unavailable", 1, v1::usage::Source::Estimated));
    assert_eq!((row.attempts.len(), asked.load(SeqCst)), (1, false));
}

#[tokio::test]
async fn each_part_of_an_answer_is_read_on_as_its_own_provider_wants_it() {
    let parts = |second| {
        let first = [start(), item(text("one")), reroute(other()), second, item(text("two"))];
        steps(first.into_iter().chain([item(usage(7, 30)), end()]).collect())
    };
    let row = Room::new().leaves_after(3, parts(answered()), true).await;
    assert_eq!(came_to(&row), ("cancelled", 2, v1::usage::Source::Estimated));
    let row = Room::new().leaves_after(3, parts(answered_by_one_that_drains()), false).await;
    let (outcome, output, _) = came_to(&row);
    assert_eq!((outcome, output), ("ok", 31));
}

#[tokio::test]
async fn who_leaves_before_the_next_part_begins_is_read_on_by_nobody() {
    let begun = steps(vec![start(), item(text("one")), reroute(other())]);
    let room = Room::new();
    let mut answer =
        room.dispatched(1).follow_and_drain(Box::pin(begun.chain(stream::pending())), Vec::new(), true);
    for _ in 0..2 {
        answer.next().await.unwrap().unwrap();
    }
    assert!(futures_util::poll!(answer.next()).is_pending(), "the next attempt runs");
    drop(answer);
    assert_eq!(room.row().attempts[1].outcome, "cancelled");
}

#[tokio::test]
async fn who_has_gone_holds_no_place() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let room = Room::new();
    let given_back = Arc::new(AtomicUsize::new(0));
    let mut open = room.dispatched(1);
    open.hold(Held(given_back.clone()));
    let too = given_back.clone();
    open.on_abandon(move || {
        too.fetch_add(1, SeqCst);
    });
    let endless = steps(vec![start(), item(text("one"))]).chain(stream::pending());
    let mut answer = open.follow_and_drain(Box::pin(endless), Vec::new(), true);
    answer.next().await.unwrap().unwrap();
    assert_eq!(given_back.load(SeqCst), 0);
    drop(answer);
    assert_eq!(given_back.load(SeqCst), 2);
    assert!(room.rows().is_empty(), "it is read on");
}

#[tokio::test]
async fn the_process_waits_for_what_is_read_on_and_settles_what_does_not_end() {
    let last = stream::once(async {
        tokio::task::yield_now().await;
        item(usage(7, 30))
    });
    let whole = steps(vec![start(), item(text("one"))]).chain(last).chain(stream::iter([end()]));
    let endless = steps(vec![start(), item(text("one"))]).chain(stream::once(pending()));
    let hour = Duration::from_secs(3600);
    for (answer, wait, expected) in [
        (Box::pin(whole) as Steps, hour, ("ok", 30, v1::usage::Source::Provider)),
        (Box::pin(endless), Duration::ZERO, ("cancelled", 1, v1::usage::Source::Estimated)),
    ] {
        let room = Room::new();
        room.leave(2, answer, true).await;
        room.meter.end_drains(Instant::now() + wait).await;
        assert_eq!(came_to(&room.row()), expected);
    }
}
