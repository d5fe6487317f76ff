//! Tells an answer in the contract's grammar (CONTRACT §10.3): `Start`, the parts of each choice one after the other,
//! `ChoiceEnd`, the usage, `End`. What a dialect's decoder reads, it says here.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tollgate_api::v1::{
    self, Annotation, ChoiceEnd, Continuity, Extension, FinishReason, Part, PartEnd, PartStart, RefusalDelta,
    StreamEnd, StreamStart, TextDelta, Thought, ThoughtDelta, ToolCallDelta, Usage, part,
};

use super::{Error, Kind};
use crate::call::{Event, Item};

/// The most choices of one answer; the contract allows no more.
pub const MAX_CHOICES: i32 = 128;
/// The most unmodelled members that are kept, and the most bytes of all of them.
const MAX_EXTENSIONS: usize = 32;
const MAX_EXTENSION_BYTES: usize = 1024 * 1024;
/// The most citations that wait for the end of one part, and the most bytes of all of them.
const MAX_ANNOTATIONS: usize = 4096;
const MAX_ANNOTATION_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of the state that a provider wants back with one part.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024 * 1024;

/// The state of one answer.
#[derive(Debug)]
pub struct Composer {
    /// The provider's configured name, which owns continuity tokens and extensions.
    provider: String,
    /// What goes into the start event. Changes after `begin` come too late.
    pub start: StreamStart,
    /// What goes into the end event.
    pub end: StreamEnd,
    /// The provider's last word on usage; cumulative.
    pub usage: Option<Usage>,
    begun: bool,
    choices: Vec<Choice>,
}

#[derive(Debug)]
struct Choice {
    index: i32,
    next_part: i32,
    open: Option<Open>,
    any_tool: bool,
    ended: bool,
}

#[derive(Debug)]
struct Open {
    kind: OpenKind,
    part: i32,
    annotations: Annotations,
    token: Option<Token>,
}

/// The state that a provider wants back, told at once or in pieces.
#[derive(Debug)]
enum Token {
    Whole(Bytes),
    Growing(BytesMut),
}

/// Citations that wait for the end of their part. What is too much is left out.
#[derive(Debug, Default)]
pub struct Annotations {
    list: Vec<Annotation>,
    bytes: usize,
}

impl Annotations {
    /// Adds one.
    pub fn push(&mut self, annotation: Annotation) {
        let bytes = annotation.encoded_len();
        if self.list.len() < MAX_ANNOTATIONS && self.bytes + bytes <= MAX_ANNOTATION_BYTES {
            self.bytes += bytes;
            self.list.push(annotation);
        }
    }

    /// Takes all of them out.
    pub fn take(&mut self) -> Vec<Annotation> {
        self.bytes = 0;
        std::mem::take(&mut self.list)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenKind {
    Text,
    Thought,
    Refusal,
    ToolCall,
    Media,
    Other,
}

impl Composer {
    /// Starts an answer of the provider of that name.
    pub fn new(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            start: StreamStart::default(),
            end: StreamEnd::default(),
            usage: None,
            begun: false,
            choices: Vec::new(),
        }
    }

    /// Tells the start, if it is not told yet. Everything that tells content does so by itself.
    pub fn begin(&mut self, out: &mut VecDeque<Item>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.push_back(Item::Event(Event::Start(Box::new(std::mem::take(&mut self.start)))));
        }
    }

    /// Tells text, in the text part that is open or in a new one.
    ///
    /// # Errors
    /// `BadResponse` if there cannot be such a choice; so do all that name a choice.
    pub fn text(&mut self, choice: i32, text: &str, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let part = self.open_as(choice, OpenKind::Text, || part::Kind::Text(String::new()), out)?;
        out.push_back(Item::Event(Event::Text(TextDelta { text: text.to_owned(), choice, part })));
        Ok(())
    }

