//! The contract's messages in Gemini's JSON: instructions apart, turns of the user and of the model, results of
//! tools by the name of the tool.

use std::collections::HashMap;

use tollgate_api::v1::{Message, Part, Role, part::Kind};

use super::{
    parts::{self, invalid},
    request::To,
};
use crate::provider::{
    Error,
    json::write::{List, Object},
    translate::Lost,
};

/// One turn: who speaks, and the JSON of its parts.
#[derive(Debug, Default)]
struct Turn {
    role: &'static str,
    of_tools: bool,
    parts: Vec<String>,
}

/// Writes `systemInstruction` and `contents`.
pub(super) fn write(
    body: &mut Object<'_>,
    messages: &[Message],
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let names = call_names(messages);
    let mut instructions = Turn::default();
    let mut turns: Vec<Turn> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let field = format!("input.messages[{index}]");
        if !message.name.is_empty() {
            lost.parameter(&format!("{field}.name"), "Gemini's API has no names of speakers")?;
        }
        let parts = written(message, &field, &names, to, lost)?;
        match (message.role(), turns.last_mut()) {
            (Role::System | Role::Developer, _) => instructions.parts.extend(parts),
            // The results of calls that were made side by side must stand in one turn.
            (Role::Tool, Some(last)) if last.of_tools => last.parts.extend(parts),
            (role, _) => {
                let speaker = if role == Role::Assistant { "model" } else { "user" };
                turns.push(Turn { role: speaker, of_tools: role == Role::Tool, parts });
            }
        }
    }
    if !instructions.parts.is_empty() {
        let mut written = body.object("systemInstruction");
        instructions.write(&mut written);
        written.end();
    }
    let mut list = body.list("contents");
    // A turn of which nothing is left would be refused.
    turns.iter().filter(|turn| !turn.parts.is_empty()).for_each(|turn| turn.push(&mut list));
    list.end();
    Ok(())
}

impl Turn {
    fn write(&self, to: &mut Object<'_>) {
        let mut list = to.list("parts");
        self.parts.iter().for_each(|json| list.item().push_str(json));
        list.end();
    }

    fn push(&self, list: &mut List<'_>) {
        let mut written = list.object();
        written.string("role", self.role);
        self.write(&mut written);
        written.end();
    }
}

/// The names of all calls by their ids: results have to name the tool.
fn call_names(messages: &[Message]) -> HashMap<&str, &str> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| match &part.kind {
            Some(Kind::ToolCall(call)) => Some((call.id.as_str(), call.name.as_str())),
            _ => None,
        })
        .collect()
}

fn written(
    message: &Message,
    field: &str,
    names: &HashMap<&str, &str>,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<Vec<String>, Error> {
    let mut all = Vec::with_capacity(message.parts.len());
    // Older models take no media within a result: they follow it.
    let mut after = Vec::new();
    let is_call = |part: &Part| matches!(&part.kind, Some(Kind::ToolCall(call)) if !call.executed_upstream);
    let first_call = message.parts.iter().position(is_call);
    for (at, part) in message.parts.iter().enumerate() {
        let field = format!("{field}.parts[{at}]");
        if part.cache_breakpoint.is_some() {
            lost.parameter(&format!("{field}.cache_breakpoint"), "the provider caches prompts by itself")?;
        }
        match (message.role(), &part.kind) {
            (Role::Unspecified, _) => return Err(invalid(field, "stands in a message without a role")),
            (Role::Assistant, _) => {
                all.extend(parts::of_model(part, first_call == Some(at), &field, to, lost)?)
            }
            (Role::Tool, Some(Kind::ToolResult(result))) => {
                let Some(name) = names.get(result.tool_call_id.as_str()) else {
                    let field = format!("{field}.tool_result.tool_call_id");
                    return Err(invalid(field, "names no call of an earlier message"));
                };
                all.push(parts::result(result, name, &field, to, lost, &mut after)?);
            }
            (Role::Tool, _) => return Err(invalid(field, "must be a tool result: the message is a tool's")),
            (Role::System | Role::Developer, kind) if !matches!(kind, Some(Kind::Text(_))) => {
                return Err(invalid(field, "instructions must be text"));
            }
            _ => all.extend(of_user(part, &field, to, lost)?),
        }
    }
    all.append(&mut after);
    Ok(all)
}

fn of_user(part: &Part, field: &str, to: To<'_>, lost: &mut Lost) -> Result<Option<String>, Error> {
    match &part.kind {
        Some(Kind::ToolCall(_) | Kind::Thought(_) | Kind::Refusal(_)) => {
            Err(invalid(field.to_owned(), "may stand in messages of the assistant only"))
        }
        Some(Kind::ToolResult(_)) => Err(invalid(field.to_owned(), "may stand in messages of a tool only")),
        _ => parts::content(part, field, "", to, lost),
    }
}
