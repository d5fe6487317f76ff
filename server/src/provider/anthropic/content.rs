//! The contract's parts as Anthropic's content blocks.

use tollgate_api::v1::{
    Annotation, CacheBreakpoint, Part, Role, Thought, ToolCall, ToolResult, annotation, part::Kind,
    tool_call::Input,
};

use super::{
    FAMILY, media,
    model::Generation,
    translate::{self, Lost},
    write::{self, List, Object},
};
use crate::{error::Error as CallerError, provider::Error};

/// Who is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    /// The provider's configured name, which owns continuity tokens and extensions beside the family's.
    pub(super) provider: &'a str,
    pub(super) generation: Generation,
}

/// One content block.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// A text with nothing to it.
    Plain(&'a str),
    /// The JSON of a block.
    Block(String),
}

impl To<'_> {
    pub(super) fn owns(self, provider: &str) -> bool {
        provider == self.provider || provider == FAMILY
    }

    pub(super) fn owns_token(self, part: &Part) -> bool {
        part.continuity.as_ref().is_some_and(|continuity| self.owns(&continuity.provider))
    }
}

/// Writes a content: a single plain text as a string, anything else as a list.
pub(super) fn write(out: &mut String, contents: &[Content<'_>]) {
    if let [Content::Plain(text)] = contents {
        return write::string(out, text);
    }
    let mut list = List::begin(out);
    for content in contents {
        match content {
            Content::Block(json) => list.item().push_str(json),
            Content::Plain(text) => {
                let mut block = list.object();
                block.string("type", "text");
                block.string("text", text);
                block.end();
            }
        }
    }
    list.end();
}

/// Writes the mark of the prompt cache.
pub(super) fn cache_control(block: &mut Object<'_>, breakpoint: Option<&CacheBreakpoint>) {
    if let Some(breakpoint) = breakpoint {
        let mut mark = block.object("cache_control");
        mark.string("type", "ephemeral");
        mark.text("ttl", &breakpoint.ttl);
        mark.end();
    }
}

fn invalid(field: &str, why: &str) -> Error {
    CallerError::invalid(field, why).into()
}

/// Translates one part of a message of that role. None if nothing of it is sent.
pub(super) fn of_part<'a>(
    part: &'a Part,
    role: Role,
    field: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<Option<Content<'a>>, Error> {
    let by_model = role == Role::Assistant;
    if part.continuity.is_some() && !to.owns_token(part) {
        lost.content("continuity_dropped", field, "the state of another provider cannot be read by this one");
    }
    let block = match &part.kind {
        None => return Err(invalid(field, "a part must hold something")),
        Some(Kind::ToolResult(result)) if !by_model => Some(tool_result(part, result, field, to, lost)?),
        Some(_) if role == Role::Tool => {
            return Err(invalid(field, "must be a tool result: the message is a tool's"));
        }
        Some(Kind::Text(text)) => return Ok(self::text(part, text, to)),
        Some(Kind::Extension(extension)) if to.owns(&extension.provider) => {
            Some(translate::json(&extension.json, &format!("{field}.extension.json"))?.to_owned())
        }
        Some(Kind::Extension(_)) => {
            lost.content("extension_dropped", field, "it is of another provider");
            None
        }
        Some(Kind::Media(media)) if by_model => return Ok(made_media(&media.transcript, field, lost)),
        Some(Kind::Media(media)) => {
            lost.detail(media, &format!("{field}.media"))?;
            Some(media::block(media, part.cache_breakpoint.as_ref(), field)?)
        }
        Some(_) if !by_model => return Err(invalid(field, "may stand in messages of the assistant only")),
        Some(Kind::Refusal(text)) => return Ok((!text.is_empty()).then_some(Content::Plain(text))),
        Some(Kind::Thought(thought)) => self::thought(part, thought, field, to, lost),
        Some(Kind::ToolCall(call)) => tool_call(part, call, field, to, lost),
        Some(Kind::ToolResult(_)) => {
            lost.content(
                "tool_call_dropped",
                field,
                "a provider ran the tool itself; its result is in the text",
            );
            None
        }
    };
    Ok(block.map(Content::Block))
}

/// Writes a text. Empty ones are refused by the API and say nothing.
fn text<'a>(part: &'a Part, text: &'a str, to: To<'_>) -> Option<Content<'a>> {
    if text.is_empty() {
        return None;
    }
    let citations: Vec<&str> = part.annotations.iter().filter_map(|note| own_citation(note, to)).collect();
    if part.cache_breakpoint.is_none() && citations.is_empty() {
        return Some(Content::Plain(text));
    }
    let mut json = String::new();
    let mut block = Object::begin(&mut json);
    block.string("type", "text");
    block.string("text", text);
    if !citations.is_empty() {
        block.raw("citations", &format!("[{}]", citations.join(",")));
    }
    cache_control(&mut block, part.cache_breakpoint.as_ref());
    block.end();
    Some(Content::Block(json))
}

