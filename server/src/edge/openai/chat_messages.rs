//! JSON messages and their content parts to `v1::Message`.

use tollgate_api::v1::{
    CacheBreakpoint, Continuity, Extension, Media, Message, Part, Role, Thought, ToolCall, ToolResult, media,
    part, tool_call,
};

use super::tokens::{self, VENDOR};
use crate::edge::rest::node::{Node, Object};
use crate::error::Error;

/// Members of an answer that callers send back with its message, and that say nothing to a model.
const ECHOED: [&str; 8] =
    ["id", "index", "type", "status", "annotations", "logprobs", "provider_specific_fields", "finish_reason"];

/// Reads a conversation.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn parse(node: &Node<'_>) -> Result<Vec<Message>, Error> {
    let mut calls = FunctionCalls::default();
    node.elements()?.iter().map(|node| message(node, &mut calls)).collect()
}

/// Reads a content: a string or an array of parts.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn content(node: &Node<'_>) -> Result<Vec<Part>, Error> {
    if node.is_string() {
        return Ok(vec![of(part::Kind::Text(node.text()?))]);
    }
    if !node.is_array() {
        return Err(node.refuse("must be a string, an array or null"));
    }
    node.elements()?.iter().map(part).collect()
}

/// The legacy calls of functions, which had no ids: a result answers the last call of its name.
#[derive(Default)]
struct FunctionCalls {
    made: Vec<(String, String)>,
}

impl FunctionCalls {
    fn call(&mut self, name: &str) -> String {
        let id = format!("call_{}", self.made.len());
        self.made.push((name.to_owned(), id.clone()));
        id
    }

    fn answered(&self, name: &str) -> String {
        let call = self.made.iter().rev().find(|(made, _)| made == name);
        call.map_or_else(|| format!("call_{name}"), |(_, id)| id.clone())
    }
}

fn message(node: &Node<'_>, calls: &mut FunctionCalls) -> Result<Message, Error> {
    let mut object = node.object()?;
    let role = object.need("role")?;
    let name = object.text_or_empty("name")?;
    let mut parts = object.take("content").map(|node| content(&node)).transpose()?.unwrap_or_default();
    if let (Some(mark), Some(last)) = (breakpoint(&mut object)?, parts.last_mut()) {
        last.cache_breakpoint = Some(mark);
    }
    let (role, parts) = match role.text()?.as_str() {
        "system" => (Role::System, parts),
        "developer" => (Role::Developer, parts),
        "user" => (Role::User, parts),
        "assistant" => (Role::Assistant, assistant(&mut object, parts, calls)?),
        "tool" => {
            // Some clients leave it out where there was one call only.
            let id = object.text_or_empty("tool_call_id")?;
            (Role::Tool, vec![result(id, parts)])
        }
        "function" if name.is_empty() => {
            return Err(object.need("name").err().unwrap_or_else(|| node.refuse("needs a name")));
        }
        "function" => {
            let id = calls.answered(&name);
            object.end(&ECHOED);
            return Ok(Message {
                role: Role::Tool.into(),
                parts: vec![result(id, parts)],
                name: String::new(),
            });
        }
        _ => return Err(role.refuse("is not a known role")),
    };
    object.end(&ECHOED);
    Ok(Message { role: role.into(), parts, name })
}

fn result(tool_call_id: String, parts: Vec<Part>) -> Part {
    let result = ToolResult { tool_call_id, parts, is_error: false };
    of(part::Kind::ToolResult(Box::new(result)))
}

