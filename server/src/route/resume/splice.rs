//! The events of a second answer in the grammar of the first: one start, the same text part, parts that count on.

use std::collections::HashMap;

use tollgate_api::v1::{Part, PartEnd, PartStart, TextDelta, part};

use super::delivered::Delivered;
use crate::call::Event;

/// Turns the events of an answer that goes on for another one.
#[derive(Debug)]
pub(super) struct Splice {
    /// The part that has begun and not ended, and whether it is text.
    open: Option<(i32, bool)>,
    next_part: i32,
    /// Where the parts of the second answer go; those that cannot be told go nowhere.
    parts: HashMap<i32, Option<i32>>,
    /// White space that was handed on but not sent along: the second answer may begin with it once more.
    handed_on: String,
}

impl Splice {
    /// Goes on after what was delivered, of which this much white space at the end was not sent along.
    pub(super) fn after(delivered: &Delivered, handed_on: &str) -> Self {
        Self {
            open: delivered.open,
            next_part: delivered.next_part,
            parts: HashMap::new(),
            handed_on: handed_on.to_owned(),
        }
    }

    /// Takes an event of the second answer, and hands on what it is in the first.
    pub(super) fn take(&mut self, event: Event, out: &mut Vec<Event>) {
        match event {
            Event::PartStart(start) if start.choice == 0 => self.part_start(*start, out),
            Event::Text(delta) if delta.choice == 0 => {
                if let Some(part) = self.text_part(delta.part, out) {
                    self.text(part, &delta.text, out);
                }
            }
            Event::PartEnd(end) if end.choice == 0 => {
                if let Some(part) = self.place(end.part) {
                    self.open = None;
                    out.push(Event::PartEnd(Box::new(PartEnd { part, ..*end })));
                }
            }
            Event::ToolCall(mut delta) if delta.choice == 0 => {
                let place = self.place(delta.part).map(|part| delta.part = part);
                out.extend(place.map(|()| Event::ToolCall(delta)));
            }
            Event::Refusal(mut delta) if delta.choice == 0 => {
                let place = self.place(delta.part).map(|part| delta.part = part);
                out.extend(place.map(|()| Event::Refusal(delta)));
            }
            Event::Media(mut delta) if delta.choice == 0 => {
                let place = self.place(delta.part).map(|part| delta.part = part);
                out.extend(place.map(|()| Event::Media(delta)));
            }
            Event::Logprobs(mut delta) if delta.choice == 0 => {
                let place = self.place(delta.part).map(|part| delta.part = part);
                out.extend(place.map(|()| Event::Logprobs(delta)));
            }
            Event::ChoiceEnd(end) if end.choice == 0 => {
                self.close(out);
                out.push(Event::ChoiceEnd(end));
            }
            Event::Start(_) | Event::Usage(_) | Event::End(_) | Event::Notice(_) | Event::Extension(_) => {
                out.push(event);
            }
            // Only one choice was asked for, and a thought cannot stand in the middle of a text that goes on.
            _ => {}
        }
    }

    fn part_start(&mut self, start: PartStart, out: &mut Vec<Event>) {
        let initial = start.initial.unwrap_or_default();
        match initial.kind {
            Some(part::Kind::Thought(_)) => {
                self.parts.insert(start.part, None);
            }
            Some(part::Kind::Text(text)) => {
                if let Some(part) = self.text_part(start.part, out) {
                    self.text(part, &text, out);
                }
            }
            kind => {
                self.begin(start.part, Part { kind, ..initial }, out);
            }
        }
    }

    /// Ends the part that is open, and closes the part of a text so that it can be followed by others.
    pub(super) fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            out.push(Event::PartEnd(Box::new(PartEnd { part, ..PartEnd::default() })));
        }
    }

    fn place(&self, theirs: i32) -> Option<i32> {
        self.parts.get(&theirs).copied().flatten()
    }

    /// Finds where a text of the second answer goes: its first one is more of the text that was broken off.
    fn text_part(&mut self, theirs: i32, out: &mut Vec<Event>) -> Option<i32> {
        if let Some(place) = self.parts.get(&theirs) {
            return *place;
        }
        if let Some((part, true)) = self.open {
            self.parts.insert(theirs, Some(part));
            return Some(part);
        }
        let text = Part { kind: Some(part::Kind::Text(String::new())), ..Part::default() };
        Some(self.begin(theirs, text, out))
    }

    fn begin(&mut self, theirs: i32, initial: Part, out: &mut Vec<Event>) -> i32 {
        self.close(out);
        let part = self.next_part;
        self.next_part = part.saturating_add(1);
        self.open = Some((part, matches!(initial.kind, Some(part::Kind::Text(_)))));
        self.parts.insert(theirs, Some(part));
        out.push(Event::PartStart(Box::new(PartStart { choice: 0, part, initial: Some(initial) })));
        part
    }

    fn text(&mut self, part: i32, text: &str, out: &mut Vec<Event>) {
        let text = self.without_what_was_handed_on(text);
        if !text.is_empty() {
            out.push(Event::Text(TextDelta { text: text.to_owned(), choice: 0, part }));
        }
    }

    fn without_what_was_handed_on<'t>(&mut self, text: &'t str) -> &'t str {
        let same = text.chars().zip(self.handed_on.chars()).take_while(|(theirs, ours)| theirs == ours);
        let bytes = same.map(|(both, _)| both.len_utf8()).sum();
        let rest = &text[bytes..];
        if rest.is_empty() {
            self.handed_on.drain(..bytes);
        } else {
            self.handed_on.clear();
        }
        rest
    }
}

#[cfg(test)]
mod tests;
