//! What all REST dialects share: reading bodies, checking their JSON, headers of answers, streams of events. What a
//! dialect adds is how it reads a request, writes an answer (`sse::Encode` for streams) and words an error.

pub(in crate::edge) mod body;
pub(in crate::edge) mod conversation;
pub(in crate::edge) mod fields;
pub(in crate::edge) mod head;
mod names;
pub(in crate::edge) mod needs;
pub(in crate::edge) mod node;
mod paths;
pub(in crate::edge) mod refusal;
pub(in crate::edge) mod sse;
pub(in crate::edge) mod whole;

use axum::{body::Body, extract::Request, response::Response, routing::MethodRouter};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderValue, StatusCode, header};

use self::{
    head::Head,
    sse::{Encode, Piece, Sse},
};
use super::{Edge, readers::Readers};
use crate::{
    call::{Item, Reply},
    error::{Error, Reason},
};

/// Answers with a stream of events, as they come.
pub(in crate::edge) fn streaming(
    edge: &Edge,
    readers: &Readers<Piece>,
    head: &Head,
    reply: Reply,
    encoder: impl Encode + 'static,
) -> Response {
    let mut headers = head.of_reply(&reply);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    let events = Sse::new(reply.items, encoder, edge.keep_alive);
    let followed = readers.follow(Box::pin(events), reply.deadline);
    let mut response = Response::new(Body::from_stream(followed));
    *response.headers_mut() = headers;
    response
}

/// Joins the rest of an upstream's own body to its first piece. The end is awaited: there the call is settled.
///
/// # Errors
/// The stream's own.
pub(in crate::edge) async fn raw(first: Bytes, reply: &mut Reply) -> Result<Bytes, Error> {
    let mut more = BytesMut::new();
    while let Some(item) = reply.items.next().await {
        if let Item::Raw(bytes, _) = item? {
            more.extend_from_slice(&bytes);
        }
    }
    if more.is_empty() {
        return Ok(first);
    }
    let mut all = BytesMut::from(first);
    all.unsplit(more);
    Ok(all.freeze())
}

/// Answers other methods of a known path in the words of a dialect.
pub(in crate::edge) fn only<S: Clone + Send + Sync + 'static>(
    allowed: &'static str,
    route: MethodRouter<S>,
    respond: fn(&Head, &Error) -> Response,
) -> MethodRouter<S> {
    route.fallback(move |request: Request| async move {
        let (request, _) = request.into_parts();
        let message = format!("this path takes {allowed}, not {}", request.method);
        let mut response = respond(&Head::of(&request), &Error::new(Reason::Unimplemented, message));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        response
    })
}
