//! The contract's messages in OpenAI's JSON.

use tollgate_api::v1::{
    Media, Message, Part, Role, ToolCall, ToolResult, media::Source, part::Kind, tool_call::Input,
};

use super::{
    FAMILY,
    choice::THINKING_PART,
    media,
    translate::Lost,
    write::{self, List, Object},
};
use crate::{
    error::Error as CallerError,
    provider::{Error, vendors::Vendor},
};

/// Who is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    /// The provider's configured name, which owns continuity tokens and extensions.
    pub(super) provider: &'a str,
    /// What is different about the vendor.
    pub(super) vendor: &'a Vendor,
    /// The message is the last one.
    pub(super) last: bool,
}

/// Writes one message; a message of tool results becomes one per result.
pub(super) fn write(
    list: &mut List<'_>,
    message: &Message,
    index: usize,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let field = format!("input.messages[{index}]");
    let role = match message.role() {
        Role::Developer if to.vendor.native => "developer",
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => return results(list, message, &field, lost),
        Role::Unspecified => return Err(invalid(format!("{field}.role"), "must be set")),
    };
    let mut written = list.object();
    written.string("role", role);
    written.text("name", &message.name);
    if role == "assistant" {
        assistant(&mut written, message, &field, to, lost)?;
    } else {
        let mut contents = Vec::with_capacity(message.parts.len());
        for (at, part) in message.parts.iter().enumerate() {
            let field = format!("{field}.parts[{at}]");
            note_breakpoint(part, &field, lost)?;
            contents.extend(content(part, &field, to, lost)?);
        }
        content_member(&mut written, &contents, false);
    }
    written.end();
    Ok(())
}

/// One item of a content list.
pub(super) enum Item<'a> {
    Text(&'a str),
    /// The JSON of a part.
    Json(String),
}

pub(super) fn invalid(field: String, why: &str) -> Error {
    CallerError::invalid(field, why).into()
}

fn note_breakpoint(part: &Part, field: &str, lost: &mut Lost) -> Result<(), Error> {
    if part.cache_breakpoint.is_none() {
        return Ok(());
    }
    lost.parameter(&format!("{field}.cache_breakpoint"), "the provider caches prompts by itself")
}

/// Writes `content`: a single text as a string, which every vendor takes, anything else as a list.
pub(super) fn content_member(written: &mut Object<'_>, contents: &[Item<'_>], or_null: bool) {
    match contents {
        [] if or_null => written.raw("content", "null"),
        [] => written.string("content", ""),
        [Item::Text(text)] => written.string("content", text),
        _ => {
            let mut list = written.list("content");
            for item in contents {
                match item {
                    Item::Json(json) => list.item().push_str(json),
                    Item::Text(text) => {
                        let mut part = list.object();
                        part.string("type", "text");
                        part.string("text", text);
                        part.end();
                    }
                }
            }
            list.end();
        }
    }
}

/// Writes a part of a system or user message.
pub(super) fn content<'a>(
    part: &'a Part,
    field: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<Option<Item<'a>>, Error> {
    match &part.kind {
        Some(Kind::Text(text)) => Ok(Some(Item::Text(text))),
        Some(Kind::Media(media)) => media::part(media, field, to).map(|json| Some(Item::Json(json))),
        Some(Kind::Extension(extension))
            if extension.provider.is_empty() || extension.provider == to.provider =>
        {
            let json = super::translate::json(&extension.json, &format!("{field}.extension.json"))?;
            Ok(Some(Item::Json(json.to_owned())))
        }
        Some(Kind::Extension(_)) => {
            lost.content("extension_dropped", field, "it is of another provider");
            Ok(None)
        }
        Some(Kind::ToolCall(_) | Kind::Thought(_) | Kind::Refusal(_)) => {
            Err(invalid(field.to_owned(), "may stand in messages of the assistant only"))
        }
        Some(Kind::ToolResult(_)) => Err(invalid(field.to_owned(), "may stand in messages of a tool only")),
        None => Err(invalid(field.to_owned(), "a part must hold something")),
    }
}

