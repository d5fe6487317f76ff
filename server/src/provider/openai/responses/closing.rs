//! The last word on an item, which is the whole item: tells what no delta has told, and ends its part.

use std::collections::VecDeque;

use tollgate_api::v1::{Extension, Part, Thought, part};

use super::{
    super::write::Object,
    event::{self, Node},
    hosted,
    item::{Piece, Told},
    notes,
};
use crate::{
    call::Item,
    provider::{Error, compose::Composer},
};

impl Told {
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
                    open_extension(kind, item.0.to_json(), provider, composer, out)?;
                }
            }
        }
        self.ended = true;
        composer.close(0, out);
        Ok(())
    }

    /// Tells a text of the last word, unless deltas have told it. Of a tool's input it tells what they left out.
    fn rest(
        &mut self,
        piece: Piece,
        sub: i64,
        text: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        let place = self.place(piece, sub);
        let told = self.progress[place].bytes;
        if told > 0 && piece != Piece::Input {
            return Ok(());
        }
        self.delta(piece, sub, text.get(told..).unwrap_or_default(), composer, out)
    }

    fn end_message(
        &mut self,
        item: &Node<'_>,
        provider: &str,
        composer: &mut Composer,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error> {
        let had_logprobs = self.any_logprobs;
        for (position, json) in item.list("content").into_iter().enumerate() {
            let content = Node::read(json);
            match &*content.text("type") {
                "output_text" | "text" | "input_text" => {
                    let sub = self.sub_of(Piece::Text, position);
                    self.rest(Piece::Text, sub, &content.text("text"), composer, out)?;
                    if self.open != Some((Piece::Text, sub)) {
                        continue;
                    }
                    if !had_logprobs {
                        self.logprobs(content.raw("logprobs").unwrap_or_default(), composer, out)?;
                    }
                    self.annotations(sub, &content, provider, composer);
                    self.phase_token(composer);
                }
                "refusal" => {
                    let sub = self.sub_of(Piece::Refusal, position);
                    self.rest(Piece::Refusal, sub, &content.text("refusal"), composer, out)?;
                }
                kind => {
                    open_extension(kind, json.to_owned(), provider, composer, out)?;
                    self.open = None;
                }
            }
        }
        Ok(())
    }

    /// Returns the number under which deltas told the text at a place of a list. Bedrock counts on from the item
    /// before, so that only their order tells.
    fn sub_of(&self, piece: Piece, position: usize) -> i64 {
        let index = i64::try_from(position).unwrap_or(i64::MAX);
        let mut same = self.progress.iter().filter(|one| one.piece == piece);
        match same.clone().find(|one| one.sub == index).or_else(|| same.nth(position)) {
            Some(told) => told.sub,
            None => index,
        }
    }

    fn annotations(&mut self, sub: i64, content: &Node<'_>, provider: &str, composer: &mut Composer) {
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
            for (position, json) in item.list(list).into_iter().enumerate() {
                let sub = self.sub_of(piece, position);
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

/// Opens a part that holds what the contract has no kind for.
fn open_extension(
    kind: &str,
    json: String,
    provider: &str,
    composer: &mut Composer,
    out: &mut VecDeque<Item>,
) -> Result<(), Error> {
    let extension = Extension { provider: provider.to_owned(), r#type: kind.to_owned(), json };
    composer.open(0, Part { kind: Some(part::Kind::Extension(extension)), ..Part::default() }, out)
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
