//! Looks at passing JSON without changing it: content, finish reasons, usage, errors. Runs for every chunk of the
//! express lane, so it borrows all it can and keeps nothing.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use tollgate_api::v1::FinishReason;

use super::json::{Count, Text, Weight};
use crate::call::estimate_delta_tokens;

/// What the tap reads of a chunk or of a whole answer.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tapped<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) model: Text<'a>,
    #[serde(borrow)]
    pub(super) service_tier: Text<'a>,
    pub(super) choices: Option<Choices>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) x_groq: Option<Groq<'a>>,
}

/// Groq's own corner, where older streams tell their usage.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Groq<'a> {
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// The sum over a list of choices.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    /// How many there are.
    pub(super) count: u32,
    /// How many have content.
    pub(super) with_content: u32,
    /// Estimated tokens of that content.
    pub(super) output_tokens: u32,
    /// Which indexes there are.
    pub(super) seen: Indexes,
    /// Which indexes have a finish reason.
    pub(super) finished: Indexes,
    /// How choice 0 ended.
    pub(super) finish_reason: Option<FinishReason>,
    /// A choice carries an error of the provider behind the vendor.
    pub(super) failed: bool,
}

/// A set of choice indexes, 0 to 127; the contract allows no more choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(u128);

impl Indexes {
    pub(super) fn add(&mut self, index: i64) {
        self.0 |= 1 << index.clamp(0, 127);
    }

    pub(super) fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice<'a> {
    index: Count,
    delta: Option<Delta>,
    message: Option<Delta>,
    text: Weight,
    #[serde(borrow)]
    finish_reason: Text<'a>,
    error: Weight,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Weight,
    refusal: Weight,
    reasoning_content: Weight,
    reasoning: Weight,
    reasoning_details: Weight,
    tool_calls: Weight,
    function_call: Weight,
    audio: Weight,
}

impl Delta {
    /// Joins what a choice's delta holds. Reasoning told under several names is told once.
    fn weight(&self) -> Weight {
        let reasoning = [self.reasoning_content, self.reasoning, self.reasoning_details];
        let thought = reasoning.into_iter().max_by_key(|weight| (weight.bytes, weight.present));
        let parts = [self.content, self.refusal, self.tool_calls, self.function_call, self.audio];
        parts.into_iter().chain(thought).fold(Weight::default(), |sum, part| Weight {
            bytes: sum.bytes + part.bytes,
            present: sum.present || part.present,
        })
    }
}

impl Choices {
    fn add(&mut self, position: u32, choice: &Choice<'_>) {
        let index = choice.index.0.unwrap_or_else(|| i64::from(position));
        self.count += 1;
        self.seen.add(index);
        self.failed |= choice.error.present;
        let delta = choice.delta.as_ref().or(choice.message.as_ref());
        let weight = delta.map_or(choice.text, Delta::weight);
        if weight.present {
            self.with_content += 1;
            self.output_tokens += estimate_delta_tokens(weight.bytes);
        }
        if choice.finish_reason.is_empty() {
            return;
        }
        self.finished.add(index);
        if index == 0 {
            self.finish_reason = Some(finish_reason(&choice.finish_reason.0));
        }
    }
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sums;

        impl<'de> Visitor<'de> for Sums {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choices, A::Error> {
                let mut choices = Choices::default();
                while let Some(choice) = seq.next_element::<Choice<'_>>()? {
                    choices.add(choices.count, &choice);
                }
                Ok(choices)
            }
        }

        deserializer.deserialize_seq(Sums)
    }
}

/// Maps a vendor's word for why an answer ended.
pub(super) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "model_length" => FinishReason::ContextLength,
        _ => FinishReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(json: &str) -> Choices {
        serde_json::from_str::<Tapped<'_>>(json).unwrap().choices.unwrap()
    }

    #[test]
    fn a_role_frame_has_no_content_and_a_delta_has() {
        let role =
            choices(r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null}}]}"#);
        assert_eq!((role.count, role.with_content), (1, 0));
        let text = choices(r#"{"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}"#);
        assert_eq!((text.with_content, text.output_tokens), (1, 1));
        assert!(text.finished.is_empty());
    }

    #[test]
    fn every_kind_of_content_counts() {
        for delta in [
            r#"{"content":[{"type":"text","text":"a"}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}"#,
            r#"{"function_call":{"name":"f"}}"#,
            r#"{"refusal":"no"}"#,
            r#"{"reasoning_content":"hm"}"#,
            r#"{"reasoning":"hm"}"#,
            r#"{"audio":{"data":"AAAA"}}"#,
        ] {
            let json = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            assert_eq!(choices(&json).with_content, 1, "{delta}");
        }
        assert_eq!(choices(r#"{"choices":[{"delta":{"tool_calls":[],"content":null}}]}"#).with_content, 0);
    }

    #[test]
    fn an_empty_finish_reason_is_none() {
        assert!(choices(r#"{"choices":[{"index":0,"delta":{},"finish_reason":""}]}"#).finished.is_empty());
        let done = choices(r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#);
        assert!(!done.finished.is_empty());
        assert_eq!(done.finish_reason, None, "only choice 0 speaks for the call");
    }
}
