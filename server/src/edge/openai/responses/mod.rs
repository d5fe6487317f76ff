//! `POST /v1/responses` and what belongs to it. Tollgate keeps no responses: each request brings its whole conversation,
//! and what refers to a kept one is for OpenAI's own servers, on the express lane.
//!
//! A request is scanned (`request`) and, where the target speaks another dialect, read into the contract (`parse`,
//! `items`, `content`, `tools`). The answer is items (`output`, written by `shapes` and `response`), told whole or as
//! they grow (`stream`, `growing`, `frames`).

mod content;
mod frames;
mod growing;
mod items;
mod output;
mod parse;
mod passed;
mod request;
mod response;
mod shapes;
mod stream;
mod tools;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::request::Parts;
use serde::Serialize;
use tollgate_api::v1::CompleteResponse;
use uuid::Uuid;

pub(super) use parse::parse;

use self::{request::Repeated, stream::Events};
use super::{
    error,
    serve::{self, Endpoint, Read},
};
use crate::{
    call::{Item, Operation, Payload, Reply, Surface},
    edge::{
        Edge,
        rest::{self, head::Head, whole},
    },
    error::{Error, Reason},
};

/// The endpoint. What it keeps of a request is what an answer repeats.
pub(super) struct Responses;

impl Endpoint for Responses {
    const SURFACE: Surface = Surface::OpenAiResponses;
    type Kept = Repeated;
    type Stream = Events;

    fn read(body: Bytes) -> Result<Read<Repeated>, Error> {
        let mut scanned = request::scan(&body)?;
        let asked = std::mem::take(&mut scanned.asked);
        let repeated = std::mem::take(&mut scanned.repeated);
        // What another provider gave must not reach this dialect's own servers as if it were theirs.
        let payload = if output::is_ours(&body) {
            Payload::parsed(&body, parse)?
        } else {
            Payload::raw(scanned.into_raw(body), parse)
        };
        Ok((asked, payload, repeated))
    }

    fn stream(call_id: Uuid, repeated: Repeated) -> Events {
        Events::new(call_id, repeated)
    }

    fn write(answer: &CompleteResponse, repeated: &Repeated) -> Result<Vec<u8>, Error> {
        response::write(answer, &answer.id.replace('-', ""), repeated)
    }
}

/// Answers how many tokens a request would be.
pub(super) async fn count(State(edge): State<Edge>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    let answered = counted(&edge, &parts, body, &mut head).await;
    answered.unwrap_or_else(|failed| error::respond(&head, &failed))
}

async fn counted(edge: &Edge, request: &Parts, body: Body, head: &mut Head) -> Result<Response, Error> {
    let kind = (Surface::OpenAiResponses, Operation::CountTokens);
    let (mut reply, _, ()) = serve::run(edge, (request, body), head, kind, read_prompt).await?;
    let headers = head.of_reply(&reply);
    Ok(whole::json(headers, input_tokens(&mut reply).await?))
}

fn read_prompt(body: Bytes) -> Result<Read<()>, Error> {
    let (mut asked, payload, _) = Responses::read(body)?;
    asked.streamed = false;
    Ok((asked, payload, ()))
}

async fn input_tokens(reply: &mut Reply) -> Result<Bytes, Error> {
    #[derive(Serialize)]
    struct InputTokens {
        object: &'static str,
        input_tokens: i64,
    }
    let mut written = None;
    while let Some(item) = reply.items.next().await {
        match item? {
            Item::Raw(bytes, _) => return rest::raw(bytes, reply).await,
            Item::Counted(count) => {
                let told = InputTokens { object: "response.input_tokens", input_tokens: count.input_tokens };
                written = serde_json::to_vec(&told).ok();
            }
            Item::Event(_) | Item::Embeddings(_) => {}
        }
    }
    let none = || Error::new(Reason::UpstreamBadResponse, "the answer holds no count of tokens");
    written.map(Bytes::from).ok_or_else(none)
}

/// Answers whoever asks for a response that was made before.
pub(super) async fn absent(State(edge): State<Edge>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let head = Head::of(&parts);
    let unknown = "there is no such response: Tollgate keeps none, send the whole conversation each time";
    let failed = match edge.pipeline.authenticate(&parts.headers, parts.uri.query()).await {
        Ok(_) => Error::new(Reason::Unimplemented, unknown),
        Err(failed) => failed,
    };
    error::respond(&head, &failed)
}

#[cfg(test)]
mod items_tests;
#[cfg(test)]
mod stream_tests;
