//! Items of tools that the vendor ran itself: a call, its result where it is shown, and the item to send back.

use std::collections::VecDeque;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{Media, Part, ToolCall, ToolResult, media::Source, part, tool_call::Input};

use super::{super::write::Object, event::Node};
use crate::{
    call::Item,
    provider::{Error, compose::Composer},
};

/// Types of items that vendors run themselves.
const HOSTED: [&str; 6] = [
    "web_search_call",
    "x_search_call",
    "file_search_call",
    "code_interpreter_call",
    "mcp_call",
    "image_generation_call",
];
/// Members that are no input of the tool.
const NO_INPUT: [&str; 11] = [
    "id",
    "type",
    "status",
    "name",
    "call_id",
    "result",
    "results",
    "output",
    "outputs",
    "error",
    "approval_request_id",
];

/// Tells a call that the vendor ran. False if the item is none.
pub(super) fn tell(
    item: &Node<'_>,
    composer: &mut Composer,
    out: &mut VecDeque<Item>,
) -> Result<bool, Error> {
    let kind = item.text("type");
    if !HOSTED.contains(&&*kind) {
        return Ok(false);
    }
    let name = item.text("name");
    let call = ToolCall {
        id: item.text("id").into_owned(),
        name: if name.is_empty() { kind.trim_end_matches("_call").to_owned() } else { name.into_owned() },
        input: Some(Input::ArgumentsJson(String::new())),
        executed_upstream: true,
    };
    let id = call.id.clone();
    composer.open(0, Part { kind: Some(part::Kind::ToolCall(call)), ..Part::default() }, out)?;
    composer.tool_input(0, &input(item), out);
    if let Some(media) = image(item) {
        composer.token(0, "{}");
        composer.open(0, Part { kind: Some(part::Kind::Media(Box::new(media))), ..Part::default() }, out)?;
        composer.token(0, without_result(item));
        return Ok(true);
    }
    composer.token(0, item.0.to_json());
    if let Some(result) = result(item, id) {
        let part = part::Kind::ToolResult(Box::new(result));
        composer.open(0, Part { kind: Some(part), ..Part::default() }, out)?;
    }
    Ok(true)
}

/// Returns what the tool was called with, as one JSON object.
fn input(item: &Node<'_>) -> String {
    let arguments = item.text("arguments");
    if !arguments.is_empty() {
        return arguments.into_owned();
    }
    if let Some(action) = item.raw("action") {
        return action.to_owned();
    }
    let mut json = String::new();
    let mut object = Object::begin(&mut json);
    for (name, value) in item.0.iter().filter(|(name, _)| !NO_INPUT.contains(name)) {
        object.raw(name, value);
    }
    object.end();
    json
}

/// Returns what the tool gave back, if the vendor shows it.
fn result(item: &Node<'_>, tool_call_id: String) -> Option<ToolResult> {
    let failed = item.raw("error").is_some();
    let told = ["error", "output", "outputs", "results"];
    let (name, json) = told.into_iter().find_map(|name| Some((name, item.raw(name)?)))?;
    let text = if json.starts_with('"') { item.text(name).into_owned() } else { json.to_owned() };
    let part = Part { kind: Some(part::Kind::Text(text)), ..Part::default() };
    Some(ToolResult { tool_call_id, parts: vec![part], is_error: failed })
}

/// Returns the image that an image generation made.
fn image(item: &Node<'_>) -> Option<Media> {
    if item.text("type") != "image_generation_call" {
        return None;
    }
    let data = STANDARD.decode(item.text("result").as_bytes()).ok().filter(|data| !data.is_empty())?;
    let format = item.text("output_format");
    let format = if format.is_empty() { "png" } else { &format };
    Some(Media {
        mime_type: format!("image/{format}"),
        source: Some(Source::Data(data.into())),
        ..Media::default()
    })
}

/// Returns the item without its image, which the part itself holds.
fn without_result(item: &Node<'_>) -> String {
    let mut json = String::new();
    let mut object = Object::begin(&mut json);
    for (name, value) in item.0.iter().filter(|(name, _)| *name != "result") {
        object.raw(name, value);
    }
    object.end();
    json
}
