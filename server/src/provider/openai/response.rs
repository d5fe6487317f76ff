//! From OpenAI's chunks or whole answers to the contract's events.

use std::collections::VecDeque;

use serde_json::{Deserializer, value::RawValue};
use tollgate_api::v1::{ChatInput, StreamEnd, StreamStart, Usage};

use super::{
    choice::{Shared, State},
    chunk::{Choice, Chunk},
    executed::Executed,
    express::{Progress, is_done},
    json::says_something,
    refusal::{self, not_json, stray},
    usage,
};
use crate::{
    call::{Event, Item},
    provider::{
        Error, Kind, compose,
        follow::Lane,
        sse::{Block, Event as SseEvent, Splitter},
        vendors::Vendor,
    },
};

/// Reads one answer: feed it chunks, or give it the whole body.
#[derive(Debug)]
pub struct Decoder {
    shared: Shared,
    choices: Vec<State>,
    started: bool,
    start: StreamStart,
    end: StreamEnd,
    executed: Executed,
    /// Cumulative, so the last one holds.
    usage: Option<Usage>,
    progress: Progress,
}

impl Decoder {
    /// Starts an answer of the provider of that name to that request.
    pub fn new(provider: &str, input: &ChatInput) -> Self {
        let format =
            input.audio.as_ref().map(|audio| audio.format.as_str()).filter(|format| !format.is_empty());
        Self {
            shared: Shared {
                provider: provider.to_owned(),
                audio_type: format!("audio/{}", format.unwrap_or("wav")),
                thinking_parts: false,
                think_tags: false,
            },
            choices: Vec::new(),
            started: false,
            start: StreamStart::default(),
            end: StreamEnd::default(),
            executed: Executed::default(),
            usage: None,
            progress: Progress::default(),
        }
    }

    /// Reads it as a vendor's own: its quirks mean what they mean there, and nothing elsewhere.
    #[must_use]
    pub fn of(mut self, vendor: &Vendor) -> Self {
        self.shared.thinking_parts = vendor.thinking_parts;
        self.shared.think_tags = vendor.think_tags;
        self.progress.ends_bare = vendor.ends_bare;
        self
    }

