//! A stream of events folded into one answer: what every unary surface returns.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use prost::Message as _;
use tollgate_api::v1::{self, media, part::Kind, tool_call};

use crate::{
    call::{Event, Item, Items},
    error::{Error, Reason},
};

/// Most content one folded answer may hold, in bytes.
pub const MAX_CONTENT: usize = 64 * 1024 * 1024;
/// What a part costs beside its content, so that a flood of empty parts is bounded too.
const PART_OVERHEAD: usize = 64;

/// Folds the events of a call into one answer.
///
/// # Errors
/// The stream's own error; `UPSTREAM_BAD_RESPONSE` if the events break the grammar or hold more than 64 MiB.
pub async fn fold(mut items: Items) -> Result<v1::CompleteResponse, Error> {
    let mut folder = Folder::default();
    while let Some(item) = items.next().await {
        match item? {
            Item::Event(event) => folder.take(event)?,
            Item::Raw(..) | Item::Embeddings(_) | Item::Counted(_) => {
                return Err(Error::internal("an answer that is no stream of events cannot be folded"));
            }
        }
    }
    folder.finish()
}

/// The answer as far as it was seen.
#[derive(Debug, Default)]
pub struct Folder {
    answer: v1::CompleteResponse,
    choices: BTreeMap<i32, ChoiceSoFar>,
    held: usize,
    ended: bool,
}

#[derive(Debug, Default)]
struct ChoiceSoFar {
    parts: BTreeMap<i32, PartSoFar>,
    logprobs: Vec<v1::TokenLogprob>,
    end: Option<v1::ChoiceEnd>,
}

#[derive(Debug, Default)]
struct PartSoFar {
    part: v1::Part,
    /// Media bytes after those of the part itself.
    data: BytesMut,
}

impl Folder {
    /// Adds one event.
    ///
    /// # Errors
    /// `UPSTREAM_BAD_RESPONSE` if a delta does not fit its part, or if there is too much content.
    pub fn take(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Start(start) => self.start(*start),
            Event::End(end) => self.end(*end),
            Event::Text(delta) => append(self.text(delta.choice, delta.part, delta.text.len())?, delta.text),
            Event::Refusal(delta) => {
                append(self.refusal(delta.choice, delta.part, delta.text.len())?, delta.text);
            }
            Event::Thought(delta) => {
                append(self.thought(delta.choice, delta.part, delta.text.len())?, delta.text);
            }
            Event::ToolCall(delta) => {
                append(self.tool_input(delta.choice, delta.part, delta.input.len())?, delta.input);
            }
            Event::Media(delta) => self.media(*delta)?,
            Event::Logprobs(delta) => {
                self.hold(delta.encoded_len())?;
                self.choices.entry(delta.choice).or_default().logprobs.extend(delta.logprobs);
            }
            Event::PartStart(start) => self.part_start(*start)?,
            Event::PartEnd(end) => self.part_end(*end)?,
            Event::ChoiceEnd(end) => {
                self.hold(PART_OVERHEAD)?;
                let choice = end.choice;
                self.choices.entry(choice).or_default().end = Some(*end);
            }
            Event::Usage(usage) => self.answer.usage = Some(*usage),
            Event::Extension(extension) => {
                self.hold(extension.encoded_len())?;
                self.answer.extensions.push(*extension);
            }
            Event::Notice(_) => {}
        }
        Ok(())
    }

    /// Returns the whole answer.
    ///
    /// # Errors
    /// `UPSTREAM_BAD_RESPONSE` if the end was not seen: a cut answer is never a short success.
    pub fn finish(mut self) -> Result<v1::CompleteResponse, Error> {
        if !self.ended {
            return Err(broken("the answer stopped without an end"));
        }
        self.answer.choices =
            self.choices.into_iter().map(|(index, choice)| choice.into_choice(index)).collect();
        Ok(self.answer)
    }

    fn start(&mut self, start: v1::StreamStart) {
        self.answer.id = start.id;
        self.answer.model = start.model;
        self.answer.route = start.route;
        self.answer.create_time = start.create_time;
        self.answer.warnings.extend(start.warnings);
        self.answer.system_fingerprint = start.system_fingerprint;
    }

    fn end(&mut self, end: v1::StreamEnd) {
        self.ended = true;
        if end.route.is_some() {
            self.answer.route = end.route;
        }
        self.answer.service_tier = end.service_tier;
        self.answer.upstream_response_id = end.upstream_response_id;
        self.answer.extensions.extend(end.extensions);
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        self.held = self.held.saturating_add(bytes);
        if self.held > MAX_CONTENT {
            return Err(broken("the answer is larger than 64 MiB; ask for it as a stream"));
        }
        Ok(())
    }

    /// Finds the part that a delta of `bytes` belongs to.
    fn part(&mut self, choice: i32, part: i32, bytes: usize) -> Result<&mut PartSoFar, Error> {
        let parts = &mut self.choices.entry(choice).or_default().parts;
        let overhead = if parts.contains_key(&part) { 0 } else { PART_OVERHEAD };
        self.hold(bytes.saturating_add(overhead))?;
        Ok(self.choices.entry(choice).or_default().parts.entry(part).or_default())
    }

    fn text(&mut self, choice: i32, part: i32, bytes: usize) -> Result<&mut String, Error> {
        match self.part(choice, part, bytes)?.part.kind.get_or_insert_with(|| Kind::Text(String::new())) {
            Kind::Text(text) => Ok(text),
            _ => Err(misfit("text")),
        }
    }

    fn refusal(&mut self, choice: i32, part: i32, bytes: usize) -> Result<&mut String, Error> {
        match self.part(choice, part, bytes)?.part.kind.get_or_insert_with(|| Kind::Refusal(String::new())) {
            Kind::Refusal(text) => Ok(text),
            _ => Err(misfit("a refusal")),
        }
    }

    fn thought(&mut self, choice: i32, part: i32, bytes: usize) -> Result<&mut String, Error> {
        let kind = &mut self.part(choice, part, bytes)?.part.kind;
        match kind.get_or_insert_with(|| Kind::Thought(v1::Thought::default())) {
            Kind::Thought(thought) => Ok(&mut thought.text),
            _ => Err(misfit("a thought")),
        }
    }

    fn tool_input(&mut self, choice: i32, part: i32, bytes: usize) -> Result<&mut String, Error> {
        let kind = &mut self.part(choice, part, bytes)?.part.kind;
        let Kind::ToolCall(call) = kind.get_or_insert_with(|| Kind::ToolCall(v1::ToolCall::default())) else {
            return Err(misfit("tool input"));
        };
        match call.input.get_or_insert_with(|| tool_call::Input::ArgumentsJson(String::new())) {
            tool_call::Input::ArgumentsJson(text) | tool_call::Input::Text(text) => Ok(text),
        }
    }

    fn media(&mut self, delta: v1::MediaDelta) -> Result<(), Error> {
        let bytes = delta.data.len().saturating_add(delta.transcript.len());
        let so_far = self.part(delta.choice, delta.part, bytes)?;
        let Kind::Media(media) = so_far.part.kind.get_or_insert_with(|| Kind::Media(Box::default())) else {
            return Err(misfit("media"));
        };
        append(&mut media.transcript, delta.transcript);
        so_far.data.extend_from_slice(&delta.data);
        Ok(())
    }

    fn part_start(&mut self, start: v1::PartStart) -> Result<(), Error> {
        let initial = start.initial.unwrap_or_default();
        let so_far = self.part(start.choice, start.part, initial.encoded_len())?;
        if so_far.part.kind.is_some() {
            return Err(broken("a part of the answer was started twice"));
        }
        so_far.part = initial;
        Ok(())
    }

    fn part_end(&mut self, end: v1::PartEnd) -> Result<(), Error> {
        let so_far = self.part(end.choice, end.part, end.encoded_len())?;
        if end.continuity.is_some() {
            so_far.part.continuity = end.continuity;
        }
        so_far.part.annotations.extend(end.annotations);
        Ok(())
    }
}

