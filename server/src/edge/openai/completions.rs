//! `POST /v1/completions`, the legacy way: a prompt in, text out. Targets without it are asked by chat.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::request::Parts;

use super::{
    Shared, completions_answer, completions_request, error,
    serve::{self, Read},
};
use crate::{
    call::{Operation, Payload, Surface},
    edge::rest::{self, head::Head},
    error::Error,
};

/// Answers a completion request, whole or as a stream.
pub(super) async fn complete(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    let answered = answer(&shared, &parts, body, &mut head).await;
    answered.unwrap_or_else(|failed| error::respond(&head, &failed))
}

async fn answer(shared: &Shared, request: &Parts, body: Body, head: &mut Head) -> Result<Response, Error> {
    let kind = (Surface::OpenAiCompletions, Operation::Chat);
    let (reply, encoding) = serve::run(&shared.edge, (request, body), head, kind, read).await?;
    if let Some(usage_wanted) = encoding {
        let texts = completions_answer::Texts::new(reply.id, usage_wanted);
        return Ok(rest::streaming(&shared.edge, &shared.readers, head, reply, texts));
    }
    serve::whole(head, reply, completions_answer::write).await
}

/// Reads a body; what is kept says, if the answer is a stream, whether usage is wanted in it.
fn read(body: Bytes) -> Result<Read<Option<bool>>, Error> {
    let mut scanned = completions_request::scan(&body)?;
    let asked = std::mem::take(&mut scanned.asked);
    let streamed = asked.streamed.then_some(asked.usage_wanted);
    Ok((asked, Payload::raw(scanned.into_raw(body), completions_request::parse), streamed))
}
