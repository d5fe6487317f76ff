//! One choice of an answer: deltas of vendors in, parts of the contract out.

use std::{collections::VecDeque, mem};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;
use tollgate_api::v1::{
    self, Annotation, Continuity, FinishReason, Media, Part, RefusalDelta, TextDelta, Thought, ThoughtDelta,
    part,
};

use super::{
    chunk::{Choice, Delta},
    notes, tap,
    think::Tags,
    toolcalls::{Call, Tools},
};
use crate::{
    call::{Event, Item},
    provider::{Error, Kind},
};

/// The token of a thought that came as a part of the content.
pub(super) const THINKING_PART: &str = "thinking";

/// What all choices of an answer share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The provider's configured name, for what only it can read.
    pub(super) provider: String,
    /// The media type of a spoken answer.
    pub(super) audio_type: String,
    /// Thoughts in parts of the content go back the same way.
    pub(super) thinking_parts: bool,
    /// The content may begin with a thought between tags.
    pub(super) think_tags: bool,
}

/// A part that is being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
    Refusal,
    Media,
    /// The place of the call among the choice's tools.
    Tool(usize),
}

/// A choice that is being told.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: i32,
    open: Option<(Open, i32)>,
    next_part: i32,
    tools: Tools,
    finish: String,
    stop_sequence: String,
    annotations: Vec<Annotation>,
    /// How the thought came, so that it can be sent back the same way.
    thought: Option<&'static str>,
    details: Vec<String>,
    audio_id: String,
    tags: Tags,
}

impl State {
    pub(super) fn new(index: i32) -> Self {
        Self {
            index,
            open: None,
            next_part: 0,
            tools: Tools::default(),
            finish: String::new(),
            stop_sequence: String::new(),
            annotations: Vec::new(),
            thought: None,
            details: Vec::new(),
            audio_id: String::new(),
            tags: Tags::default(),
        }
    }

    /// Takes what a chunk or a whole answer says of this choice. Returns whether it was content.
    pub(super) fn take(
        &mut self,
        choice: &Choice<'_>,
        shared: &Shared,
        out: &mut VecDeque<Item>,
    ) -> Result<bool, Error> {
        let before = out.len();
        if let Some(delta) = choice.delta.as_ref().or(choice.message.as_ref()) {
            self.delta(delta, shared, out)?;
        }
        if let Some(list) = choice.logprobs.and_then(notes::logprobs) {
            if self.open.is_none() {
                self.open(Open::Text, shared, out);
            }
            let part = self.open.map_or(0, |(_, part)| part);
            let delta = v1::LogprobDelta { logprobs: list, choice: self.index, part };
            out.push_back(Item::Event(Event::Logprobs(Box::new(delta))));
        }
        if self.finish.is_empty() && !choice.finish_reason.is_empty() {
            self.finish = choice.finish_reason.0.clone().into_owned();
        }
        if let Some(stop) = choice.stop_reason.map(RawValue::get).filter(|stop| stop.starts_with('"')) {
            self.stop_sequence = serde_json::from_str(stop).unwrap_or_default();
        }
        Ok(out.len() > before || self.tools.waiting())
    }

    pub(super) fn is_finished(&self) -> bool {
        !self.finish.is_empty()
    }

