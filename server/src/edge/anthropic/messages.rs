//! `POST /v1/messages` and `/v1/messages/count_tokens`.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures_util::StreamExt as _;
use http::request::Parts;
use serde::Serialize;

use super::{Shared, answer, error, request, stream::Messages};
use crate::{
    call::{self, Item, Operation, Reply, Surface, estimate_text_tokens},
    edge::{
        Edge,
        rest::{self, body, head::Head, whole},
    },
    error::{Error, Reason},
};

/// Answers a request for a message, whole or as a stream.
pub(super) async fn create(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    let answer = message(&shared, &parts, body, &mut head).await;
    answer.unwrap_or_else(|failed| error::respond(&head, &failed))
}

/// Answers a request for the number of tokens of a prompt.
pub(super) async fn count_tokens(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    let answer = count(&shared.edge, &parts, body, &mut head).await;
    answer.unwrap_or_else(|failed| error::respond(&head, &failed))
}

async fn message(shared: &Shared, parts: &Parts, body: Body, head: &mut Head) -> Result<Response, Error> {
    let edge = &shared.edge;
    let (reply, asked) = run(edge, parts, body, head, Operation::Chat).await?;
    if asked.streamed {
        let messages = Messages::new(reply.id, asked.estimated_input_tokens);
        return Ok(rest::streaming(edge, &shared.readers, head, reply, messages));
    }
    whole::answer(head, reply, answer::write).await
}

async fn count(edge: &Edge, parts: &Parts, body: Body, head: &mut Head) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Count {
        input_tokens: i64,
    }
    let (mut reply, _) = run(edge, parts, body, head, Operation::CountTokens).await?;
    let headers = head.of_reply(&reply);
    let mut counted = None;
    while let Some(item) = reply.items.next().await {
        match item? {
            Item::Raw(bytes, _) => return Ok(whole::json(headers, rest::raw(bytes, &mut reply).await?)),
            Item::Counted(count) => counted = Some(Count { input_tokens: count.input_tokens }),
            Item::Event(_) | Item::Embeddings(_) => {}
        }
    }
    let body = counted.and_then(|count| serde_json::to_vec(&count).ok());
    let missing = || Error::new(Reason::UpstreamBadResponse, "the answer holds no count");
    Ok(whole::json(headers, body.ok_or_else(missing)?.into()))
}

/// What an answer needs to know of its request.
struct Asked {
    streamed: bool,
    estimated_input_tokens: u32,
}

/// Reads a request and walks it through the rooms.
async fn run(
    edge: &Edge,
    parts: &Parts,
    body: Body,
    head: &mut Head,
    operation: Operation,
) -> Result<(Reply, Asked), Error> {
    let surface = (Surface::AnthropicMessages, operation);
    let (mut open, body) = body::open(edge, parts, body, head, surface).await?;
    let counting = operation == Operation::CountTokens;
    let read = request::scan(&body, counting).and_then(|mut scanned| {
        let asked = std::mem::take(&mut scanned.asked);
        Ok((asked, scanned.into_payload(body, &parts.headers)?))
    });
    let payload = match read {
        Ok((asked, payload)) => {
            open.call.asked = asked;
            payload
        }
        Err(failed) => return Err(open.refuse(failed)),
    };
    let asked = Asked {
        streamed: open.call.asked.streamed,
        estimated_input_tokens: estimate_text_tokens(open.call.asked.input_bytes),
    };
    let request = if counting { call::Request::CountTokens(payload) } else { call::Request::Chat(payload) };
    Ok((edge.pipeline.run(open, request).await?, asked))
}
