//! The contract's messages as input items of the Responses API.

use std::collections::HashSet;

use tollgate_api::v1::{Message, Part, Role, ToolCall, ToolResult, part::Kind, tool_call::Input};

use super::{
    super::{
        FAMILY,
        message::invalid,
        translate::Lost,
        write::{List, Object},
    },
    content::{self, Content},
    token::{self, Token},
};
use crate::provider::Error;

/// Who is written to, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    /// The provider's configured name, which owns continuity tokens and extensions.
    pub(super) provider: &'a str,
    /// It is OpenAI itself: it knows developer messages.
    pub(super) native: bool,
    /// The vendor keeps answers, so that items can be referred to by their ids.
    pub(super) stored: bool,
    /// The caller places its cache breakpoints in OpenAI's way.
    pub(super) breakpoints: bool,
}

impl To<'_> {
    pub(super) fn owns(self, provider: &str) -> bool {
        provider == self.provider || provider == FAMILY
    }
}

/// Writes `instructions` and `input`.
pub(super) fn write(
    body: &mut Object<'_>,
    messages: &[Message],
    to: To<'_>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let instructions = messages.first().and_then(|message| instructions(message, messages.len()));
    if let Some(text) = instructions {
        body.string("instructions", text);
    }
    let mut written = Items { list: body.list("input"), to, lost, custom: custom_calls(messages) };
    for (index, message) in messages.iter().enumerate().skip(usize::from(instructions.is_some())) {
        written.message(message, &format!("input.messages[{index}]"))?;
    }
    written.list.end();
    Ok(())
}

/// Returns the text of a first message that can stand before the conversation, if one follows.
fn instructions(message: &Message, messages: usize) -> Option<&str> {
    match (&message.parts[..], message.role()) {
        ([Part { kind: Some(Kind::Text(text)), cache_breakpoint: None, .. }], Role::System)
            if messages > 1 && message.name.is_empty() =>
        {
            Some(text)
        }
        _ => None,
    }
}

/// Returns the ids of calls of custom tools, whose results have a type of their own.
fn custom_calls(messages: &[Message]) -> HashSet<&str> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let custom = parts.filter_map(|part| match &part.kind {
        Some(Kind::ToolCall(call)) if matches!(call.input, Some(Input::Text(_))) => Some(call.id.as_str()),
        _ => None,
    });
    custom.collect()
}

struct Items<'a, 'b> {
    list: List<'a>,
    to: To<'b>,
    lost: &'b mut Lost,
    custom: HashSet<&'b str>,
}

impl Items<'_, '_> {
    fn message(&mut self, message: &Message, field: &str) -> Result<(), Error> {
        if !message.name.is_empty() {
            self.lost.parameter(&format!("{field}.name"), "the Responses API has no names of speakers")?;
        }
        match message.role() {
            Role::Developer if self.to.native => self.plain("developer", message, field),
            Role::System | Role::Developer => self.plain("system", message, field),
            Role::User => self.plain("user", message, field),
            Role::Assistant => self.assistant(message, field),
            Role::Tool => self.results(message, field),
            Role::Unspecified => Err(invalid(format!("{field}.role"), "must be set")),
        }
    }