    fn delta(&mut self, delta: &Delta<'_>, shared: &Shared, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.thoughts(delta, shared, out);
        for (is_thought, text) in delta.content.pieces() {
            if is_thought {
                self.append(Open::Thought, text, shared, out);
                self.thought = shared.thinking_parts.then_some(THINKING_PART);
            } else if shared.think_tags {
                let (thought, rest) = self.tags.read(text);
                self.append(Open::Thought, &thought, shared, out);
                self.append(Open::Text, &rest, shared, out);
            } else {
                self.append(Open::Text, text, shared, out);
            }
        }
        self.append(Open::Refusal, &delta.refusal.0, shared, out);
        for fragment in delta.tool_calls.iter().flatten() {
            let (function, custom) = match (&fragment.function, &fragment.custom) {
                (Some(function), _) => (function, false),
                (None, Some(custom)) => (custom, true),
                (None, None) => continue,
            };
            let call = Call { index: fragment.index.0, id: &fragment.id.0, name: &function.name.0, custom };
            self.tools.add(&call, &function.text())?;
        }
        if let Some(function) = &delta.function_call
            && !(function.name.is_empty() && function.text().is_empty())
        {
            let call = Call { index: Some(0), id: "", name: &function.name.0, custom: false };
            self.tools.add(&call, &function.text())?;
        }
        self.pump(shared, out, false);
        self.audio(delta, shared, out)?;
        if let Some(annotations) = delta.annotations {
            self.annotations.extend(notes::annotations(annotations, &shared.provider));
        }
        Ok(())
    }

    /// Reasoning told under several names is told once.
    fn thoughts(&mut self, delta: &Delta<'_>, shared: &Shared, out: &mut VecDeque<Item>) {
        let details = delta.reasoning_details.map(notes::details).unwrap_or_default();
        let named = [("reasoning_content", &delta.reasoning_content), ("reasoning", &delta.reasoning)];
        match named.into_iter().find(|(_, text)| !text.is_empty()) {
            Some((name, text)) => {
                self.append(Open::Thought, &text.0, shared, out);
                self.thought = Some(name);
            }
            None => self.append(Open::Thought, &details.text, shared, out),
        }
        if details.items.is_empty() {
            return;
        }
        // Encrypted reasoning has no text, and is a thought all the same.
        if !matches!(self.open, Some((Open::Thought, _))) && details.opaque {
            self.open(Open::Thought, shared, out);
        }
        if matches!(self.open, Some((Open::Thought, _))) {
            self.details.extend(details.items);
        }
    }

    fn audio(&mut self, delta: &Delta<'_>, shared: &Shared, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Some(audio) = &delta.audio else { return Ok(()) };
        if !audio.id.is_empty() {
            self.audio_id = audio.id.0.clone().into_owned();
        }
        if audio.data.is_empty() && audio.transcript.is_empty() {
            return Ok(());
        }
        let data = STANDARD
            .decode(audio.data.0.as_bytes())
            .map_err(|_| Error::new(Kind::BadResponse, "the audio of the answer is no base64"))?;
        let part = self.open(Open::Media, shared, out);
        out.push_back(Item::Event(Event::Media(Box::new(v1::MediaDelta {
            data: data.into(),
            choice: self.index,
            part,
            transcript: audio.transcript.0.clone().into_owned(),
        }))));
        Ok(())
    }

    fn append(&mut self, kind: Open, text: &str, shared: &Shared, out: &mut VecDeque<Item>) {
        if text.is_empty() {
            return;
        }
        let part = self.open(kind, shared, out);
        let (choice, text) = (self.index, text.to_owned());
        out.push_back(Item::Event(match kind {
            Open::Thought => Event::Thought(ThoughtDelta { text, choice, part }),
            Open::Refusal => Event::Refusal(RefusalDelta { text, choice, part }),
            _ => Event::Text(TextDelta { text, choice, part }),
        }));
    }

    /// Makes sure that a part of that kind is open, and returns its number.
    fn open(&mut self, kind: Open, shared: &Shared, out: &mut VecDeque<Item>) -> i32 {
        if let Some((open, part)) = self.open
            && open == kind
        {
            return part;
        }
        if !matches!(kind, Open::Tool(_)) {
            // Calls that wait for their turn come before what follows them.
            self.pump(shared, out, true);
        }
        self.close(shared, out);
        let part = self.next_part;
        self.next_part += 1;
        self.open = Some((kind, part));
        let initial = match kind {
            // The contract lets this one event be saved.
            Open::Text if part == 0 => return part,
            Open::Text => part::Kind::Text(String::new()),
            Open::Thought => part::Kind::Thought(Thought::default()),
            Open::Refusal => part::Kind::Refusal(String::new()),
            Open::Media => part::Kind::Media(Box::new(Media {
                mime_type: shared.audio_type.clone(),
                ..Media::default()
            })),
            Open::Tool(place) => part::Kind::ToolCall(self.tools.begin(place, self.index)),
        };
        let initial = Part { kind: Some(initial), ..Part::default() };
        let start = v1::PartStart { choice: self.index, part, initial: Some(initial) };
        out.push_back(Item::Event(Event::PartStart(Box::new(start))));
        part
    }

