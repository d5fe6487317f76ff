//! Typed events as the events of a message stream, in Anthropic's order and with its `event:` lines.

use bytes::Bytes;
use tollgate_api::v1::{
    ChoiceEnd, Continuity, FinishReason, Part, PartEnd, PartStart, ToolCall, Usage as Used, part, tool_call,
};
use uuid::Uuid;

use super::{
    content::{Block, Known, citations, nothing, signature, stop_reason, token_of_part},
    error,
    frames::{Delta, Ending, Frame, Message},
    usage::Usage,
};
use crate::{call::Event, edge::rest::sse::Encode, error::Error};

/// The state of one stream. It has one choice: this dialect knows no more.
#[derive(Default)]
pub(super) struct Messages {
    id: String,
    model: String,
    estimated_input_tokens: u32,
    /// Whether `message_start` is out. It waits for the first content, as usage may be told before that.
    begun: bool,
    usage: Option<Box<Used>>,
    /// Blocks that are out; the index of the next one.
    blocks: usize,
    open: Option<Open>,
    refused: bool,
    end: Option<Box<ChoiceEnd>>,
}

/// The part that is being told.
struct Open {
    part: i32,
    kind: Kind,
    /// Whether its block has begun: one that stays empty never does.
    told: bool,
}

enum Kind {
    Text,
    Thinking,
    /// An encrypted thought, whose provider is only known at its end.
    Redacted(Bytes),
    /// A call; free text is told as a string in an object.
    Call {
        free_text: bool,
    },
    /// Told already, or not at all.
    Whole,
}

impl Messages {
    /// Starts a stream of that call; what its start event tells replaces what is assumed here.
    pub(super) fn new(call_id: Uuid, estimated_input_tokens: u32) -> Self {
        Self { id: format!("msg_{call_id}"), estimated_input_tokens, ..Self::default() }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let usage = Usage::at_start(self.usage.as_deref(), self.estimated_input_tokens);
        let message = Message::new(&self.id, &self.model, usage);
        Frame::MessageStart { message }.write(out);
    }

    /// Tells a block that is complete.
    fn whole(&mut self, block: Block<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        Frame::ContentBlockStart { index: self.blocks, content_block: block }.write(out);
        Frame::ContentBlockStop { index: self.blocks }.write(out);
        self.blocks += 1;
    }

    /// Begins the block of the part that is open.
    fn begin_block(&mut self, block: Block<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        Frame::ContentBlockStart { index: self.blocks, content_block: block }.write(out);
        if let Some(open) = &mut self.open {
            open.told = true;
        }
    }

    fn delta(&self, delta: Delta<'_>, out: &mut Vec<u8>) {
        Frame::ContentBlockDelta { index: self.blocks, delta }.write(out);
    }

    fn is_open(&self, part: i32) -> bool {
        self.open.as_ref().is_some_and(|open| open.part == part)
    }

    /// Goes on to a part, unless it is the one that is open. Only plain text needs no start of its own.
    fn go_on(&mut self, part: i32, kind: Kind, out: &mut Vec<u8>) {
        if !self.is_open(part) {
            self.close(None, out);
            self.open = Some(Open { part, kind, told: false });
        }
    }

    fn text(&mut self, part: i32, text: &str, out: &mut Vec<u8>) {
        self.go_on(part, Kind::Text, out);
        let Some(Open { kind: Kind::Text, told, .. }) = self.open else { return };
        if text.is_empty() {
            return;
        }
        if !told {
            self.begin_block(Block::Known(Known::Text { text: "", citations: Vec::new() }), out);
        }
        self.delta(Delta::Text { text }, out);
    }

    fn thought(&mut self, part: i32, thinking: &str, out: &mut Vec<u8>) {
        self.go_on(part, Kind::Thinking, out);
        let Some(Open { kind: Kind::Thinking, told, .. }) = self.open else { return };
        if thinking.is_empty() {
            return;
        }
        if !told {
            self.begin_thinking(out);
        }
        self.delta(Delta::Thinking { thinking }, out);
    }

    fn begin_thinking(&mut self, out: &mut Vec<u8>) {
        let block = Known::Thinking { thinking: "", signature: String::new() };
        self.begin_block(Block::Known(block), out);
    }

    fn input(&mut self, part: i32, input: &str, out: &mut Vec<u8>) {
        let Some(Open { part: open, kind: Kind::Call { free_text }, .. }) = self.open else { return };
        if open != part {
            return;
        }
        if !free_text {
            return self.delta(Delta::Input { partial_json: input }, out);
        }
        let quoted = serde_json::to_string(input).unwrap_or_default();
        self.delta(
            Delta::Input { partial_json: quoted.trim_start_matches('"').strip_suffix('"').unwrap_or("") },
            out,
        );
    }

