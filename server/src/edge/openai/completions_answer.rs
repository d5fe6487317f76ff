//! Typed answers as `text_completion` objects, whole and in chunks.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use tollgate_api::v1::{self, CompleteResponse, TokenLogprob, TopLogprob, part};
use uuid::Uuid;

use super::{
    chat_chunks::DONE,
    error,
    shapes::{Aside, Usage, finish_reason, finite},
};
use crate::{call::Event, edge::rest::sse::Encode, error::Error};

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    /// In chunks null on all but the last if usage was asked for, absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    system_fingerprint: &'a str,
}

#[derive(Default, Serialize)]
struct Choice<'a> {
    text: &'a str,
    index: i32,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_tollgate: Option<Aside<'a>>,
}

/// Log probabilities in the four lists of this dialect.
#[derive(Serialize)]
struct Logprobs<'a> {
    tokens: Vec<&'a str>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Top<'a>>,
    text_offset: Vec<usize>,
}

/// The most probable tokens of one place, by their texts.
struct Top<'a>(&'a [TopLogprob]);

impl Serialize for Top<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for top in self.0 {
            map.serialize_entry(&top.token, &finite(top.logprob))?;
        }
        map.end()
    }
}

impl<'a> Logprobs<'a> {
    /// Shows tokens whose text begins at that character; the place is moved behind them.
    fn of(tokens: &'a [TokenLogprob], offset: &mut usize) -> Option<Self> {
        let mut shown = Self {
            tokens: Vec::with_capacity(tokens.len()),
            token_logprobs: Vec::with_capacity(tokens.len()),
            top_logprobs: Vec::with_capacity(tokens.len()),
            text_offset: Vec::with_capacity(tokens.len()),
        };
        for token in tokens {
            shown.tokens.push(&token.token);
            shown.token_logprobs.push(finite(token.logprob));
            shown.top_logprobs.push(Top(&token.top));
            shown.text_offset.push(*offset);
            *offset += token.token.chars().count();
        }
        (!tokens.is_empty()).then_some(shown)
    }
}

/// Returns the `finish_reason`: one of the three that this dialect has.
fn ended(reason: v1::FinishReason) -> &'static str {
    match finish_reason(reason) {
        "tool_calls" => "stop",
        known => known,
    }
}

/// Writes a whole answer. Words of refusal are text here, and thoughts have no place.
///
/// # Errors
/// `INTERNAL` if it cannot be written, which no answer is known to cause.
pub(super) fn write(answer: &CompleteResponse) -> Result<Vec<u8>, Error> {
    let texts: Vec<String> = answer.choices.iter().map(text).collect();
    let choices = answer.choices.iter().zip(&texts).map(|(choice, text)| {
        let mapped = ended(choice.finish_reason());
        Choice {
            text,
            index: choice.index,
            logprobs: Logprobs::of(&choice.logprobs, &mut 0),
            finish_reason: Some(mapped),
            x_tollgate: Aside::of(mapped, &choice.upstream_finish_reason),
        }
    });
    let completion = Completion {
        id: &format!("cmpl-{}", answer.id),
        object: "text_completion",
        created: answer.create_time.as_ref().map_or(0, |time| time.seconds),
        model: &answer.model,
        choices: &choices.collect::<Vec<_>>(),
        usage: answer.usage.as_ref().map(|usage| Some(Usage::of(usage))),
        system_fingerprint: &answer.system_fingerprint,
    };
    serde_json::to_vec(&completion).map_err(|_| Error::internal("the answer cannot be written as JSON"))
}

