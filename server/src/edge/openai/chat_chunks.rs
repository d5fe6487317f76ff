//! Typed events as `chat.completion.chunk` objects, by the rules that clients enforce (CONTRACT §4.3).

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use tollgate_api::v1::{
    self, ChoiceEnd, Continuity, Media, PartEnd, PartStart, StreamStart, Thought, media, part, tool_call,
};
use uuid::Uuid;

use super::{
    calls::Call,
    chat_delta::{Choice, Chunk, Delta},
    error,
    shapes::{Annotation, Aside, Audio, Image, Logprobs, Usage, finish_reason},
    tokens::{Detail, Extra},
};
use crate::{call::Event, edge::rest::sse::Encode, error::Error};

pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// The state of one stream: what its chunks have in common and what each choice has told already.
pub(in crate::edge) struct Chunks {
    id: String,
    created: i64,
    model: String,
    system_fingerprint: String,
    usage_wanted: bool,
    /// The final usage, held until the event right behind it tells how the stream ends.
    usage: Option<Box<v1::Usage>>,
    choices: BTreeMap<i32, ChoiceState>,
}

#[derive(Default)]
struct ChoiceState {
    role_told: bool,
    calls: usize,
    /// How many thoughts were told with a token.
    details: usize,
    open: BTreeMap<i32, OpenPart>,
}

enum OpenPart {
    Call {
        index: usize,
        custom: bool,
    },
    Hidden,
    /// What the token of a thought is told with.
    Thought(Thought, Option<Continuity>),
    /// Bytes that do not fill a group of base64 yet: pieces must decode alone and joined.
    Sound(Vec<u8>),
}

impl Chunks {
    /// Starts a stream of that call; what its start event tells replaces what is assumed here.
    pub(in crate::edge) fn new(call_id: Uuid, usage_wanted: bool) -> Self {
        Self {
            id: format!("chatcmpl-{call_id}"),
            created: 0,
            model: String::new(),
            system_fingerprint: String::new(),
            usage_wanted,
            usage: None,
            choices: BTreeMap::new(),
        }
    }

    fn start(&mut self, start: StreamStart) -> Bytes {
        self.created = start.create_time.map_or(0, |time| time.seconds);
        self.model = start.model;
        self.system_fingerprint = start.system_fingerprint;
        Bytes::new()
    }

    fn end(&mut self, service_tier: &str) -> Bytes {
        let mut last = self.usage_chunk(service_tier);
        last.extend_from_slice(DONE);
        last.into()
    }

    fn usage_chunk(&mut self, service_tier: &str) -> Vec<u8> {
        match self.usage.take() {
            Some(usage) if self.usage_wanted => self.write(&[], Some(Some(Usage::of(&usage))), service_tier),
            _ => Vec::new(),
        }
    }

    fn text(&mut self, choice: i32, text: &str) -> Bytes {
        self.delta(choice, Delta { content: Some(text), ..Delta::default() })
    }

    fn delta(&mut self, index: i32, delta: Delta<'_>) -> Bytes {
        self.choice(Choice { index, delta, ..Choice::default() })
    }

    /// Writes a chunk of one choice; the first one tells the role, and no other: clients append it.
    fn choice(&mut self, mut choice: Choice<'_>) -> Bytes {
        let state = self.choices.entry(choice.index).or_default();
        if !state.role_told {
            state.role_told = true;
            choice.delta.role = Some("assistant");
        }
        let usage = self.usage_wanted.then_some(None);
        self.write(&[choice], usage, "").into()
    }

    fn write(&self, choices: &[Choice<'_>], usage: Option<Option<Usage>>, service_tier: &str) -> Vec<u8> {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            service_tier,
            system_fingerprint: &self.system_fingerprint,
            choices,
            usage,
        };
        let mut frame = Vec::with_capacity(256);
        frame.extend_from_slice(b"data: ");
        // Strings and numbers in memory cannot fail to be written.
        if serde_json::to_writer(&mut frame, &chunk).is_err() {
            return Vec::new();
        }
        frame.extend_from_slice(b"\n\n");
        frame
    }

