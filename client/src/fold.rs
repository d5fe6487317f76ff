//! Folds the events of a stream into the answer that the unary call would have given.

use std::collections::BTreeMap;

use bytes::Bytes;
use tollgate_api::v1::{
    Choice, ChoiceEnd, CompleteResponse, MediaDelta, Message, Part, PartEnd, Role, StreamEnd, StreamStart,
    Thought, TokenLogprob, ToolCall, media::Source, part::Kind, stream_complete_response::Event,
    tool_call::Input,
};

/// An answer that is being put together.
#[derive(Default)]
pub(crate) struct Fold {
    response: CompleteResponse,
    choices: BTreeMap<i32, Building>,
}

#[derive(Default)]
struct Building {
    parts: BTreeMap<i32, Part>,
    // Bytes are gathered apart: appending to a shared buffer would copy it with every delta.
    media: BTreeMap<i32, Vec<u8>>,
    logprobs: Vec<TokenLogprob>,
    end: ChoiceEnd,
}

impl Fold {
    /// Adds the next event.
    pub(crate) fn push(&mut self, event: Event) {
        match event {
            Event::Text(delta) => append_text(self.part(delta.choice, delta.part), &delta.text),
            Event::Thought(delta) => append_thought(self.part(delta.choice, delta.part), &delta.text),
            Event::ToolCall(delta) => append_input(self.part(delta.choice, delta.part), &delta.input),
            Event::Refusal(delta) => append_refusal(self.part(delta.choice, delta.part), &delta.text),
            Event::Media(delta) => self.append_media(*delta),
            Event::PartStart(start) => {
                *self.part(start.choice, start.part) = start.initial.unwrap_or_default();
            }
            Event::PartEnd(end) => end_part(self.part(end.choice, end.part), *end),
            Event::Logprobs(delta) => self.choice(delta.choice).logprobs.extend(delta.logprobs),
            Event::ChoiceEnd(end) => {
                let choice = self.choice(end.choice);
                choice.end = *end;
            }
            Event::Usage(usage) => self.response.usage = Some(*usage),
            Event::Start(start) => self.start(*start),
            Event::End(end) => self.end(*end),
            Event::Notice(_) => {}
            Event::Extension(extension) => self.response.extensions.push(*extension),
        }
    }

    /// Returns the answer.
    pub(crate) fn finish(self) -> CompleteResponse {
        let choices = self.choices.into_iter().map(|(index, choice)| choice.finish(index)).collect();
        CompleteResponse { choices, ..self.response }
    }

    fn choice(&mut self, choice: i32) -> &mut Building {
        self.choices.entry(choice).or_default()
    }

    fn part(&mut self, choice: i32, part: i32) -> &mut Part {
        self.choice(choice).parts.entry(part).or_default()
    }

    fn append_media(&mut self, delta: MediaDelta) {
        let part = self.part(delta.choice, delta.part);
        let Kind::Media(media) = part.kind.get_or_insert_with(|| Kind::Media(Box::default())) else { return };
        media.transcript.push_str(&delta.transcript);
        let initial = match &media.source {
            Some(Source::Data(data)) => data.to_vec(),
            _ => Vec::new(),
        };
        let gathered = self.choice(delta.choice).media.entry(delta.part).or_insert(initial);
        gathered.extend_from_slice(&delta.data);
    }

    fn start(&mut self, start: StreamStart) {
        self.response.id = start.id;
        self.response.model = start.model;
        self.response.route = start.route;
        self.response.create_time = start.create_time;
        self.response.warnings = start.warnings;
        self.response.system_fingerprint = start.system_fingerprint;
    }

    fn end(&mut self, end: StreamEnd) {
        if end.route.is_some() {
            self.response.route = end.route;
        }
        self.response.service_tier = end.service_tier;
        self.response.upstream_response_id = end.upstream_response_id;
        self.response.extensions.extend(end.extensions);
    }
}

impl Building {
    fn finish(mut self, index: i32) -> Choice {
        for (part, data) in self.media {
            if let Some(Kind::Media(media)) = self.parts.get_mut(&part).and_then(|part| part.kind.as_mut()) {
                media.source = Some(Source::Data(Bytes::from(data)));
            }
        }
        let parts = self.parts.into_values().filter(|part| part.kind.is_some()).collect();
        Choice {
            index,
            message: Some(Message { role: Role::Assistant.into(), parts, name: String::new() }),
            finish_reason: self.end.finish_reason,
            upstream_finish_reason: self.end.upstream_finish_reason,
            stop_sequence: self.end.stop_sequence,
            logprobs: self.logprobs,
        }
    }
}

fn append_text(part: &mut Part, more: &str) {
    if let Kind::Text(text) = part.kind.get_or_insert_with(|| Kind::Text(String::new())) {
        text.push_str(more);
    }
}