fn text(choice: &v1::Choice) -> String {
    let parts = choice.message.as_ref().map_or(&[][..], |message| &message.parts);
    let texts = parts.iter().filter_map(|part| match &part.kind {
        Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// The state of one stream.
pub(super) struct Texts {
    id: String,
    created: i64,
    model: String,
    system_fingerprint: String,
    usage_wanted: bool,
    usage: Option<Box<v1::Usage>>,
    /// How many characters of each choice its log probabilities have told.
    offsets: BTreeMap<i32, usize>,
}

impl Texts {
    /// Starts the stream of that call.
    pub(super) fn new(call_id: Uuid, usage_wanted: bool) -> Self {
        Self {
            id: format!("cmpl-{call_id}"),
            created: 0,
            model: String::new(),
            system_fingerprint: String::new(),
            usage_wanted,
            usage: None,
            offsets: BTreeMap::new(),
        }
    }

    fn start(&mut self, start: v1::StreamStart) -> Bytes {
        self.created = start.create_time.map_or(0, |time| time.seconds);
        self.model = start.model;
        self.system_fingerprint = start.system_fingerprint;
        Bytes::new()
    }

    fn text(&self, index: i32, text: &str) -> Bytes {
        if text.is_empty() {
            return Bytes::new();
        }
        self.choice(Choice { text, index, ..Choice::default() })
    }

    fn choice(&self, choice: Choice<'_>) -> Bytes {
        self.write(&[choice], self.usage_wanted.then_some(None)).into()
    }

    fn part_start(&self, start: &v1::PartStart) -> Bytes {
        match start.initial.as_ref().and_then(|initial| initial.kind.as_ref()) {
            Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => self.text(start.choice, text),
            _ => Bytes::new(),
        }
    }

    fn choice_end(&self, end: &v1::ChoiceEnd) -> Bytes {
        let mapped = ended(end.finish_reason());
        self.choice(Choice {
            index: end.choice,
            finish_reason: Some(mapped),
            x_tollgate: Aside::of(mapped, &end.upstream_finish_reason),
            ..Choice::default()
        })
    }

    fn usage_chunk(&mut self) -> Vec<u8> {
        match self.usage.take() {
            Some(usage) if self.usage_wanted => self.write(&[], Some(Some(Usage::of(&usage)))),
            _ => Vec::new(),
        }
    }

    fn write(&self, choices: &[Choice<'_>], usage: Option<Option<Usage>>) -> Vec<u8> {
        let chunk = Completion {
            id: &self.id,
            object: "text_completion",
            created: self.created,
            model: &self.model,
            choices,
            usage,
            system_fingerprint: &self.system_fingerprint,
        };
        let mut frame = b"data: ".to_vec();
        // Strings and numbers in memory cannot fail to be written.
        if serde_json::to_writer(&mut frame, &chunk).is_err() {
            return Vec::new();
        }
        frame.extend_from_slice(b"\n\n");
        frame
    }
}

impl Encode for Texts {
    fn event(&mut self, event: Event) -> Bytes {
        match event {
            Event::Text(delta) => self.text(delta.choice, &delta.text),
            Event::Refusal(delta) => self.text(delta.choice, &delta.text),
            Event::PartStart(start) => self.part_start(&start),
            Event::ChoiceEnd(end) => self.choice_end(&end),
            Event::Logprobs(delta) => {
                let offset = self.offsets.entry(delta.choice).or_default();
                let logprobs = Logprobs::of(&delta.logprobs, offset);
                self.choice(Choice { index: delta.choice, logprobs, ..Choice::default() })
            }
            Event::Usage(usage) => {
                self.usage = Some(usage).filter(|usage| usage.r#final);
                Bytes::new()
            }
            Event::Start(start) => self.start(*start),
            Event::End(_) => {
                let mut last = self.usage_chunk();
                last.extend_from_slice(DONE);
                last.into()
            }
            Event::Thought(_)
            | Event::ToolCall(_)
            | Event::Media(_)
            | Event::PartEnd(_)
            | Event::Notice(_)
            | Event::Extension(_) => Bytes::new(),
        }
    }

    fn failed(&mut self, failed: &Error) -> Bytes {
        // What was used is told before the error, if that was asked for.
        let mut last = self.usage_chunk();
        last.extend_from_slice(&error::in_stream(failed));
        last.into()
    }
}

#[cfg(test)]
#[path = "completions_answer_tests.rs"]
mod tests;
