//! From Gemini's answers, streamed or whole, to the contract's events.
//!
//! Gemini has no terminal event: an answer is complete when every candidate has its finish reason and the body ends
//! as it should.

use std::collections::VecDeque;

use serde_json::value::RawValue;
use tollgate_api::v1::{LogprobDelta, Usage};
use uuid::Uuid;

use super::{
    choice::{Answer, Ids, State},
    frames::{Block, Pieces},
    grounding, logprobs,
    usage::Told,
};
use crate::{
    call::{Event, Item},
    provider::{
        Error, Kind,
        compose::{Composer, MAX_CHOICES},
        follow::Lane,
        json::{Count, Text, members::Members, read},
        refusal,
        sse::Event as SseEvent,
    },
};

/// Members of an answer without information.
const NOISE: [&str; 2] = ["createTime", "sdkHttpResponse"];

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Decoder {
    composer: Composer,
    ids: Ids,
    choices: Vec<State>,
    usage: Option<Usage>,
    searches: i64,
    any_object: bool,
    complete: bool,
}

impl Decoder {
    /// Starts an answer of the provider of that name to that call.
    pub(super) fn new(provider: &str, call_id: Uuid) -> Self {
        Self {
            composer: Composer::new(provider),
            ids: Ids::new(call_id),
            choices: Vec::new(),
            usage: None,
            searches: 0,
            any_object: false,
            complete: false,
        }
    }

