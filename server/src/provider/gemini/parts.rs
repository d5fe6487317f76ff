//! One part of a message in Gemini's JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{
    Media, Part, Thought, ToolCall, ToolResult, media::Source, part::Kind, tool_call::Input,
};

use super::request::To;
use crate::{
    error::Error as CallerError,
    provider::{
        Error,
        json::{members::Members, write::Object},
        translate::{Lost, json, unsupported},
    },
};

/// What Google documents for calls that have no signature because another model, or nobody, made them.
const UNSIGNED: &str = "skip_thought_signature_validator";

pub(super) fn invalid(field: String, why: &str) -> Error {
    CallerError::invalid(field, why).into()
}

/// Writes a part that anybody may say. `signature` is sent back with it; empty: none. None: there is nothing to send.
pub(super) fn content(
    part: &Part,
    field: &str,
    signature: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<Option<String>, Error> {
    let mut out = String::new();
    let mut written = Object::begin(&mut out);
    match &part.kind {
        Some(Kind::Text(text)) if text.is_empty() && signature.is_empty() => return Ok(None),
        Some(Kind::Text(text)) => written.string("text", text),
        Some(Kind::Media(media)) => self::media(&mut written, media, &format!("{field}.media"), lost)?,
        Some(Kind::Extension(extension)) if extension.provider == to.provider => {
            let own = json(&extension.json, &format!("{field}.extension.json"))?;
            return Ok(Some(own.to_owned()));
        }
        Some(Kind::Extension(_)) => {
            lost.content("extension_dropped", field, "it is of another provider");
            return Ok(None);
        }
        _ => return Err(invalid(field.to_owned(), "a part must hold something")),
    }
    written.text("thoughtSignature", signature);
    written.end();
    Ok(Some(out))
}

/// Writes a part that the model said, with the signature that belongs to it. `first_call` says that it is the first
/// call of its turn, which models from generation 3 on take with a signature only.
pub(super) fn of_model(
    part: &Part,
    first_call: bool,
    field: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<Option<String>, Error> {
    let token = part.continuity.as_ref().filter(|continuity| to.owns(continuity));
    if part.continuity.is_some() && token.is_none() {
        lost.content("continuity_dropped", field, "the state of another provider cannot be read by this one");
    }
    let token = token.and_then(|continuity| std::str::from_utf8(&continuity.token).ok()).unwrap_or_default();
    // What Gemini ran itself goes back as it came.
    if token.starts_with('{') {
        return Ok(serde_json::from_str::<Members<'_>>(token).is_ok().then(|| token.to_owned()));
    }
    let must_be_signed = first_call && to.generation.is_some_and(|generation| generation >= 3);
    let signature = if token.is_empty() && must_be_signed { UNSIGNED } else { token };
    match &part.kind {
        Some(Kind::ToolCall(call)) if !call.executed_upstream => {
            Ok(Some(self::call(call, signature, field, to)?))
        }
        Some(Kind::ToolCall(_) | Kind::ToolResult(_)) => {
            let why = "a provider ran the tool itself; its result is in the text";
            lost.content("tool_call_dropped", field, why);
            Ok(None)
        }
        Some(Kind::Thought(thought)) => Ok(self::thought(part, thought, token, field, lost)),
        Some(Kind::Refusal(text)) => {
            let words = Part { kind: Some(Kind::Text(text.clone())), ..Part::default() };
            content(&words, field, token, to, lost)
        }
        _ => content(part, field, token, to, lost),
    }
}

/// Thoughts are sent back only with the state that makes them of use.
fn thought(part: &Part, thought: &Thought, token: &str, field: &str, lost: &mut Lost) -> Option<String> {
    if token.is_empty() {
        // Gemini's own thoughts without a signature are for reading only.
        if part.continuity.is_none() {
            lost.content("continuity_dropped", field, "a thought without state is of no use to the provider");
        }
        return None;
    }
    let mut json = String::new();
    let mut written = Object::begin(&mut json);
    written.string("text", &thought.text);
    written.raw("thought", "true");
    written.string("thoughtSignature", token);
    written.end();
    Some(json)
}

fn call(call: &ToolCall, signature: &str, field: &str, to: To<'_>) -> Result<String, Error> {
    let mut args = String::new();
    match &call.input {
        Some(Input::ArgumentsJson(text)) if !text.trim().is_empty() => {
            let field = format!("{field}.tool_call.arguments_json");
            if serde_json::from_str::<Members<'_>>(text).is_err() {
                return Err(invalid(field, "must be one JSON object"));
            }
            args.push_str(text);
        }
        Some(Input::Text(text)) => {
            let mut object = Object::begin(&mut args);
            object.string("input", text);
            object.end();
        }
        _ => args.push_str("{}"),
    }
    let mut json = String::new();
    let mut written = Object::begin(&mut json);
    let mut inner = written.object("functionCall");
    // Models before generation 3 know no ids, and Vertex refuses them there.
    if to.is_since(3) {
        inner.text("id", &call.id);
    }
    inner.string("name", &call.name);
    inner.raw("args", &args);
    inner.end();
    written.text("thoughtSignature", signature);
    written.end();
    Ok(json)
}

/// Writes the result of a tool. Media that cannot stand in it are put `after` it.
pub(super) fn result(
    result: &ToolResult,
    name: &str,
    field: &str,
    to: To<'_>,
    lost: &mut Lost,
    after: &mut Vec<String>,
) -> Result<String, Error> {
    let mut text = String::new();
    let mut media = Vec::new();
    for (at, part) in result.parts.iter().enumerate() {
        let field = format!("{field}.tool_result.parts[{at}]");
        match &part.kind {
            Some(Kind::Text(words)) => text.push_str(words),
            Some(Kind::Media(_)) => media.extend(content(part, &field, "", to, lost)?),
            _ => lost.parameter(&field, "the result of a tool can be text and media only")?,
        }
    }
    let mut json = String::new();
    let mut written = Object::begin(&mut json);
    let mut inner = written.object("functionResponse");
    if to.is_since(3) {
        inner.text("id", &result.tool_call_id);
    }
    inner.string("name", name);
    response(&mut inner, &text, result.is_error);
    if to.is_since(3) && !media.is_empty() {
        let mut list = inner.list("parts");
        media.iter().for_each(|part| list.item().push_str(part));
        list.end();
    } else {
        after.append(&mut media);
    }
    inner.end();
    written.end();
    Ok(json)
}

/// A result must be an object: one that is goes as it is, anything else under the names that Google's SDK gives it.
fn response(written: &mut Object<'_>, text: &str, is_error: bool) {
    let is_object = serde_json::from_str::<Members<'_>>(text).is_ok();
    match (is_object, is_error) {
        (true, false) => written.raw("response", text),
        (false, false) if text.is_empty() => written.raw("response", "{}"),
        _ => {
            let mut inner = written.object("response");
            let name = if is_error { "error" } else { "output" };
            if is_object {
                inner.raw(name, text);
            } else {
                inner.string(name, text);
            }
            inner.end();
        }
    }
}

fn media(written: &mut Object<'_>, media: &Media, field: &str, lost: &mut Lost) -> Result<(), Error> {
    let mime_type = media.mime_type.as_str();
    match &media.source {
        None => return Err(invalid(field.to_owned(), "must say where the bytes are")),
        Some(Source::Data(_)) if mime_type.is_empty() => {
            return Err(invalid(format!("{field}.mime_type"), "must be set for bytes"));
        }
        Some(Source::Data(data)) => inline(written, mime_type, &STANDARD.encode(data)),
        Some(Source::FileId(id)) if !id.contains("://") => {
            return Err(unsupported(&format!("{field}.file_id"), "Gemini's API knows files by their URI"));
        }
        Some(Source::Uri(uri) | Source::FileId(uri)) => match data_url(uri) {
            Some((told, data)) => inline(written, if mime_type.is_empty() { told } else { mime_type }, data),
            None => {
                let mut file = written.object("fileData");
                file.text("mimeType", mime_type);
                file.string("fileUri", uri);
                file.end();
            }
        },
    }
    if !media.filename.is_empty() {
        lost.content("filename_dropped", &format!("{field}.filename"), "Gemini's API has no names of files");
    }
    if !matches!(media.detail.as_str(), "" | "auto") {
        lost.parameter(
            &format!("{field}.detail"),
            "Gemini's API has one resolution for all media of a call",
        )?;
    }
    Ok(())
}

fn inline(written: &mut Object<'_>, mime_type: &str, data: &str) {
    let mut blob = written.object("inlineData");
    blob.string("mimeType", mime_type);
    blob.string("data", data);
    blob.end();
}

fn data_url(uri: &str) -> Option<(&str, &str)> {
    uri.strip_prefix("data:")?.split_once(";base64,")
}
