//! `POST /v1/chat/completions`.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::request::Parts;

use super::{
    Shared,
    chat_chunks::Chunks,
    chat_parse, chat_request, chat_response, error,
    serve::{self, Read},
};
use crate::{
    call::{Operation, Payload, Surface},
    edge::{
        continuity,
        rest::{self, head::Head},
    },
    error::Error,
};

/// Answers a chat request, whole or as a stream.
pub(super) async fn complete(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    let answered = answer(&shared, &parts, body, &mut head).await;
    answered.unwrap_or_else(|failed| error::respond(&head, &failed))
}

async fn answer(shared: &Shared, request: &Parts, body: Body, head: &mut Head) -> Result<Response, Error> {
    let kind = (Surface::OpenAiChat, Operation::Chat);
    let (reply, encoding) = serve::run(&shared.edge, (request, body), head, kind, read).await?;
    if let Some(usage_wanted) = encoding {
        let chunks = Chunks::new(reply.id, usage_wanted);
        return Ok(rest::streaming(&shared.edge, &shared.readers, head, reply, chunks));
    }
    serve::whole(head, reply, chat_response::write).await
}

/// Reads a body; what is kept says, if the answer is a stream, whether usage is wanted in it.
fn read(body: Bytes) -> Result<Read<Option<bool>>, Error> {
    let mut scanned = chat_request::scan(&body)?;
    let asked = std::mem::take(&mut scanned.asked);
    let streamed = asked.streamed.then_some(asked.usage_wanted);
    // What another provider gave must not reach this dialect's own servers as if it were theirs.
    let payload = if continuity::is_in(&body) {
        Payload::typed(chat_parse::parse(&body)?)
    } else {
        Payload::raw(scanned.into_raw(body), chat_parse::parse)
    };
    Ok((asked, payload, streamed))
}