/// Returns a citation that is still as Anthropic wrote it.
fn own_citation<'a>(note: &'a Annotation, to: To<'_>) -> Option<&'a str> {
    let Some(annotation::Kind::Extension(citation)) = &note.kind else { return None };
    let is_own = to.owns(&citation.provider) && citation.r#type.ends_with("_location");
    Some(citation.json.as_str()).filter(|json| is_own && translate::json(json, "").is_ok())
}

/// Tells what the assistant once made in words: the API takes no media of its.
fn made_media<'a>(transcript: &'a str, field: &str, lost: &mut Lost) -> Option<Content<'a>> {
    if transcript.is_empty() {
        lost.content("media_dropped", field, "the provider takes no media that the assistant made");
        return None;
    }
    Some(Content::Plain(transcript))
}

/// Writes a thought with its signature, or an encrypted one. Without a signature of its own the API refuses it.
fn thought(part: &Part, thought: &Thought, field: &str, to: To<'_>, lost: &mut Lost) -> Option<String> {
    let token = part.continuity.as_ref().filter(|_| to.owns_token(part));
    let signature = token.and_then(|token| std::str::from_utf8(&token.token).ok());
    let redacted = std::str::from_utf8(&thought.redacted).ok();
    let (Some(signature), Some(redacted)) = (signature, redacted) else {
        let why = "a thought that this provider has not signed cannot be sent to it";
        lost.content("continuity_dropped", field, why);
        return None;
    };
    let mut json = String::new();
    let mut block = Object::begin(&mut json);
    if redacted.is_empty() {
        block.string("type", "thinking");
        block.string("thinking", &thought.text);
        block.string("signature", signature);
    } else {
        block.string("type", "redacted_thinking");
        block.string("data", redacted);
    }
    block.end();
    Some(json)
}

/// Writes a call. Those that the provider ran itself are sent back if it was this one, which its ids tell.
fn tool_call(part: &Part, call: &ToolCall, field: &str, to: To<'_>, lost: &mut Lost) -> Option<String> {
    if call.executed_upstream && !call.id.starts_with("srvtoolu_") {
        lost.content("tool_call_dropped", field, "a provider ran the tool itself; its result is in the text");
        return None;
    }
    let mut json = String::new();
    let mut block = Object::begin(&mut json);
    block.string("type", if call.executed_upstream { "server_tool_use" } else { "tool_use" });
    block.string("id", &id(&call.id));
    block.string("name", &call.name);
    block.raw("input", &input(call));
    let token = part.continuity.as_ref().filter(|_| to.owns_token(part));
    let caller = token.and_then(|token| std::str::from_utf8(&token.token).ok());
    if let Some(caller) =
        caller.filter(|caller| caller.starts_with('{') && translate::json(caller, "").is_ok())
    {
        block.raw("caller", caller);
    }
    cache_control(&mut block, part.cache_breakpoint.as_ref());
    block.end();
    Some(json)
}

/// The input must be an object: none is an empty one, and what is none is put into one.
fn input(call: &ToolCall) -> String {
    let text = match &call.input {
        None => return "{}".to_owned(),
        Some(Input::ArgumentsJson(json) | Input::Text(json)) if json.trim().is_empty() => {
            return "{}".to_owned();
        }
        Some(Input::ArgumentsJson(json)) => match translate::json(json, "") {
            Ok(object) if object.starts_with('{') => return object.to_owned(),
            _ => json,
        },
        Some(Input::Text(text)) => text,
    };
    let mut json = String::new();
    let mut object = Object::begin(&mut json);
    object.string("input", text);
    object.end();
    json
}

/// Ids of other providers may hold characters that the API refuses. A call and its result are changed alike.
fn id(id: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    id.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn tool_result(
    part: &Part,
    result: &ToolResult,
    field: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<String, Error> {
    let mut contents = Vec::with_capacity(result.parts.len());
    for (at, inner) in result.parts.iter().enumerate() {
        let field = format!("{field}.tool_result.parts[{at}]");
        contents.extend(of_part(inner, Role::User, &field, to, lost)?);
    }
    let mut json = String::new();
    let mut block = Object::begin(&mut json);
    block.string("type", "tool_result");
    block.string("tool_use_id", &id(&result.tool_call_id));
    if !contents.is_empty() {
        self::write(block.key("content"), &contents);
    }
    block.bool("is_error", result.is_error.then_some(true));
    cache_control(&mut block, part.cache_breakpoint.as_ref());
    block.end();
    Ok(json)
}
