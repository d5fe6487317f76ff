//! Images, documents, videos and sounds as Converse's blocks.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{Media, media::Source};

use crate::{
    error::Error as CallerError,
    provider::{
        Error,
        json::write::{List, Object},
        translate::unsupported,
    },
};

/// Media type, file extension, kind of block, and Bedrock's word for the format.
const FORMATS: &[(&str, &str, &str, &str)] = &[
    ("image/png", "png", "image", "png"),
    ("image/jpeg", "jpg", "image", "jpeg"),
    ("image/jpg", "jpeg", "image", "jpeg"),
    ("image/gif", "gif", "image", "gif"),
    ("image/webp", "webp", "image", "webp"),
    ("application/pdf", "pdf", "document", "pdf"),
    ("text/csv", "csv", "document", "csv"),
    ("application/msword", "doc", "document", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", "document", "docx"),
    ("application/vnd.ms-excel", "xls", "document", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", "document", "xlsx"),
    ("text/html", "html", "document", "html"),
    ("text/markdown", "md", "document", "md"),
    ("text/plain", "txt", "document", "txt"),
    ("video/mp4", "mp4", "video", "mp4"),
    ("video/quicktime", "mov", "video", "mov"),
    ("video/x-matroska", "mkv", "video", "mkv"),
    ("video/webm", "webm", "video", "webm"),
    ("video/x-flv", "flv", "video", "flv"),
    ("video/mpeg", "mpeg", "video", "mpeg"),
    ("video/mpg", "mpg", "video", "mpg"),
    ("video/x-ms-wmv", "wmv", "video", "wmv"),
    ("video/3gpp", "3gp", "video", "three_gp"),
    ("audio/mpeg", "mp3", "audio", "mp3"),
    ("audio/mp3", "mp3", "audio", "mp3"),
    ("audio/wav", "wav", "audio", "wav"),
    ("audio/x-wav", "wav", "audio", "wav"),
    ("audio/flac", "flac", "audio", "flac"),
    ("audio/ogg", "ogg", "audio", "ogg"),
    ("audio/aac", "aac", "audio", "aac"),
    ("audio/mp4", "m4a", "audio", "m4a"),
    ("audio/opus", "opus", "audio", "opus"),
];

/// The names of the documents of a request, which must differ.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// Makes a name of the characters that Bedrock allows, and of no other document of the request.
    fn unique(&mut self, filename: &str) -> String {
        let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
        let words: Vec<&str> = stem.split(|c| !allowed(c)).filter(|word| !word.is_empty()).collect();
        let mut name: String = words.join(" ").chars().take(180).collect();
        if name.is_empty() {
            name.push_str("Document");
        }
        let mut unique = name.clone();
        let mut count = 1;
        while !self.0.insert(unique.clone()) {
            count += 1;
            unique = format!("{name} ({count})");
        }
        unique
    }
}

/// Writes the block of a medium.
///
/// # Errors
/// If it has no bytes, or a form or a source that Bedrock does not take.
pub(super) fn write(list: &mut List<'_>, media: &Media, field: &str, names: &mut Names) -> Result<(), Error> {
    let field = format!("{field}.media");
    let Some(source) = &media.source else {
        return Err(CallerError::invalid(field, "must say where the bytes are").into());
    };
    let (told, source) = Place::of(source, &field)?;
    let mime = if media.mime_type.is_empty() { told } else { &media.mime_type };
    let Some((block, format)) = format_of(mime, [&media.filename, source.path()]) else {
        return Err(unsupported(&field, "it takes no media of this type"));
    };
    let mut item = list.object();
    let mut inner = item.object(block);
    inner.string("format", format);
    if block == "document" {
        inner.string("name", &names.unique(&media.filename));
    }
    let mut written = inner.object("source");
    match source {
        Place::Bytes(data) => written.string("bytes", &data),
        Place::S3(uri) => {
            let mut location = written.object("s3Location");
            location.string("uri", uri);
            location.end();
        }
    }
    written.end();
    inner.end();
    item.end();
    Ok(())
}

/// Where Bedrock finds the bytes.
enum Place<'a> {
    /// Here, in base64.
    Bytes(String),
    /// In an object of S3.
    S3(&'a str),
}

impl<'a> Place<'a> {
    /// Returns the place, and the media type if the address tells it.
    fn of(source: &'a Source, field: &str) -> Result<(&'a str, Self), Error> {
        match source {
            Source::Data(data) => Ok(("", Self::Bytes(STANDARD.encode(data)))),
            Source::Uri(uri) if uri.starts_with("s3://") => Ok(("", Self::S3(uri))),
            Source::Uri(uri) => {
                match uri.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
                    Some((mime, data)) => Ok((mime, Self::Bytes(data.to_owned()))),
                    None => Err(unsupported(
                        field,
                        "Bedrock fetches no addresses but those of S3; send the bytes",
                    )),
                }
            }
            Source::FileId(_) => Err(unsupported(field, "Bedrock keeps no files; send the bytes")),
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Bytes(_) => "",
            Self::S3(uri) => uri,
        }
    }
}