    fn plain(&mut self, role: &str, message: &Message, field: &str) -> Result<(), Error> {
        let mut contents = Vec::with_capacity(message.parts.len());
        for (at, part) in message.parts.iter().enumerate() {
            let field = format!("{field}.parts[{at}]");
            match &part.kind {
                Some(Kind::Extension(extension)) if self.to.owns(&extension.provider) => {
                    let json =
                        super::super::translate::json(&extension.json, &format!("{field}.extension.json"))?;
                    if extension.r#type.starts_with("input_") {
                        contents.push(Content::Json(json.to_owned()));
                    } else {
                        self.flush(role, &mut contents, "");
                        self.list.item().push_str(json);
                    }
                }
                _ => contents.extend(content::input(part, &field, self.to, self.lost)?),
            }
        }
        self.flush(role, &mut contents, "");
        Ok(())
    }

    /// Writes the contents that have gathered as one message.
    fn flush(&mut self, role: &str, contents: &mut Vec<Content<'_>>, phase: &str) {
        if contents.is_empty() {
            return;
        }
        let mut written = self.list.object();
        written.string("role", role);
        content::member(&mut written, "content", contents, role == "assistant");
        written.text("phase", phase);
        written.end();
        contents.clear();
    }

    /// Writes a turn of the model: its messages, thoughts and calls are items of their own, in order.
    fn assistant(&mut self, message: &Message, field: &str) -> Result<(), Error> {
        let mut contents = Vec::new();
        let mut gathered = String::new();
        for (at, part) in message.parts.iter().enumerate() {
            let field = format!("{field}.parts[{at}]");
            content::breakpoint(part, &field, self.lost)?;
            let token = token::of(part, self.to, &field, self.lost);
            let text = match &part.kind {
                Some(Kind::Text(text)) => Some(Content::Text(text, false)),
                Some(Kind::Refusal(text)) => Some(Content::Refusal(text)),
                Some(Kind::Media(media)) if !media.transcript.is_empty() => {
                    Some(Content::Text(&media.transcript, false))
                }
                _ => None,
            };
            if let Some(text) = text {
                let phase = token.as_ref().map(Token::phase).unwrap_or_default();
                if phase != gathered {
                    self.flush("assistant", &mut contents, &gathered);
                    gathered = phase;
                }
                contents.push(text);
                continue;
            }
            self.flush("assistant", &mut contents, &gathered);
            self.item(part, token, &field)?;
        }
        self.flush("assistant", &mut contents, &gathered);
        Ok(())
    }

    /// Writes a part of the model's turn that is an item of its own.
    fn item(&mut self, part: &Part, token: Option<Token<'_>>, field: &str) -> Result<(), Error> {
        match &part.kind {
            Some(Kind::ToolCall(call)) if call.executed_upstream => match token {
                Some(token) => self.send_back(&token),
                None => self.lost.content("tool_call_dropped", field, RAN_ITSELF),
            },
            Some(Kind::ToolCall(call)) => self.call(call, token.as_ref()),
            // It is a part of the item of its call, if that can be sent.
            Some(Kind::ToolResult(_)) => {}
            Some(Kind::Thought(thought)) => match token {
                Some(Token::Sealed(sealed)) => self.sealed(sealed, &thought.text),
                Some(token) => self.send_back(&token),
                None if part.continuity.is_none() => {
                    self.lost.content("continuity_dropped", field, NOT_READABLE)
                }
                None => {}
            },
            Some(Kind::Media(media)) => match token.and_then(|token| token.with_image(media)) {
                Some(json) => self.list.item().push_str(&json),
                None => self.lost.content(
                    "media_dropped",
                    field,
                    "the provider takes no media that the assistant made",
                ),
            },
            Some(Kind::Extension(extension)) if self.to.owns(&extension.provider) => {
                let json =
                    super::super::translate::json(&extension.json, &format!("{field}.extension.json"))?;
                self.list.item().push_str(json);
            }
            Some(Kind::Extension(_)) => {
                self.lost.content("extension_dropped", field, "it is of another provider");
            }
            Some(Kind::Text(_) | Kind::Refusal(_)) => {}
            None => return Err(invalid(field.to_owned(), "a part must hold something")),
        }
        Ok(())
    }

    /// Writes an item as it came, unless the vendor has not kept it and it holds nothing that could be read.
    fn send_back(&mut self, token: &Token<'_>) {
        if let Some(json) = token.item(self.to.stored) {
            self.list.item().push_str(&json);
        }
    }

    /// Writes reasoning of which only the encrypted content is known.
    fn sealed(&mut self, sealed: &str, text: &str) {
        let mut item = self.list.object();
        item.string("type", "reasoning");
        item.string("encrypted_content", sealed);
        let mut summary = item.list("summary");
        if !text.is_empty() {
            let mut part = summary.object();
            part.string("type", "summary_text");
            part.string("text", text);
            part.end();
        }
        summary.end();
        item.end();
    }

    fn call(&mut self, call: &ToolCall, token: Option<&Token<'_>>) {
        let (kind, member, input) = match &call.input {
            Some(Input::Text(text)) => ("custom_tool_call", "input", text.as_str()),
            Some(Input::ArgumentsJson(json)) if !json.is_empty() => {
                ("function_call", "arguments", json.as_str())
            }
            _ => ("function_call", "arguments", "{}"),
        };
        let mut item = self.list.object();
        item.string("type", kind);
        item.string("call_id", &call.id);
        item.string("name", &call.name);
        item.string(member, input);
        for (name, json) in token.iter().flat_map(|token| token.members()) {
            item.raw(name, json);
        }
        item.end();
    }

    fn results(&mut self, message: &Message, field: &str) -> Result<(), Error> {
        for (at, part) in message.parts.iter().enumerate() {
            let field = format!("{field}.parts[{at}]");
            content::breakpoint(part, &field, self.lost)?;
            match &part.kind {
                Some(Kind::ToolResult(result)) => self.result(result, &field)?,
                // The result of a tool that the contract does not know is an item of the provider's own.
                Some(Kind::Extension(_)) => self.item(part, None, &field)?,
                _ => return Err(invalid(field, "must be a tool result: the message is a tool's")),
            }
        }
        Ok(())
    }

    fn result(&mut self, result: &ToolResult, field: &str) -> Result<(), Error> {
        let mut contents = Vec::with_capacity(result.parts.len());
        for (at, part) in result.parts.iter().enumerate() {
            let field = format!("{field}.tool_result.parts[{at}]");
            contents.extend(content::input(part, &field, self.to, self.lost)?);
        }
        self.lost.failure(result, field);
        let custom = self.custom.contains(result.tool_call_id.as_str());
        let mut item = self.list.object();
        item.string("type", if custom { "custom_tool_call_output" } else { "function_call_output" });
        item.string("call_id", &result.tool_call_id);
        content::member(&mut item, "output", &contents, false);
        item.end();
        Ok(())
    }
}

const RAN_ITSELF: &str = "a provider ran the tool itself; its result is in the text";
const NOT_READABLE: &str = "thoughts of another provider cannot be read by this one";