    fn event(&mut self, event: &SseEvent<'_>, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Some(data) = &event.data else {
            let stray_start = event.stray && !self.any_object;
            return if stray_start { Err(refusal::not_json(event.raw)) } else { Ok(()) };
        };
        match data.trim_ascii_start().first() {
            _ if event.name == b"error" => Err(refusal::of_payload(data)),
            // Gateways that speak every dialect like OpenAI end their streams so.
            _ if data.trim_ascii() == b"[DONE]" => Ok(()),
            Some(b'[') => {
                let list: Vec<&RawValue> =
                    serde_json::from_slice(data).map_err(|_| refusal::not_json(data))?;
                list.into_iter().try_for_each(|one| self.object(one.get().as_bytes(), out))
            }
            None => Ok(()),
            Some(_) => self.object(data, out),
        }
    }

    /// Takes one whole `GenerateContentResponse`, or an error in its place.
    fn object(&mut self, json: &[u8], out: &mut VecDeque<Item>) -> Result<(), Error> {
        let members: Members<'_> = serde_json::from_slice(json).map_err(|_| refusal::not_json(json))?;
        let get = |name: &str| members.get(name).map(|value| value.get()).filter(|json| says_something(json));
        if get("error").is_some() {
            return Err(refusal::of_payload(json));
        }
        self.any_object = true;
        keep(&mut self.composer.start.model, get("modelVersion"));
        if let Some(name) = self.composer.start.model.strip_prefix("models/") {
            self.composer.start.model = name.to_owned();
        }
        keep(&mut self.composer.end.upstream_response_id, get("responseId"));
        let candidates: Vec<&RawValue> = read(get("candidates"));
        for (position, candidate) in (0..).zip(candidates) {
            self.candidate(candidate.get(), position, out)?;
        }
        for (name, value) in members.iter().filter(|(_, value)| says_something(value)) {
            match name {
                "candidates" | "modelVersion" | "responseId" => {}
                "usageMetadata" => self.usage(value),
                "promptFeedback" => self.feedback(value)?,
                _ if NOISE.contains(&name) => {}
                _ => self.composer.extension(name, value),
            }
        }
        Ok(())
    }

    fn usage(&mut self, json: &str) {
        let Ok(told) = serde_json::from_str::<Told<'_>>(json) else { return };
        self.usage = told.usage().or_else(|| self.usage.take());
        if !told.traffic_type.is_empty() {
            let word = serde_json::Value::from(&*told.traffic_type.0).to_string();
            self.composer.extension("trafficType", &word);
        }
        let tier = told.tier();
        if !tier.is_empty() {
            self.composer.end.service_tier = tier;
        }
    }

    /// A blocked prompt has no candidates; what else is said of the prompt is kept.
    fn feedback(&mut self, json: &str) -> Result<(), Error> {
        let members: Members<'_> = serde_json::from_str(json).unwrap_or_default();
        let word = |name: &str| text(members.get(name).map(|value| value.get()));
        let reason = word("blockReason");
        if reason.is_empty() {
            self.composer.extension("promptFeedback", json);
            return Ok(());
        }
        let said = word("blockReasonMessage");
        let separator = if said.is_empty() { "" } else { ": " };
        let message = format!("the prompt was blocked ({reason}){separator}{said}");
        let mut error = Error::new(Kind::ContentPolicy, refusal::clean(&message));
        error.upstream_code = refusal::clean(&reason);
        Err(error)
    }

    fn candidate(&mut self, json: &str, position: i64, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let Ok(members) = serde_json::from_str::<Members<'_>>(json) else { return Ok(()) };
        let get = |name: &str| members.get(name).map(|value| value.get()).filter(|json| says_something(json));
        let told: Count = read(get("index"));
        let index = told.0.unwrap_or(position);
        let index = i32::try_from(index).ok().filter(|index| *index < MAX_CHOICES).ok_or_else(|| {
            Error::new(Kind::BadResponse, "the answer has more choices than can be asked for")
        })?;
        let place = self.choices.iter().position(|state| state.index == index).unwrap_or_else(|| {
            self.choices.push(State::new(index));
            self.choices.len() - 1
        });
        let state = &mut self.choices[place];
        let mut to = Answer { composer: &mut self.composer, out: &mut *out, ids: &mut self.ids };
        let content: Members<'_> = read(get("content"));
        let parts: Vec<&RawValue> = read(content.get("parts").map(|value| value.get()));
        for part in parts {
            state.part(part.get(), &mut to)?;
        }
        let list = get("logprobsResult").map(logprobs::read).unwrap_or_default();
        if !list.is_empty() {
            let part = to.composer.current_part(index);
            let delta = LogprobDelta { logprobs: list, choice: index, part };
            to.out.push_back(Item::Event(Event::Logprobs(Box::new(delta))));
        }
        keep(&mut state.finish, get("finishReason"));
        state.sources(get("groundingMetadata"), get("citationMetadata"));
        if let Some(searches) = get("groundingMetadata").map(grounding::searches) {
            self.searches = self.searches.max(i64::try_from(searches).unwrap_or(0));
        }
        for (name, value) in members.iter().filter(|(_, value)| says_something(value)) {
            if !matches!(name, "index" | "content" | "finishReason" | "logprobsResult" | "tokenCount") {
                let place = if index == 0 { name.to_owned() } else { format!("candidates[{index}].{name}") };
                self.composer.extension(&place, value);
            }
        }
        Ok(())
    }

    /// Ends the answer, if it is whole.
    fn finish(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if !self.any_object {
            return Err(Error::new(Kind::BadResponse, "the answer is empty"));
        }
        if self.choices.is_empty() {
            return Err(Error::new(
                Kind::BadResponse,
                "the answer has neither candidates nor a reason for that",
            ));
        }
        if self.choices.iter().any(|state| state.finish.is_empty()) {
            let message = "the answer was cut short: it ended before a candidate had its finish reason";
            return Err(Error::new(Kind::Unavailable, message));
        }
        self.choices.sort_by_key(|state| state.index);
        let mut to = Answer { composer: &mut self.composer, out: &mut *out, ids: &mut self.ids };
        self.choices.iter_mut().try_for_each(|state| state.end(&mut to))?;
        self.settle();
        self.composer.finish(out);
        self.complete = true;
        Ok(())
    }

    fn settle(&mut self) {
        self.composer.usage = self.usage.take();
        if let (Some(usage), 1..) = (&mut self.composer.usage, self.searches) {
            usage.billable_units.insert("web_search_requests".to_owned(), self.searches);
        }
    }
}

impl Lane for Decoder {
    type Frames = Pieces;

    fn block(&mut self, block: &Block, out: &mut VecDeque<Item>) -> Result<(), Error> {
        match block {
            Block::Events(events) => events.events().try_for_each(|event| self.event(&event, out)),
            Block::Object(json) => self.object(json, out),
            Block::Closed => self.finish(out),
            Block::Cut => Err(Error::new(Kind::Unavailable, "the answer was cut short")),
        }
    }

    fn end(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.finish(out)
    }

    fn broken(&mut self, out: &mut VecDeque<Item>) {
        self.settle();
        self.composer.broken(out);
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

fn keep(slot: &mut String, told: Option<&str>) {
    if slot.is_empty() {
        *slot = text(told);
    }
}

/// Reads a text or a number, as enums are if somebody between asked for that.
fn text(json: Option<&str>) -> String {
    read::<Text<'_>>(json).0.into_owned()
}

fn says_something(json: &str) -> bool {
    !matches!(json, "null" | "false" | "\"\"" | "[]" | "{}")
}

#[cfg(test)]
mod tests;
