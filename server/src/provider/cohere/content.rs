//! The contract's messages in Cohere's JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{
    Media, Message, Part, Role, ToolCall, ToolResult, media::Source, part::Kind, tool_call::Input,
};

use super::{FAMILY, MESSAGE_TOOL_PLAN, THINKING};
use crate::{
    error::Error as CallerError,
    provider::{
        Error,
        json::write::{List, Object},
        translate::{self, Lost, unsupported},
    },
};

/// What all messages share while they are written.
struct Writer<'a> {
    /// The provider's configured name.
    provider: &'a str,
    lost: &'a mut Lost,
    /// Texts that the messages hold as documents: Cohere takes them beside the messages.
    documents: Vec<String>,
}

/// Writes `messages`, and returns the documents that belong beside them.
pub(super) fn messages(
    body: &mut Object<'_>,
    messages: &[Message],
    provider: &str,
    lost: &mut Lost,
) -> Result<Vec<String>, Error> {
    let mut writer = Writer { provider, lost, documents: Vec::new() };
    let mut list = body.list("messages");
    for (index, message) in messages.iter().enumerate() {
        writer.message(&mut list, message, &format!("input.messages[{index}]"))?;
    }
    list.end();
    Ok(writer.documents)
}

fn invalid(field: &str, why: &str) -> Error {
    CallerError::invalid(field, why).into()
}

impl Writer<'_> {
    fn message(&mut self, list: &mut List<'_>, message: &Message, field: &str) -> Result<(), Error> {
        let role = match message.role() {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => return self.assistant(list, message, field),
            Role::Tool => return self.results(list, message, field),
            Role::Unspecified => return Err(invalid(&format!("{field}.role"), "must be set")),
        };
        let mut items = Vec::with_capacity(message.parts.len());
        for (at, part) in message.parts.iter().enumerate() {
            items.extend(self.item(part, &format!("{field}.parts[{at}]"))?);
        }
        let mut written = list.object();
        written.string("role", role);
        write_content(&mut written, &items);
        written.end();
        Ok(())
    }

    /// Writes a part of a system, user or tool message as an item of its content.
    fn item(&mut self, part: &Part, field: &str) -> Result<Option<String>, Error> {
        self.note_breakpoint(part, field)?;
        match &part.kind {
            Some(Kind::Text(text)) => Ok(Some(text_item("text", text))),
            Some(Kind::Media(media)) => self.media(media, &format!("{field}.media")),
            Some(Kind::Extension(extension)) if self.is_own(&extension.provider) => {
                Ok(Some(translate::json(&extension.json, &format!("{field}.extension.json"))?.to_owned()))
            }
            Some(Kind::Extension(_)) => {
                self.lost.content("extension_dropped", field, "it is of another provider");
                Ok(None)
            }
            Some(_) => Err(invalid(field, "may not stand in a message of this role")),
            None => Err(invalid(field, "a part must hold something")),
        }
    }

    fn media(&mut self, media: &Media, field: &str) -> Result<Option<String>, Error> {
        let kind = media.mime_type.as_str();
        match &media.source {
            None => Err(invalid(field, "must say where the bytes are")),
            Some(Source::Uri(uri)) if kind.is_empty() || kind.starts_with("image/") => {
                Ok(Some(image_item(uri, &media.detail)))
            }
            Some(Source::Data(data)) if kind.starts_with("image/") => {
                let url = format!("data:{kind};base64,{}", STANDARD.encode(data));
                Ok(Some(image_item(&url, &media.detail)))
            }
            Some(Source::Data(data)) if is_words(kind) => {
                let text = std::str::from_utf8(data).map_err(|_| invalid(field, "is no UTF-8"))?;
                let id = format!("doc:{}", self.documents.len());
                self.documents.push(document(&id, &media.filename, text));
                Ok(None)
            }
            Some(_) => Err(unsupported(field, "Cohere takes images and texts only")),
        }
    }

    fn assistant(&mut self, list: &mut List<'_>, message: &Message, field: &str) -> Result<(), Error> {
        let (mut items, mut plan) = (Vec::new(), String::new());
        let mut calls: Vec<&ToolCall> = Vec::new();
        for (at, part) in message.parts.iter().enumerate() {
            let field = format!("{field}.parts[{at}]");
            self.note_breakpoint(part, &field)?;
            if part.continuity.as_ref().is_some_and(|continuity| !self.is_own(&continuity.provider)) {
                let why = "the state of another provider cannot be read by this one";
                self.lost.content("continuity_dropped", &field, why);
            }
            match &part.kind {
                Some(Kind::ToolCall(call)) if !call.executed_upstream => calls.push(call),
                Some(Kind::ToolCall(_) | Kind::ToolResult(_)) => {
                    let why = "a provider ran the tool itself; its result is in the text";
                    self.lost.content("tool_call_dropped", &field, why);
                }
                Some(Kind::Thought(thought)) => match self.token(part) {
                    Some(MESSAGE_TOOL_PLAN) => plan.push_str(&thought.text),
                    Some(THINKING) => items.push(text_item(THINKING, &thought.text)),
                    _ => {
                        let why = "thoughts of another provider cannot be read by this one";
                        self.lost.content("continuity_dropped", &field, why);
                    }
                },
                Some(Kind::Refusal(text)) => items.push(text_item("text", text)),
                Some(Kind::Media(media)) if !media.transcript.is_empty() => {
                    items.push(text_item("text", &media.transcript));
                }
                Some(Kind::Media(_)) => {
                    let why = "the provider takes no media that the assistant made";
                    self.lost.content("media_dropped", &field, why);
                }
                _ => items.extend(self.item(part, &field)?),
            }
        }
        let mut written = list.object();
        written.string("role", "assistant");
        written.text(MESSAGE_TOOL_PLAN, &plan);
        if !items.is_empty() || calls.is_empty() {
            write_content(&mut written, &items);
        }
        tool_calls(&mut written, &calls);
        written.end();
        Ok(())
    }

    fn results(&mut self, list: &mut List<'_>, message: &Message, field: &str) -> Result<(), Error> {
        for (at, part) in message.parts.iter().enumerate() {
            let field = format!("{field}.parts[{at}]");
            self.note_breakpoint(part, &field)?;
            let Some(Kind::ToolResult(result)) = &part.kind else {
                return Err(invalid(&field, "must be a tool result: the message is a tool's"));
            };
            self.result(list, result, &field)?;
        }
        Ok(())
    }

    /// Writes the result of a tool: texts, and texts with a name as documents that can be cited.
    fn result(&mut self, list: &mut List<'_>, result: &ToolResult, field: &str) -> Result<(), Error> {
        let mut items = Vec::with_capacity(result.parts.len());
        for (at, part) in result.parts.iter().enumerate() {
            let field = format!("{field}.tool_result.parts[{at}]");
            match &part.kind {
                Some(Kind::Text(text)) => items.push(text_item("text", text)),
                Some(Kind::Media(media)) => match &media.source {
                    Some(Source::Data(data))
                        if is_words(&media.mime_type) && std::str::from_utf8(data).is_ok() =>
                    {
                        let text = std::str::from_utf8(data).unwrap_or_default();
                        let document = document("", &media.filename, text);
                        items.push(format!(r#"{{"type":"document","document":{document}}}"#));
                    }
                    _ => self.lost.parameter(&field, "Cohere takes texts only as the result of a tool")?,
                },
                _ => items.extend(self.item(part, &field)?),
            }
        }
        self.lost.failure(result, field);
        let mut written = list.object();
        written.string("role", "tool");
        written.string("tool_call_id", &result.tool_call_id);
        write_content(&mut written, &items);
        written.end();
        Ok(())
    }

    fn note_breakpoint(&mut self, part: &Part, field: &str) -> Result<(), Error> {
        match part.cache_breakpoint {
            None => Ok(()),
            Some(_) => self
                .lost
                .parameter(&format!("{field}.cache_breakpoint"), "the provider caches prompts by itself"),
        }
    }

    /// Returns the token of a part if it is ours.
    fn token<'p>(&self, part: &'p Part) -> Option<&'p str> {
        let continuity = part.continuity.as_ref().filter(|continuity| self.is_own(&continuity.provider))?;
        std::str::from_utf8(&continuity.token).ok()
    }

    fn is_own(&self, provider: &str) -> bool {
        provider == self.provider || provider == FAMILY
    }
}

