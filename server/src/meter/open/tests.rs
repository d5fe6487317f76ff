//! Tests of the promise that every call ends in exactly one record, whatever becomes of it.

use futures_util::{StreamExt as _, stream};
use tempfile::{TempDir, tempdir};
use uuid::Uuid;

use super::*;
use crate::{
    call::{Asked, Attempt, Event, Seen, Step},
    error::Reason,
    meter::testing::{caller, id, meter, rows, target},
};

mod attempts;
mod drains;
mod sums;

struct Room {
    meter: Arc<Meter>,
    dir: TempDir,
}

impl Room {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        Self { meter: meter(dir.path()), dir }
    }

    /// Opens a call that is being asked of a provider.
    fn dispatched(&self, number: u128) -> Open {
        let mut open = self.meter.open(call(id(number)));
        open.call.attempts.push(Attempt::start(Arc::new(target()), Instant::now()));
        self.meter.dispatching(&open.call).unwrap();
        open
    }

    /// Opens what a crash leaves: the files as they are now.
    fn after_a_crash(&self) -> Self {
        let after = tempdir().unwrap();
        std::fs::create_dir_all(after.path().join("journal")).unwrap();
        let segment = "journal/000001.log";
        std::fs::copy(self.dir.path().join(segment), after.path().join(segment)).unwrap();
        Self { meter: meter(after.path()), dir: after }
    }

    fn rows(&self) -> Vec<v1::UsageRecord> {
        rows(&self.meter.ledger, &self.dir.path().join("tollgate.db"))
    }

    fn row(&self) -> v1::UsageRecord {
        let mut rows = self.rows();
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }
}

fn call(id: Uuid) -> Call {
    Call {
        id,
        caller: Arc::new(caller("key-a", "search", &[])),
        asked: Asked { input_bytes: 40, ..Call::for_test("chat-fast").asked },
        tags: [("env".to_owned(), "prod".to_owned())].into(),
        ..Call::for_test("chat-fast")
    }
}

fn text(text: &str) -> Result<Item, Error> {
    Ok(Item::Event(Event::Text(v1::TextDelta { text: text.to_owned(), choice: 0, part: 0 })))
}

fn usage(input: i64, output: i64) -> Result<Item, Error> {
    Ok(Item::Event(Event::Usage(Box::new(v1::Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        r#final: true,
        ..v1::Usage::default()
    }))))
}

fn items(items: Vec<Result<Item, Error>>) -> Steps {
    let start = Ok(Item::Event(Event::Start(v1::StreamStart::default().into())));
    Box::pin(stream::iter(std::iter::once(start).chain(items).map(|item| item.map(Step::Item))))
}

#[tokio::test]
async fn a_whole_answer_is_in_the_journal_before_its_end_is_seen() {
    let room = Room::new();
    let end = Ok(Item::Event(Event::End(v1::StreamEnd::default().into())));
    let mut answer = room.dispatched(1).follow(items(vec![text("hello"), usage(7, 3), end]), Vec::new());
    let mut told = None;
    while let Some(item) = answer.next().await {
        match item.unwrap() {
            Item::Event(Event::Usage(usage)) => told = Some(*usage),
            Item::Event(Event::End(_)) => {
                let row = room.row();
                assert_eq!((&*row.status, row.recovered, row.delivered_event_count), ("OK", false, 1));
                assert_eq!(row.usage, told, "the caller is told what the record says");
            }
            _ => {}
        }
    }
    let usage = told.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), Some(3)));
    assert_eq!(usage.cost.unwrap().amount_nanos, 7 * 150 + 3 * 600);
    drop(answer);
    assert_eq!(room.row().tags["env"], "prod");
}

#[tokio::test]
async fn a_caller_that_leaves_is_billed_for_what_it_got() {
    let room = Room::new();
    let mut answer =
        room.dispatched(1).follow(items(vec![text("one"), text("two"), text("three")]), Vec::new());
    for _ in 0..3 {
        answer.next().await.unwrap().unwrap();
    }
    drop(answer);
    let row = room.row();
    assert_eq!((&*row.status, &*row.error_reason), ("CANCELLED", "CANCELLED"));
    assert_eq!(row.attempts[0].outcome, "cancelled");
    let usage = row.usage.unwrap();
    assert_eq!((usage.output_tokens, usage.source()), (Some(2), v1::usage::Source::Estimated));
    assert!(usage.cost.unwrap().estimated);
}

