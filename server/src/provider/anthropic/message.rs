//! The contract's messages as Anthropic's turns, and its instructions as the system prompt.

use tollgate_api::v1::{Message, Role, part};

use super::{
    content::{self, Content, To},
    translate::Lost,
    write::{List, Object},
};
use crate::{error::Error as CallerError, provider::Error};

/// A conversation as Anthropic takes it.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    system: Vec<Content<'a>>,
    turns: Vec<Turn<'a>>,
}

/// One turn. Results of tools and what the user says to them share one.
#[derive(Debug)]
struct Turn<'a> {
    role: &'static str,
    of_tool: bool,
    contents: Vec<Content<'a>>,
}

impl<'a> Conversation<'a> {
    /// Translates messages.
    ///
    /// # Errors
    /// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
    pub(super) fn of(messages: &'a [Message], to: To<'_>, lost: &mut Lost) -> Result<Self, Error> {
        let mut conversation = Self::default();
        for (index, message) in messages.iter().enumerate() {
            conversation.add(message, index, to, lost)?;
        }
        Ok(conversation)
    }

    fn add(&mut self, message: &'a Message, index: usize, to: To<'_>, lost: &mut Lost) -> Result<(), Error> {
        let field = format!("input.messages[{index}]");
        if !message.name.is_empty() {
            lost.content(
                "name_dropped",
                &format!("{field}.name"),
                "Anthropic's API has no names of speakers",
            );
        }
        let of_tool = message.role() == Role::Tool;
        let role = match message.role() {
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            Role::Unspecified => {
                return Err(CallerError::invalid(format!("{field}.role"), "must be set").into());
            }
        };
        let mut contents = Vec::with_capacity(message.parts.len());
        for (at, part) in message.parts.iter().enumerate() {
            let field = format!("{field}.parts[{at}]");
            contents.extend(content::of_part(part, message.role(), &field, to, lost)?);
        }
        // An empty turn is refused; what was in it has been told in warnings.
        if contents.is_empty() {
            return Ok(());
        }
        if role == "system" {
            let late = !self.turns.is_empty();
            if late && !to.generation.takes_late_instructions() {
                lost.changed(
                    &field,
                    "it was moved to the system prompt, as the model takes instructions there only",
                )?;
            }
            if !late || !to.generation.takes_late_instructions() {
                self.system.extend(contents);
                return Ok(());
            }
        }
        match self.turns.last_mut().filter(|last| last.role == role && (last.of_tool || of_tool)) {
            Some(last) => {
                last.contents.extend(contents);
                last.of_tool = of_tool;
            }
            None => self.turns.push(Turn { role, of_tool, contents }),
        }
        Ok(())
    }

    /// Adds an instruction of ours after the caller's.
    pub(super) fn instruct(&mut self, text: String) {
        let mut json = String::new();
        let mut block = Object::begin(&mut json);
        block.string("type", "text");
        block.string("text", &text);
        block.end();
        self.system.push(Content::Block(json));
    }

    /// Writes `system` and `messages`.
    pub(super) fn write(&self, body: &mut Object<'_>) {
        if !self.system.is_empty() {
            content::write(body.key("system"), &self.system);
        }
        let mut list = List::begin(body.key("messages"));
        for turn in &self.turns {
            let mut written = list.object();
            written.string("role", turn.role);
            content::write(written.key("content"), &turn.contents);
            written.end();
        }
        list.end();
    }
}

/// Tells whether the conversation waits for the model in the middle of a round of tools that began without a thought
/// which the model can read. It cannot begin to think there.
pub(super) fn is_in_foreign_round(messages: &[Message], to: To<'_>) -> bool {
    let answers = messages.iter().rev().take_while(|message| message.role() == Role::Tool).count();
    let before = messages.len().checked_sub(answers + 1).and_then(|at| messages.get(at));
    let Some(assistant) = before.filter(|message| answers > 0 && message.role() == Role::Assistant) else {
        return false;
    };
    let is_own_thought = |part: &tollgate_api::v1::Part| {
        matches!(part.kind, Some(part::Kind::Thought(_))) && to.owns_token(part)
    };
    !assistant.parts.iter().any(is_own_thought)
}