    /// Tells readable reasoning, in the thought that is open or in a new one.
    pub fn thought(&mut self, choice: i32, text: &str, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let part =
            self.open_as(choice, OpenKind::Thought, || part::Kind::Thought(Thought::default()), out)?;
        out.push_back(Item::Event(Event::Thought(ThoughtDelta { text: text.to_owned(), choice, part })));
        Ok(())
    }

    /// Tells words of refusal, in the refusal that is open or in a new one.
    pub fn refusal(&mut self, choice: i32, text: &str, out: &mut VecDeque<Item>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let part = self.open_as(choice, OpenKind::Refusal, || part::Kind::Refusal(String::new()), out)?;
        out.push_back(Item::Event(Event::Refusal(RefusalDelta { text: text.to_owned(), choice, part })));
        Ok(())
    }

    /// Opens a part of its own with what is known of it: a tool call, media, an encrypted thought, a text that must not
    /// join the one before. Closes the part that was open.
    pub fn open(&mut self, choice: i32, initial: Part, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let kind = match &initial.kind {
            Some(part::Kind::Text(_)) => OpenKind::Text,
            Some(part::Kind::Thought(_)) => OpenKind::Thought,
            Some(part::Kind::Refusal(_)) => OpenKind::Refusal,
            Some(part::Kind::ToolCall(_)) => OpenKind::ToolCall,
            Some(part::Kind::Media(_)) => OpenKind::Media,
            _ => OpenKind::Other,
        };
        self.start_part(choice, kind, initial, out)?;
        Ok(())
    }

    /// Tells more input of the tool call that is open. Without one it is lost, as it belongs to nothing.
    pub fn tool_input(&mut self, choice: i32, input: &str, out: &mut VecDeque<Item>) {
        if let Some(part) = self.part_of(choice, OpenKind::ToolCall).filter(|_| !input.is_empty()) {
            let delta = ToolCallDelta { input: input.to_owned(), choice, part };
            out.push_back(Item::Event(Event::ToolCall(delta)));
        }
    }

    /// Tells more bytes or transcript of the media part that is open.
    pub fn media(&mut self, choice: i32, data: Bytes, transcript: &str, out: &mut VecDeque<Item>) {
        if let Some(part) = self.part_of(choice, OpenKind::Media) {
            let transcript = transcript.to_owned();
            let delta = v1::MediaDelta { data, choice, part, transcript };
            out.push_back(Item::Event(Event::Media(Box::new(delta))));
        }
    }

    /// Tells log probabilities of the part that is open, or of a text that begins with them.
    pub fn logprobs(
        &mut self,
        choice: i32,
        logprobs: Vec<v1::TokenLogprob>,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        if logprobs.is_empty() {
            return Ok(());
        }
        let open = self.choice(choice)?.open.as_ref().map(|open| open.part);
        let part = match open {
            Some(part) => part,
            None => self.open_as(choice, OpenKind::Text, || part::Kind::Text(String::new()), out)?,
        };
        out.push_back(Item::Event(Event::Logprobs(Box::new(v1::LogprobDelta { logprobs, choice, part }))));
        Ok(())
    }

    /// Adds a citation to the part that is open; it is told when the part ends.
    pub fn annotate(&mut self, choice: i32, annotation: Annotation) {
        if let Some(open) = self.open_mut(choice) {
            open.annotations.push(annotation);
        }
    }

    /// Sets the state that the provider wants back with the part that is open; it is told when the part ends.
    pub fn token(&mut self, choice: i32, token: impl Into<Bytes>) {
        if let Some(open) = self.open_mut(choice) {
            open.token = Some(Token::Whole(token.into()));
        }
    }

