//! What holds of every answer, whatever bytes it was read from: the grammar of the contract's events (CONTRACT §10.3),
//! and that only whole units are forwarded.

use std::collections::BTreeMap;

use bytes::Bytes;
use tollgate_api::v1::{Usage, part::Kind};

use super::{Makes, Reader, Unit};
use crate::{
    call::{Event, Item, Seen},
    provider::{Error, aws::frames, compose::MAX_CHOICES, follow::Frames, sse},
};

type Told = [Result<Item, Error>];

/// Checks what a reader made of a body.
///
/// # Errors
/// What is wrong.
pub fn check(reader: &Reader, body: &[u8], told: &Told) -> Result<(), String> {
    let failures = told.iter().filter(|item| item.is_err()).count();
    if failures > 1 || (failures == 1 && !told.last().is_some_and(Result::is_err)) {
        return Err("something follows a failure".to_owned());
    }
    match reader.makes {
        Makes::Events => grammar(told),
        Makes::Bytes(unit) => forwarded(unit, body, told, true),
        Makes::SomeBytes(unit) => forwarded(unit, body, told, false),
        Makes::Whole => Ok(()),
    }
}

/// Says what a caller gets of an answer, however its body was cut into pieces.
pub fn gist(told: &Told) -> String {
    let mut raw = Vec::new();
    let mut sum = Seen::default();
    let mut said = String::new();
    for item in told {
        match item {
            Ok(Item::Raw(bytes, seen)) => {
                raw.extend_from_slice(bytes);
                join(&mut sum, seen);
            }
            Ok(Item::Event(Event::Usage(usage))) => said.push_str(&usage_gist(usage)),
            Ok(item) => said.push_str(&format!("{item:?}\n")),
            Err(error) => said.push_str(&format!("{:?}: {}\n", error.kind, error.message)),
        }
    }
    // Of an event that is broken in its middle, the beginning may have been counted with those before it.
    if told.last().is_some_and(Result::is_err) {
        (sum.content_events, sum.output_tokens) = (0, 0);
    }
    // The line feed after a carriage return that ended the last event may come too late to be forwarded.
    let end = raw.len() - usize::from(raw.ends_with(b"\n"));
    let usage = sum.usage.take().map(|usage| usage_gist(&usage)).unwrap_or_default();
    format!("{said}{usage}{sum:?}\n{}", raw[..end].escape_ascii())
}

/// Says what usage is told, in one order.
fn usage_gist(usage: &Usage) -> String {
    let mut usage = usage.clone();
    let units: BTreeMap<String, i64> = usage.billable_units.drain().collect();
    let written: BTreeMap<String, i64> = usage.cache_write_by_ttl.drain().collect();
    format!("{usage:?} {units:?} {written:?}\n")
}

fn join(sum: &mut Seen, seen: &Seen) {
    sum.content_events += seen.content_events;
    sum.output_tokens = sum.output_tokens.saturating_add(seen.output_tokens);
    sum.usage = seen.usage.clone().or(sum.usage.take());
    sum.finish_reason = seen.finish_reason.or(sum.finish_reason);
    sum.response_id = seen.response_id.clone().or(sum.response_id.take());
    sum.model = seen.model.clone().or(sum.model.take());
    sum.last |= seen.last;
}

/// Checks that the forwarded bytes are whole units of the body, in order, from its beginning.
fn forwarded(unit: Unit, body: &[u8], told: &Told, all: bool) -> Result<(), String> {
    let mut raw = Vec::new();
    for item in told.iter().flatten() {
        let Item::Raw(bytes, _) = item else { return Err(format!("not bytes: {item:?}")) };
        raw.extend_from_slice(bytes);
    }
    // An event that lacks only its blank line is given one.
    let full = if unit == Unit::Events { [body, b"\n\n"].concat() } else { body.to_vec() };
    if all && !full.starts_with(&raw) {
        return Err("what is forwarded is not how the body begins".to_owned());
    }
    if !all && !is_made_of(&full, &raw) {
        return Err("what is forwarded are not events of the body in their order".to_owned());
    }
    let half = match unit {
        Unit::Events => is_half(sse::Splitter::default(), &raw),
        Unit::Messages => is_half(frames::Splitter::default(), &raw),
        Unit::Lines => raw.last().is_some_and(|last| *last != b'\n') && raw.len() < body.len(),
    };
    if half { Err("half an event is forwarded".to_owned()) } else { Ok(()) }
}

fn is_half<F: Frames>(mut frames: F, raw: &[u8]) -> bool {
    let cut = frames.push(Bytes::copy_from_slice(raw)).map(|blocks| blocks.for_each(drop));
    cut.is_err() || frames.finish().is_some()
}