impl ChoiceSoFar {
    fn into_choice(self, index: i32) -> v1::Choice {
        let end = self.end.unwrap_or_default();
        let parts = self.parts.into_values().map(PartSoFar::into_part).collect();
        v1::Choice {
            index,
            message: Some(v1::Message { role: v1::Role::Assistant.into(), parts, name: String::new() }),
            finish_reason: end.finish_reason,
            upstream_finish_reason: end.upstream_finish_reason,
            stop_sequence: end.stop_sequence,
            logprobs: self.logprobs,
        }
    }
}

impl PartSoFar {
    fn into_part(mut self) -> v1::Part {
        if let (false, Some(Kind::Media(media))) = (self.data.is_empty(), &mut self.part.kind) {
            let data = match media.source.take() {
                Some(media::Source::Data(first)) if !first.is_empty() => {
                    [&first[..], &self.data].concat().into()
                }
                _ => Bytes::from(self.data),
            };
            media.source = Some(media::Source::Data(data));
        }
        self.part
    }
}

/// Appends without a copy where there was nothing: most whole answers come as one delta.
fn append(slot: &mut String, text: String) {
    if slot.is_empty() {
        *slot = text;
    } else {
        slot.push_str(&text);
    }
}

fn misfit(what: &str) -> Error {
    broken(format!("a delta of {what} belongs to a part of another kind"))
}

