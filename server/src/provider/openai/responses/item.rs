//! One item of an answer: what was told of it by deltas, and what its last word adds.

use std::collections::VecDeque;

use tollgate_api::v1::{Extension, Part, Thought, ToolCall, part, tool_call::Input};

use super::{
    super::{notes as chat_notes, write::Object},
    event::{self, Node},
    hosted, notes,
};
use crate::{
    call::Item,
    provider::{Error, compose::Composer},
};

/// What a delta is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text,
    Refusal,
    Thought,
    Summary,
    Input,
}

impl Piece {
    /// Tells what an event of that type carries.
    pub(super) fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "response.output_text.delta" => Self::Text,
            "response.refusal.delta" => Self::Refusal,
            "response.reasoning_text.delta" | "response.reasoning.delta" => Self::Thought,
            "response.reasoning_summary_text.delta" | "response.reasoning_summary.delta" => Self::Summary,
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => Self::Input,
            _ => return None,
        })
    }
}

/// A piece that was told, at least in part.
#[derive(Debug)]
struct Progress {
    piece: Piece,
    sub: i64,
    bytes: usize,
    annotations: usize,
}

/// An item that is being told, or was.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) index: i64,
    /// Its last word has been heard.
    pub(super) ended: bool,
    /// It asks the caller for a result.
    pub(super) waiting: bool,
    kind: String,
    /// Its tool call has been opened.
    called: bool,
    /// Which piece the open part holds.
    open: Option<(Piece, i64)>,
    progress: Vec<Progress>,
    any_logprobs: bool,
    phase: String,
}

impl Told {
    pub(super) fn new(index: i64) -> Self {
        Self {
            index,
            ended: false,
            waiting: false,
            kind: String::new(),
            called: false,
            open: None,
            progress: Vec::new(),
            any_logprobs: false,
            phase: String::new(),
        }
    }

    /// Tells whether a tool call is being told, which nothing may interrupt.
    pub(super) fn is_call(&self) -> bool {
        self.called && !self.ended
    }

    /// Notes that another item is told now.
    pub(super) fn pause(&mut self) {
        self.open = None;
    }

    /// Notes what the item is.
    pub(super) fn note(&mut self, item: &Node<'_>) {
        if self.kind.is_empty() {
            self.kind = item.text("type").into_owned();
            self.phase = item.text("phase").into_owned();
        }
    }

    /// Takes the item's first word: a tool call can be opened with it.
    pub(super) fn begin(
        &mut self,
        item: &Node<'_>,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        self.note(item);
        let known = !item.text("call_id").is_empty() && !item.text("name").is_empty();
        if known { self.open_call(item, composer, out) } else { Ok(()) }
    }

