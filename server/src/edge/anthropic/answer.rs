//! A whole typed answer as a `message` object.

use serde::Serialize;
use tollgate_api::v1::{CompleteResponse, part};

use super::{
    content::{Block, stop_reason, token_of_part},
    usage::Usage,
};
use crate::error::Error;

#[derive(Serialize)]
struct Message<'a> {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: Usage<'a>,
}

/// Writes an answer as Anthropic does.
///
/// # Errors
/// `INTERNAL` if it cannot be written, which no answer is known to cause.
pub(super) fn write(answer: &CompleteResponse) -> Result<Vec<u8>, Error> {
    let choice = answer.choices.first();
    let parts = choice
        .and_then(|choice| choice.message.as_ref())
        .map(|message| &message.parts[..])
        .unwrap_or_default();
    let refused = parts.iter().any(|part| matches!(part.kind, Some(part::Kind::Refusal(_))));
    let stop_sequence = choice.map_or("", |choice| choice.stop_sequence.as_str());
    let reason = choice.map(|choice| choice.finish_reason()).unwrap_or_default();
    let content = parts.iter().flat_map(|part| {
        let is_thought = matches!(part.kind, Some(part::Kind::Thought(_)));
        let token = part.continuity.as_ref().filter(|_| !is_thought).map(token_of_part);
        Block::of(part).into_iter().chain(token)
    });
    let usage = answer.usage.as_ref().map_or_else(|| Usage::at_start(None, 0), Usage::of);
    let message = Message {
        id: format!("msg_{}", answer.id),
        r#type: "message",
        role: "assistant",
        model: &answer.model,
        content: content.collect(),
        stop_reason: stop_reason(reason, stop_sequence, refused),
        stop_sequence: (!stop_sequence.is_empty()).then_some(stop_sequence),
        usage: usage.served_as(&answer.service_tier),
    };
    serde_json::to_vec(&message).map_err(|_| Error::internal("the answer cannot be written as JSON"))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