fn broken(message: impl Into<String>) -> Error {
    Error::new(Reason::UpstreamBadResponse, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(choice: i32, part: i32, text: &str) -> Event {
        Event::Text(v1::TextDelta { text: text.to_owned(), choice, part })
    }

    fn part_start(part: i32, kind: Kind) -> Event {
        let initial = v1::Part { kind: Some(kind), ..Default::default() };
        Event::PartStart(Box::new(v1::PartStart { choice: 0, part, initial: Some(initial) }))
    }

    fn choice_end(choice: i32) -> Event {
        let finish_reason = v1::FinishReason::Stop.into();
        Event::ChoiceEnd(Box::new(v1::ChoiceEnd { choice, finish_reason, ..Default::default() }))
    }

    fn folded(events: impl IntoIterator<Item = Event>) -> Result<v1::CompleteResponse, Error> {
        let mut folder = Folder::default();
        for event in events {
            folder.take(event)?;
        }
        folder.take(Event::End(Box::default()))?;
        folder.finish()
    }

    fn parts(answer: &v1::CompleteResponse, choice: usize) -> Vec<Kind> {
        let message = answer.choices[choice].message.clone().unwrap();
        message.parts.into_iter().map(|part| part.kind.unwrap()).collect()
    }

    #[test]
    fn deltas_of_interleaved_choices_are_joined_in_order() {
        let events = [
            text(1, 0, "b1"),
            text(0, 0, "a1"),
            text(1, 0, "b2"),
            choice_end(1),
            text(0, 0, "a2"),
            choice_end(0),
        ];
        let answer = folded(events).unwrap();
        assert_eq!(parts(&answer, 0), [Kind::Text("a1a2".into())]);
        assert_eq!(parts(&answer, 1), [Kind::Text("b1b2".into())]);
        assert_eq!(answer.choices[1].index, 1);
        assert_eq!(answer.choices[0].finish_reason(), v1::FinishReason::Stop);
    }

    #[test]
    fn a_tool_call_keeps_its_id_and_gets_its_arguments() {
        let call = v1::ToolCall { id: "c1".into(), name: "f".into(), ..Default::default() };
        let input =
            |input: &str| Event::ToolCall(v1::ToolCallDelta { input: input.to_owned(), choice: 0, part: 1 });
        let events = [
            text(0, 0, "hi"),
            part_start(1, Kind::ToolCall(call)),
            input("{\"a\""),
            input(":1}"),
            choice_end(0),
        ];
        let answer = folded(events).unwrap();
        let Kind::ToolCall(call) = parts(&answer, 0).remove(1) else { panic!("no tool call") };
        assert_eq!((call.id.as_str(), call.name.as_str()), ("c1", "f"));
        assert_eq!(call.input, Some(tool_call::Input::ArgumentsJson("{\"a\":1}".into())));
    }

    #[test]
    fn a_part_end_adds_its_token_and_media_bytes_are_joined() {
        let start = v1::Media {
            mime_type: "audio/wav".into(),
            source: Some(media::Source::Data(Bytes::from_static(b"RI"))),
            ..Default::default()
        };
        let delta =
            v1::MediaDelta { data: Bytes::from_static(b"FF"), transcript: "hm".into(), ..Default::default() };
        let token = v1::Continuity { provider: "p".into(), token: Bytes::from_static(b"t") };
        let end = v1::PartEnd { continuity: Some(token.clone()), ..Default::default() };
        let answer = folded([
            part_start(0, Kind::Media(Box::new(start))),
            Event::Media(Box::new(delta)),
            Event::PartEnd(Box::new(end)),
            choice_end(0),
        ])
        .unwrap();
        let part = answer.choices[0].message.clone().unwrap().parts.remove(0);
        assert_eq!(part.continuity, Some(token));
        let Some(Kind::Media(media)) = part.kind else { panic!("no media") };
        assert_eq!(media.source, Some(media::Source::Data(Bytes::from_static(b"RIFF"))));
        assert_eq!(media.transcript, "hm");
    }

    #[test]
    fn start_and_end_fill_the_head_of_the_answer() {
        let start = v1::StreamStart { id: "i".into(), model: "m".into(), ..Default::default() };
        let end = v1::StreamEnd { service_tier: "flex".into(), ..Default::default() };
        let mut folder = Folder::default();
        folder.take(Event::Start(Box::new(start))).unwrap();
        folder
            .take(Event::Usage(Box::new(v1::Usage { output_tokens: Some(1), ..Default::default() })))
            .unwrap();
        folder
            .take(Event::Usage(Box::new(v1::Usage { output_tokens: Some(3), ..Default::default() })))
            .unwrap();
        folder.take(Event::End(Box::new(end))).unwrap();
        let answer = folder.finish().unwrap();
        assert_eq!(
            (answer.id.as_str(), answer.model.as_str(), answer.service_tier.as_str()),
            ("i", "m", "flex")
        );
        assert_eq!(answer.usage.unwrap().output_tokens, Some(3), "usage is cumulative: the last one holds");
    }

    #[test]
    fn an_answer_without_an_end_is_an_error() {
        let mut folder = Folder::default();
        folder.take(text(0, 0, "half")).unwrap();
        assert_eq!(folder.finish().unwrap_err().reason(), Reason::UpstreamBadResponse);
    }

    #[test]
    fn a_delta_of_another_kind_and_too_much_content_are_errors() {
        let thought = part_start(0, Kind::Thought(v1::Thought::default()));
        assert!(folded([thought, text(0, 0, "x")]).is_err());
        let mut folder = Folder { held: MAX_CONTENT - PART_OVERHEAD - 1, ..Default::default() };
        folder.take(text(0, 0, "x")).unwrap();
        assert!(folder.take(text(0, 0, "y")).is_err());
    }
}