    /// Adds a piece to the state that the provider wants back with the part that is open.
    ///
    /// # Errors
    /// `BadResponse` if it has more bytes than allowed: half of it would be of no use.
    pub fn token_piece(&mut self, choice: i32, piece: &str) -> Result<(), Error> {
        let Some(open) = self.open_mut(choice) else { return Ok(()) };
        if !matches!(open.token, Some(Token::Growing(_))) {
            open.token = Some(Token::Growing(BytesMut::new()));
        }
        let Some(Token::Growing(token)) = &mut open.token else { return Ok(()) };
        if token.len() + piece.len() > MAX_TOKEN_BYTES {
            return Err(Error::new(Kind::BadResponse, "the state of a part has more bytes than allowed"));
        }
        token.extend_from_slice(piece.as_bytes());
        Ok(())
    }

    /// Returns the configured name of the provider that answers.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Tells whether a part of the choice is open.
    pub fn is_open(&self, choice: i32) -> bool {
        self.choices.iter().any(|state| state.index == choice && state.open.is_some())
    }

    /// Ends the part that is open, if one is.
    pub fn close(&mut self, choice: i32, out: &mut VecDeque<Item>) {
        let state = self.choices.iter_mut().find(|state| state.index == choice);
        let Some(mut open) = state.and_then(|state| state.open.take()) else { return };
        let token = open.token.map(|token| match token {
            Token::Whole(token) => token,
            Token::Growing(token) => token.freeze(),
        });
        let provider = &self.provider;
        let continuity = token.map(|token| Continuity { provider: provider.clone(), token });
        let annotations = open.annotations.take();
        let end = PartEnd { choice, part: open.part, continuity, annotations };
        out.push_back(Item::Event(Event::PartEnd(Box::new(end))));
    }

    /// Ends a choice. `reason` is what `upstream`, the provider's own word, means.
    pub fn end_choice(
        &mut self,
        choice: i32,
        reason: FinishReason,
        upstream: &str,
        stop_sequence: &str,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        self.begin(out);
        self.close(choice, out);
        let state = self.choice(choice)?;
        if std::mem::replace(&mut state.ended, true) {
            return Ok(());
        }
        out.push_back(Item::Event(Event::ChoiceEnd(Box::new(ChoiceEnd {
            choice,
            finish_reason: reason.into(),
            upstream_finish_reason: upstream.to_owned(),
            stop_sequence: stop_sequence.to_owned(),
        }))));
        Ok(())
    }

    /// Tells whether the answer has any content.
    pub fn has_parts(&self) -> bool {
        self.choices.iter().any(|state| state.next_part > 0)
    }

    /// Tells whether the choice has called a tool, so that a vendor's plain "stop" means that it waits for the result.
    pub fn has_tool_call(&self, choice: i32) -> bool {
        self.choices.iter().any(|state| state.index == choice && state.any_tool)
    }

