//! From Cohere's events or whole answers to the contract's events.

use std::collections::VecDeque;

use serde_json::value::RawValue;
use tollgate_api::v1::{Extension, Part, ToolCall as Call, part::Kind as PartKind, tool_call::Input};

use super::{
    MESSAGE_TOOL_PLAN, THINKING, finish,
    notes::{annotations, logprobs},
    shapes::{Citation, Content, Delta, Event, Message, ToolCall, Whole, list, read},
    usage,
};
use crate::{
    call::Item,
    provider::{
        Error, Kind,
        compose::Composer,
        follow::Lane,
        refusal,
        sse::{Block, Event as SseEvent, Splitter},
    },
};

/// Cohere gives one answer only.
const CHOICE: i32 = 0;

/// What is being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Plan,
    /// An item of the content, by its index.
    Content(i64),
    /// A tool call, and whether any of its input was told.
    Tool(bool),
}

/// Reads one answer: feed it events, or give it the whole body.
#[derive(Debug)]
pub(super) struct Decoder {
    provider: String,
    composer: Composer,
    open: Open,
    any_event: bool,
    complete: bool,
}

impl Decoder {
    /// Starts an answer of the provider of that name by that model, which Cohere's answers do not name.
    pub(super) fn new(provider: &str, model: &str) -> Self {
        let mut composer = Composer::new(provider);
        model.clone_into(&mut composer.start.model);
        Self {
            provider: provider.to_owned(),
            composer,
            open: Open::Nothing,
            any_event: false,
            complete: false,
        }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The error that the body tells, or `BadResponse` if it is no answer.
    pub(super) fn whole(mut self, body: &[u8]) -> Result<Vec<Item>, Error> {
        let whole: Whole<'_> = serde_json::from_slice(body).map_err(|_| refusal::not_json(body))?;
        if whole.message.is_none_or(|message| !message.get().starts_with('{')) {
            return Err(refusal::of_payload(body));
        }
        let mut out = VecDeque::new();
        whole.id.0.as_ref().clone_into(&mut self.composer.end.upstream_response_id);
        let message: Message<'_> = read(whole.message);
        self.plan(&message, &mut out)?;
        let citations = list(message.citations);
        self.cite(&citations, |citation| citation.kind.0 == "PLAN");
        for (index, json) in (0..).zip(list(message.content)) {
            self.content_item(index, json, &mut out)?;
            let only = list(message.content).len() == 1;
            self.cite(&citations, |citation| is_about(citation, index, only));
        }
        for item in list(whole.logprobs) {
            self.composer.logprobs(CHOICE, logprobs(item), &mut out)?;
        }
        for json in list(message.tool_calls) {
            self.tool_start(json, &mut out)?;
            self.tool_end(&mut out);
        }
        self.message_end(&whole.finish_reason.0, "", whole.usage, &mut out)?;
        Ok(out.into())
    }

    /// Takes one event.
    fn feed(&mut self, json: &[u8], out: &mut VecDeque<Item>) -> Result<(), Error> {
        let event: Event<'_> = serde_json::from_slice(json)
            .map_err(|_| Error::new(Kind::BadResponse, "an event of the stream is not JSON"))?;
        let delta: Delta<'_> = read(event.delta);
        let message: Message<'_> = read(delta.message);
        match &*event.kind.0 {
            "message-start" => event.id.0.as_ref().clone_into(&mut self.composer.end.upstream_response_id),
            "tool-plan-delta" => self.plan(&message, out)?,
            "content-start" | "content-delta" => {
                for content in list(message.content) {
                    self.content_item(event.index.0.unwrap_or_default(), content, out)?;
                }
                for item in list(event.logprobs) {
                    self.composer.logprobs(CHOICE, logprobs(item), out)?;
                }
            }
            "citation-start" => self.cite(&list(message.citations), |_| true),
            "tool-call-start" => {
                for call in list(message.tool_calls) {
                    self.tool_start(call, out)?;
                }
            }
            "tool-call-delta" => {
                for call in list(message.tool_calls) {
                    let call: ToolCall<'_> = read(Some(call));
                    self.tool_input(&call.function.unwrap_or_default().arguments.0, out);
                }
            }
            "tool-call-end" => self.tool_end(out),
            "message-end" => {
                self.message_end(&delta.finish_reason.0, &delta.error.0, delta.usage, out)?;
                self.complete = true;
            }
            // The part ends with the next one, so that citations that come late still find it.
            "content-end" | "citation-end" => {}
            "" if event.message.is_some() => return Err(refusal::of_payload(json)),
            other => {
                self.composer.extension(other, std::str::from_utf8(json).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn plan(&mut self, message: &Message<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if message.tool_plan.is_empty() {
            return Ok(());
        }
        self.turn_to(Open::Plan, out);
        self.composer.thought(CHOICE, &message.tool_plan.0, out)?;
        self.composer.token(CHOICE, MESSAGE_TOOL_PLAN);
        Ok(())
    }

    fn content_item(&mut self, index: i64, json: &RawValue, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let content: Content<'_> = read(Some(json));
        if !matches!(&*content.kind.0, "" | "text" | "thinking") {
            self.turn_to(Open::Content(index), out);
            let extension = Extension {
                provider: self.provider.clone(),
                r#type: content.kind.0.into_owned(),
                json: json.get().to_owned(),
            };
            let part = Part { kind: Some(PartKind::Extension(extension)), ..Part::default() };
            return self.composer.open(CHOICE, part, out);
        }
        if content.text.is_empty() && content.thinking.is_empty() {
            return Ok(());
        }
        self.turn_to(Open::Content(index), out);
        if !content.thinking.is_empty() {
            self.composer.thought(CHOICE, &content.thinking.0, out)?;
            self.composer.token(CHOICE, THINKING);
        }
        self.composer.text(CHOICE, &content.text.0, out)
    }

    /// Ends the part before unless it goes on.
    fn turn_to(&mut self, open: Open, out: &mut VecDeque<Item>) {
        if self.open != open {
            self.tool_end(out);
            self.composer.close(CHOICE, out);
            self.open = open;
        }
    }

    /// Notes the citations that are wanted on the part that is open; what has no part is kept beside the answer.
    fn cite(&mut self, citations: &[&RawValue], wanted: impl Fn(&Citation<'_>) -> bool) {
        for json in citations {
            let citation: Citation<'_> = read(Some(json));
            if !wanted(&citation) {
                continue;
            }
            if !self.composer.is_open(CHOICE) {
                self.composer.extension("citations", json.get());
            }
            for annotation in annotations(&citation, json.get(), &self.provider) {
                self.composer.annotate(CHOICE, annotation);
            }
        }
    }

    fn tool_start(&mut self, json: &RawValue, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.tool_end(out);
        let call: ToolCall<'_> = read(Some(json));
        let function = call.function.unwrap_or_default();
        let initial = Call {
            id: call.id.0.into_owned(),
            name: function.name.0.into_owned(),
            input: Some(Input::ArgumentsJson(String::new())),
            executed_upstream: false,
        };
        let part = Part { kind: Some(PartKind::ToolCall(initial)), ..Part::default() };
        self.composer.open(CHOICE, part, out)?;
        self.open = Open::Tool(false);
        self.tool_input(&function.arguments.0, out);
        Ok(())
    }

    fn tool_input(&mut self, input: &str, out: &mut VecDeque<Item>) {
        if let Open::Tool(any) = &mut self.open {
            *any |= !input.is_empty();
            self.composer.tool_input(CHOICE, input, out);
        }
    }

    /// Ends the call that is open. One without arguments is told with an empty text or null.
    fn tool_end(&mut self, out: &mut VecDeque<Item>) {
        if let Open::Tool(any) = self.open {
            if !any {
                self.composer.tool_input(CHOICE, "{}", out);
            }
            self.composer.close(CHOICE, out);
            self.open = Open::Nothing;
        }
    }

    fn message_end(
        &mut self,
        word: &str,
        error: &str,
        told: Option<&RawValue>,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        if let Some(usage) = told.and_then(usage::of_chat) {
            self.composer.usage = Some(usage);
        }
        let reason = finish::reason(word, error, self.composer.has_tool_call(CHOICE))?;
        self.tool_end(out);
        self.composer.end_choice(CHOICE, reason, word, "", out)?;
        self.composer.finish(out);
        Ok(())
    }

    fn event(&mut self, event: &SseEvent<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Some(data) = &event.data else {
            let first = event.stray && !self.any_event;
            return if first { Err(refusal::stray(event.raw)) } else { Ok(()) };
        };
        self.any_event = true;
        if event.name == b"error" {
            return Err(refusal::of_payload(data));
        }
        // What belongs to OpenAI's dialect stands at the end of this one too.
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        self.feed(data, out)
    }
}

/// Tells whether a citation of a whole answer is about an item of the content; without an index, about the only one.
fn is_about(citation: &Citation<'_>, index: i64, only: bool) -> bool {
    citation.kind.0 != "PLAN" && citation.content_index.0.map_or(only || index == 0, |about| about == index)
}

impl Lane for Decoder {
    type Frames = Splitter;

    fn block(&mut self, block: &Block, out: &mut VecDeque<Item>) -> Result<(), Error> {
        for event in block.events() {
            self.event(&event, out)?;
            if self.complete {
                break;
            }
        }
        Ok(())
    }

    fn end(&mut self, _: &mut VecDeque<Item>) -> Result<(), Error> {
        if !self.any_event {
            return Err(Error::new(Kind::BadResponse, "the answer is no event stream"));
        }
        let message = "the stream ended without its message-end: the answer is cut short";
        Err(Error::new(Kind::Unavailable, message))
    }

    fn broken(&mut self, out: &mut VecDeque<Item>) {
        self.composer.broken(out);
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests;
