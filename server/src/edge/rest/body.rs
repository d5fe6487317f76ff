//! Reading a request body: bounded in size, in time, and after decompression.

use std::{io::Read as _, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http::{HeaderMap, header, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::head::Head;
use crate::{
    call::{Call, Operation, Surface},
    edge::{Edge, arrival},
    error::{Error, Reason},
    meter::Open,
};

/// A body must have arrived within this time.
const MAX_ARRIVAL: Duration = Duration::from_secs(30);
/// A caller's word on its length is believed up to here, in bytes, before the bytes are there.
const MAX_RESERVE: usize = 256 * 1024;
/// Of the body of a refused call so many bytes are read, and thrown away.
const MAX_DISCARD: u64 = 4 * 1024 * 1024;
/// What is decompressed before others get a turn, in bytes.
const STEP: usize = 256 * 1024;
/// Real prompts compress by less than this; bombs by about a thousand.
const MAX_RATIO: usize = 200;
/// Small bodies may compress as well as they like, up to here in bytes.
const RATIO_FREE: usize = 1024 * 1024;

/// Lets a caller in, opens the record of the call, and reads the body. A refusal after the first step is recorded.
pub(in crate::edge) async fn open(
    edge: &Edge,
    request: &Parts,
    body: Body,
    head: &mut Head,
    (surface, operation): (Surface, Operation),
) -> Result<(Open, Bytes), Error> {
    let caller = edge.pipeline.authenticate(&request.headers, request.uri.query()).await?;
    let (call, checked) = arrival::call(&request.headers, caller, surface, operation);
    head.id = call.id;
    let (mut open, body) = admit(edge, call, body, head).await?;
    if let Err(failed) = checked {
        return Err(open.refuse(failed));
    }
    match read(&request.headers, body, edge.limits.body).await {
        Ok(body) => {
            open.call.fingerprint = arrival::fingerprint(&open.call, &request.uri, &[&body]);
            Ok((open, body))
        }
        Err(failed) => {
            head.close = true;
            Err(open.refuse(failed))
        }
    }
}

/// Lets a call in, and gives its body back, unread.
///
/// # Errors
/// As `Pipeline::admit`. What the refused caller still sends is thrown away, since a connection that is closed over it
/// would take the answer with it.
pub(in crate::edge) async fn admit(
    edge: &Edge,
    call: Call,
    body: Body,
    head: &mut Head,
) -> Result<(Open, Body), Error> {
    let refused = match edge.pipeline.admit(call).await {
        Ok(open) => return Ok((open, body)),
        Err(refused) => refused,
    };
    if head.is_http_1() && !body.is_end_stream() {
        head.close = body.size_hint().lower() > MAX_DISCARD;
        tokio::spawn(timeout(MAX_ARRIVAL, discard(body)));
    }
    Err(refused)
}

async fn discard(mut body: Body) {
    let mut left = MAX_DISCARD;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

/// Reads a body of at most `limit` bytes, after decompression.
///
/// # Errors
/// `REQUEST_TOO_LARGE`, or `INVALID_REQUEST` if it is encoded in a way we do not know, broken, or too slow.
pub(in crate::edge) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Error> {
    let gzipped = is_gzipped(headers)?;
    let length = match headers.get(header::CONTENT_LENGTH) {
        None => 0,
        // A length that is no number we can hold is too large; hyper refuses what is no number at all.
        Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()).unwrap_or(usize::MAX),
    };
    if length > limit {
        return Err(too_large(limit));
    }
    let reserve = length.min(MAX_RESERVE);
    let body = timeout(MAX_ARRIVAL, collect(body, reserve, limit)).await.map_err(|_| {
        let message = format!("the body did not arrive in {} s", MAX_ARRIVAL.as_secs());
        Error::new(Reason::InvalidRequest, message)
    })??;
    if gzipped { inflate(&body, limit).await } else { Ok(body) }
}

fn is_gzipped(headers: &HeaderMap) -> Result<bool, Error> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(encoding) = encodings.next() else { return Ok(false) };
    match encoding.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"identity" if encodings.next().is_none() => Ok(false),
        b"gzip" | b"x-gzip" if encodings.next().is_none() => Ok(true),
        _ => Err(Error::invalid("content-encoding", "content-encoding must be gzip or identity")),
    }
}