/// Finds block and format by the media type, else by the extension of one of the names.
fn format_of(mime: &str, names: [&str; 2]) -> Option<(&'static str, &'static str)> {
    let mime = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let extension = |name: &&str| name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    let by_mime = FORMATS.iter().find(|row| row.0 == mime);
    let by_name =
        || names.iter().find_map(|name| FORMATS.iter().find(|row| Some(row.1) == extension(name).as_deref()));
    match by_mime.or_else(by_name) {
        Some((_, _, block, format)) => Some((block, format)),
        None if mime.starts_with("text/") => Some(("document", "txt")),
        None => None,
    }
}

/// Writes an object of one member, as most of Converse's blocks are.
pub(super) fn text_block(list: &mut List<'_>, text: &str) {
    let mut block = list.object();
    block.string("text", text);
    block.end();
}

/// Writes the mark up to which the prompt is cached.
pub(super) fn cache_point(list: &mut List<'_>, ttl: &str) {
    let mut item = list.object();
    let mut point: Object<'_> = item.object("cachePoint");
    point.string("type", "default");
    point.text("ttl", ttl);
    point.end();
    item.end();
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn written(media: &Media) -> Result<String, Error> {
        let mut json = String::new();
        let mut list = List::begin(&mut json);
        write(&mut list, media, "input.messages[0].parts[0]", &mut Names::default())?;
        list.end();
        Ok(json)
    }

    fn media(mime_type: &str, filename: &str, source: Source) -> Media {
        Media {
            mime_type: mime_type.to_owned(),
            filename: filename.to_owned(),
            source: Some(source),
            ..Media::default()
        }
    }

    #[test]
    fn each_kind_of_media_has_its_block() {
        let bytes = || Source::Data(Bytes::from_static(b"abc"));
        let uri = |uri: &str| Source::Uri(uri.to_owned());
        for (media, block) in [
            (media("image/jpeg", "", bytes()), r#"[{"image":{"format":"jpeg","source":{"bytes":"YWJj"}}}]"#),
            (
                media("", "", uri("data:image/png;base64,YWJj")),
                r#"[{"image":{"format":"png","source":{"bytes":"YWJj"}}}]"#,
            ),
            (
                media("application/pdf", "An_odd..name!.pdf", bytes()),
                r#"[{"document":{"format":"pdf","name":"An odd name","source":{"bytes":"YWJj"}}}]"#,
            ),
            (
                media("text/x-rust", "", bytes()),
                r#"[{"document":{"format":"txt","name":"Document","source":{"bytes":"YWJj"}}}]"#,
            ),
            (
                media("", "", uri("s3://bucket/a.mp4")),
                r#"[{"video":{"format":"mp4","source":{"s3Location":{"uri":"s3://bucket/a.mp4"}}}}]"#,
            ),
            (media("audio/mpeg", "", bytes()), r#"[{"audio":{"format":"mp3","source":{"bytes":"YWJj"}}}]"#),
        ] {
            assert_eq!(written(&media).unwrap(), block);
        }
    }

    #[test]
    fn what_bedrock_cannot_fetch_is_refused_with_its_field() {
        for source in [Source::Uri("https://a.example/a.png".to_owned()), Source::FileId("file-1".to_owned())]
        {
            let error = written(&media("image/png", "", source)).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("input.messages[0].parts[0].media"));
        }
        assert!(written(&media("image/tiff", "", Source::Data(Bytes::new()))).is_err());
    }

    #[test]
    fn documents_of_one_name_are_told_apart() {
        let mut names = Names::default();
        assert_eq!(names.unique("a.pdf"), "a");
        assert_eq!(names.unique("a.txt"), "a (2)");
        assert_eq!(names.unique("a (2).txt"), "a (2) (2)");
        assert_eq!(names.unique(""), "Document");
    }
}