/// Puts an assistant's message together in the order in which models speak: thought, content, refusal, calls.
fn assistant(
    object: &mut Object<'_>,
    content: Vec<Part>,
    calls: &mut FunctionCalls,
) -> Result<Vec<Part>, Error> {
    let mut parts = tokens::take_details(object)?;
    // The two names under which vendors show a thought; its name is what they want it back by.
    for name in ["reasoning_content", "reasoning"] {
        let thought = object.text(name)?.filter(|text| !text.is_empty() && parts.is_empty());
        if let Some(text) = thought {
            let continuity = Continuity { provider: VENDOR.to_owned(), token: name.into() };
            let thought = part::Kind::Thought(Thought { text, ..Default::default() });
            parts.push(Part { continuity: Some(continuity), ..of(thought) });
        }
    }
    parts.extend(content);
    if let (Some(token), Some(last)) = (tokens::take_extra(object)?, parts.last_mut()) {
        last.continuity = Some(token);
    }
    if let Some(refusal) = object.text("refusal")? {
        parts.push(of(part::Kind::Refusal(refusal)));
    }
    if let Some(audio) = object.take("audio") {
        let id = audio.object()?.need("id")?.text()?;
        let sound = Media { source: Some(media::Source::FileId(id)), ..Default::default() };
        parts.push(of(part::Kind::Media(Box::new(sound))));
    }
    if let Some(list) = object.take("tool_calls") {
        for node in list.elements()? {
            parts.push(tool_call(&node)?);
        }
    }
    if let Some(call) = object.take("function_call") {
        let mut call = call.object()?;
        let name = call.need("name")?.text()?;
        let id = calls.call(&name);
        let input = tool_call::Input::ArgumentsJson(call.text_or_empty("arguments")?);
        let call = ToolCall { id, name, input: Some(input), executed_upstream: false };
        parts.push(of(part::Kind::ToolCall(call)));
    }
    Ok(parts)
}

fn tool_call(node: &Node<'_>) -> Result<Part, Error> {
    let mut object = node.object()?;
    let continuity = tokens::take_extra(&mut object)?;
    let id = object.need("id")?.text()?;
    let kind = object.take("type");
    let (name, input) = match kind.as_ref().map(Node::text).transpose()?.as_deref() {
        // Many clients leave the type of a function call out.
        None | Some("function") => {
            let mut function = object.need("function")?.object()?;
            let arguments = function.text_or_empty("arguments")?;
            let name = function.need("name")?.text()?;
            function.end(&[]);
            (name, tool_call::Input::ArgumentsJson(arguments))
        }
        Some("custom") => {
            let mut custom = object.need("custom")?.object()?;
            (custom.need("name")?.text()?, tool_call::Input::Text(custom.text_or_empty("input")?))
        }
        Some(_) => {
            return Err(kind.unwrap_or_else(|| node.clone()).refuse("must be `function` or `custom`"));
        }
    };
    object.end(&ECHOED);
    let call = ToolCall { id, name, input: Some(input), executed_upstream: false };
    Ok(Part { continuity, ..of(part::Kind::ToolCall(call)) })
}