fn assistant(
    written: &mut Object<'_>,
    message: &Message,
    field: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut contents = Vec::new();
    let mut calls: Vec<&ToolCall> = Vec::new();
    let mut refusals: Vec<&str> = Vec::new();
    let mut thoughts: Vec<&Part> = Vec::new();
    let mut audio = None;
    for (at, part) in message.parts.iter().enumerate() {
        let field = format!("{field}.parts[{at}]");
        note_breakpoint(part, &field, lost)?;
        if part.continuity.is_some() && !own(part, to) {
            lost.content(
                "continuity_dropped",
                &field,
                "the state of another provider cannot be read by this one",
            );
        }
        match &part.kind {
            Some(Kind::ToolCall(call)) if call.executed_upstream => {
                lost.content(
                    "tool_call_dropped",
                    &field,
                    "a provider ran the tool itself; its result is in the text",
                );
            }
            Some(Kind::ToolCall(call)) => calls.push(call),
            Some(Kind::ToolResult(_)) => {
                lost.content(
                    "tool_call_dropped",
                    &field,
                    "a provider ran the tool itself; its result is in the text",
                );
            }
            Some(Kind::Refusal(text)) => refusals.push(text),
            Some(Kind::Thought(_)) if own(part, to) => thoughts.push(part),
            Some(Kind::Thought(_)) => {
                lost.content(
                    "continuity_dropped",
                    &field,
                    "thoughts of another provider cannot be read by this one",
                );
            }
            Some(Kind::Media(media)) => match audio_id(part, media, to) {
                Some(id) => audio = Some(id),
                None if media.transcript.is_empty() => {
                    lost.content(
                        "media_dropped",
                        &field,
                        "the provider takes no media that the assistant made",
                    );
                }
                None => contents.push(Item::Text(&media.transcript)),
            },
            _ => contents.extend(content(part, &field, to, lost)?),
        }
    }
    if !refusals.is_empty() {
        written.string("refusal", &refusals.concat());
    }
    let thinking = send_back(written, &thoughts, !calls.is_empty());
    contents.splice(0..0, thinking.into_iter().map(Item::Json));
    if let Some(id) = audio {
        let mut member = written.object("audio");
        member.string("id", &id);
        member.end();
    }
    // Beside calls, a refusal or a sound, null says that there is no text; an empty text would be one.
    content_member(written, &contents, true);
    if !calls.is_empty() {
        tool_calls(written, &calls);
    } else if to.last && to.vendor.prefix {
        written.raw("prefix", "true");
    }
    Ok(())
}

/// Tells whether a token is of this provider, or is what a caller of this dialect says of a thought that compatible
/// vendors take back. OpenAI itself takes none in this dialect.
fn own(part: &Part, to: To<'_>) -> bool {
    part.continuity.as_ref().is_some_and(|continuity| {
        let of_dialect = continuity.provider == FAMILY && is_thoughts_own(&continuity.token);
        continuity.provider == to.provider || (of_dialect && !to.vendor.native)
    })
}

/// Tells how chat answers name a thought, or list its details: unlike the items of Responses answers.
fn is_thoughts_own(token: &[u8]) -> bool {
    token.starts_with(b"[") || token.starts_with(b"reasoning")
}

fn audio_id(part: &Part, media: &Media, to: To<'_>) -> Option<String> {
    if let Some(Source::FileId(id)) = &media.source {
        return Some(id.clone());
    }
    let token = part.continuity.as_ref().filter(|_| own(part, to))?;
    String::from_utf8(token.token.to_vec()).ok()
}

