//! The way of a call whose answer is text, the same for every endpoint of this surface: read, run, answer whole. What
//! an endpoint adds is how it reads a body and how it writes an answer.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::request::Parts;
use tollgate_api::v1::{ChatInput, CompleteResponse};
use uuid::Uuid;

use super::{Shared, azure, error};
use crate::{
    call::{self, Asked, Operation, Payload, Reply, Surface},
    edge::{
        Edge,
        rest::{self, body, head::Head, sse::Encode, whole},
    },
    error::Error,
};

/// A request that was read: what the rooms need of it, itself, and what its answer will need.
pub(super) type Read<T> = (Asked, Payload<ChatInput>, T);

/// An endpoint that is asked for text.
pub(super) trait Endpoint: 'static {
    /// The way by which its calls come in, for the record.
    const SURFACE: Surface;
    /// What its answers need of their request.
    type Kept: Send;
    /// How it writes a stream.
    type Stream: Encode + 'static;

    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, naming the field.
    fn read(body: Bytes) -> Result<Read<Self::Kept>, Error>;

    /// Starts the stream of a call.
    fn stream(call_id: Uuid, kept: Self::Kept) -> Self::Stream;

    /// Writes a whole answer.
    ///
    /// # Errors
    /// `INTERNAL` if it cannot be written, which no answer is known to cause.
    fn write(answer: &CompleteResponse, kept: &Self::Kept) -> Result<Vec<u8>, Error>;
}

/// Answers a request, whole or as a stream.
pub(super) async fn complete<E: Endpoint>(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    let answered = answer::<E>(&shared, (&parts, body), &mut head).await;
    answered.unwrap_or_else(|failed| error::respond(&head, &failed))
}

async fn answer<E: Endpoint>(
    shared: &Shared,
    request: (&Parts, Body),
    head: &mut Head,
) -> Result<Response, Error> {
    let kind = (E::SURFACE, Operation::Chat);
    let (reply, streamed, kept) = run(&shared.edge, request, head, kind, E::read).await?;
    if streamed {
        let stream = E::stream(reply.id, kept);
        return Ok(rest::streaming(&shared.edge, &shared.readers, head, reply, stream));
    }
    whole::answer(head, reply, |answer| E::write(answer, &kept)).await
}

/// Reads a request and walks it through the rooms. Returns too whether a stream is wanted.
///
/// # Errors
/// Every refusal and failure before the commit point; recorded if the caller was let in.
pub(super) async fn run<T>(
    edge: &Edge,
    (request, body): (&Parts, Body),
    head: &mut Head,
    (surface, operation): (Surface, Operation),
    read: impl FnOnce(Bytes) -> Result<Read<T>, Error>,
) -> Result<(Reply, bool, T), Error> {
    let (mut open, body) = body::open(edge, request, body, head, (surface, operation)).await?;
    let (asked, payload, kept) = match read(azure::addressed(request, body)) {
        Ok(read) => read,
        Err(failed) => return Err(open.refuse(failed)),
    };
    let streamed = asked.streamed;
    open.call.asked = asked;
    let request = match operation {
        Operation::CountTokens => call::Request::CountTokens(payload),
        _ => call::Request::Chat(payload),
    };
    Ok((edge.pipeline.run(open, request).await?, streamed, kept))
}
