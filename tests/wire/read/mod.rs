//! Independent readings of answers: what a body says in its dialect, without any of the gateway's code. The same
//! readings serve for recordings and for what callers got.

pub mod anthropic;
pub mod cohere;
pub mod converse;
pub mod count;
pub mod embeddings;
pub mod gemini;
pub mod native;
pub mod notes;
pub mod openai;
pub mod responses;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{family::Family, framing::Framing};

/// What an answer says, whatever its dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub failed: bool,
    pub choices: BTreeMap<i64, Choice>,
    pub usage: Counts,
    /// Lengths and first numbers of the vectors; a packed vector has no numbers.
    pub vectors: Vec<Vec<f32>>,
    /// Units of search that were billed.
    pub search_units: Option<i64>,
    /// Tokens that were counted for a prompt.
    pub counted: Option<i64>,
}

/// One choice of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    pub text: String,
    pub thoughts: String,
    pub refusal: String,
    /// Thoughts as OpenRouter's details have them, until it is known whether they only repeat.
    details: String,
    /// Calls that the caller must run.
    pub calls: Vec<Call>,
    pub finish: Finish,
    /// The vendor's own word for why it ended.
    pub raw_finish: String,
    pub failed: bool,
}

/// A tool call: its name, and its input as it was written.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub name: String,
    pub input: String,
}

impl PartialEq for Call {
    /// Inputs are equal as JSON, or else as text. No input is an empty object.
    fn eq(&self, other: &Self) -> bool {
        let value = |input: &str| match input.trim() {
            "" | "null" => serde_json::from_str("{}").ok(),
            text => serde_json::from_str::<Value>(text).ok(),
        };
        self.name == other.name
            && (self.input == other.input
                || (value(&self.input).is_some() && value(&self.input) == value(&other.input)))
    }
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    #[default]
    Unknown,
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    Refusal,
    ContextLength,
    Paused,
    Other,
}

/// Token counts, input including what was cached, output including reasoning. Absent is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub input: Option<i64>,
    pub output: Option<i64>,
    pub cache_read: Option<i64>,
    pub cache_write: Option<i64>,
    pub reasoning: Option<i64>,
}

/// Reads an answer.
pub fn answer(family: Family, framing: Framing, body: &[u8]) -> Expected {
    let messages = framing.messages(body);
    let streamed = framing != Framing::Whole;
    let mut expected = match family {
        Family::Chat | Family::Completions => openai::answer(&messages, streamed),
        Family::Responses => responses::answer(&messages, streamed),
        Family::Messages => anthropic::answer(&messages, streamed),
        Family::Gemini => gemini::answer(&messages),
        Family::Converse => converse::answer(&messages, streamed),
        Family::Cohere => cohere::answer(&messages, streamed),
        Family::Embeddings => embeddings::answer(&messages),
        Family::Count => count::answer(&messages),
        Family::PassThrough | Family::Native => native::answer(&messages),
    };
    // A body that is no message at all is no answer.
    expected.failed |= messages.is_empty();
    expected.failed |= expected.choices.values().any(|choice| choice.failed);
    expected
}

/// A count, or nothing.
pub fn count_at(value: &Value, pointer: &str) -> Option<i64> {
    let found = value.pointer(pointer)?;
    found.as_i64().or_else(|| found.as_f64().filter(|count| count.fract() == 0.0).map(|count| count as i64))
}

/// A text, or an empty one.
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The members of a list, or none.
pub fn list_at<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