    /// Tells whether there is a choice and each has ended.
    pub fn all_ended(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.ended)
    }

    /// Keeps an unmodelled member of the answer for its end; a later word for it replaces the earlier one.
    pub fn extension(&mut self, name: &str, json: &str) {
        keep_extension(&mut self.end.extensions, &self.provider, name, json);
    }

    /// Ends the answer: the usage as final, then the end.
    pub fn finish(&mut self, out: &mut VecDeque<Item>) {
        self.begin(out);
        if let Some(mut usage) = self.usage.take() {
            usage.r#final = true;
            out.push_back(Item::Event(Event::Usage(Box::new(usage))));
        }
        out.push_back(Item::Event(Event::End(Box::new(std::mem::take(&mut self.end)))));
    }

    /// Tells what is known of the usage of an answer that broke off: better than an estimate.
    pub fn broken(&mut self, out: &mut VecDeque<Item>) {
        if let Some(mut usage) = self.usage.take().filter(|_| self.begun) {
            usage.r#final = false;
            out.push_back(Item::Event(Event::Usage(Box::new(usage))));
        }
    }

    fn choice(&mut self, index: i32) -> Result<&mut Choice, Error> {
        choice_index(i64::from(index))?;
        let place = self.choices.iter().position(|choice| choice.index == index);
        let place = place.unwrap_or_else(|| {
            self.choices.push(Choice { index, next_part: 0, open: None, any_tool: false, ended: false });
            self.choices.len() - 1
        });
        Ok(&mut self.choices[place])
    }

    /// Returns the number of the part that is open, if it is of that kind.
    fn part_of(&self, choice: i32, kind: OpenKind) -> Option<i32> {
        let state = self.choices.iter().find(|state| state.index == choice)?;
        state.open.as_ref().filter(|open| open.kind == kind).map(|open| open.part)
    }

    fn open_mut(&mut self, choice: i32) -> Option<&mut Open> {
        self.choices.iter_mut().find(|state| state.index == choice)?.open.as_mut()
    }

    fn open_as(
        &mut self,
        choice: i32,
        kind: OpenKind,
        initial: impl FnOnce() -> part::Kind,
        out: &mut VecDeque<Item>,
    ) -> Result<i32, Error> {
        if let Some(open) = self.choice(choice)?.open.as_ref().filter(|open| open.kind == kind) {
            return Ok(open.part);
        }
        self.start_part(choice, kind, Part { kind: Some(initial()), ..Part::default() }, out)
    }

    fn start_part(
        &mut self,
        choice: i32,
        kind: OpenKind,
        initial: Part,
        out: &mut VecDeque<Item>,
    ) -> Result<i32, Error> {
        self.begin(out);
        self.close(choice, out);
        let state = self.choice(choice)?;
        if state.ended {
            return Err(Error::new(Kind::BadResponse, "a choice goes on after its end"));
        }
        let part = state.next_part;
        state.next_part = part.saturating_add(1);
        state.any_tool |=
            matches!(&initial.kind, Some(part::Kind::ToolCall(call)) if !call.executed_upstream);
        state.open = Some(Open { kind, part, annotations: Annotations::default(), token: None });
        // The contract lets this one event be saved.
        let implied = part == 0 && matches!(&initial.kind, Some(part::Kind::Text(text)) if text.is_empty());
        if !implied {
            let start = PartStart { choice, part, initial: Some(initial) };
            out.push_back(Item::Event(Event::PartStart(Box::new(start))));
        }
        Ok(part)
    }
}

/// Checks the number of a choice.
///
/// # Errors
/// `BadResponse` if there cannot be such a choice.
pub fn choice_index(index: i64) -> Result<i32, Error> {
    i32::try_from(index)
        .ok()
        .filter(|index| (0..MAX_CHOICES).contains(index))
        .ok_or_else(|| Error::new(Kind::BadResponse, "the answer has more choices than can be asked for"))
}