#[tokio::test]
async fn an_answer_without_an_end_is_no_success() {
    let room = Room::new();
    let answer = room.dispatched(1).follow(items(vec![text("one")]), Vec::new());
    let last = answer.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().reason(), Reason::StreamInterrupted);
    let row = room.row();
    assert_eq!((&*row.status, &*row.error_reason), ("UNAVAILABLE", "STREAM_INTERRUPTED"));
}

#[tokio::test]
async fn a_refusal_is_recorded_and_used_nothing() {
    let room = Room::new();
    let error = Error::new(Reason::ModelNotFound, "no such model");
    let error = room.meter.open(call(id(1))).refuse(error);
    assert_eq!(error.reason(), Reason::ModelNotFound);
    let row = room.row();
    assert_eq!((&*row.status, &*row.error_reason), ("NOT_FOUND", "MODEL_NOT_FOUND"));
    assert!(row.usage.is_none() && row.target.is_empty() && !row.unpriced);
}

#[tokio::test]
async fn a_panic_leaves_a_record_too() {
    let room = Room::new();
    let open = room.dispatched(1);
    let broken = tokio::spawn(async move {
        let _open = open;
        panic!("a mistake of ours");
    });
    assert!(broken.await.unwrap_err().is_panic());
    assert_eq!(room.row().status, "INTERNAL");
}

#[tokio::test]
async fn a_panic_in_a_stream_is_an_internal_error_of_that_call_alone() {
    let room = Room::new();
    let broken = stream::iter([1]).map(|_| -> Result<Step, Error> { panic!("a mistake of ours") });
    let answer = room.dispatched(1).follow(Box::pin(broken), Vec::new());
    let mut handed_on: Vec<_> = answer.collect().await;
    assert_eq!(handed_on.len(), 1);
    assert_eq!(handed_on.pop().unwrap().unwrap_err().reason(), Reason::Internal);
    assert_eq!(room.row().status, "INTERNAL");
}

#[tokio::test]
async fn an_answer_whose_record_cannot_be_written_ends_in_an_error_on_every_lane() {
    let seen = Seen { content_events: 1, last: true, progress: true, ..Seen::default() };
    let ends = [
        Item::Event(Event::End(v1::StreamEnd::default().into())),
        Item::Raw(bytes::Bytes::from_static(b"{}"), seen),
        Item::Embeddings(v1::EmbedResponse::default().into()),
    ];
    for end in ends {
        let room = Room::new();
        let open = room.dispatched(1);
        room.meter.journal.break_for_test();
        let handed_on: Vec<_> =
            open.follow(Box::pin(stream::iter([Ok(Step::Item(end))])), Vec::new()).collect().await;
        assert_eq!(handed_on.len(), 1);
        assert_eq!(handed_on[0].as_ref().unwrap_err().reason(), Reason::StoreUnavailable);
        let row = room.row();
        assert_eq!((&*row.status, &*row.error_reason), ("UNAVAILABLE", "STORE_UNAVAILABLE"));
    }
}

#[tokio::test]
async fn a_provider_that_never_worked_for_a_call_is_not_paid() {
    for (outcome, http_status, sent_and_paid) in [
        ("unavailable", 0, false),
        ("invalid", 0, false),
        ("rate_limited", 429, false),
        ("unavailable", 503, false),
        ("timeout", 0, true),
        ("unavailable", 200, true),
        ("no connection", 0, false),
    ] {
        let room = Room::new();
        let mut open = room.dispatched(1);
        let attempt = open.call.attempts.last_mut().unwrap();
        attempt.http_status = http_status;
        attempt.end(if outcome == "no connection" { "timeout" } else { outcome }, Instant::now());
        attempt.unsent = outcome == "no connection";
        open.refuse(Error::new(Reason::UpstreamUnavailable, "it failed"));
        assert_eq!(room.row().usage.is_some(), sent_and_paid, "{outcome} {http_status}");
    }
}

#[tokio::test]
async fn a_call_that_runs_when_the_process_dies_is_recovered_at_the_next_start() {
    let room = Room::new();
    let mut answer = room.dispatched(1).follow(items(vec![text(&"x".repeat(2_000)), text("y")]), Vec::new());
    for _ in 0..2 {
        answer.next().await.unwrap().unwrap();
    }
    let row = room.after_a_crash().row();
    assert!(row.recovered);
    assert_eq!((row.delivered_event_count, row.usage.unwrap().output_tokens), (1, Some(500)));
}
