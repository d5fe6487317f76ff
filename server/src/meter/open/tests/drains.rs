//! Tests of answers that are read on though their callers have gone.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

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
