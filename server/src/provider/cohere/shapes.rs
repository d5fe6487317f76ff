//! Cohere's events and whole answers as they are read: borrowed, and lenient in what may be missing or of another type.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::json::{Count, Text};

/// One event of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
}

/// What an event adds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Text<'a>,
}

/// A whole answer.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Whole<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// A message, or the part of one that an event adds: there each list is the one item.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) tool_plan: Text<'a>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citations: Option<&'a RawValue>,
}

/// A piece of content.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Content<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) thinking: Text<'a>,
}

/// A tool call, or more of its arguments.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
}

/// The function of a tool call.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
}

/// A citation.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Citation<'a> {
    pub(super) start: Count,
    pub(super) end: Count,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) sources: Option<&'a RawValue>,
    /// `TEXT_CONTENT`, `THINKING_CONTENT` or `PLAN`.
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// Which item of the content it is about.
    pub(super) content_index: Count,
}

/// What is cited.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CitedSource<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) document: Option<&'a RawValue>,
}

/// The document of a source; it may have any members.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Document<'a> {
    #[serde(borrow)]
    pub(super) title: Text<'a>,
}

/// The log probabilities of a run of tokens.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Logprobs<'a> {
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    pub(super) logprobs: Option<Vec<f64>>,
}

/// Reads a value; what is missing or of another type is empty.
pub(super) fn read<'a, T: Default + Deserialize<'a>>(json: Option<&'a RawValue>) -> T {
    json.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default()
}

/// Reads a list, or a single item as a list of one.
pub(super) fn list(json: Option<&RawValue>) -> Vec<&RawValue> {
    match json {
        Some(one) if one.get().starts_with('{') => vec![one],
        other => read(other),
    }
}
