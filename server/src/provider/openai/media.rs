//! Images, sounds, videos and documents of a message, in OpenAI's JSON and in that of vendors who differ.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{Media, media::Source};

use super::{
    message::{To, invalid},
    translate::unsupported,
    write::Object,
};
use crate::provider::{Error, vendors::Documents};

/// Writes an image, a sound, a video or a document.
pub(super) fn part(media: &Media, field: &str, to: To<'_>) -> Result<String, Error> {
    let field = format!("{field}.media");
    let family = media.mime_type.split('/').next().unwrap_or_default();
    let mut json = String::new();
    let mut part = Object::begin(&mut json);
    match (family, &media.source) {
        (_, None) => return Err(invalid(field, "must say where the bytes are")),
        ("audio", Some(source)) => {
            let Some(data) = base64_of(source) else {
                return Err(unsupported(&field, "a sound must be sent as bytes"));
            };
            part.string("type", "input_audio");
            let mut sound = part.object("input_audio");
            sound.string("data", &data);
            sound.string("format", audio_format(&media.mime_type));
            sound.end();
        }
        ("video", _) if to.vendor.native => return Err(unsupported(&field, "it takes no video")),
        ("video", Some(source @ (Source::Data(_) | Source::Uri(_)))) => {
            url_part(&mut part, "video_url", media, source);
        }
        ("image" | "", Some(source @ Source::Uri(_))) | ("image", Some(source @ Source::Data(_))) => {
            url_part(&mut part, "image_url", media, source);
        }
        (_, Some(source @ (Source::Data(_) | Source::Uri(_))))
            if to.vendor.documents != Documents::File && !matches!(family, "image" | "") =>
        {
            document_url(&mut part, to.vendor.documents, media, source);
        }
        (_, Some(Source::Uri(_))) if to.vendor.native => {
            return Err(unsupported(&field, "a document must be sent as bytes or by its file id"));
        }
        (_, Some(source)) => {
            part.string("type", "file");
            let mut file = part.object("file");
            match source {
                Source::FileId(id) => file.string("file_id", id),
                source => {
                    file.string("filename", if media.filename.is_empty() { "file" } else { &media.filename });
                    file.string("file_data", &url_of(media, source));
                }
            }
            file.end();
        }
    }
    part.end();
    Ok(json)
}

/// Writes a document for a vendor that takes an address, be it one of `data:`.
fn document_url(part: &mut Object<'_>, documents: Documents, media: &Media, source: &Source) {
    if documents == Documents::FileUrl {
        part.string("type", "file_url");
        let mut file = part.object("file_url");
        // Perplexity takes plain base64 and no `data:`.
        file.string("url", &base64_of(source).unwrap_or_else(|| url_of(media, source)));
        file.end();
        part.text("file_name", &media.filename);
    } else {
        part.string("type", "document_url");
        part.string("document_url", &url_of(media, source));
        part.text("document_name", &media.filename);
    }
}

fn url_part(part: &mut Object<'_>, kind: &str, media: &Media, source: &Source) {
    part.string("type", kind);
    let mut image = part.object(kind);
    image.string("url", &url_of(media, source));
    image.text("detail", &media.detail);
    image.end();
}

pub(super) fn url_of(media: &Media, source: &Source) -> String {
    match source {
        Source::Uri(uri) | Source::FileId(uri) => uri.clone(),
        Source::Data(data) => {
            let kind = if media.mime_type.is_empty() { "application/octet-stream" } else { &media.mime_type };
            let mut url = format!("data:{kind};base64,");
            STANDARD.encode_string(data, &mut url);
            url
        }
    }
}

pub(super) fn base64_of(source: &Source) -> Option<String> {
    match source {
        Source::Data(data) => Some(STANDARD.encode(data)),
        Source::Uri(uri) => Some(uri.strip_prefix("data:")?.split_once(";base64,")?.1.to_owned()),
        Source::FileId(_) => None,
    }
}

pub(super) fn audio_format(mime_type: &str) -> &str {
    match mime_type.split(';').next().unwrap_or_default().trim_start_matches("audio/") {
        "x-wav" | "wave" | "vnd.wave" => "wav",
        "mpeg" | "mpeg3" => "mp3",
        other => other,
    }
}