/// Keeps an unmodelled member; a later word for it replaces the earlier one. What is too much is left out.
pub fn keep_extension(list: &mut Vec<Extension>, provider: &str, name: &str, json: &str) {
    let bytes: usize = list.iter().map(|one| one.r#type.len() + one.json.len()).sum();
    let known = list.iter().position(|one| one.r#type == name);
    let replaced = known.map_or(0, |place| list[place].r#type.len() + list[place].json.len());
    if bytes - replaced + name.len() + json.len() > MAX_EXTENSION_BYTES {
        return;
    }
    if let Some(place) = known {
        if list[place].json != json {
            json.clone_into(&mut list[place].json);
        }
    } else if list.len() < MAX_EXTENSIONS {
        list.push(Extension {
            provider: provider.to_owned(),
            r#type: name.to_owned(),
            json: json.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(out: &VecDeque<Item>) -> Vec<&'static str> {
        out.iter()
            .map(|item| match item {
                Item::Event(Event::Start(_)) => "start",
                Item::Event(Event::PartStart(_)) => "part",
                Item::Event(Event::Text(_)) => "text",
                Item::Event(Event::Thought(_)) => "thought",
                Item::Event(Event::ToolCall(_)) => "input",
                Item::Event(Event::PartEnd(_)) => "part-end",
                Item::Event(Event::ChoiceEnd(_)) => "choice-end",
                Item::Event(Event::Usage(_)) => "usage",
                Item::Event(Event::End(_)) => "end",
                _ => "other",
            })
            .collect()
    }

    #[test]
    fn parts_open_and_close_by_what_is_told() {
        let (mut composer, mut out) = (Composer::new("mine"), VecDeque::new());
        composer.thought(0, "hm", &mut out).unwrap();
        composer.token(0, "signed");
        composer.text(0, "a", &mut out).unwrap();
        composer.text(0, "b", &mut out).unwrap();
        let call = part::Kind::ToolCall(v1::ToolCall { name: "f".to_owned(), ..Default::default() });
        composer.open(0, Part { kind: Some(call), ..Part::default() }, &mut out).unwrap();
        composer.tool_input(0, "{}", &mut out);
        assert!(composer.has_tool_call(0));
        composer.end_choice(0, FinishReason::ToolCalls, "tool_use", "", &mut out).unwrap();
        composer.usage = Some(Usage::default());
        composer.finish(&mut out);
        assert_eq!(
            names(&out),
            [
                "start",
                "part",
                "thought",
                "part-end",
                "part",
                "text",
                "text",
                "part-end",
                "part",
                "input",
                "part-end",
                "choice-end",
                "usage",
                "end"
            ]
        );
        let Item::Event(Event::PartEnd(end)) = &out[3] else { panic!() };
        assert_eq!(end.continuity.as_ref().unwrap().token, "signed");
    }

    #[test]
    fn a_first_text_needs_no_part_start_and_input_without_a_call_is_lost() {
        let (mut composer, mut out) = (Composer::new("mine"), VecDeque::new());
        composer.tool_input(0, "{}", &mut out);
        composer.text(0, "a", &mut out).unwrap();
        assert_eq!(names(&out), ["start", "text"]);
        assert!(composer.text(MAX_CHOICES, "a", &mut out).is_err());
        assert!(composer.text(-1, "a", &mut out).is_err());
    }

    #[test]
    fn a_part_takes_only_what_it_holds_and_nothing_comes_after_the_end_of_a_choice() {
        let (mut composer, mut out) = (Composer::new("mine"), VecDeque::new());
        composer.text(0, "a", &mut out).unwrap();
        composer.tool_input(0, "{}", &mut out);
        composer.media(0, Bytes::from_static(b"x"), "", &mut out);
        assert_eq!(names(&out), ["start", "text"]);
        composer.end_choice(0, FinishReason::Stop, "stop", "", &mut out).unwrap();
        assert_eq!(composer.text(0, "b", &mut out).unwrap_err().kind, Kind::BadResponse);
    }

    #[test]
    fn what_waits_for_the_end_of_a_part_is_bounded() {
        let mut annotations = Annotations::default();
        (0..=MAX_ANNOTATIONS).for_each(|_| annotations.push(Annotation::default()));
        assert_eq!(annotations.take().len(), MAX_ANNOTATIONS);
        let (mut composer, mut out) = (Composer::new("mine"), VecDeque::new());
        composer.thought(0, "a", &mut out).unwrap();
        for piece in ["si", "gn"] {
            composer.token_piece(0, piece).unwrap();
        }
        assert!(composer.token_piece(0, &"x".repeat(MAX_TOKEN_BYTES)).is_err());
        composer.close(0, &mut out);
        let Some(Item::Event(Event::PartEnd(end))) = out.back() else { panic!() };
        assert_eq!(end.continuity.as_ref().unwrap().token, "sign");
    }

    #[test]
    fn the_name_of_an_unmodelled_member_counts_too() {
        let mut list = Vec::new();
        keep_extension(&mut list, "mine", &"n".repeat(MAX_EXTENSION_BYTES), "1");
        assert!(list.is_empty());
    }
}