    /// Takes the JSON of one chunk and appends its events.
    ///
    /// # Errors
    /// The error that the chunk tells, or `BadResponse` if it is no chunk.
    pub fn feed(&mut self, json: &[u8], out: &mut VecDeque<Item>) -> Result<(), Error> {
        // Some vendors put two objects into one event.
        for chunk in Deserializer::from_slice(json).into_iter::<Chunk<'_>>() {
            let chunk =
                chunk.map_err(|_| Error::new(Kind::BadResponse, "an event of the stream is no chunk"))?;
            if says_something(chunk.error) {
                return Err(refusal::of_payload(json));
            }
            self.chunk(&chunk, json, out)?;
        }
        Ok(())
    }

    /// Appends the events that end the answer.
    pub fn finish(&mut self, out: &mut VecDeque<Item>) {
        self.start(out);
        self.end_choices(out);
        if let Some(usage) = self.usage.take() {
            out.push_back(Item::Event(Event::Usage(Box::new(usage))));
        }
        out.push_back(Item::Event(Event::End(Box::new(std::mem::take(&mut self.end)))));
    }

    fn end_choices(&mut self, out: &mut VecDeque<Item>) {
        self.choices.sort_by_key(|choice| choice.index);
        for choice in self.choices.drain(..) {
            choice.end(&self.shared, out);
        }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The error that the body tells, or `BadResponse` if it is no answer.
    pub fn whole(mut self, body: &[u8]) -> Result<Vec<Item>, Error> {
        let mut chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|_| not_json(body))?;
        if says_something(chunk.error) {
            return Err(refusal::of_payload(body));
        }
        if chunk.choices.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::new(Kind::BadResponse, "the answer is a JSON object without `choices`"));
        }
        // Perplexity has an empty `delta` beside the `message` of a whole answer.
        for choice in chunk.choices.iter_mut().flatten().filter(|choice| choice.message.is_some()) {
            choice.delta = None;
        }
        let mut out = VecDeque::new();
        self.chunk(&chunk, body, &mut out)?;
        self.finish(&mut out);
        Ok(out.into())
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, json: &[u8], out: &mut VecDeque<Item>) -> Result<(), Error> {
        keep(&mut self.start.model, &chunk.model.0);
        keep(&mut self.start.system_fingerprint, &chunk.system_fingerprint.0);
        keep(&mut self.end.upstream_response_id, &chunk.id.0);
        if !chunk.service_tier.is_empty() {
            chunk.service_tier.0.as_ref().clone_into(&mut self.end.service_tier);
        }
        for (name, value) in &chunk.extras {
            self.keep_beside(name, Some(value));
        }
        for (position, choice) in (0..).zip(chunk.choices.iter().flatten()) {
            if says_something(choice.error) {
                return Err(refusal::of_payload(json));
            }
            let index = compose::choice_index(choice.index.0.unwrap_or(position))?;
            self.start(out);
            self.beside(choice);
            let place = self.place(index);
            let state = &mut self.choices[place];
            self.progress.any_content |= state.take(choice, &self.shared, out)?;
            self.progress.seen.add(i64::from(index));
            if state.is_finished() {
                self.progress.finished.add(i64::from(index));
            }
        }
        let usages = [chunk.usage, chunk.groq_usage].into_iter().flatten();
        if let Some(usage) = usages.into_iter().find_map(|usage| usage::parse(usage.get())) {
            self.usage = Some(usage);
            self.progress.told_usage();
        }
        Ok(())
    }

    /// Keeps what a choice has that the contract does not model.
    fn beside(&mut self, choice: &Choice<'_>) {
        self.keep_beside("native_finish_reason", choice.native_finish_reason);
        self.keep_beside("content_filter_results", choice.content_filter_results);
        let delta = choice.delta.as_ref().or(choice.message.as_ref());
        if let Some(tools) =
            delta.and_then(|delta| delta.executed_tools).filter(|list| says_something(Some(list)))
        {
            let all = self.executed.take(tools);
            compose::keep_extension(&mut self.end.extensions, &self.shared.provider, "executed_tools", &all);
        }
    }

    fn keep_beside(&mut self, name: &str, value: Option<&RawValue>) {
        if let Some(value) = value.filter(|value| says_something(Some(value))) {
            compose::keep_extension(&mut self.end.extensions, &self.shared.provider, name, value.get());
        }
    }

    fn start(&mut self, out: &mut VecDeque<Item>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push_back(Item::Event(Event::Start(Box::new(std::mem::take(&mut self.start)))));
        }
    }

    fn place(&mut self, index: i32) -> usize {
        self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(State::new(index));
            self.choices.len() - 1
        })
    }

    fn event(&mut self, event: &SseEvent<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Some(data) = &event.data else {
            let stray_start = event.stray && !self.progress.any_event;
            return if stray_start { Err(stray(event.raw)) } else { Ok(()) };
        };
        self.progress.any_event = true;
        if is_done(data) {
            self.progress.done()?;
            self.finish(out);
            return Ok(());
        }
        if event.name == b"error" {
            return Err(refusal::of_payload(data));
        }
        self.feed(data, out)
    }
}

fn keep(slot: &mut String, text: &str) {
    if slot.is_empty() {
        text.clone_into(slot);
    }
}

impl Lane for Decoder {
    type Frames = Splitter;

    fn block(&mut self, block: &Block, out: &mut VecDeque<Item>) -> Result<(), Error> {
        for event in block.events() {
            self.event(&event, out)?;
            if self.progress.complete {
                break;
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.progress.ended()?;
        self.finish(out);
        Ok(())
    }

    fn broken(&mut self, out: &mut VecDeque<Item>) {
        if self.progress.any_content {
            // A choice that said how it ended lacks nothing: nobody should go on with it.
            self.choices.retain(State::is_finished);
            self.end_choices(out);
        }
        // What was billed is known better with the provider's last word than without.
        if let Some(mut usage) = self.usage.take().filter(|_| self.started) {
            usage.r#final = false;
            out.push_back(Item::Event(Event::Usage(Box::new(usage))));
        }
    }

    fn is_complete(&self) -> bool {
        self.progress.complete
    }
}

/// Says what a JSON or HTML body is that came where an event stream was asked for.
pub(super) fn json_in_place_of_events(body: &[u8]) -> Error {
    match serde_json::from_slice::<Chunk<'_>>(body) {
        Ok(chunk) if says_something(chunk.error) => refusal::of_payload(body),
        Ok(_) => {
            Error::new(Kind::BadResponse, "the answer is a whole JSON object, not the event stream asked for")
        }
        Err(_) => not_json(body),
    }
}

#[cfg(test)]
mod tests;