    fn part_start(&mut self, start: &PartStart) -> Bytes {
        let Some(initial) = start.initial.as_ref() else { return Bytes::new() };
        let delta = Delta {
            annotations: initial.annotations.iter().filter_map(Annotation::of).collect(),
            ..Delta::default()
        };
        let delta = match initial.kind.as_ref() {
            Some(part::Kind::Text(text)) => Delta { content: told(text), ..delta },
            Some(part::Kind::Refusal(text)) => Delta { refusal: told(text), ..delta },
            Some(part::Kind::Thought(thought)) => {
                let kept = OpenPart::Thought(thought.clone(), initial.continuity.clone());
                self.choices.entry(start.choice).or_default().open.insert(start.part, kept);
                Delta { reasoning_content: told(&thought.text), ..delta }
            }
            Some(part::Kind::ToolCall(call)) => {
                let index = self.open_call(start, call);
                let extra_content = Extra::of(initial.continuity.as_ref());
                let call = |index| [Call::whole(Some(index), call).with(extra_content)];
                Delta { tool_calls: index.map(call), ..delta }
            }
            Some(part::Kind::Media(media)) => self.open_media(start, media, delta),
            _ => delta,
        };
        if delta.is_silent() { Bytes::new() } else { self.delta(start.choice, delta) }
    }

    /// Gives a call the next index of its choice; one that the provider runs itself gets none and is not shown.
    fn open_call(&mut self, start: &PartStart, call: &v1::ToolCall) -> Option<usize> {
        let state = self.choices.entry(start.choice).or_default();
        if call.executed_upstream {
            state.open.insert(start.part, OpenPart::Hidden);
            return None;
        }
        let index = state.calls;
        state.calls += 1;
        let custom = matches!(call.input, Some(tool_call::Input::Text(_)));
        state.open.insert(start.part, OpenPart::Call { index, custom });
        Some(index)
    }

    fn open_media<'d>(&mut self, start: &PartStart, media: &Media, delta: Delta<'d>) -> Delta<'d> {
        if !media.mime_type.starts_with("audio/") {
            return Delta { images: Image::of(media).into_iter().collect(), ..delta };
        }
        let state = self.choices.entry(start.choice).or_default();
        let mut rest = Vec::new();
        let data = match &media.source {
            Some(media::Source::Data(data)) => whole_groups(&mut rest, data),
            _ => String::new(),
        };
        state.open.insert(start.part, OpenPart::Sound(rest));
        let id = format!("audio_{}", self.id);
        let audio = Audio { id, data, transcript: media.transcript.clone(), expires_at: None };
        Delta { audio: Some(audio), ..delta }
    }

    fn sound(&mut self, choice: i32, part: i32, data: &[u8], transcript: String) -> Bytes {
        let state = self.choices.entry(choice).or_default();
        let Some(OpenPart::Sound(rest)) = state.open.get_mut(&part) else { return Bytes::new() };
        let data = whole_groups(rest, data);
        if data.is_empty() && transcript.is_empty() {
            return Bytes::new();
        }
        let audio = Audio { id: String::new(), data, transcript, expires_at: None };
        self.delta(choice, Delta { audio: Some(audio), ..Delta::default() })
    }

    fn more_input(&mut self, delta: &v1::ToolCallDelta) -> Bytes {
        let state = self.choices.entry(delta.choice).or_default();
        let Some(&OpenPart::Call { index, custom }) = state.open.get(&delta.part) else {
            return Bytes::new();
        };
        let call = Call::more(index, custom, &delta.input);
        self.delta(delta.choice, Delta { tool_calls: Some([call]), ..Delta::default() })
    }

    fn keep_thought(&mut self, delta: &v1::ThoughtDelta) {
        let state = self.choices.entry(delta.choice).or_default();
        if let Some(OpenPart::Thought(thought, _)) = state.open.get_mut(&delta.part) {
            thought.text.push_str(&delta.text);
        }
    }

    fn part_end(&mut self, end: &PartEnd) -> Bytes {
        let open = self.choices.get_mut(&end.choice).and_then(|state| state.open.remove(&end.part));
        let mut delta = Delta {
            annotations: end.annotations.iter().filter_map(Annotation::of).collect(),
            ..Delta::default()
        };
        match open {
            Some(OpenPart::Sound(rest)) if !rest.is_empty() => {
                let (id, transcript, data) = (String::new(), String::new(), STANDARD.encode(rest));
                delta.audio = Some(Audio { id, data, transcript, expires_at: None });
            }
            Some(OpenPart::Sound(_) | OpenPart::Hidden) => {}
            Some(OpenPart::Call { index, custom }) => {
                let extra_content = Extra::of(end.continuity.as_ref());
                // Clients expect a call in each of these, even if it has nothing to add.
                let call = |extra| [Call::more(index, custom, "").with(Some(extra))];
                delta.tool_calls = extra_content.map(call);
            }
            Some(OpenPart::Thought(thought, token)) => {
                let state = self.choices.entry(end.choice).or_default();
                let token = end.continuity.as_ref().or(token.as_ref());
                delta.reasoning_details.extend(Detail::of(state.details, &thought, token));
                state.details += delta.reasoning_details.len();
            }
            None => delta.extra_content = Extra::of(end.continuity.as_ref()),
        }
        if delta.is_silent() {
            return Bytes::new();
        }
        self.delta(end.choice, delta)
    }

    fn choice_end(&mut self, end: &ChoiceEnd) -> Bytes {
        let mapped = finish_reason(end.finish_reason());
        let told = self.choices.get(&end.choice).is_some_and(|state| state.role_told);
        self.choice(Choice {
            index: end.choice,
            // A choice of nothing still is an answer: clients expect a content beside the role.
            delta: Delta { content: (!told).then_some(""), ..Delta::default() },
            finish_reason: Some(mapped),
            x_tollgate: Aside::of(mapped, &end.upstream_finish_reason),
            ..Choice::default()
        })
    }
}

