//! Tests that what several attempts are billed for adds up: in the record, in reports, and after a crash.

use super::{
    attempts::{answered, counts, end, item, other, reroute, run, start},
    *,
};
use crate::meter::testing::admin;

/// Writes an attempt down that failed before its content, and the next one, which is asked now.
fn fails(open: &mut Open, outcome: &'static str, http_status: u16, told: Option<v1::Usage>) {
    let failed = open.call.attempts.last_mut().unwrap();
    failed.end(outcome, Instant::now());
    (failed.http_status, failed.usage) = (http_status, told.map(Box::new));
    open.call.attempts.push(Attempt::start(other(), Instant::now()));
    open.meter.dispatching(&open.call).unwrap();
}

fn prompt(input: i64, cache_read: i64) -> v1::Usage {
    let source = v1::usage::Source::Provider.into();
    let cache_read_input_tokens = Some(cache_read);
    v1::Usage { input_tokens: Some(input), cache_read_input_tokens, source, ..v1::Usage::default() }
}

fn told(usage: v1::Usage) -> Result<Step, Error> {
    item(Ok(Item::Event(Event::Usage(usage.into()))))
}

#[tokio::test]
async fn the_gateways_own_answer_uses_nothing_and_the_attempts_before_it_are_billed() {
    for (outcome, http_status, usage, input) in [
        ("unavailable", 503, None, 0),
        ("timeout", 200, None, 10),
        ("unavailable", 200, Some(prompt(3, 0)), 3),
    ] {
        let room = Room::new();
        let mut open = room.dispatched(1);
        fails(&mut open, outcome, http_status, usage);
        open.call.attempts.last_mut().unwrap().end("unavailable", Instant::now());
        let steps = vec![start(), item(text("all are down, sorry")), item(super::usage(0, 0)), end()];
        let answer = open.follow(Box::pin(stream::iter(steps)), Vec::new());
        let _: Vec<_> = answer.collect().await;
        let row = room.row();
        assert_eq!((&*row.status, &*row.target), ("OK", ""));
        let usage = row.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens.unwrap_or(0)), (Some(input), 0), "{outcome}");
        let cost = usage.cost.map_or(0, |cost| cost.amount_nanos);
        assert_eq!(cost, input * 150, "{outcome} {http_status}");
    }
}

#[tokio::test]
async fn what_both_parts_of_an_answer_read_from_a_cache_is_counted_and_priced_once() {
    let room = Room::new();
    let first = [start(), told(prompt(1_000, 600)), item(text("one"))];
    let last = v1::Usage { output_tokens: Some(4), r#final: true, ..prompt(1_100, 900) };
    let second = [reroute(other()), answered(), start(), item(text("two")), told(last), end()];
    run(&room, first.into_iter().chain(second).collect()).await;
    let row = room.row();
    let usage = row.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_read_input_tokens), (Some(2_100), Some(1_500)));
    assert_eq!((usage.output_tokens, usage.source()), (Some(5), v1::usage::Source::Estimated));
    let of_attempts: i64 = row.attempts.iter().filter_map(|attempt| attempt.cost_nanos).sum();
    assert_eq!(usage.cost.unwrap().amount_nanos, of_attempts);
    // 600 of its 1,000 tokens were cheaper; the second target has one price for all.
    assert_eq!(row.attempts[0].cost_nanos, Some(400 * 150 + 600 * 75 + 600));
    assert_eq!(row.attempts[1].cost_nanos, Some(1_100 + 4 * 2));
}

#[tokio::test]
async fn a_crash_between_two_attempts_loses_neither() {
    for (outcome, http_status, input) in [("timeout", 200, 20), ("rate_limited", 429, 10)] {
        let room = Room::new();
        let mut open = room.dispatched(1);
        fails(&mut open, outcome, http_status, None);
        let row = room.after_a_crash().row();
        assert!(row.recovered);
        assert_eq!((&*row.target, row.attempts.len()), ("other/m", 2));
        assert_eq!((&*row.attempts[0].outcome, &*row.attempts[1].outcome), (outcome, "cancelled"));
        let usage = row.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(input), Some(0)), "{outcome}");
        let parts: Vec<_> = row.attempts.iter().filter_map(|attempt| counts(attempt).1).collect();
        assert_eq!(parts, if input == 20 { vec![10, 10] } else { vec![] }, "{outcome}");
        drop(open);
        assert_eq!(room.rows().len(), 1, "without a crash the call has its one record too");
    }
}

#[tokio::test]
async fn a_report_has_the_sums_of_the_records_and_these_the_sums_of_their_attempts() {
    let room = Room::new();
    let answer = |output| vec![start(), item(text("one")), item(usage(20, output)), end()];
    let went_on = [start(), item(text("one")), reroute(other()), answered()].into_iter().chain(answer(4));
    let broken = [start(), item(text("one")), Err(Error::new(Reason::StreamInterrupted, "it broke off"))];
    let mut number = 0;
    for steps in [answer(3), went_on.collect(), broken.into()] {
        number += 1;
        let mut open = room.dispatched(number);
        if number == 1 {
            fails(&mut open, "timeout", 200, None);
        }
        let _: Vec<_> = open.follow(Box::pin(stream::iter(steps)), Vec::new()).collect().await;
    }
    let rows = room.rows();
    assert_eq!(rows.len(), 3);
    let sum =
        |count: fn(&v1::Usage) -> i64| rows.iter().filter_map(|row| row.usage.as_ref()).map(count).sum();
    let (input, output): (i64, i64) =
        (sum(|usage| usage.input_tokens.unwrap()), sum(|usage| usage.output_tokens.unwrap()));
    let cost: i64 = sum(|usage| usage.cost.as_ref().unwrap().amount_nanos);
    assert_eq!((input, output), ((10 + 20) + (10 + 20) + 10, 3 + (1 + 4) + 1));
    for row in rows.iter().filter(|row| row.attempts.len() > 1) {
        let part = |count: fn(&v1::Attempt) -> Option<i64>| row.attempts.iter().filter_map(count).sum();
        let usage = row.usage.as_ref().unwrap();
        let parts: (i64, i64, i64) =
            (part(|it| it.input_tokens), part(|it| it.output_tokens), part(|it| it.cost_nanos));
        let cost = usage.cost.as_ref().unwrap().amount_nanos;
        assert_eq!(parts, (usage.input_tokens.unwrap(), usage.output_tokens.unwrap(), cost));
    }
    let report = room.meter.query_usage(&admin(), v1::QueryUsageRequest::default()).await.unwrap().rows;
    let reported = report[0].usage.clone().unwrap();
    assert_eq!((report.len(), report[0].request_count), (1, 3));
    assert_eq!((reported.input_tokens, reported.output_tokens), (Some(input), Some(output)));
    assert_eq!(reported.cost.unwrap().amount_nanos, cost);
}