    fn open_call(
        &mut self,
        item: &Node<'_>,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        let input = match self.kind.as_str() {
            "function_call" => Input::ArgumentsJson(String::new()),
            "custom_tool_call" => Input::Text(String::new()),
            _ => return Ok(()),
        };
        if std::mem::replace(&mut self.called, true) {
            return Ok(());
        }
        let mut id = item.text("call_id");
        if id.is_empty() {
            id = item.text("id");
        }
        let call = ToolCall {
            id: if id.is_empty() { format!("call_{}", self.index) } else { id.into_owned() },
            name: item.text("name").into_owned(),
            input: Some(input),
            executed_upstream: false,
        };
        self.open = Some((Piece::Input, 0));
        composer.open(0, Part { kind: Some(part::Kind::ToolCall(call)), ..Part::default() }, out)
    }

    /// Tells a piece of the item.
    pub(super) fn delta(
        &mut self,
        piece: Piece,
        sub: i64,
        text: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        // Input of a call that is not known yet is told with the item's last word.
        if text.is_empty() || self.ended || (piece == Piece::Input && !self.called) {
            return Ok(());
        }
        let sub = if piece == Piece::Input { 0 } else { sub };
        let first_of_kind = !self.progress.iter().any(|one| one.piece == piece);
        let place = self.place(piece, sub);
        let begins = self.progress[place].bytes == 0;
        self.progress[place].bytes += text.len();
        let was = self.open.replace((piece, sub));
        match piece {
            Piece::Input => composer.tool_input(0, text, out),
            Piece::Thought | Piece::Summary => {
                if was.is_none_or(|(open, _)| open != piece) {
                    let thought = Thought { summarized: piece == Piece::Summary, ..Thought::default() };
                    let part = Part { kind: Some(part::Kind::Thought(thought)), ..Part::default() };
                    composer.open(0, part, out)?;
                } else if begins && !first_of_kind {
                    composer.thought(0, "\n\n", out)?;
                }
                composer.thought(0, text, out)?;
            }
            Piece::Text | Piece::Refusal => {
                if was != Some((piece, sub)) {
                    composer.close(0, out);
                }
                if piece == Piece::Text {
                    composer.text(0, text, out)?;
                } else {
                    composer.refusal(0, text, out)?;
                }
                self.phase_token(composer);
            }
        }
        Ok(())
    }

    /// OpenAI wants to know of earlier messages which were comments and which the answer.
    fn phase_token(&self, composer: &mut Composer) {
        if !self.phase.is_empty() {
            let mut json = String::new();
            let mut token = Object::begin(&mut json);
            token.string("phase", &self.phase);
            token.end();
            composer.token(0, json);
        }
    }

    fn place(&mut self, piece: Piece, sub: i64) -> usize {
        let known = self.progress.iter().position(|one| one.piece == piece && one.sub == sub);
        known.unwrap_or_else(|| {
            self.progress.push(Progress { piece, sub, bytes: 0, annotations: 0 });
            self.progress.len() - 1
        })
    }

    /// Tells log probabilities of the open text.
    pub(super) fn logprobs(
        &mut self,
        json: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        let list = chat_notes::logprob_list(json);
        self.any_logprobs |= !list.is_empty();
        composer.logprobs(0, list, out)
    }

    /// Adds a citation to the open text. One that comes at another time is in the item's last word.
    pub(super) fn annotation(&mut self, json: &str, provider: &str, composer: &mut Composer) {
        if let Some((Piece::Text, sub)) = self.open {
            let place = self.place(Piece::Text, sub);
            self.progress[place].annotations += 1;
            composer.annotate(0, notes::annotation(json, provider));
        }
    }

    /// Takes the item's last word, which is the whole item: tells what was not told yet, and ends its part.
    pub(super) fn end(
        &mut self,
        item: &Node<'_>,
        stored: bool,
        provider: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        if self.ended {
            return Ok(());
        }
        self.note(item);
        self.waiting = event::is_waiting(item);
        match self.kind.as_str() {
            "message" => self.end_message(item, provider, composer, out)?,
            "reasoning" => self.end_reasoning(item, stored, composer, out)?,
            "function_call" | "custom_tool_call" => {
                self.open_call(item, composer, out)?;
                let member = if self.kind == "function_call" { "arguments" } else { "input" };
                self.rest(Piece::Input, 0, &item.text(member), composer, out)?;
                if let Some(token) = extra_members(item) {
                    composer.token(0, token);
                }
            }
            "" => {}
            kind => {
                composer.close(0, out);
                if !hosted::tell(item, composer, out)? {
                    let extension = Extension {
                        provider: provider.to_owned(),
                        r#type: kind.to_owned(),
                        json: item.0.to_json(),
                    };
                    let part = part::Kind::Extension(extension);
                    composer.open(0, Part { kind: Some(part), ..Part::default() }, out)?;
                }
            }
        }
        self.ended = true;
        composer.close(0, out);
        Ok(())
    }

    /// Tells what the whole text has beyond that which was told.
    fn rest(
        &mut self,
        piece: Piece,
        sub: i64,
        text: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        let place = self.place(piece, sub);
        let rest = text.get(self.progress[place].bytes..).unwrap_or_default();
        self.delta(piece, sub, rest, composer, out)
    }

    fn end_message(
        &mut self,
        item: &Node<'_>,
        provider: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        for (sub, json) in (0..).zip(item.list("content")) {
            let content = Node::read(json);
            match &*content.text("type") {
                "output_text" | "text" | "input_text" => {
                    self.rest(Piece::Text, sub, &content.text("text"), composer, out)?;
                    if !self.any_logprobs {
                        self.logprobs(content.raw("logprobs").unwrap_or_default(), composer, out)?;
                    }
                    self.annotations(sub, &content, provider, composer);
                }
                "refusal" => self.rest(Piece::Refusal, sub, &content.text("refusal"), composer, out)?,
                kind => {
                    let (provider, r#type) = (provider.to_owned(), kind.to_owned());
                    let extension = Extension { provider, r#type, json: json.to_owned() };
                    let part = part::Kind::Extension(extension);
                    composer.open(0, Part { kind: Some(part), ..Part::default() }, out)?;
                    self.open = None;
                }
            }
        }
        Ok(())
    }

    fn annotations(&mut self, sub: i64, content: &Node<'_>, provider: &str, composer: &mut Composer) {
        if self.open != Some((Piece::Text, sub)) {
            return;
        }
        let place = self.place(Piece::Text, sub);
        for json in content.list("annotations").into_iter().skip(self.progress[place].annotations) {
            self.progress[place].annotations += 1;
            composer.annotate(0, notes::annotation(json, provider));
        }
    }

    /// Reasoning may have no words at all; what it must have to be sent back is its encrypted content.
    fn end_reasoning(
        &mut self,
        item: &Node<'_>,
        stored: bool,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        for (list, piece) in [("summary", Piece::Summary), ("content", Piece::Thought)] {
            for (sub, json) in (0..).zip(item.list(list)) {
                self.rest(piece, sub, &Node::read(json).text("text"), composer, out)?;
            }
        }
        let opaque = !item.text("encrypted_content").is_empty() || stored;
        if self.open.is_none() && opaque {
            let thought = part::Kind::Thought(Thought::default());
            composer.open(0, Part { kind: Some(thought), ..Part::default() }, out)?;
            self.open = Some((Piece::Thought, 0));
        }
        if self.open.is_some() {
            composer.token(0, item.0.to_json());
        }
        Ok(())
    }
}

/// Returns the members of a call that the contract does not model, as an object, if there are any.
fn extra_members(item: &Node<'_>) -> Option<String> {
    const MODELLED: [&str; 7] = ["id", "type", "status", "call_id", "name", "arguments", "input"];
    let mut json = String::new();
    let mut token = Object::begin(&mut json);
    let mut any = false;
    for (name, value) in item.0.iter().filter(|(name, value)| !MODELLED.contains(name) && *value != "null") {
        token.raw(name, value);
        any = true;
    }
    token.end();
    any.then_some(json)
}