    fn close(&mut self, shared: &Shared, out: &mut VecDeque<Item>) {
        let Some((kind, part)) = self.open.take() else { return };
        let mut end = v1::PartEnd { choice: self.index, part, ..v1::PartEnd::default() };
        match kind {
            Open::Text => end.annotations = mem::take(&mut self.annotations),
            Open::Thought => end.continuity = self.thought_token(shared),
            Open::Media if !self.audio_id.is_empty() => {
                end.continuity = Some(continuity(shared, mem::take(&mut self.audio_id)));
            }
            Open::Tool(place) => {
                if let Some(input) = self.tools.close(place).map(str::to_owned) {
                    let delta = v1::ToolCallDelta { input, choice: self.index, part };
                    out.push_back(Item::Event(Event::ToolCall(delta)));
                }
            }
            Open::Refusal | Open::Media => {}
        }
        out.push_back(Item::Event(Event::PartEnd(Box::new(end))));
    }

    /// How to send the thought back: OpenRouter's details as they came, else the name of the member it came in.
    fn thought_token(&mut self, shared: &Shared) -> Option<Continuity> {
        let name = self.thought.take();
        let details = mem::take(&mut self.details);
        if !details.is_empty() {
            return Some(continuity(shared, format!("[{}]", details.join(","))));
        }
        name.map(|name| continuity(shared, name.to_owned()))
    }

    /// Tells what the tools have gathered: one call after the other, the next once the one before is whole. `all`
    /// says that nothing more will come for them.
    fn pump(&mut self, shared: &Shared, out: &mut VecDeque<Item>, all: bool) {
        loop {
            if let Some((Open::Tool(place), part)) = self.open {
                let input = self.tools.take_input(place);
                if !input.is_empty() {
                    let delta = v1::ToolCallDelta { input, choice: self.index, part };
                    out.push_back(Item::Event(Event::ToolCall(delta)));
                }
                if !all && !self.tools.is_whole(place) {
                    return;
                }
            }
            let Some(next) = self.tools.next(all) else { return };
            self.open(Open::Tool(next), shared, out);
        }
    }

    /// Ends the choice: its parts, then the reason.
    pub(super) fn end(mut self, shared: &Shared, out: &mut VecDeque<Item>) {
        let (thought, rest) = self.tags.finish();
        self.append(Open::Thought, &thought, shared, out);
        self.append(Open::Text, &rest, shared, out);
        self.pump(shared, out, true);
        self.close(shared, out);
        let finish = match self.finish.as_str() {
            "" if self.tools.any() => FinishReason::ToolCalls,
            "" => FinishReason::Other,
            // Some say `stop` beside their calls, and a caller would wait for nothing.
            word => match tap::finish_reason(word) {
                FinishReason::Stop if self.tools.any() => FinishReason::ToolCalls,
                reason => reason,
            },
        };
        out.push_back(Item::Event(Event::ChoiceEnd(Box::new(v1::ChoiceEnd {
            choice: self.index,
            finish_reason: finish.into(),
            upstream_finish_reason: self.finish,
            stop_sequence: self.stop_sequence,
        }))));
    }
}

fn continuity(shared: &Shared, token: String) -> Continuity {
    Continuity { provider: shared.provider.clone(), token: token.into_bytes().into() }
}
