//! From the events or the whole answer of the Responses API to the contract's events.

use std::collections::VecDeque;

use tollgate_api::v1::{ChatInput, FinishReason};

use super::{
    super::{express::is_done, refusal::stray},
    event::{self, Course, Event, Node},
    item::{Piece, Told},
    usage,
};
use crate::{
    call::Item,
    provider::{
        Error, Kind,
        compose::Composer,
        follow::Lane,
        sse::{Block, Event as SseEvent, Splitter},
    },
};

/// The most items of one answer.
const MAX_ITEMS: usize = 1024;
/// The most bytes of events that wait for their turn.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Reads one answer. Items are told one after the other: what comes for a later one while a tool call is being told
/// waits until that is whole.
#[derive(Debug)]
pub(super) struct Decoder {
    provider: String,
    /// The vendor keeps the answer, so that its items can be referred to by their ids.
    stored: bool,
    composer: Composer,
    items: Vec<Told>,
    active: Option<i64>,
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    course: Course,
}

impl Decoder {
    /// Starts an answer of the provider of that name to that request.
    pub(super) fn new(provider: &str, input: &ChatInput) -> Self {
        Self {
            provider: provider.to_owned(),
            stored: input.store == Some(true),
            composer: Composer::new(provider),
            items: Vec::new(),
            active: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            course: Course::default(),
        }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The failure that the body tells, or `BadResponse` if it is no answer.
    pub(super) fn whole(mut self, body: &[u8]) -> Result<Vec<Item>, Error> {
        let response = event::whole(body)?;
        if event::finish(&response).is_none() {
            let message = format!("the answer is not finished: its status is `{}`", response.text("status"));
            return Err(Error::new(Kind::BadResponse, message));
        }
        let mut out = VecDeque::new();
        self.head(&response);
        self.terminal(&response, &mut out)?;
        Ok(out.into())
    }

    fn head(&mut self, response: &Node<'_>) {
        for (slot, name) in
            [(&mut self.composer.start.model, "model"), (&mut self.composer.end.upstream_response_id, "id")]
        {
            if slot.is_empty() {
                *slot = response.text(name).into_owned();
            }
        }
    }

    fn feed(&mut self, read: &Event<'_>, data: &[u8], out: &mut VecDeque<Item>) -> Result<(), Error> {
        if let Some(response) = read.response {
            let response = Node::read(response.get());
            self.head(&response);
            if read.is_terminal() {
                self.terminal(&response, out)?;
                self.course.whole = true;
            }
            return Ok(());
        }
        self.about_item(read, data, out)
    }

    /// Takes an event about an item, now or when its turn has come.
    fn about_item(&mut self, read: &Event<'_>, data: &[u8], out: &mut VecDeque<Item>) -> Result<(), Error> {
        let kind = &*read.kind.0;
        let piece = Piece::of(kind);
        let ends = kind == "response.output_item.done";
        let begins = kind == "response.output_item.added";
        let notes = kind == "response.output_text.annotation.added";
        if !(begins || ends || notes || piece.is_some()) {
            return Ok(());
        }
        let index = read.output_index.0.or(self.active).unwrap_or_default();
        let place = self.place(index)?;
        if let Some(active) = self.active.filter(|active| *active != index) {
            if begins {
                // It may have to wait for its turn, but what it is can be noted.
                self.items[place].note(&item_of(read));
                return self.wait(data);
            }
            let at = self.place(active)?;
            if self.items[at].is_call() {
                return self.wait(data);
            }
            self.items[at].pause();
            self.composer.close(0, out);
        }
        self.active = Some(index);
        let told = &mut self.items[place];
        if begins {
            told.begin(&item_of(read), &mut self.composer, out)?;
        } else if notes {
            told.annotation(
                read.annotation.map_or("", |json| json.get()),
                &self.provider,
                &mut self.composer,
            );
        } else if let Some(piece) = piece {
            let sub = if piece == Piece::Summary { read.summary_index } else { read.content_index };
            told.delta(piece, sub.0.unwrap_or_default(), &read.delta.0, &mut self.composer, out)?;
            told.logprobs(read.logprobs.map_or("", |json| json.get()), &mut self.composer, out)?;
        }
        if ends {
            self.items[place].end(&item_of(read), self.stored, &self.provider, &mut self.composer, out)?;
            self.active = None;
            self.resume(out)?;
        }
        Ok(())
    }

    fn wait(&mut self, data: &[u8]) -> Result<(), Error> {
        self.waiting_bytes += data.len();
        if self.waiting_bytes > MAX_WAITING_BYTES {
            return Err(Error::new(Kind::BadResponse, "too many items of the answer come at the same time"));
        }
        self.waiting.push(data.to_vec());
        Ok(())
    }

    /// Takes the events that have waited; some may have to wait again.
    fn resume(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.waiting_bytes = 0;
        for data in std::mem::take(&mut self.waiting) {
            let read: Event<'_> = serde_json::from_slice(&data).unwrap_or_default();
            self.about_item(&read, &data, out)?;
        }
        Ok(())
    }

    fn place(&mut self, index: i64) -> Result<usize, Error> {
        if let Some(place) = self.items.iter().position(|item| item.index == index) {
            return Ok(place);
        }
        if self.items.len() >= MAX_ITEMS {
            return Err(Error::new(Kind::BadResponse, "the answer has too many items"));
        }
        self.items.push(Told::new(index));
        Ok(self.items.len() - 1)
    }

    /// Tells what is still untold, and ends the answer.
    fn terminal(&mut self, response: &Node<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        while self.active.take().is_some() || !self.waiting.is_empty() {
            self.composer.close(0, out);
            self.resume(out)?;
        }
        for (index, item) in (0..).zip(response.list("output")) {
            let place = self.place(index)?;
            if !self.items[place].ended {
                let (item, composer) = (Node::read(item), &mut self.composer);
                self.items[place].end(&item, self.stored, &self.provider, composer, out)?;
            }
        }
        let tier = response.text("service_tier");
        if !tier.is_empty() {
            self.composer.end.service_tier = tier.into_owned();
        }
        for (name, json) in response.0.iter() {
            let silent = matches!(json, "null" | "false" | "\"\"" | "[]" | "{}");
            if !silent && !event::KNOWN.contains(&name) {
                self.composer.extension(name, json);
            }
        }
        self.note_usage(response);
        let (mut reason, word) =
            event::finish(response).unwrap_or((FinishReason::Stop, "completed".to_owned()));
        if reason == FinishReason::Stop && self.items.iter().any(|item| item.waiting) {
            reason = FinishReason::ToolCalls;
        }
        self.composer.end_choice(0, reason, &word, "", out)?;
        self.composer.finish(out);
        Ok(())
    }

    fn note_usage(&mut self, response: &Node<'_>) {
        if let Some(usage) = usage::of(response) {
            self.composer.usage = Some(usage);
        }
        // What vendors tell of the price has no place in the contract.
        let usage = response.raw("usage").unwrap_or_default();
        if Node::read(usage).0.iter().any(|(name, _)| name.starts_with("cost")) {
            self.composer.extension("usage", usage);
        }
    }

    fn event(&mut self, event: &SseEvent<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Some(data) = &event.data else {
            let stray_start = event.stray && !self.course.any_event;
            return if stray_start { Err(stray(event.raw)) } else { Ok(()) };
        };
        self.course.any_event = true;
        if is_done(data) {
            return self.course.ended();
        }
        let read: Event<'_> = serde_json::from_slice(data)
            .map_err(|_| Error::new(Kind::BadResponse, "an event of the stream is not JSON"))?;
        if let Some(error) = read.failure(event.name, data) {
            if let Some(response) = read.response {
                self.note_usage(&Node::read(response.get()));
            }
            return Err(error);
        }
        self.feed(&read, data, out)
    }
}

fn item_of<'a>(read: &Event<'a>) -> Node<'a> {
    Node::read(read.item.map_or("", |json| json.get()))
}

impl Lane for Decoder {
    type Frames = Splitter;

    fn block(&mut self, block: &Block, out: &mut VecDeque<Item>) -> Result<(), Error> {
        for event in block.events() {
            self.event(&event, out)?;
            if self.course.whole {
                break;
            }
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.course.ended()
    }

    fn broken(&mut self, out: &mut VecDeque<Item>) {
        self.composer.broken(out);
    }

    fn is_complete(&self) -> bool {
        self.course.whole
    }
}

#[cfg(test)]
mod tests;
