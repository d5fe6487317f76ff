//! `POST /v1/chat/completions`.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{Shared, chat_chunks::Chunks, chat_parse, chat_request, chat_response, error};
use crate::{
    call::{self, Item, Operation, Payload, Reply, Surface},
    edge::{
        fold,
        rest::{
            self, body,
            head::{Head, put_cost},
        },
    },
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
        let chunks = Chunks::new(reply.id, usage_wanted);
        return Ok(rest::streaming(edge, &shared.readers, head, reply, chunks));
    }
    let headers = head.of_reply(&reply);
    whole(headers, reply).await
}

/// Collects an answer: an upstream's own bytes as they came, or the events folded.
async fn whole(mut headers: HeaderMap, mut reply: Reply) -> Result<Response, Error> {
    let body = match reply.items.next().await {
        Some(Ok(Item::Raw(bytes, _))) => rest::raw(bytes, &mut reply).await?,
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
