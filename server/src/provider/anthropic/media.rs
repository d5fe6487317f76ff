//! Images and documents as Anthropic's content blocks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{CacheBreakpoint, Media, media::Source};

use super::{content::cache_control, translate::unsupported, write::Object};
use crate::{error::Error as CallerError, provider::Error};

/// What the API shows a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Image,
    Document,
    /// A document whose words are in the request.
    Words,
}

/// Writes an image or a document.
///
/// # Errors
/// `Unsupported` for sounds and videos, `INVALID_REQUEST` if the media holds nothing.
pub(super) fn block(
    media: &Media,
    breakpoint: Option<&CacheBreakpoint>,
    field: &str,
) -> Result<String, Error> {
    let field = format!("{field}.media");
    let Some(source) = &media.source else {
        return Err(CallerError::invalid(&field, "must say where the bytes are").into());
    };
    let shown = shown(media, source).ok_or_else(|| {
        unsupported(&field, "Anthropic's API takes images, PDF documents and plain text only")
    })?;
    let mut json = String::new();
    let mut block = Object::begin(&mut json);
    block.string("type", if shown == Shown::Image { "image" } else { "document" });
    let mut written = block.object("source");
    write_source(&mut written, media, source, shown, &field)?;
    written.end();
    if shown != Shown::Image {
        block.text("title", &media.filename);
    }
    cache_control(&mut block, breakpoint);
    block.end();
    Ok(json)
}

fn shown(media: &Media, source: &Source) -> Option<Shown> {
    let essence = media.mime_type.split(';').next().unwrap_or_default().trim();
    let (family, _) = essence.split_once('/').unwrap_or((essence, ""));
    match (family, source) {
        ("image", _) => Some(Shown::Image),
        // Words lie in the request, or are the provider's to read.
        ("text", Source::Data(_)) => Some(Shown::Words),
        ("text", _) | ("", Source::FileId(_)) => Some(Shown::Document),
        ("", Source::Uri(uri)) => Some(of_uri(uri)),
        _ if essence == "application/pdf" => Some(Shown::Document),
        _ => None,
    }
}

/// An address of no known type is taken for an image, as in other dialects, unless it says that it is a document.
fn of_uri(uri: &str) -> Shown {
    let path = uri.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let document = path.ends_with(".pdf") || path.starts_with("data:application/pdf");
    if document { Shown::Document } else { Shown::Image }
}

fn write_source(
    written: &mut Object<'_>,
    media: &Media,
    source: &Source,
    shown: Shown,
    field: &str,
) -> Result<(), Error> {
    match source {
        Source::FileId(id) => {
            written.string("type", "file");
            written.string("file_id", id);
        }
        Source::Data(data) if shown == Shown::Words => {
            let words = std::str::from_utf8(data)
                .map_err(|_| Error::from(CallerError::invalid(field, "a text must be UTF-8")))?;
            written.string("type", "text");
            written.string("media_type", "text/plain");
            written.string("data", words);
        }
        Source::Data(data) => base64(written, &media.mime_type, &STANDARD.encode(data)),
        Source::Uri(uri) => match uri.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((kind, data)) => base64(written, kind, data),
            None => {
                written.string("type", "url");
                written.string("url", uri);
            }
        },
    }
    Ok(())
}

fn base64(written: &mut Object<'_>, mime_type: &str, data: &str) {
    written.string("type", "base64");
    written.string("media_type", mime_type.split(';').next().unwrap_or_default());
    written.string("data", data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Kind;

    fn written(mime_type: &str, source: Source) -> Result<String, Error> {
        let media = Media {
            mime_type: mime_type.into(),
            source: Some(source),
            filename: "f".into(),
            ..Media::default()
        };
        block(&media, None, "input")
    }

    #[test]
    fn media_become_images_and_documents() {
        let data = |bytes: &'static [u8]| Source::Data(bytes.into());
        let uri = |text: &str| Source::Uri(text.to_owned());
        for (mime_type, source, expected) in [
            (
                "image/png",
                data(b"hi"),
                r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}"#,
            ),
            ("", uri("https://x/a"), r#"{"type":"image","source":{"type":"url","url":"https://x/a"}}"#),
            (
                "",
                uri("data:image/gif;base64,aGk="),
                r#"{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"aGk="}}"#,
            ),
            (
                "",
                uri("https://x/a.PDF?q"),
                r#"{"type":"document","source":{"type":"url","url":"https://x/a.PDF?q"},"title":"f"}"#,
            ),
            (
                "application/pdf",
                data(b"hi"),
                r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"aGk="},"title":"f"}"#,
            ),
            (
                "text/markdown",
                data(b"hi"),
                r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hi"},"title":"f"}"#,
            ),
            (
                "",
                Source::FileId("file_1".into()),
                r#"{"type":"document","source":{"type":"file","file_id":"file_1"},"title":"f"}"#,
            ),
            (
                "image/*",
                Source::FileId("file_1".into()),
                r#"{"type":"image","source":{"type":"file","file_id":"file_1"}}"#,
            ),
        ] {
            assert_eq!(written(mime_type, source).unwrap(), expected);
        }
    }

    #[test]
    fn sounds_are_refused_with_their_field() {
        let error = written("audio/wav", Source::Data(b"x".as_slice().into())).unwrap_err();
        assert_eq!((error.kind, error.field.as_deref()), (Kind::Unsupported, Some("input.media")));
        assert!(written("text/plain", Source::Data(b"\xff".as_slice().into())).unwrap_err().caller.is_some());
    }
}
