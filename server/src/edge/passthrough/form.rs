//! Forms that pass through (multipart, with a file): read up to the field `model`, streamed from there on.

use std::sync::Mutex;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, Limited};
use memchr::memmem;

use super::{Row, headers_of, model_missing};
use crate::{
    call::{Asked, Forward, Slot},
    error::{Error, Reason},
};

/// Longest delimiter that RFC 2046 allows, and the dashes before it.
const MAX_BOUNDARY: usize = 70;
/// Longest name of a model, in bytes.
const MAX_MODEL: usize = 256;

/// Where the value of the field `model` stands in what has been read.
struct Place {
    start: usize,
    end: usize,
}

/// What has been read of a form so far.
enum Found {
    Model(Place),
    More,
    Ended,
}

/// Reads a form as far as its model; the rest stays on its way. A form whose file comes before its model is held in
/// memory up to there, at most `limit` bytes.
pub(super) async fn read(
    row: &Row,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<(Asked, Forward), Error> {
    let delimiter = delimiter(headers)?;
    let mut tail = Limited::new(body, limit);
    let mut read = BytesMut::new();
    let place = loop {
        match find(&read, &delimiter) {
            Found::Model(place) => break Some(place),
            Found::Ended => break None,
            Found::More => {}
        }
        let Some(frame) = tail.frame().await else {
            return Err(broken("ends before its last boundary"));
        };
        let frame = frame.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
            Ok(_) => Error::new(Reason::RequestTooLarge, format!("the form is larger than {limit} bytes"))
                .with("limit", limit.to_string()),
            Err(_) => broken("broke off on its way"),
        })?;
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
    };
    let read = read.freeze();
    let (model, before, after) = split(row, &read, place, &delimiter)?;
    let forward = Forward {
        endpoint: row.endpoint,
        native_path: String::new(),
        headers: headers_of(headers),
        before,
        slot: Slot::Plain,
        after,
        tail: Mutex::new(Some(Box::pin(tail))),
        has_tail: true,
        units: Vec::new(),
    };
    Ok((Asked { model, ..Asked::default() }, forward))
}

/// Cuts what was read around the model, or makes a field for the default one.
fn split(
    row: &Row,
    read: &Bytes,
    place: Option<Place>,
    delimiter: &[u8],
) -> Result<(String, Bytes, Bytes), Error> {
    let Some(Place { start, end }) = place else {
        if row.default_model.is_empty() {
            return Err(model_missing());
        }
        let mut before = delimiter.to_vec();
        before.extend_from_slice(b"\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n");
        let after = [b"\r\n", &read[..]].concat();
        return Ok((row.default_model.to_owned(), before.into(), after.into()));
    };
    let model = std::str::from_utf8(&read[start..end]).ok();
    let model = model.filter(|model| !model.is_empty() && model.len() <= MAX_MODEL);
    let model = model.ok_or_else(|| Error::invalid("model", "`model` must be 1 to 256 bytes of text"))?;
    Ok((model.to_owned(), read.slice(..start), read.slice(end..)))
}

/// Reads the boundary of a form, with its leading dashes.
fn delimiter(headers: &HeaderMap) -> Result<Vec<u8>, Error> {
    let wrong = || Error::invalid("content-type", "content-type must be multipart/form-data with a boundary");
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).ok_or_else(wrong)?;
    let (essence, parameters) = kind.split_once(';').ok_or_else(wrong)?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(wrong());
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    let boundary = boundary.filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()));
    Ok([b"--", boundary.ok_or_else(wrong)?.as_bytes()].concat())
}

/// Looks for the field `model` from the start; what has been read is small but for a file that comes first.
fn find(read: &[u8], delimiter: &[u8]) -> Found {
    let mut at = 0;
    loop {
        let Some(begin) = memmem::find(&read[at..], delimiter) else { return Found::More };
        let fields = at + begin + delimiter.len();
        if read[fields..].starts_with(b"--") {
            return Found::Ended;
        }
        let Some(blank) = memmem::find(&read[fields..], b"\r\n\r\n") else { return Found::More };
        let value = fields + blank + 4;
        let end_mark = [b"\r\n", delimiter].concat();
        let Some(length) = memmem::find(&read[value..], &end_mark) else { return Found::More };
        if is_model(&read[fields..fields + blank]) {
            return Found::Model(Place { start: value, end: value + length });
        }
        at = value + length + 2;
    }
}

/// Tells whether the headers of a field name it `model`.
fn is_model(headers: &[u8]) -> bool {
    let headers = String::from_utf8_lossy(headers).to_ascii_lowercase();
    headers.lines().any(|line| {
        line.starts_with("content-disposition:")
            && line.split(';').any(|parameter| matches!(parameter.trim(), "name=\"model\"" | "name=model"))
    })
}

fn broken(how: &str) -> Error {
    Error::new(Reason::InvalidRequest, format!("the form {how}"))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::call::Endpoint;

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n--x\r\nRIFF\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nalias\r\n--b\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nen\r\n--b--\r\n";

    fn headers(kind: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())])
    }

    async fn sent(row: &Row, form: &str, cut: usize) -> Result<(String, String), Error> {
        let pieces: Vec<_> = form
            .as_bytes()
            .chunks(cut)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let body = Body::from_stream(stream::iter(pieces));
        let (asked, forward) =
            super::read(row, &headers("multipart/form-data; boundary=b"), body, 10_000).await?;
        let tail = forward.tail.lock().unwrap().take().unwrap();
        let tail = tail.collect().await.unwrap().to_bytes();
        let text = [&forward.before[..], b"real", &forward.after, &tail].concat();
        Ok((asked.model, String::from_utf8(text).unwrap()))
    }

    #[tokio::test]
    async fn the_model_is_replaced_wherever_the_form_is_cut() {
        let row = super::super::form(Endpoint::Transcriptions, &[], "");
        for cut in [1, 3, 7, 64, 10_000] {
            let (model, text) = sent(&row, FORM, cut).await.unwrap();
            assert_eq!((model.as_str(), text), ("alias", FORM.replace("alias", "real")), "{cut}");
        }
    }

    #[tokio::test]
    async fn a_form_without_a_model_gets_the_default_or_is_refused() {
        let without = FORM.replace("name=\"model\"", "name=\"prompt\"");
        let row = super::super::form(Endpoint::ImageEdits, &[], "dall-e-2");
        let (model, text) = sent(&row, &without, 10).await.unwrap();
        assert_eq!(model, "dall-e-2");
        assert!(
            text.starts_with("--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nreal\r\n--b\r\n")
        );
        assert!(text.ends_with(&without));
        let row = super::super::form(Endpoint::Transcriptions, &[], "");
        assert_eq!(sent(&row, &without, 10).await.unwrap_err().facts().field.as_deref(), Some("model"));
    }

    #[tokio::test]
    async fn what_is_no_form_is_refused() {
        let row = super::super::form(Endpoint::Transcriptions, &[], "");
        for kind in ["application/json", "multipart/form-data", "multipart/form-data; boundary="] {
            let error = read(&row, &headers(kind), Body::empty(), 100).await.err().unwrap();
            assert_eq!(error.facts().field.as_deref(), Some("content-type"), "{kind}");
        }
        let cut = sent(&row, &FORM[..60], 10).await.unwrap_err();
        assert!(cut.to_string().contains("last boundary"), "{cut}");
        let large = format!("--b\r\n\r\n{}", "x".repeat(20_000));
        assert_eq!(sent(&row, &large, 1000).await.unwrap_err().reason(), Reason::RequestTooLarge);
    }
}
