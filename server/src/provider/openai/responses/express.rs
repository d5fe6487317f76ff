//! The express lane of the Responses API: only `model` is patched on the way there, nothing on the way back.

use bytes::Bytes;
use tollgate_api::v1::FinishReason;

use super::{
    super::{express::is_done, refusal::stray},
    event::{self, Course, Event, Node},
    usage,
};
use crate::{
    call::{Item, Seen, estimate_delta_tokens},
    provider::{Error, Kind, express::Tap, sse},
};

/// Checks a whole answer and hands it on untouched. One that only began in the background is an answer too.
pub(super) fn whole(body: Bytes) -> Result<Item, Error> {
    let response = event::whole(&body)?;
    let output = response.raw("output").unwrap_or_default().len();
    let mut seen = Seen {
        content_events: 1,
        output_tokens: crate::call::estimate_text_tokens(output),
        last: true,
        progress: true,
        ..Seen::default()
    };
    note(&response, &mut seen);
    seen.response_id = told(&response.text("id"));
    seen.model = told(&response.text("model"));
    drop(response);
    Ok(Item::Raw(body, seen))
}

fn told(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Notes how an answer ended and what it used.
fn note(response: &Node<'_>, seen: &mut Seen) {
    seen.finish_reason = event::finish(response).map(|(reason, _)| reason).or(seen.finish_reason);
    if let Some(usage) = usage::of(response) {
        seen.usage = Some(Box::new(usage));
    }
}

/// Looks at a streamed answer as it passes.
#[derive(Debug, Default)]
pub(super) struct Watch {
    course: Course,
    /// `[DONE]`, which some vendors append, has been seen.
    done: bool,
    told_head: bool,
    /// An item has come that asks the caller for a result; some vendors do not repeat it at the end.
    waiting: bool,
}

impl Watch {
    fn head(&mut self, response: &Node<'_>, seen: &mut Seen) {
        let id = response.text("id");
        if !self.told_head && !id.is_empty() {
            self.told_head = true;
            seen.response_id = told(&id);
            seen.model = told(&response.text("model"));
        }
    }
}

impl Tap for Watch {
    fn event(&mut self, event: &sse::Event<'_>, seen: &mut Seen) -> Result<bool, Error> {
        let Some(data) = &event.data else {
            let stray_start = event.stray && !self.course.any_event;
            return if stray_start { Err(stray(event.raw)) } else { Ok(true) };
        };
        self.course.any_event = true;
        seen.progress = true;
        if is_done(data) {
            self.course.ended()?;
            self.done = true;
            return Ok(true);
        }
        let read: Event<'_> = serde_json::from_slice(data)
            .map_err(|_| Error::new(Kind::BadResponse, "an event of the stream is not JSON"))?;
        if let Some(error) = read.failure(event.name, data) {
            return Err(error);
        }
        if read.kind.0.ends_with(".delta") && !read.delta.is_empty() {
            seen.content_events += 1;
            let tokens = estimate_delta_tokens(read.delta.0.len());
            seen.output_tokens = seen.output_tokens.saturating_add(tokens);
        }
        self.waiting |= read.item.is_some_and(|item| event::is_waiting(&Node::read(item.get())));
        if let Some(response) = read.response {
            let response = Node::read(response.get());
            self.head(&response, seen);
            if read.is_terminal() {
                note(&response, seen);
                if self.waiting && seen.finish_reason == Some(FinishReason::Stop) {
                    seen.finish_reason = Some(FinishReason::ToolCalls);
                }
                self.course.whole = true;
                // The record must be there before the caller sees this, though a mark may follow.
                seen.last = true;
            }
        }
        Ok(true)
    }

    fn ended(&mut self) -> Result<(), Error> {
        self.course.ended()
    }

    fn is_complete(&self) -> bool {
        self.done
    }

    fn is_whole(&self) -> bool {
        self.course.whole
    }
}

/// Says what a body is that came where an event stream was asked for.
pub(super) fn in_place_of_events(body: &[u8]) -> Error {
    match event::whole(body) {
        Ok(_) => {
            Error::new(Kind::BadResponse, "the answer is a whole JSON object, not the event stream asked for")
        }
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests;