impl Encode for Chunks {
    fn event(&mut self, event: Event) -> Bytes {
        match event {
            Event::Text(delta) => self.text(delta.choice, &delta.text),
            Event::Thought(delta) => {
                self.keep_thought(&delta);
                self.delta(delta.choice, Delta { reasoning_content: Some(&delta.text), ..Delta::default() })
            }
            Event::Refusal(delta) => {
                self.delta(delta.choice, Delta { refusal: Some(&delta.text), ..Delta::default() })
            }
            Event::ToolCall(delta) => self.more_input(&delta),
            Event::Media(delta) => self.sound(delta.choice, delta.part, &delta.data, delta.transcript),
            Event::PartStart(start) => self.part_start(&start),
            Event::PartEnd(end) => self.part_end(&end),
            Event::ChoiceEnd(end) => self.choice_end(&end),
            Event::Logprobs(delta) => self.choice(Choice {
                index: delta.choice,
                logprobs: Logprobs::of(&delta.logprobs),
                ..Choice::default()
            }),
            Event::Usage(usage) => {
                if usage.r#final {
                    self.usage = Some(usage);
                }
                Bytes::new()
            }
            Event::Start(start) => self.start(*start),
            Event::End(end) => self.end(&end.service_tier),
            Event::Notice(_) | Event::Extension(_) => Bytes::new(),
        }
    }

    fn failed(&mut self, failed: &Error) -> Bytes {
        // What was used is told before the error, if that was asked for.
        let mut last = self.usage_chunk("");
        last.extend_from_slice(&error::in_stream(failed));
        last.into()
    }
}

fn told(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Writes as many bytes as fill whole groups of three, and keeps the rest.
fn whole_groups(rest: &mut Vec<u8>, data: &[u8]) -> String {
    rest.extend_from_slice(data);
    let whole = rest.len() - rest.len() % 3;
    let text = STANDARD.encode(&rest[..whole]);
    rest.drain(..whole);
    text
}

#[cfg(test)]
#[path = "chat_chunks_tests.rs"]
mod tests;