/// Tells whether events were left out at most.
fn is_made_of(body: &[u8], raw: &[u8]) -> bool {
    let mut splitter = sse::Splitter::default();
    let Ok(blocks) = splitter.push(Bytes::copy_from_slice(body)) else { return false };
    let blocks: Vec<sse::Block> = blocks.collect();
    let mut left = raw;
    for event in blocks.iter().flat_map(sse::Block::events) {
        left = left.strip_prefix(event.raw).unwrap_or(left);
        // The line feed of the last one may come too late to be forwarded.
        if event.raw.strip_suffix(b"\n") == Some(left) {
            return true;
        }
    }
    left.is_empty()
}

/// What a part takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Text,
    Thought,
    Refusal,
    Input,
    Media,
    Nothing,
}

#[derive(Debug, Default)]
struct Choice {
    next: i32,
    open: Option<(i32, Holds)>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Grammar {
    begun: bool,
    ended: bool,
    choices: BTreeMap<i32, Choice>,
}

fn grammar(told: &Told) -> Result<(), String> {
    let mut grammar = Grammar::default();
    for item in told.iter().flatten() {
        let Item::Event(event) = item else { return Err(format!("no event: {item:?}")) };
        grammar.take(event).map_err(|why| format!("{why}: {event:?}"))?;
    }
    let failed = told.last().is_some_and(Result::is_err);
    match (failed, grammar.ended) {
        (false, false) => Err("it ends without End or a failure".to_owned()),
        (true, true) => Err("it fails after End".to_owned()),
        _ => Ok(()),
    }
}

impl Grammar {
    fn take(&mut self, event: &Event) -> Result<(), String> {
        if self.ended {
            return Err("after End".to_owned());
        }
        if self.begun == matches!(event, Event::Start(_)) {
            return Err("Start must come first, and once".to_owned());
        }
        self.begun = true;
        match event {
            Event::PartStart(start) => {
                let kind = start.initial.as_ref().and_then(|part| part.kind.as_ref());
                self.choice(start.choice)?.begin(start.part, holds(kind))
            }
            Event::Text(delta) => self.delta(delta.choice, delta.part, Some(Holds::Text)),
            Event::Thought(delta) => self.delta(delta.choice, delta.part, Some(Holds::Thought)),
            Event::Refusal(delta) => self.delta(delta.choice, delta.part, Some(Holds::Refusal)),
            Event::ToolCall(delta) => self.delta(delta.choice, delta.part, Some(Holds::Input)),
            Event::Media(delta) => self.delta(delta.choice, delta.part, Some(Holds::Media)),
            Event::Logprobs(delta) => self.delta(delta.choice, delta.part, None),
            Event::PartEnd(end) => {
                let choice = self.choice(end.choice)?;
                choice.imply(end.part);
                match choice.open.take() {
                    Some((part, _)) if part == end.part => Ok(()),
                    _ => Err("no such part is open".to_owned()),
                }
            }
            Event::ChoiceEnd(end) => {
                let choice = self.choice(end.choice)?;
                choice.ended = true;
                if choice.open.is_some() { Err("a part is open".to_owned()) } else { Ok(()) }
            }
            Event::End(_) => {
                self.ended = true;
                let open = self.choices.values().any(|choice| !choice.ended);
                if open { Err("a choice has not ended".to_owned()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn choice(&mut self, index: i32) -> Result<&mut Choice, String> {
        if !(0..MAX_CHOICES).contains(&index) {
            return Err("there is no such choice".to_owned());
        }
        let choice = self.choices.entry(index).or_default();
        if choice.ended { Err("the choice has ended".to_owned()) } else { Ok(choice) }
    }

    fn delta(&mut self, choice: i32, part: i32, wants: Option<Holds>) -> Result<(), String> {
        let choice = self.choice(choice)?;
        choice.imply(part);
        match choice.open {
            Some((open, holds)) if open == part && wants.is_none_or(|wants| wants == holds) => Ok(()),
            _ => Err("no such part is open".to_owned()),
        }
    }
}

impl Choice {
    fn begin(&mut self, part: i32, holds: Holds) -> Result<(), String> {
        if self.open.is_some() || part != self.next {
            return Err("parts must come one after the other".to_owned());
        }
        self.next += 1;
        self.open = Some((part, holds));
        Ok(())
    }

    /// A first part that is text needs no start.
    fn imply(&mut self, part: i32) {
        if part == 0 && self.next == 0 && self.open.is_none() {
            self.next = 1;
            self.open = Some((0, Holds::Text));
        }
    }
}

fn holds(kind: Option<&Kind>) -> Holds {
    match kind {
        Some(Kind::Text(_)) => Holds::Text,
        Some(Kind::Thought(_)) => Holds::Thought,
        Some(Kind::Refusal(_)) => Holds::Refusal,
        Some(Kind::ToolCall(_)) => Holds::Input,
        Some(Kind::Media(_)) => Holds::Media,
        _ => Holds::Nothing,
    }
}
