//! Tests of one answer made of two.

use tollgate_api::v1::{ChoiceEnd, Thought, ThoughtDelta, ToolCall};

use super::*;

fn start(part: i32, kind: part::Kind) -> Event {
    let initial = Some(Part { kind: Some(kind), ..Part::default() });
    Event::PartStart(Box::new(PartStart { choice: 0, part, initial }))
}

fn text_part(part: i32) -> Event {
    start(part, part::Kind::Text(String::new()))
}

fn text(part: i32, text: &str) -> Event {
    Event::Text(TextDelta { text: text.to_owned(), choice: 0, part })
}

fn end(part: i32) -> Event {
    Event::PartEnd(Box::new(PartEnd { part, ..PartEnd::default() }))
}

/// Goes on after these events, with that much white space held back.
fn spliced(first: &[Event], left_out: &str, second: Vec<Event>) -> Vec<Event> {
    let mut delivered = Delivered::default();
    first.iter().for_each(|event| delivered.see(event));
    let mut splice = Splice::after(&delivered, left_out);
    let mut out = Vec::new();
    second.into_iter().for_each(|event| splice.take(event, &mut out));
    out
}

#[test]
fn the_text_goes_on_in_its_part_and_later_parts_count_on() {
    let call = start(1, part::Kind::ToolCall(ToolCall::default()));
    let second = vec![text_part(0), text(0, " world"), end(0), call.clone(), end(1)];
    let out = spliced(&[text_part(0), text(0, "hello")], "", second);
    assert_eq!(out, [text(0, " world"), end(0), call, end(1)]);
}

#[test]
fn a_text_of_which_only_the_delta_was_told_goes_on_too() {
    assert_eq!(spliced(&[text(0, "a")], "", vec![text(0, "b"), end(0)]), [text(0, "b"), end(0)]);
}

#[test]
fn thoughts_of_the_second_answer_are_not_told_and_shift_nothing() {
    let thought = ThoughtDelta { text: "hm".to_owned(), choice: 0, part: 0 };
    let second = vec![
        start(0, part::Kind::Thought(Thought::default())),
        Event::Thought(thought),
        end(0),
        text_part(1),
        text(1, "b"),
        end(1),
    ];
    assert_eq!(spliced(&[text(0, "a")], "", second), [text(0, "b"), end(0)]);
}

#[test]
fn what_is_open_is_ended_before_another_part_or_the_choice() {
    let call = |part| start(part, part::Kind::ToolCall(ToolCall::default()));
    assert_eq!(spliced(&[text(0, "a")], "", vec![call(0), end(0)]), [end(0), call(1), end(1)]);
    let ends = || vec![Event::ChoiceEnd(Box::default()), Event::End(Box::default())];
    let out = spliced(&[text(0, "a")], "", ends());
    assert_eq!(out, [vec![end(0)], ends()].concat());
    let out = spliced(&[text(0, "a"), end(0)], "", vec![text(0, "b"), end(0)]);
    assert_eq!(out, [text_part(1), text(1, "b"), end(1)], "a part that has ended is not opened again");
}

#[test]
fn other_choices_are_not_told() {
    let other = ChoiceEnd { choice: 1, ..ChoiceEnd::default() };
    assert!(spliced(&[text(0, "a")], "", vec![Event::ChoiceEnd(Box::new(other))]).is_empty());
}

#[test]
fn white_space_that_was_handed_on_is_not_told_twice_however_it_is_cut() {
    for (left_out, second, told) in [
        (" ", &[" world"][..], "world"),
        (" ", &["world"], "world"),
        ("\n\n", &["\n", "\n", "x\n"], "x\n"),
        ("\n", &["\n\nx"], "\nx"),
        (" \n", &[" ", "x", "\n"], "x\n"),
        ("\u{a0}é", &["\u{a0}", "é!"], "!"),
    ] {
        let second = second.iter().map(|piece| text(0, piece)).collect();
        let out = spliced(&[text(0, "hello")], left_out, second);
        let all: String = out
            .iter()
            .map(|event| match event {
                Event::Text(delta) => &*delta.text,
                _ => "",
            })
            .collect();
        assert_eq!(all, told, "{left_out:?}");
    }
}
