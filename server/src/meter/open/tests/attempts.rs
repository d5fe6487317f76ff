//! Tests of calls that several providers are paid for.

use super::*;
use crate::call::{Rates, Target};

/// A target with its own price: 1 nano-USD per input token, 2 per output token.
pub(super) fn other() -> Arc<Target> {
    let rates = Rates { input: 1_000_000, output: 2_000_000, cache_read: None, cache_write: None };
    let (name, provider) = ("other/m".into(), "other".into());
    Arc::new(Target { name, provider, model: "m".into(), vendor: "none".into(), rates: Some(rates) })
}

/// A target whose price nobody knows.
fn unknown() -> Arc<Target> {
    Arc::new(Target { rates: None, ..Arc::into_inner(other()).unwrap() })
}

pub(super) fn reroute(next: Arc<Target>) -> Result<Step, Error> {
    Ok(Step::Reroute { outcome: "unavailable", next })
}

pub(super) fn answered() -> Result<Step, Error> {
    Ok(Step::Answered { http_status: 200, upstream_request_id: "up-2".to_owned(), drains: false })
}

pub(super) fn item(item: Result<Item, Error>) -> Result<Step, Error> {
    item.map(Step::Item)
}

pub(super) fn start() -> Result<Step, Error> {
    item(Ok(Item::Event(Event::Start(
        v1::StreamStart { model: "m".to_owned(), ..Default::default() }.into(),
    ))))
}

pub(super) fn end() -> Result<Step, Error> {
    item(Ok(Item::Event(Event::End(v1::StreamEnd::default().into()))))
}

fn interim(input: i64, output: i64) -> Result<Step, Error> {
    item(usage(input, output).map(|item| match item {
        Item::Event(Event::Usage(usage)) => {
            Item::Event(Event::Usage(Box::new(v1::Usage { r#final: false, ..*usage })))
        }
        item => item,
    }))
}

pub(super) fn counts(attempt: &v1::Attempt) -> (&str, Option<i64>, Option<i64>, Option<i64>, bool) {
    let v1::Attempt { outcome, input_tokens, output_tokens, cost_nanos, estimated, .. } = attempt;
    (outcome, *input_tokens, *output_tokens, *cost_nanos, *estimated)
}

/// Runs these steps to their end, and returns what was handed on.
pub(super) async fn run(room: &Room, steps: Vec<Result<Step, Error>>) -> Vec<Result<Item, Error>> {
    room.dispatched(1).follow(Box::pin(stream::iter(steps)), Vec::new()).collect().await
}

#[tokio::test]
async fn both_parts_of_an_answer_that_went_on_are_billed_each_at_its_own_price() {
    let room = Room::new();
    let first = [start(), item(text("one")), item(text("two"))];
    let second = [reroute(other()), answered(), start(), item(text("three")), item(usage(20, 4)), end()];
    let handed_on = run(&room, first.into_iter().chain(second).collect()).await;
    let row = room.row();
    assert_eq!((&*row.status, &*row.target, row.delivered_event_count), ("OK", "other/m", 3));
    // The first part is an estimate: 10 tokens for the prompt, one for each delta.
    assert_eq!(
        row.attempts.iter().map(counts).collect::<Vec<_>>(),
        [
            ("unavailable", Some(10), Some(2), Some(10 * 150 + 2 * 600), true),
            ("ok", Some(20), Some(4), Some(28), false)
        ]
    );
    assert_eq!((row.attempts[1].http_status, &*row.attempts[1].upstream_request_id), (200, "up-2"));
    let usage = row.usage.clone().unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(30), Some(6)));
    assert_eq!((usage.source(), row.unpriced), (v1::usage::Source::Estimated, false));
    let cost = usage.cost.unwrap();
    assert_eq!((cost.amount_nanos, &*cost.price_version, cost.estimated), (2_728, "config", true));
    let starts = handed_on.iter().filter(|item| matches!(item, Ok(Item::Event(Event::Start(_)))));
    assert_eq!(starts.count(), 1, "the answer has one start");
    let told = handed_on.iter().find_map(|item| match item {
        Ok(Item::Event(Event::Usage(usage))) => Some((**usage).clone()),
        _ => None,
    });
    assert_eq!(told, row.usage, "the caller is told what the record says");
    let route = handed_on.iter().find_map(|item| match item {
        Ok(Item::Event(Event::End(end))) => end.route.clone(),
        _ => None,
    });
    let route = route.unwrap();
    assert_eq!((route.attempts, route.gateway_duration), (row.attempts, row.gateway_duration));
}

#[tokio::test]
async fn interim_counts_stay_cumulative_over_both_parts() {
    let room = Room::new();
    let first = [start(), interim(7, 0), item(text("one"))];
    let second = [reroute(other()), answered(), start(), interim(9, 1), item(text("two")), end()];
    let handed_on = run(&room, first.into_iter().chain(second).collect()).await;
    let told: Vec<_> = handed_on
        .iter()
        .filter_map(|item| match item {
            Ok(Item::Event(Event::Usage(usage))) => Some((usage.input_tokens, usage.output_tokens)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(Some(7), Some(0)), (Some(16), Some(2)), (Some(16), Some(2))]);
}

#[tokio::test]
async fn a_part_without_a_price_flags_the_record_and_the_others_price_holds() {
    let room = Room::new();
    let steps = vec![start(), item(text("one")), reroute(unknown()), answered(), item(text("two")), end()];
    run(&room, steps).await;
    let row = room.row();
    assert!(row.unpriced);
    assert_eq!(row.usage.unwrap().cost.unwrap().amount_nanos, 10 * 150 + 600);
    assert_eq!(row.attempts[1].cost_nanos, None);
    assert_eq!(row.attempts[1].input_tokens, Some(11), "what was delivered is part of the second prompt");
}

#[tokio::test]
async fn a_second_attempt_that_never_answered_is_not_billed() {
    let room = Room::new();
    let error = Error::new(Reason::StreamInterrupted, "it broke off");
    let steps = vec![start(), item(text("one")), reroute(other()), Err(error)];
    let handed_on = run(&room, steps).await;
    let row = room.row();
    assert_eq!(counts(&row.attempts[0]).1, None, "with one part, all of it is the call's");
    assert_eq!((row.attempts.len(), &*row.status), (2, "UNAVAILABLE"));
    let usage = row.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(1)));
    let last = &handed_on[handed_on.len() - 2..];
    assert!(
        matches!(last, [Ok(Item::Event(Event::Usage(told))), Err(_)] if **told == usage),
        "what was used is told before the error: {last:?}"
    );
}

#[tokio::test]
async fn an_answer_that_ends_with_what_was_delivered_is_no_success_of_its_attempt() {
    let room = Room::new();
    let cut = Ok(Step::Cut { outcome: "unavailable" });
    run(&room, vec![start(), interim(7, 1), item(text("one")), item(text("two")), cut, end()]).await;
    let row = room.row();
    assert_eq!((&*row.status, &*row.attempts[0].outcome), ("OK", "unavailable"));
    assert_eq!(row.target, "openai/gpt-4o-mini");
    let usage = row.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), Some(2)));
    assert_eq!(usage.source(), v1::usage::Source::Estimated);
}