fn is_words(mime_type: &str) -> bool {
    mime_type.starts_with("text/") || mime_type == "application/json"
}

/// Writes an item that holds a text: its member has the name of its type.
fn text_item(kind: &str, text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 32);
    let mut item = Object::begin(&mut json);
    item.string("type", kind);
    item.string(kind, text);
    item.end();
    json
}

fn image_item(url: &str, detail: &str) -> String {
    let mut json = String::with_capacity(url.len() + 64);
    let mut item = Object::begin(&mut json);
    item.string("type", "image_url");
    let mut image = item.object("image_url");
    image.string("url", url);
    image.text("detail", detail);
    image.end();
    item.end();
    json
}

fn document(id: &str, title: &str, text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 64);
    let mut document = Object::begin(&mut json);
    document.text("id", id);
    let mut data = document.object("data");
    data.text("title", title);
    data.string("text", text);
    data.end();
    document.end();
    json
}

/// Writes `content` as a list, which every role takes.
fn write_content(written: &mut Object<'_>, items: &[String]) {
    if items.is_empty() {
        return written.string("content", "");
    }
    let mut list = written.list("content");
    for item in items {
        list.item().push_str(item);
    }
    list.end();
}

fn tool_calls(written: &mut Object<'_>, calls: &[&ToolCall]) {
    if calls.is_empty() {
        return;
    }
    let mut list = written.list("tool_calls");
    for call in calls {
        let arguments = match &call.input {
            Some(Input::ArgumentsJson(json) | Input::Text(json)) if !json.is_empty() => json,
            _ => "{}",
        };
        let mut item = list.object();
        item.string("id", &call.id);
        item.string("type", "function");
        let mut function = item.object("function");
        function.string("name", &call.name);
        function.string("arguments", arguments);
        function.end();
        item.end();
    }
    list.end();
}
