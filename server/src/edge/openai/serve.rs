//! The way of a call whose answer is text, the same for every endpoint of this surface: read, run, answer whole. What
//! an endpoint adds is how it reads a body and how it writes an answer.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, header, request::Parts};
use tollgate_api::v1::{ChatInput, CompleteResponse};
use uuid::Uuid;

use super::{Shared, azure, error};
use crate::{
    call::{self, Asked, Item, Operation, Payload, Reply, Surface},
    edge::{
        Edge, fold,
        rest::{
            self, body,
            head::{Head, put_cost},
            sse::Encode,
        },
    },
    error::{Error, Reason},
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
    whole(head, reply, |answer| E::write(answer, &kept)).await
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
        Operation::Chat | Operation::Embeddings => call::Request::Chat(payload),
    };
    Ok((edge.pipeline.run(open, request).await?, streamed, kept))
}

/// Answers with an upstream's own bytes as they came, or with the events folded and written.
///
/// # Errors
/// The stream's own.
async fn whole(
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