/// Sends thoughts back the way they came; returns those that are parts of the content. Plain reasoning goes back beside
/// tool calls only: there some vendors need it, elsewhere some refuse it.
fn send_back(written: &mut Object<'_>, thoughts: &[&Part], with_calls: bool) -> Vec<String> {
    let mut thinking = Vec::new();
    let mut details = String::new();
    let mut named: Option<(&str, String)> = None;
    for part in thoughts {
        let (Some(Kind::Thought(thought)), Some(continuity)) = (&part.kind, &part.continuity) else {
            continue;
        };
        let token = std::str::from_utf8(&continuity.token).unwrap_or_default();
        match token {
            "reasoning_content" | "reasoning" if with_calls => {
                named.get_or_insert((token, String::new())).1.push_str(&thought.text);
            }
            THINKING_PART => thinking.push(thinking_part(&thought.text)),
            _ => {
                let Ok(items) = serde_json::from_str::<Vec<&serde_json::value::RawValue>>(token) else {
                    continue;
                };
                for item in items {
                    if !details.is_empty() {
                        details.push(',');
                    }
                    details.push_str(item.get());
                }
            }
        }
    }
    if let Some((name, text)) = named {
        written.string(name, &text);
    }
    if !details.is_empty() {
        written.raw("reasoning_details", &format!("[{details}]"));
    }
    thinking
}

/// Writes a thought as Mistral does: a part that holds a list of texts.
fn thinking_part(text: &str) -> String {
    let mut json = String::new();
    let mut part = Object::begin(&mut json);
    part.string("type", THINKING_PART);
    let mut list = part.list("thinking");
    let mut item = list.object();
    item.string("type", "text");
    item.string("text", text);
    item.end();
    list.end();
    part.end();
    json
}

fn tool_calls(written: &mut Object<'_>, calls: &[&ToolCall]) {
    let mut list = written.list("tool_calls");
    for call in calls {
        let mut item = list.object();
        item.string("id", &call.id);
        let (kind, member, input) = match &call.input {
            Some(Input::Text(text)) => ("custom", "input", text.as_str()),
            Some(Input::ArgumentsJson(json)) if !json.is_empty() => ("function", "arguments", json.as_str()),
            _ => ("function", "arguments", "{}"),
        };
        item.string("type", kind);
        let mut inner = item.object(kind);
        inner.string("name", &call.name);
        inner.string(member, input);
        inner.end();
        item.end();
    }
    list.end();
}

fn results(list: &mut List<'_>, message: &Message, field: &str, lost: &mut Lost) -> Result<(), Error> {
    for (at, part) in message.parts.iter().enumerate() {
        let field = format!("{field}.parts[{at}]");
        let Some(Kind::ToolResult(result)) = &part.kind else {
            return Err(invalid(field, "must be a tool result: the message is a tool's"));
        };
        note_breakpoint(part, &field, lost)?;
        result_message(list, result, &field, lost)?;
    }
    Ok(())
}

fn result_message(
    list: &mut List<'_>,
    result: &ToolResult,
    field: &str,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut contents = Vec::with_capacity(result.parts.len());
    for (at, part) in result.parts.iter().enumerate() {
        match &part.kind {
            Some(Kind::Text(text)) => contents.push(Item::Text(text)),
            _ => lost.parameter(
                &format!("{field}.tool_result.parts[{at}]"),
                "the provider takes text only as the result of a tool",
            )?,
        }
    }
    lost.failure(result, field);
    let mut written = list.object();
    written.string("role", "tool");
    written.string("tool_call_id", &result.tool_call_id);
    content_member(&mut written, &contents, false);
    written.end();
    Ok(())
}

/// Writes a list of text parts as one content, for `prediction`.
pub(super) fn texts(written: &mut Object<'_>, parts: &[Part], field: &str) -> Result<(), Error> {
    let mut contents = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        match &part.kind {
            Some(Kind::Text(text)) => contents.push(Item::Text(text)),
            _ => return Err(invalid(format!("{field}[{at}]"), "must be text")),
        }
    }
    content_member(written, &contents, false);
    Ok(())
}

/// Writes all messages.
pub(super) fn write_all(
    out: &mut String,
    messages: &[Message],
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut list = write::List::begin(out);
    for (index, message) in messages.iter().enumerate() {
        let to = To { last: index + 1 == messages.len(), ..to };
        write(&mut list, message, index, to, lost)?;
    }
    list.end();
    Ok(())
}