#[tokio::test]
async fn attempts_before_the_content_count_what_they_told_or_what_they_must_have_read() {
    let told = v1::Usage { input_tokens: Some(3), ..Default::default() };
    for (outcome, http_status, told, input) in [
        ("unavailable", 200, Some(told), 3),
        ("timeout", 200, None, 10),
        ("cancelled", 200, None, 10),
        ("timeout", 0, None, 0),
        ("unavailable", 200, None, 0),
        ("rate_limited", 429, None, 0),
    ] {
        let room = Room::new();
        let mut open = room.dispatched(1);
        let first = open.call.attempts.last_mut().unwrap();
        first.end(outcome, Instant::now());
        (first.http_status, first.usage) = (http_status, told.map(Box::new));
        open.call.attempts.push(Attempt::start(other(), Instant::now()));
        open.meter.dispatching(&open.call).unwrap();
        let steps = vec![start(), item(text("one")), item(usage(5, 1)), end()];
        let _: Vec<_> = open.follow(Box::pin(stream::iter(steps)), Vec::new()).collect().await;
        let row = room.row();
        assert_eq!(row.usage.unwrap().input_tokens, Some(5 + input), "{outcome} {http_status}");
        assert_eq!(row.attempts[1].input_tokens, (input > 0).then_some(5), "{outcome} {http_status}");
    }
}

#[tokio::test]
async fn a_crash_in_the_second_part_loses_neither() {
    let room = Room::new();
    let steps = vec![
        start(),
        item(text("one")),
        item(usage(7, 3)),
        reroute(other()),
        answered(),
        item(text(&"x".repeat(2_000))),
    ];
    let endless = stream::iter(steps).chain(stream::pending());
    let mut answer = room.dispatched(1).follow(Box::pin(endless), Vec::new());
    for _ in 0..3 {
        answer.next().await.unwrap().unwrap();
    }
    let row = room.after_a_crash().row();
    assert!(row.recovered);
    assert_eq!((&*row.target, row.delivered_event_count), ("other/m", 2));
    assert_eq!(
        row.attempts.iter().map(counts).collect::<Vec<_>>(),
        [
            ("unavailable", Some(7), Some(3), Some(7 * 150 + 3 * 600), true),
            // The prompt of the second is the first one's and what was delivered.
            ("cancelled", Some(11), Some(500), Some(1_011), true)
        ]
    );
    let usage = row.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(18), Some(503)));
    assert_eq!(usage.cost.unwrap().amount_nanos, 7 * 150 + 3 * 600 + 1_011);
}

#[tokio::test]
async fn an_attempt_that_cannot_be_written_down_is_not_asked_for() {
    let room = Room::new();
    let open = room.dispatched(1);
    room.meter.journal.break_for_test();
    let asked_again = stream::poll_fn(|_| panic!("the next attempt must not be made"));
    let steps = stream::iter([start(), item(text("one")), reroute(other())]).chain(asked_again);
    let handed_on: Vec<_> = open.follow(Box::pin(steps), Vec::new()).collect().await;
    assert_eq!(handed_on.last().unwrap().as_ref().unwrap_err().reason(), Reason::StoreUnavailable);
    let row = room.row();
    assert_eq!((row.attempts.len(), &*row.attempts[0].outcome), (1, "unavailable"));
    assert_eq!(row.usage.unwrap().output_tokens, Some(1));
}