    fn part_start(&mut self, start: &PartStart, out: &mut Vec<u8>) {
        let Some(initial) = &start.initial else { return };
        self.close(None, out);
        let part = start.part;
        match &initial.kind {
            Some(part::Kind::Text(text)) => self.text(part, text, out),
            Some(part::Kind::Refusal(text)) => {
                self.refused = true;
                self.text(part, text, out);
            }
            Some(part::Kind::Thought(thought)) if !thought.redacted.is_empty() => {
                self.open = Some(Open { part, kind: Kind::Redacted(thought.redacted.clone()), told: false });
            }
            Some(part::Kind::Thought(thought)) => self.thought(part, &thought.text, out),
            Some(part::Kind::ToolCall(call)) => self.call(part, call, out),
            // What is said in a sound follows as text.
            Some(part::Kind::Media(media)) if media.mime_type.starts_with("audio/") => {
                self.text(part, &media.transcript, out);
            }
            _ => {
                self.open = Some(Open { part, kind: Kind::Whole, told: false });
                if let Some(block) = Block::of(initial) {
                    self.whole(block, out);
                }
            }
        }
        self.annotate(initial, out);
    }

    fn call(&mut self, part: i32, call: &ToolCall, out: &mut Vec<u8>) {
        let (free_text, input) = match &call.input {
            Some(tool_call::Input::Text(text)) => (true, text.as_str()),
            Some(tool_call::Input::ArgumentsJson(json)) => (false, json.as_str()),
            None => (false, ""),
        };
        self.open = Some(Open { part, kind: Kind::Call { free_text }, told: false });
        self.begin_block(Block::Known(Known::call(call, nothing())), out);
        if free_text {
            self.delta(Delta::Input { partial_json: "{\"input\":\"" }, out);
        }
        if !input.is_empty() {
            self.input(part, input, out);
        }
    }

    /// Tells the citations that a part begins with.
    fn annotate(&mut self, initial: &Part, out: &mut Vec<u8>) {
        if let Some(Open { kind: Kind::Text, told: true, .. }) = self.open {
            for citation in citations(&initial.annotations) {
                self.delta(Delta::Citation { citation }, out);
            }
        }
    }

    /// Ends the part that is open, with what its end tells.
    fn close(&mut self, end: Option<&PartEnd>, out: &mut Vec<u8>) {
        let Some(open) = &self.open else { return };
        let token = end.and_then(|end| end.continuity.as_ref());
        match &open.kind {
            Kind::Text if open.told => {
                for citation in end.iter().flat_map(|end| citations(&end.annotations)) {
                    self.delta(Delta::Citation { citation }, out);
                }
            }
            Kind::Thinking => {
                if let Some(token) = token {
                    self.sign(token, out);
                }
            }
            Kind::Call { free_text: true } => self.delta(Delta::Input { partial_json: "\"}" }, out),
            Kind::Redacted(redacted) => {
                let block = Known::redacted(redacted, token);
                self.whole(Block::Known(block), out);
            }
            Kind::Text | Kind::Call { .. } | Kind::Whole => {}
        }
        let Some(open) = self.open.take() else { return };
        if open.told {
            Frame::ContentBlockStop { index: self.blocks }.write(out);
            self.blocks += 1;
        }
        if let (Some(token), Kind::Text | Kind::Call { .. } | Kind::Whole) = (token, open.kind) {
            self.whole(token_of_part(token), out);
        }
    }

    /// Tells the token of a thought, which may be all there is of it.
    fn sign(&mut self, token: &Continuity, out: &mut Vec<u8>) {
        if self.open.as_ref().is_some_and(|open| !open.told) {
            self.begin_thinking(out);
        }
        self.delta(Delta::Signature { signature: signature(token) }, out);
    }

    fn finish(&mut self, service_tier: &str, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(None, out);
        let end = self.end.take().unwrap_or_default();
        let usage = match &self.usage {
            Some(usage) => Usage::of(usage),
            None => Usage::at_start(None, self.estimated_input_tokens),
        };
        let reason = FinishReason::try_from(end.finish_reason).unwrap_or_default();
        let delta = Ending {
            stop_reason: stop_reason(reason, &end.stop_sequence, self.refused),
            stop_sequence: (!end.stop_sequence.is_empty()).then_some(&end.stop_sequence),
        };
        Frame::MessageDelta { delta, usage: usage.served_as(service_tier) }.write(out);
        Frame::MessageStop.write(out);
    }
}

impl Encode for Messages {
    fn event(&mut self, event: Event) -> Bytes {
        let mut out = Vec::new();
        match event {
            Event::Text(delta) if delta.choice == 0 => self.text(delta.part, &delta.text, &mut out),
            Event::Refusal(delta) if delta.choice == 0 => {
                self.refused = true;
                self.text(delta.part, &delta.text, &mut out);
            }
            Event::Thought(delta) if delta.choice == 0 => self.thought(delta.part, &delta.text, &mut out),
            Event::ToolCall(delta) if delta.choice == 0 => self.input(delta.part, &delta.input, &mut out),
            Event::Media(delta) if delta.choice == 0 => {
                if let Some(Open { kind: Kind::Text, .. }) = self.open {
                    self.text(delta.part, &delta.transcript, &mut out);
                }
            }
            Event::PartStart(start) if start.choice == 0 => self.part_start(&start, &mut out),
            Event::PartEnd(end) if end.choice == 0 && self.is_open(end.part) => {
                self.close(Some(&end), &mut out);
            }
            Event::ChoiceEnd(end) if end.choice == 0 => self.end = Some(end),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Start(start) => self.model = start.model,
            Event::End(end) => self.finish(&end.service_tier, &mut out),
            _ => {}
        }
        out.into()
    }

    fn failed(&mut self, failed: &Error) -> Bytes {
        error::in_stream(failed)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
