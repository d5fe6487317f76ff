//! One item of an answer that is told by deltas. What its last word adds is in `closing`.

use std::collections::VecDeque;

use tollgate_api::v1::{Part, Thought, ToolCall, part, tool_call::Input};

use super::{
    super::{notes as chat_notes, write::Object},
    event::Node,
    notes,
};
use crate::{
    call::Item,
    provider::{Error, compose::Composer},
};

/// The most pieces of one item.
const MAX_PIECES: usize = 1024;

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
pub(super) struct Progress {
    pub(super) piece: Piece,
    pub(super) sub: i64,
    pub(super) bytes: usize,
    pub(super) annotations: usize,
}

/// An item that is being told, or was.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) index: i64,
    /// Its last word has been heard.
    pub(super) ended: bool,
    /// It asks the caller for a result.
    pub(super) waiting: bool,
    pub(super) kind: String,
    /// Its tool call has been opened.
    pub(super) called: bool,
    /// Which piece the open part holds.
    pub(super) open: Option<(Piece, i64)>,
    pub(super) progress: Vec<Progress>,
    pub(super) any_logprobs: bool,
    pub(super) phase: String,
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
        }
        if self.phase.is_empty() {
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

    pub(super) fn open_call(
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
    pub(super) fn phase_token(&self, composer: &mut Composer) {
        if !self.phase.is_empty() {
            let mut json = String::new();
            let mut token = Object::begin(&mut json);
            token.string("phase", &self.phase);
            token.end();
            composer.token(0, json);
        }
    }

    /// Finds what was told of a piece. Pieces beyond the most that are told apart count as the last of them.
    pub(super) fn place(&mut self, piece: Piece, sub: i64) -> usize {
        let known = self.progress.iter().rposition(|one| one.piece == piece && one.sub == sub);
        known.unwrap_or_else(|| {
            if self.progress.len() >= MAX_PIECES {
                return self.progress.len() - 1;
            }
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
}
