//! From Converse's answers, whole or streamed, to the contract's events.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::FinishReason;

use super::{blocks::Blocks, citations::within, usage};
use crate::{
    call::Item,
    provider::{
        Error, Kind,
        aws::frames::{Damaged, Message, Splitter},
        follow::Lane,
        json::{Count, Text, members::Members, says_something},
        refusal::not_json,
    },
};

/// Members that say nothing to a caller, or that are told elsewhere.
const TOLD: [&str; 6] = ["output", "stopReason", "usage", "serviceTier", "p", "role"];

/// Reads one answer: a `Lane` over its messages, or the whole body.
#[derive(Debug)]
pub(super) struct Decoder {
    blocks: Blocks,
    /// The number of the block that is told.
    current: Option<i64>,
    any_event: bool,
    stopped: bool,
    complete: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Block<'a> {
    content_block_index: Count,
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Whole<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    additional_model_response_fields: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Content<'a> {
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tier<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Extra<'a> {
    #[serde(borrow)]
    stop_sequence: Text<'a>,
}

impl Decoder {
    /// Starts an answer of the provider of that name. `schema_tool` is the tool that stands for a schema.
    pub(super) fn new(provider: &str, schema_tool: Option<&'static str>) -> Self {
        let blocks = Blocks::new(provider, schema_tool);
        Self { blocks, current: None, any_event: false, stopped: false, complete: false }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// `BadResponse` if it is none.
    pub(super) fn whole(mut self, body: &[u8]) -> Result<Vec<Item>, Error> {
        let answer: Whole<'_> = serde_json::from_slice(body).map_err(|_| not_json(body))?;
        let output = answer.output.ok_or_else(|| bad("the answer is a JSON object without `output`"))?;
        let message: Output<'_> = within(Some(output));
        let content: Content<'_> = within(message.message);
        let mut out = VecDeque::new();
        self.blocks.composer.begin(&mut out);
        for block in content.content.into_iter().flatten() {
            self.members(Some(block), &mut out)?;
            self.blocks.stop(&mut out)?;
        }
        self.stop(&answer, &mut out)?;
        self.metadata(&answer, body);
        self.blocks.composer.finish(&mut out);
        Ok(out.into())
    }

    fn event(&mut self, message: &Message, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if message.is_failure() {
            return Err(message.failure());
        }
        self.any_event = true;
        match message.name.as_str() {
            "messageStart" => self.blocks.composer.begin(out),
            "contentBlockStart" | "contentBlockDelta" => {
                let block: Block<'_> = read(&message.payload)?;
                let index = block.content_block_index.0;
                if message.name == "contentBlockStart" || self.current != index {
                    self.blocks.stop(out)?;
                }
                self.current = index;
                self.members(block.start, out)?;
                self.members(block.delta, out)?;
            }
            "contentBlockStop" => self.blocks.stop(out)?,
            "messageStop" => self.stop(&read(&message.payload)?, out)?,
            "metadata" => {
                self.metadata(&read(&message.payload)?, &message.payload);
                if !self.stopped {
                    return Err(cut_short(false));
                }
                self.finish(out);
            }
            name => {
                if let Ok(json) = std::str::from_utf8(&message.payload)
                    && serde_json::from_str::<&RawValue>(json).is_ok()
                {
                    self.blocks.composer.extension(name, json);
                }
            }
        }
        Ok(())
    }

    fn members(&mut self, block: Option<&RawValue>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Some(block) = block else { return Ok(()) };
        let members: Members<'_> = serde_json::from_str(block.get()).unwrap_or_default();
        for (name, value) in members.iter() {
            if let Ok(value) = serde_json::from_str(value) {
                self.blocks.member(name, value, out)?;
            }
        }
        Ok(())
    }

    fn stop(&mut self, told: &Whole<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.blocks.stop(out)?;
        let fields = told.additional_model_response_fields;
        if let Some(fields) = fields.filter(|fields| says_something(Some(fields))) {
            self.blocks.composer.extension("additionalModelResponseFields", fields.get());
        }
        let extra: Extra<'_> = within(fields);
        let word = &*told.stop_reason.0;
        let reason = match finish_reason(word) {
            // The only tool that was called stands for the schema.
            FinishReason::ToolCalls if !self.blocks.composer.has_tool_call(0) => FinishReason::Stop,
            reason => reason,
        };
        self.stopped = true;
        self.blocks.composer.end_choice(0, reason, word, &extra.stop_sequence.0, out)
    }

    fn metadata(&mut self, told: &Whole<'_>, json: &[u8]) {
        let composer = &mut self.blocks.composer;
        if let Some(usage) = told.usage.and_then(|usage| usage::parse(usage.get())) {
            composer.usage = Some(usage);
        }
        let tier: Tier<'_> = within(told.service_tier);
        if !tier.kind.is_empty() {
            composer.end.service_tier = tier.kind.0.into_owned();
        }
        let members: Members<'_> = serde_json::from_slice(json).unwrap_or_default();
        for (name, value) in members.iter().filter(|(name, _)| !TOLD.contains(name)) {
            if !matches!(value, "null" | "{}" | "[]" | "\"\"") {
                composer.extension(name, value);
            }
        }
    }

    fn finish(&mut self, out: &mut VecDeque<Item>) {
        self.blocks.composer.finish(out);
        self.complete = true;
    }
}

impl Lane for Decoder {
    type Frames = Splitter;

    fn block(&mut self, block: &Result<Message, Damaged>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.event(block.as_ref().map_err(|damaged| *damaged)?, out)
    }

    fn end(&mut self, _: &mut VecDeque<Item>) -> Result<(), Error> {
        Err(if self.any_event { cut_short(self.stopped) } else { bad("the answer is no event stream") })
    }

    fn broken(&mut self, out: &mut VecDeque<Item>) {
        self.blocks.composer.broken(out);
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

fn read<'a, T: Deserialize<'a>>(payload: &'a Bytes) -> Result<T, Error> {
    serde_json::from_slice(payload).map_err(|_| bad("an event of the stream is no JSON object"))
}

fn bad(message: &str) -> Error {
    Error::new(Kind::BadResponse, message)
}

fn cut_short(stopped: bool) -> Error {
    let lacks = if stopped { "metadata" } else { "messageStop" };
    Error::new(
        Kind::Unavailable,
        format!("the stream ended without a {lacks} event: the answer is cut short"),
    )
}

/// Maps Bedrock's word for why an answer ended.
fn finish_reason(word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" => FinishReason::Length,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Paused,
        "model_context_window_exceeded" => FinishReason::ContextLength,
        // Among them malformed_model_output and malformed_tool_use.
        _ => FinishReason::Other,
    }
}

#[cfg(test)]
mod tests;
