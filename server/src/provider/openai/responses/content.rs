//! Parts of messages and of tool results as content of the Responses API.

use tollgate_api::v1::{Media, Part, media::Source, part::Kind};

use super::{
    super::{
        media::{audio_format, base64_of, url_of},
        message::invalid,
        translate::{Lost, unsupported},
        write::Object,
    },
    input::To,
};
use crate::provider::Error;

/// One item of a content list.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// A text, and whether the prompt is to be cached up to it.
    Text(&'a str, bool),
    Refusal(&'a str),
    /// The JSON of a part.
    Json(String),
}

/// Notes a breakpoint that cannot be sent.
pub(super) fn breakpoint(part: &Part, field: &str, lost: &mut Lost) -> Result<(), Error> {
    if part.cache_breakpoint.is_none() {
        return Ok(());
    }
    lost.parameter(&format!("{field}.cache_breakpoint"), "the provider caches prompts by itself")
}

/// Writes a list of contents: a single text as a string, which every vendor takes, anything else as a list.
pub(super) fn member(written: &mut Object<'_>, name: &str, contents: &[Content<'_>], by_model: bool) {
    match contents {
        [] => return written.string(name, ""),
        [Content::Text(text, false)] => return written.string(name, text),
        _ => {}
    }
    let mut list = written.list(name);
    for content in contents {
        let (kind, member, text) = match content {
            Content::Json(json) => {
                list.item().push_str(json);
                continue;
            }
            Content::Text(text, _) => (if by_model { "output_text" } else { "input_text" }, "text", text),
            Content::Refusal(text) => ("refusal", "refusal", text),
        };
        let mut part = list.object();
        part.string("type", kind);
        part.string(member, text);
        if matches!(content, Content::Text(_, true)) {
            part.raw("prompt_cache_breakpoint", EXPLICIT);
        }
        part.end();
    }
    list.end();
}

const EXPLICIT: &str = r#"{"mode":"explicit"}"#;

/// Writes a part that the model reads.
pub(super) fn input<'a>(
    part: &'a Part,
    field: &str,
    to: To<'_>,
    lost: &mut Lost,
) -> Result<Option<Content<'a>>, Error> {
    let marked = part.cache_breakpoint.is_some() && to.breakpoints;
    if !marked {
        breakpoint(part, field, lost)?;
    }
    match &part.kind {
        Some(Kind::Text(text)) => Ok(Some(Content::Text(text, marked))),
        Some(Kind::Media(media)) => media_part(media, field, marked).map(|json| Some(Content::Json(json))),
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

/// Writes an image, a sound or a document.
fn media_part(media: &Media, field: &str, marked: bool) -> Result<String, Error> {
    let field = format!("{field}.media");
    let Some(source) = &media.source else { return Err(invalid(field, "must say where the bytes are")) };
    let mut json = String::new();
    let mut part = Object::begin(&mut json);
    match media.mime_type.split('/').next().unwrap_or_default() {
        "video" => return Err(unsupported(&field, "it takes no video")),
        "audio" => {
            let Some(data) = base64_of(source) else {
                return Err(unsupported(&field, "a sound must be sent as bytes"));
            };
            part.string("type", "input_audio");
            let mut sound = part.object("input_audio");
            sound.string("data", &data);
            sound.string("format", audio_format(&media.mime_type));
            sound.end();
        }
        "image" => image(&mut part, media, source),
        "" if matches!(source, Source::Uri(_)) => image(&mut part, media, source),
        _ => file(&mut part, media, source),
    }
    if marked {
        part.raw("prompt_cache_breakpoint", EXPLICIT);
    }
    part.end();
    Ok(json)
}

fn image(part: &mut Object<'_>, media: &Media, source: &Source) {
    part.string("type", "input_image");
    match source {
        Source::FileId(id) => part.string("file_id", id),
        source => part.string("image_url", &url_of(media, source)),
    }
    part.text("detail", &media.detail);
}

fn file(part: &mut Object<'_>, media: &Media, source: &Source) {
    part.string("type", "input_file");
    match source {
        Source::FileId(id) => part.string("file_id", id),
        Source::Uri(uri) if !uri.starts_with("data:") => part.string("file_url", uri),
        source => {
            part.string("filename", if media.filename.is_empty() { "file" } else { &media.filename });
            part.string("file_data", &url_of(media, source));
        }
    }
}
