//! `POST /v1/embeddings`.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, header, request::Parts};

use super::{azure, embeddings_request, embeddings_response, error};
use crate::{
    call::{self, Item, Operation, Payload, Reply, Surface},
    edge::{
        Edge,
        rest::{
            self, body,
            head::{Head, put_cost},
        },
    },
    error::{Error, Reason},
};

/// Answers an embeddings request.
pub(super) async fn embed(State(edge): State<Edge>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    match answer(&edge, &parts, body, &mut head).await {
        Ok(response) => response,
        Err(failed) => error::respond(&head, &failed),
    }
}

async fn answer(edge: &Edge, request: &Parts, body: Body, head: &mut Head) -> Result<Response, Error> {
    let surface = (Surface::OpenAiEmbeddings, Operation::Embeddings);
    let (mut open, body) = body::open(edge, request, body, head, surface).await?;
    let body = azure::addressed(request, body);
    let mut scanned = match embeddings_request::scan(&body) {
        Ok(scanned) => scanned,
        Err(failed) => return Err(open.refuse(failed)),
    };
    open.call.asked = std::mem::take(&mut scanned.asked);
    let base64 = scanned.base64;
    let payload = Payload::raw(scanned.into_raw(body), embeddings_request::parse);
    let mut reply = edge.pipeline.run(open, call::Request::Embed(payload)).await?;
    let mut headers = head.of_reply(&reply);
    let body = collect(&mut reply, base64).await?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put_cost(&mut headers, reply.settled.get());
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    Ok(response)
}

async fn collect(reply: &mut Reply, base64: bool) -> Result<Bytes, Error> {
    let mut written = None;
    while let Some(item) = reply.items.next().await {
        match item? {
            Item::Raw(bytes, _) => return rest::raw(bytes, reply).await,
            Item::Embeddings(answer) => written = Some(embeddings_response::write(&answer, base64)?.into()),
            Item::Event(_) | Item::Counted(_) => {}
        }
    }
    written.ok_or_else(|| Error::new(Reason::UpstreamBadResponse, "the answer holds no embeddings"))
}
