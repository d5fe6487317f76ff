//! The way of a call whose answer is text, the same for every endpoint of this surface: read, run, answer whole. What
//! an endpoint adds is how it reads a body and how it writes an answer.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, header, request::Parts};
use tollgate_api::v1::{ChatInput, CompleteResponse};

use super::azure;
use crate::{
    call::{self, Asked, Item, Operation, Payload, Reply, Surface},
    edge::{
        Edge, fold,
        rest::{
            self, body,
            head::{Head, put_cost},
        },
    },
    error::{Error, Reason},
};

/// A request that was read: what the rooms need of it, itself, and what its answer will need.
pub(super) type Read<T> = (Asked, Payload<ChatInput>, T);

/// Reads a request and walks it through the rooms.
///
/// # Errors
/// Every refusal and failure before the commit point; recorded if the caller was let in.
pub(super) async fn run<T>(
    edge: &Edge,
    (request, body): (&Parts, Body),
    head: &mut Head,
    (surface, operation): (Surface, Operation),
    read: impl FnOnce(Bytes) -> Result<Read<T>, Error>,
) -> Result<(Reply, T), Error> {
    let (mut open, body) = body::open(edge, request, body, head, (surface, operation)).await?;
    let (asked, payload, kept) = match read(azure::addressed(request, body)) {
        Ok(read) => read,
        Err(failed) => return Err(open.refuse(failed)),
    };
    open.call.asked = asked;
    let request = match operation {
        Operation::CountTokens => call::Request::CountTokens(payload),
        _ => call::Request::Chat(payload),
    };
    Ok((edge.pipeline.run(open, request).await?, kept))
}

/// Answers with an upstream's own bytes as they came, or with the events folded and written.
///
/// # Errors
/// The stream's own.
pub(super) async fn whole(
    head: &Head,
    mut reply: Reply,
    write: impl FnOnce(&CompleteResponse) -> Result<Vec<u8>, Error>,
) -> Result<Response, Error> {
    let headers = head.of_reply(&reply);
    let settled = reply.settled.clone();
    let body = match reply.items.next().await {
        Some(Ok(Item::Raw(bytes, _))) => rest::raw(bytes, &mut reply).await?,
        Some(first) => {
            let items = stream::iter([first]).chain(reply.items);
            write(&fold::fold(Box::pin(items)).await?)?.into()
        }
        None => return Err(Error::new(Reason::StreamInterrupted, "the answer ended before it began")),
    };
    let mut response = json(headers, body);
    put_cost(response.headers_mut(), settled.get());
    Ok(response)
}

/// Makes the response of a JSON body.
pub(super) fn json(headers: http::HeaderMap, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
