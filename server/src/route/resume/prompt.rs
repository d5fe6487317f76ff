//! The request that makes another model go on with an answer: the conversation, and what was delivered of the answer.

use tollgate_api::v1::{ChatInput, Message, Part, Role, output_format, part};

use super::delivered::Delivered;

/// What a model is told that does not go on with a last message of its own by itself.
const INSTRUCTION: &str =
    "Continue exactly where the previous assistant message stopped; do not repeat anything.";

/// A request for the rest of an answer.
pub(super) struct Rest {
    /// What is asked.
    pub(super) input: ChatInput,
    /// White space at the end of what was delivered, which is not sent along: providers refuse it there.
    pub(super) left_out: String,
}

/// Tells whether the answer to a request is one that another model can go on with: one choice, in plain text.
pub(super) fn may_be_continued(input: &ChatInput) -> bool {
    let format = input.output_format.as_ref().and_then(|format| format.kind.as_ref());
    input.choice_count.unwrap_or(1) <= 1
        && matches!(format, None | Some(output_format::Kind::Text(_)))
        && input.output_modalities.iter().all(|modality| modality == "text")
}

/// Returns how many tokens the rest of an answer may have; absent if the caller set no bound, 0 if none are left.
pub(super) fn tokens_left(input: &ChatInput, delivered: &Delivered) -> Option<i64> {
    input.max_output_tokens.map(|most| most.saturating_sub(delivered.output_tokens).max(0))
}

/// Asks for the rest of an answer. `continues` says that the model goes on with a last message of the assistant.
pub(super) fn rest(input: &ChatInput, delivered: &Delivered, continues: bool) -> Rest {
    let mut rest = input.clone();
    rest.max_output_tokens = tokens_left(input, delivered);
    let said = delivered.text.trim_end();
    let left_out = delivered.text[said.len()..].to_owned();
    if said.is_empty() {
        return Rest { input: rest, left_out };
    }
    let said = text(said);
    match rest.messages.last_mut().filter(|last| last.role() == Role::Assistant) {
        // The caller had begun the answer itself.
        Some(begun) => begun.parts.push(said),
        None => rest.messages.push(message(Role::Assistant, said)),
    }
    // Models that reason first cannot begin in the middle of what they say.
    if !continues || input.reasoning.is_some() {
        rest.messages.push(message(Role::User, text(INSTRUCTION)));
    }
    Rest { input: rest, left_out }
}

fn message(role: Role, part: Part) -> Message {
    Message { role: role.into(), parts: vec![part], ..Message::default() }
}

fn text(text: &str) -> Part {
    Part { kind: Some(part::Kind::Text(text.to_owned())), ..Part::default() }
}