async fn collect(mut body: Body, reserve: usize, limit: usize) -> Result<Bytes, Error> {
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Error::new(Reason::InvalidRequest, "the body broke off or is not framed as its headers say")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let had = first.as_ref().map_or(all.len(), Bytes::len);
        if data.len() > limit.saturating_sub(had) {
            return Err(too_large(limit));
        }
        match first.take() {
            // A body that arrives in one piece is not copied.
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(piece) => {
                all.reserve(reserve.max(piece.len() + data.len()));
                all.extend_from_slice(&piece);
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

async fn inflate(packed: &[u8], limit: usize) -> Result<Bytes, Error> {
    let most = limit.min(packed.len().saturating_mul(MAX_RATIO).max(RATIO_FREE));
    let mut decoder = MultiGzDecoder::new(packed);
    let mut plain = Vec::new();
    loop {
        let step = STEP.min(most - plain.len() + 1);
        let read = decoder.by_ref().take(step as u64).read_to_end(&mut plain).map_err(|_| {
            Error::invalid("content-encoding", "the body is not the gzip that content-encoding says it is")
        })?;
        if plain.len() > most {
            return Err(too_large(limit));
        }
        if read < step {
            return Ok(plain.into());
        }
        tokio::task::yield_now().await;
    }
}

fn too_large(limit: usize) -> Error {
    let message = format!("the body is larger than {limit} bytes, or unpacks to far more than it is");
    Error::new(Reason::RequestTooLarge, message).with("limit", limit.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use futures_util::stream;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn header(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_at_the_limit() {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 1000])));
        let error = read(&HeaderMap::new(), Body::from_stream(endless), 10_000).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RequestTooLarge);
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_before_a_byte_is_read() {
        for length in ["11", "99999999999999999999"] {
            let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            let error = read(&header(header::CONTENT_LENGTH, length), never, 10).await.unwrap_err();
            assert_eq!(error.reason(), Reason::RequestTooLarge, "{length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let error = read(&HeaderMap::new(), never, 10).await.unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidRequest);
        assert!(error.to_string().contains("30 s"), "{error}");
    }

    #[tokio::test]
    async fn pieces_are_joined_and_gzip_is_unpacked() {
        let pieces =
            ["{\"a\":", "1", "}"].map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes())));
        let body = Body::from_stream(stream::iter(pieces));
        assert_eq!(read(&HeaderMap::new(), body, 7).await.unwrap(), "{\"a\":1}");
        let headers = header(header::CONTENT_ENCODING, "gzip");
        let packed = gzip(b"{\"a\":1}");
        assert_eq!(read(&headers, packed.clone().into(), 1000).await.unwrap(), "{\"a\":1}");
        let cut = read(&headers, packed[..packed.len() - 9].to_vec().into(), 1000).await;
        assert_eq!(cut.unwrap_err().facts().field.as_deref(), Some("content-encoding"));
    }

    #[tokio::test]
    async fn a_gzip_bomb_is_cut_at_the_limit_and_at_the_ratio() {
        let headers = header(header::CONTENT_ENCODING, "gzip");
        let bomb = gzip(&vec![b' '; 20 * 1024 * 1024]);
        assert!(bomb.len() < 100_000);
        for limit in [1_000_000, 32 * 1024 * 1024] {
            let error = read(&headers, bomb.clone().into(), limit).await.unwrap_err();
            assert_eq!(error.reason(), Reason::RequestTooLarge, "{limit}");
        }
    }

    #[tokio::test]
    async fn encodings_we_do_not_know_are_named() {
        for encoding in ["zstd", "br", "deflate", "gzip, gzip"] {
            let error =
                read(&header(header::CONTENT_ENCODING, encoding), Body::from("x"), 10).await.unwrap_err();
            assert_eq!(error.facts().field.as_deref(), Some("content-encoding"), "{encoding}");
        }
    }
}
