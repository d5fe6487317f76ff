//! The items of `input` to messages. What one turn of the model consists of (reasoning, text, calls) are items of their
//! own here and parts of one message there.

use tollgate_api::v1::{
    Continuity, Extension, Message, Part, Role, Thought, ToolCall, ToolResult, part, tool_call,
};

use super::content::{self, of};
use crate::{
    edge::{
        continuity,
        openai::tokens::{self, VENDOR},
        rest::node::{Node, Object},
    },
    error::Error,
};

/// Members of an answer's items that say nothing to a model.
const ECHOED: [&str; 4] = ["id", "status", "phase", "created_by"];

/// Reads the items.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn parse(input: &Node<'_>) -> Result<Vec<Message>, Error> {
    let mut messages: Vec<Message> = Vec::new();
    for node in input.elements()? {
        let (role, parts) = item(&node)?;
        match messages.last_mut().filter(|last| role == Role::Assistant && last.role() == role) {
            Some(turn) => turn.parts.extend(parts),
            None => messages.push(Message { role: role.into(), parts, name: String::new() }),
        }
    }
    // A turn of which nothing can be told says nothing.
    messages.retain(|message| message.role() != Role::Assistant || !message.parts.is_empty());
    Ok(messages)
}

fn item(node: &Node<'_>) -> Result<(Role, Vec<Part>), Error> {
    let mut object = node.object()?;
    let kind = object.text("type")?.unwrap_or_else(|| "message".to_owned());
    let read = match kind.as_str() {
        "message" => message(&mut object),
        "function_call" => {
            let arguments = object.text_or_empty("arguments")?;
            call(&mut object, tool_call::Input::ArgumentsJson(arguments))
        }
        "custom_tool_call" => {
            let input = object.text_or_empty("input")?;
            call(&mut object, tool_call::Input::Text(input))
        }
        "function_call_output" | "custom_tool_call_output" => {
            let tool_call_id = object.need("call_id")?.text()?;
            let parts =
                object.take("output").map(|node| content::parse(&node)).transpose()?.unwrap_or_default();
            let result = ToolResult { tool_call_id, parts, is_error: false };
            Ok((Role::Tool, vec![of(part::Kind::ToolResult(Box::new(result)))]))
        }
        "reasoning" => Ok((Role::Assistant, reasoning(node, &mut object)?.into_iter().collect())),
        _ => return Ok((speaker(&kind), vec![theirs(kind, node)])),
    };
    object.end(&ECHOED);
    read
}

fn message(object: &mut Object<'_>) -> Result<(Role, Vec<Part>), Error> {
    let role = object.need("role")?;
    let role = match role.text()?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        _ => return Err(role.refuse("must be one of user, assistant, system, developer")),
    };
    Ok((role, content::parse(&object.need("content")?)?))
}

fn call(object: &mut Object<'_>, input: tool_call::Input) -> Result<(Role, Vec<Part>), Error> {
    let call = ToolCall {
        id: object.need("call_id")?.text()?,
        name: object.need("name")?.text()?,
        input: Some(input),
        executed_upstream: false,
    };
    let continuity = tokens::take_extra(object)?;
    Ok((Role::Assistant, vec![Part { continuity, ..of(part::Kind::ToolCall(call)) }]))
}

/// Reads a thought. A token of ours goes back to the provider it is from; without one the whole item is the token,
/// since OpenAI wants all of it back.
fn reasoning(node: &Node<'_>, object: &mut Object<'_>) -> Result<Option<Part>, Error> {
    let summary = texts(object, "summary")?;
    let said = texts(object, "content")?;
    let summarized = said.is_empty();
    let thought = Thought { text: if summarized { summary } else { said }, summarized, ..Thought::default() };
    let token = match object.text("encrypted_content")?.filter(|token| !token.is_empty()) {
        Some(token) if continuity::is_marked(&token) => Some(continuity::decode(&token, VENDOR)),
        Some(_) => {
            Some(Continuity { provider: VENDOR.to_owned(), token: node.json().as_bytes().to_vec().into() })
        }
        None => None,
    };
    let part = tokens::with_token(thought, token);
    let empty = matches!(&part.kind, Some(part::Kind::Thought(thought)) if *thought == Thought { summarized, ..Thought::default() });
    Ok((!empty || part.continuity.is_some()).then_some(part))
}

/// Joins the texts of a list of `{"type":…,"text":…}`, a paragraph each.
fn texts(object: &mut Object<'_>, name: &str) -> Result<String, Error> {
    let Some(list) = object.take(name) else { return Ok(String::new()) };
    let texts: Result<Vec<String>, Error> =
        list.elements()?.iter().map(|node| node.object()?.text_or_empty("text")).collect();
    Ok(texts?.join("\n\n"))
}

/// Keeps an item that the contract has no kind for (`item_reference`, calls of OpenAI's own tools, …).
fn theirs(kind: String, node: &Node<'_>) -> Part {
    let json = node.json().to_owned();
    of(part::Kind::Extension(Extension { provider: VENDOR.to_owned(), r#type: kind, json }))
}

/// Tells who speaks an item: what answers a call of the model comes from the caller.
fn speaker(kind: &str) -> Role {
    if kind.ends_with("_output") || kind.ends_with("_response") { Role::User } else { Role::Assistant }
}
