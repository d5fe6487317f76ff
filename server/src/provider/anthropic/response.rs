//! From Anthropic's events or whole answers to the contract's events.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::FinishReason;

use super::{
    block::{self, CHOICE, Open},
    failure::{checked, cut_short, stray},
    json::{Text, says_something},
    members::Members,
    refusal,
    usage::Told,
};
use crate::{
    call::Item,
    provider::{
        Error, Kind,
        compose::Composer,
        follow::Lane,
        sse::{Block, Event as SseEvent, Splitter},
    },
};

/// Members of a message or of its last delta that are told elsewhere or say nothing.
const MODELLED: [&str; 8] =
    ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"];
/// Members of a usage object that are kept as they are.
const KEPT_OF_USAGE: [&str; 3] = ["iterations", "inference_geo", "speed"];

/// Reads one answer: feed it events, or give it the whole body.
#[derive(Debug)]
pub struct Decoder {
    composer: Composer,
    usage: Told,
    open: Option<Open>,
    stop_reason: String,
    stop_sequence: String,
    /// Something of an answer was told.
    begun: bool,
    any_event: bool,
    complete: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    context_management: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Decoder {
    /// Starts an answer of the provider of that name.
    pub fn new(provider: &str) -> Self {
        Self {
            composer: Composer::new(provider),
            usage: Told::default(),
            open: None,
            stop_reason: String::new(),
            stop_sequence: String::new(),
            begun: false,
            any_event: false,
            complete: false,
        }
    }

    /// Takes the JSON of one event and appends what it tells.
    ///
    /// # Errors
    /// The error that the event tells, or `BadResponse` if it is no event.
    pub fn feed(&mut self, json: &[u8], out: &mut VecDeque<Item>) -> Result<(), Error> {
        let event: Event<'_> = serde_json::from_slice(json)
            .map_err(|_| Error::new(Kind::BadResponse, "an event of the stream is no JSON object"))?;
        self.any_event = true;
        match &*event.kind.0 {
            "message_start" => {
                if let Some(message) = event.message {
                    self.begun = true;
                    self.message(message.get(), out)?;
                    self.usage.begun();
                    self.composer.begin(out);
                }
            }
            "content_block_start" => {
                self.begun = true;
                self.end_block(out)?;
                if let Some(json) = event.content_block {
                    self.open = Open::begin(json.get(), &mut self.composer, out)?;
                }
            }
            "content_block_delta" => {
                self.begun = true;
                if let Some(json) = event.delta {
                    block::delta(json.get(), self.open.as_mut(), &mut self.composer, out)?;
                }
            }
            "content_block_stop" => self.end_block(out)?,
            "message_delta" => {
                self.begun = true;
                if let Some(delta) = event.delta {
                    self.message(delta.get(), out)?;
                }
                self.told_usage(event.usage);
                self.keep("context_management", event.context_management.map(RawValue::get));
            }
            "message_stop" => self.finish(out)?,
            "error" => return Err(refusal::of_payload(json)),
            _ if says_something(event.error) => return Err(refusal::of_payload(json)),
            _ => {}
        }
        Ok(())
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The error that the body tells, or `BadResponse` if it is no answer.
    pub fn whole(mut self, body: &[u8]) -> Result<Vec<Item>, Error> {
        checked(body)?;
        let text = std::str::from_utf8(body).map_err(|_| refusal::not_json(body))?;
        let mut out = VecDeque::new();
        self.begun = true;
        self.message(text.trim(), &mut out)?;
        self.finish(&mut out)?;
        Ok(out.into())
    }

    /// Takes a message, or what its last delta tells of it.
    fn message(&mut self, json: &str, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Ok(message) = serde_json::from_str::<Members<'_>>(json) else { return Ok(()) };
        let text = |name: &str| {
            let value = message.get(name)?;
            serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0.into_owned())
        };
        for (slot, name) in [
            (&mut self.composer.start.model, "model"),
            (&mut self.composer.end.upstream_response_id, "id"),
            (&mut self.stop_reason, "stop_reason"),
            (&mut self.stop_sequence, "stop_sequence"),
        ] {
            if let Some(told) = text(name).filter(|told| !told.is_empty()) {
                *slot = told;
            }
        }
        if let Some(usage) = message.get("usage") {
            self.told_usage(serde_json::from_str(usage.get()).ok());
        }
        for (name, value) in message.iter().filter(|(name, _)| !MODELLED.contains(name)) {
            self.keep(name, Some(value));
        }
        let content = message.get("content").map(|content| serde_json::from_str(content.get()));
        for json in content.and_then(Result::ok).unwrap_or_else(Vec::<&RawValue>::new) {
            self.open = Open::begin(json.get(), &mut self.composer, out)?;
            self.end_block(out)?;
        }
        Ok(())
    }

    fn keep(&mut self, name: &str, json: Option<&str>) {
        let says = json.filter(|json| !matches!(*json, "null" | "[]" | "{}" | "\"\""));
        if let Some(json) = says {
            self.composer.extension(name, json);
        }
    }

    fn told_usage(&mut self, usage: Option<&RawValue>) {
        let Some(usage) = usage else { return };
        self.usage.take(usage.get());
        self.composer.usage = self.usage.usage();
        let members: Members<'_> = serde_json::from_str(usage.get()).unwrap_or_default();
        for name in KEPT_OF_USAGE {
            self.keep(&format!("usage.{name}"), members.get(name).map(|value| value.get()));
        }
        let tier = members.get("service_tier").and_then(|tier| serde_json::from_str(tier.get()).ok());
        if let Some(Text(tier)) = tier.filter(|tier: &Text<'_>| !tier.is_empty()) {
            self.composer.end.service_tier = tier.into_owned();
        }
    }

    fn end_block(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        match self.open.take() {
            Some(open) => open.end(&mut self.composer, out),
            None => {
                self.composer.close(CHOICE, out);
                Ok(())
            }
        }
    }

    /// Appends the events that end the answer.
    fn finish(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if !self.begun {
            return Err(Error::new(Kind::BadResponse, "the stream ends without an answer before its end"));
        }
        self.end_choice(out)?;
        self.usage.end();
        self.composer.usage = self.usage.usage();
        self.composer.finish(out);
        self.complete = true;
        Ok(())
    }

    fn end_choice(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.end_block(out)?;
        let reason = match self.stop_reason.as_str() {
            "" if self.composer.has_tool_call(CHOICE) => FinishReason::ToolCalls,
            word => finish_reason(word),
        };
        self.composer.end_choice(CHOICE, reason, &self.stop_reason, &self.stop_sequence, out)
    }
}

/// Maps Anthropic's word for why an answer ended.
pub(super) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "pause_turn" | "compaction" => FinishReason::Paused,
        "refusal" => FinishReason::Refusal,
        "model_context_window_exceeded" => FinishReason::ContextLength,
        _ => FinishReason::Other,
    }
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

    fn end(&mut self, _out: &mut VecDeque<Item>) -> Result<(), Error> {
        Err(cut_short(self.any_event))
    }

    fn broken(&mut self, out: &mut VecDeque<Item>) {
        if self.composer.has_parts() && !self.stop_reason.is_empty() {
            // An answer that said how it ended lacks nothing: nobody should go on with it. The failure is told anyway.
            let _ = self.end_choice(out);
        }
        self.composer.broken(out);
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

impl Decoder {
    fn event(&mut self, event: &SseEvent<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        match &event.data {
            None if event.stray && !self.any_event => Err(stray(event.raw)),
            None => Ok(()),
            Some(data) if event.name == b"error" => Err(refusal::of_payload(data)),
            Some(data) => self.feed(data, out),
        }
    }
}

#[cfg(test)]
mod tests;
