//! Images and documents: where their bytes are, to `v1::Media`.

use bytes::Bytes;
use tollgate_api::v1::{Media, Part, media, part};

use super::blocks::{content, of};
use crate::{
    edge::rest::node::{Node, Object},
    error::Error,
};

/// What a document is if nobody says: the one kind that is sent by address or id.
const DOCUMENT: &str = "application/pdf";

/// Reads an image.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn image(object: &mut Object<'_>, parts: &mut Vec<Part>) -> Result<(), Error> {
    match source(&object.need("source")?, "image/*")? {
        Read::Media(media) => parts.push(of(part::Kind::Media(Box::new(media)))),
        Read::Parts(more) => parts.extend(more),
    }
    Ok(())
}

/// Reads a document: what is said about it comes before it, as text.
///
/// # Errors
/// As `image`.
pub(super) fn document(object: &mut Object<'_>, parts: &mut Vec<Part>) -> Result<(), Error> {
    let filename = object.text_or_empty("title")?;
    if let Some(context) = object.text("context")?.filter(|context| !context.is_empty()) {
        parts.push(of(part::Kind::Text(context)));
    }
    match source(&object.need("source")?, DOCUMENT)? {
        Read::Media(media) => parts.push(of(part::Kind::Media(Box::new(Media { filename, ..media })))),
        Read::Parts(more) => {
            let title = (!filename.is_empty()).then(|| of(part::Kind::Text(filename)));
            parts.extend(title.into_iter().chain(more));
        }
    }
    Ok(())
}

/// What a source holds.
enum Read {
    Media(Media),
    /// A document that consists of blocks.
    Parts(Vec<Part>),
}

/// Reads a source. `hint` is the media type of what is only pointed at.
fn source(node: &Node<'_>, hint: &str) -> Result<Read, Error> {
    let mut object = node.object()?;
    let kind = object.need("type")?;
    let (mime_type, source) = match kind.text()?.as_str() {
        "base64" => {
            let bytes = object.need("data")?.bytes()?;
            (object.need("media_type")?.text()?, media::Source::Data(bytes.into()))
        }
        "url" => {
            let url = object.need("url")?.text()?;
            // What an address points at is an image unless somebody says otherwise.
            let mime_type = if hint == DOCUMENT { DOCUMENT } else { "" };
            (mime_type.to_owned(), media::Source::Uri(url))
        }
        "file" => (hint.to_owned(), media::Source::FileId(object.need("file_id")?.text()?)),
        "text" => plain(object.need("data")?.text()?),
        "content" => {
            let inner = object.need("content")?;
            if inner.is_array() {
                return Ok(Read::Parts(content(&inner)?));
            }
            plain(inner.text()?)
        }
        _ => return Err(kind.refuse("must be one of base64, url, file, text, content")),
    };
    object.end(&["media_type"]);
    Ok(Read::Media(Media { mime_type, source: Some(source), ..Default::default() }))
}

fn plain(text: String) -> (String, media::Source) {
    ("text/plain".to_owned(), media::Source::Data(Bytes::from(text.into_bytes())))
}