fn part(node: &Node<'_>) -> Result<Part, Error> {
    let mut object = node.object()?;
    let kind = object.need("type")?.text()?;
    let cache_breakpoint = breakpoint(&mut object)?;
    let kind = match kind.as_str() {
        "text" => part::Kind::Text(object.need("text")?.text()?),
        "refusal" => part::Kind::Refusal(object.need("refusal")?.text()?),
        "image_url" => part::Kind::Media(Box::new(image(&object.need("image_url")?)?)),
        "video_url" => part::Kind::Media(Box::new(video(&object.need("video_url")?)?)),
        "input_audio" => part::Kind::Media(Box::new(sound(&object.need("input_audio")?)?)),
        "file" => part::Kind::Media(Box::new(file(&object.need("file")?)?)),
        _ => {
            // Whole, for whoever serves the call: compatible vendors have parts of their own.
            let extension = Extension { provider: String::new(), r#type: kind, json: node.json().to_owned() };
            return Ok(Part { cache_breakpoint, ..of(part::Kind::Extension(extension)) });
        }
    };
    object.end(&ECHOED);
    Ok(Part { cache_breakpoint, ..of(kind) })
}

/// Takes the mark that the prompt is to be cached up to here: OpenAI's, or Anthropic's as LiteLLM and OpenRouter have
/// it (`cache_control: {"type": "ephemeral", "ttl": …}`).
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn breakpoint(object: &mut Object<'_>) -> Result<Option<CacheBreakpoint>, Error> {
    let (ours, anthropics) = (object.take("prompt_cache_breakpoint"), object.take("cache_control"));
    let Some(node) = ours.or(anthropics) else { return Ok(None) };
    if node.is_object() {
        let mut mark = node.object()?;
        let ttl = mark.text_or_empty("ttl")?;
        mark.end(&["type", "mode"]);
        return Ok(Some(CacheBreakpoint { ttl }));
    }
    Ok(node.flag()?.then(CacheBreakpoint::default))
}

fn image(node: &Node<'_>) -> Result<Media, Error> {
    // Mistral's spelling, which other vendors take too: the URL itself.
    if node.is_string() {
        return image_at(node);
    }
    let mut image = node.object()?;
    let detail = image.text_or_empty("detail")?;
    let media = image_at(&image.need("url")?)?;
    image.end(&[]);
    Ok(Media { detail, ..media })
}

pub(super) fn image_at(url: &Node<'_>) -> Result<Media, Error> {
    let address = url.text()?;
    match address.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("data:") => data_url(url, &address[5..]),
        _ if address.is_empty() || address.chars().any(char::is_control) => Err(url.refuse("must be a URL")),
        _ => Ok(Media { source: Some(media::Source::Uri(address)), ..Default::default() }),
    }
}

pub(super) fn sound(node: &Node<'_>) -> Result<Media, Error> {
    let mut sound = node.object()?;
    let format = sound.need("format")?.text()?;
    let data = sound.need("data")?;
    let bytes = data.bytes()?;
    sound.end(&[]);
    let mime_type = match format.as_str() {
        "mp3" => "audio/mpeg".to_owned(),
        _ => format!("audio/{format}"),
    };
    Ok(Media { mime_type, source: Some(media::Source::Data(bytes.into())), ..Default::default() })
}

/// Reads a video, which compatible vendors take as they take images.
fn video(node: &Node<'_>) -> Result<Media, Error> {
    let media = image(node)?;
    let mime_type = if media.mime_type.is_empty() { "video/mp4".to_owned() } else { media.mime_type };
    Ok(Media { mime_type, ..media })
}

fn file(node: &Node<'_>) -> Result<Media, Error> {
    let mut file = node.object()?;
    let filename = file.text_or_empty("filename")?;
    if let Some(id) = file.text("file_id")? {
        file.end(&[]);
        return Ok(Media { filename, source: Some(media::Source::FileId(id)), ..Default::default() });
    }
    let data = file.need("file_data")?;
    let text = data.text()?;
    file.end(&["format"]);
    let media = match text.strip_prefix("data:") {
        Some(rest) => data_url(&data, rest)?,
        // Without a data URL nobody says what it is; documents are PDF here unless the name says otherwise.
        None => Media {
            mime_type: if filename.ends_with(".txt") { "text/plain" } else { "application/pdf" }.to_owned(),
            source: Some(media::Source::Data(data.base64(&text)?.into())),
            ..Default::default()
        },
    };
    Ok(Media { filename, ..media })
}

/// Reads what follows `data:`.
pub(super) fn data_url(node: &Node<'_>, rest: &str) -> Result<Media, Error> {
    let Some((head, data)) = rest.split_once(',') else {
        return Err(node.refuse("is a data URL without a comma"));
    };
    let Some(head) = head.strip_suffix(";base64") else {
        return Err(node.refuse("is a data URL that is not base64"));
    };
    let mime_type = head.split(';').next().filter(|mime| !mime.is_empty()).unwrap_or("text/plain");
    Ok(Media {
        mime_type: mime_type.to_owned(),
        source: Some(media::Source::Data(node.base64(data)?.into())),
        ..Default::default()
    })
}

fn of(kind: part::Kind) -> Part {
    Part { kind: Some(kind), ..Default::default() }
}