fn append_refusal(part: &mut Part, more: &str) {
    if let Kind::Refusal(text) = part.kind.get_or_insert_with(|| Kind::Refusal(String::new())) {
        text.push_str(more);
    }
}

fn append_thought(part: &mut Part, more: &str) {
    if let Kind::Thought(thought) = part.kind.get_or_insert_with(|| Kind::Thought(Thought::default())) {
        thought.text.push_str(more);
    }
}

fn append_input(part: &mut Part, more: &str) {
    let Kind::ToolCall(call) = part.kind.get_or_insert_with(|| Kind::ToolCall(ToolCall::default())) else {
        return;
    };
    // The part's start says which kind of tool it is; a function is the usual one.
    match call.input.get_or_insert_with(|| Input::ArgumentsJson(String::new())) {
        Input::ArgumentsJson(text) | Input::Text(text) => text.push_str(more),
    }
}

fn end_part(part: &mut Part, end: PartEnd) {
    if end.continuity.is_some() {
        part.continuity = end.continuity;
    }
    part.annotations.extend(end.annotations);
}

#[cfg(test)]
mod tests {
    use tollgate_api::v1::{
        Continuity, FinishReason, Media, PartStart, TextDelta, ThoughtDelta, ToolCallDelta,
    };

    use super::*;

    fn text(part: i32, text: &str) -> Event {
        Event::Text(TextDelta { text: text.into(), choice: 0, part })
    }

    fn fold(events: impl IntoIterator<Item = Event>) -> CompleteResponse {
        let mut fold = Fold::default();
        events.into_iter().for_each(|event| fold.push(event));
        fold.finish()
    }

    #[test]
    fn deltas_are_joined_in_their_parts_and_choices() {
        let other = Event::Text(TextDelta { text: "other".into(), choice: 1, part: 0 });
        let end = ChoiceEnd { finish_reason: FinishReason::Stop.into(), ..Default::default() };
        let start = StreamStart { id: "id".into(), model: "m".into(), ..Default::default() };
        let answer = fold([
            Event::Start(Box::new(start)),
            text(0, "he"),
            other,
            text(0, "llo"),
            text(1, "!"),
            Event::ChoiceEnd(Box::new(end)),
        ]);
        let first = answer.choices[0].message.as_ref().unwrap();
        let texts: Vec<_> = first.parts.iter().map(|part| part.kind.clone().unwrap()).collect();
        assert_eq!(texts, [Kind::Text("hello".into()), Kind::Text("!".into())]);
        assert_eq!(answer.choices[0].finish_reason(), FinishReason::Stop);
        assert_eq!((answer.choices[1].index, answer.id.as_str()), (1, "id"));
    }

    #[test]
    fn a_tool_call_keeps_its_id_and_a_thought_its_continuity() {
        let call = ToolCall { id: "c1".into(), name: "find".into(), ..Default::default() };
        let initial = Some(Part { kind: Some(Kind::ToolCall(call)), ..Default::default() });
        let token = Continuity { provider: "p".into(), token: Bytes::from_static(b"sig") };
        let answer = fold([
            Event::Thought(ThoughtDelta { text: "hm".into(), choice: 0, part: 0 }),
            Event::PartEnd(Box::new(PartEnd { continuity: Some(token.clone()), ..Default::default() })),
            Event::PartStart(Box::new(PartStart { choice: 0, part: 1, initial })),
            Event::ToolCall(ToolCallDelta { input: "{\"q\":".into(), choice: 0, part: 1 }),
            Event::ToolCall(ToolCallDelta { input: "1}".into(), choice: 0, part: 1 }),
        ]);
        let parts = &answer.choices[0].message.as_ref().unwrap().parts;
        assert_eq!(parts[0].continuity, Some(token));
        let Some(Kind::ToolCall(call)) = &parts[1].kind else { panic!("no tool call") };
        assert_eq!(
            (call.id.as_str(), call.input.clone()),
            ("c1", Some(Input::ArgumentsJson("{\"q\":1}".into())))
        );
    }

    #[test]
    fn bytes_of_media_are_appended_to_what_the_start_had() {
        let media = |data: &'static [u8]| Media {
            source: Some(Source::Data(Bytes::from_static(data))),
            ..Default::default()
        };
        let initial = Some(Part { kind: Some(Kind::Media(Box::new(media(b"a")))), ..Default::default() });
        let delta = |data: &'static [u8]| {
            Event::Media(Box::new(MediaDelta { data: Bytes::from_static(data), ..Default::default() }))
        };
        let start = Event::PartStart(Box::new(PartStart { choice: 0, part: 0, initial }));
        let answer = fold([start, delta(b"b"), delta(b"c")]);
        let parts = &answer.choices[0].message.as_ref().unwrap().parts;
        assert_eq!(parts[0].kind, Some(Kind::Media(Box::new(media(b"abc")))));
    }
}
