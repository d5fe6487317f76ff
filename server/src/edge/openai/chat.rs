//! `POST /v1/chat/completions`.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{
    Shared, body,
    chat_chunks::Chunks,
    chat_parse, chat_request, chat_response, error,
    head::{Head, put_cost},
    sse::Sse,
};
use crate::{
    call::{self, Item, Operation, Payload, Reply, Surface},
    edge::fold,
    error::{Error, Reason},
};

/// Answers a chat request, whole or as a stream.
pub(super) async fn complete(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    match answer(&shared, &parts, body, &mut head).await {
        Ok(response) => response,
        Err(failed) => error::respond(&head, &failed),
    }
}

async fn answer(shared: &Shared, request: &Parts, body: Body, head: &mut Head) -> Result<Response, Error> {
    let edge = &shared.edge;
    let (mut open, body) =
        body::open(edge, request, body, head, (Surface::OpenAiChat, Operation::Chat)).await?;
    let mut scanned = match chat_request::scan(&body) {
        Ok(scanned) => scanned,
        Err(failed) => return Err(open.refuse(failed)),
    };
    open.call.asked = std::mem::take(&mut scanned.asked);
    let (streamed, usage_wanted) = (open.call.asked.streamed, open.call.asked.usage_wanted);
    let payload = Payload::raw(scanned.into_raw(body), chat_parse::parse);
    let reply = edge.pipeline.run(open, call::Request::Chat(payload)).await?;
    if streamed {
        return Ok(streaming(shared, head, reply, usage_wanted));
    }
    let headers = head.of_reply(&reply);
    whole(headers, reply).await
}

fn streaming(shared: &Shared, head: &Head, reply: Reply, usage_wanted: bool) -> Response {
    let mut headers = head.of_reply(&reply);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    let chunks = Chunks::new(reply.id, usage_wanted);
    let events = Sse::new(reply.items, chunks, shared.edge.keep_alive);
    // On HTTP/1.1 a caller that stops reading stalls the socket, which ends its connection (`edge::stall`).
    let body = if head.is_http_1() {
        Body::from_stream(events)
    } else {
        Body::from_stream(shared.readers.follow(Box::pin(events)))
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// Collects an answer: an upstream's own bytes as they came, or the events folded.
async fn whole(mut headers: HeaderMap, mut reply: Reply) -> Result<Response, Error> {
    let body = match reply.items.next().await {
        Some(Ok(Item::Raw(bytes, _))) => raw(bytes, &mut reply).await?,
        Some(first) => {
            let items = stream::iter([first]).chain(reply.items);
            chat_response::write(&fold::fold(Box::pin(items)).await?)?.into()
        }
        None => return Err(Error::new(Reason::StreamInterrupted, "the answer ended before it began")),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put_cost(&mut headers, reply.settled.get());
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    Ok(response)
}

/// Joins the rest of an upstream's own body to its first piece. The end is awaited: there the call is settled.
pub(super) async fn raw(first: Bytes, reply: &mut Reply) -> Result<Bytes, Error> {
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
