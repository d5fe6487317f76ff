//! Whole answers: an upstream's own bytes as they came, or the events folded and written by the dialect.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use tollgate_api::v1::CompleteResponse;

use super::head::{Head, put_cost};
use crate::{
    call::{Item, Reply},
    edge::fold,
    error::{Error, Reason},
};

/// Collects an answer and writes it.
///
/// # Errors
/// The stream's own.
pub(in crate::edge) async fn answer(
    head: &Head,
    mut reply: Reply,
    write: impl FnOnce(&CompleteResponse) -> Result<Vec<u8>, Error>,
) -> Result<Response, Error> {
    let headers = head.of_reply(&reply);
    let settled = reply.settled.clone();
    let body = match reply.items.next().await {
        Some(Ok(Item::Raw(bytes, _))) => super::raw(bytes, &mut reply).await?,
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
pub(in crate::edge) fn json(headers: HeaderMap, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
