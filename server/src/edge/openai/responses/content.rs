//! Content parts of items to parts of messages.

use tollgate_api::v1::{Extension, Media, Part, media, part};

use crate::{
    edge::{
        openai::{
            chat_messages::{breakpoint, data_url, image_at, sound},
            tokens::{VENDOR, take_extra},
        },
        rest::node::{Node, Object},
    },
    error::Error,
};

/// Reads a content: a string or an array of parts.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn parse(node: &Node<'_>) -> Result<Vec<Part>, Error> {
    if node.is_string() {
        return Ok(vec![of(part::Kind::Text(node.text()?))]);
    }
    if !node.is_array() {
        return Err(node.refuse("must be a string or an array"));
    }
    node.elements()?.iter().map(part).collect()
}

fn part(node: &Node<'_>) -> Result<Part, Error> {
    let mut object = node.object()?;
    let kind = object.need("type")?.text()?;
    let cache_breakpoint = breakpoint(&mut object)?;
    let continuity = take_extra(&mut object)?;
    let kind = match kind.as_str() {
        "input_text" | "output_text" | "text" => part::Kind::Text(object.need("text")?.text()?),
        "refusal" => part::Kind::Refusal(object.need("refusal")?.text()?),
        "input_image" => part::Kind::Media(Box::new(image(&mut object)?)),
        "input_file" => part::Kind::Media(Box::new(file(&mut object)?)),
        "input_audio" => part::Kind::Media(Box::new(sound(&object.need("input_audio")?)?)),
        _ => {
            let extension =
                Extension { provider: VENDOR.to_owned(), r#type: kind, json: node.json().to_owned() };
            return Ok(Part { cache_breakpoint, continuity, ..of(part::Kind::Extension(extension)) });
        }
    };
    object.end(&["annotations", "logprobs"]);
    Ok(Part { cache_breakpoint, continuity, ..of(kind) })
}

fn image(object: &mut Object<'_>) -> Result<Media, Error> {
    let detail = object.text_or_empty("detail")?;
    let media = match object.text("file_id")? {
        Some(id) => at(media::Source::FileId(id)),
        None => image_at(&object.need("image_url")?)?,
    };
    Ok(Media { detail, ..media })
}

fn file(object: &mut Object<'_>) -> Result<Media, Error> {
    let filename = object.text_or_empty("filename")?;
    let media = if let Some(id) = object.text("file_id")? {
        at(media::Source::FileId(id))
    } else if let Some(url) = object.text("file_url")? {
        Media { mime_type: document_type(&url).to_owned(), ..at(media::Source::Uri(url)) }
    } else {
        let data = object.need("file_data")?;
        let text = data.text()?;
        match text.strip_prefix("data:") {
            Some(rest) => data_url(&data, rest)?,
            None => Media {
                mime_type: document_type(&filename).to_owned(),
                ..at(media::Source::Data(data.base64(&text)?.into()))
            },
        }
    };
    Ok(Media { filename, ..media })
}

/// A file that does not say what it is is a document.
fn document_type(name: &str) -> &'static str {
    if name.ends_with(".txt") { "text/plain" } else { "application/pdf" }
}

fn at(source: media::Source) -> Media {
    Media { source: Some(source), ..Media::default() }
}

/// Makes a part of nothing but its kind.
pub(super) fn of(kind: part::Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}
