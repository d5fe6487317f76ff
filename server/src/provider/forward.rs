//! Passing through: the caller's body with the vendor's model in its place, and the answer as it comes. What was used is
//! read in passing where the answer tells it (`units`): streams in whole units (`pass`), each seen by a `witness`.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod lanes;
mod pass;
mod witness;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use ::http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use bytes::Bytes;
use futures_util::Stream;
use http_body::Body;
use tollgate_api::v1::{Usage, usage::Source};

use self::pass::{Lines, Pass};
use super::{
    Answer, Error, Forwarding, Kind, Place,
    aws::frames,
    follow::Follow,
    http::{self, Incoming, Pieces},
    refusal, sse,
    units::{self, Tally},
    upstream::{Ask, endpoint, once},
};
use crate::call::{Endpoint, Forward, Item, Items, Seen, Slot};

/// What a caller needs to read the body.
const BODY_HEADERS: [::http::HeaderName; 2] = [CONTENT_TYPE, CONTENT_DISPOSITION];

/// Sends a request to its place and hands its answer on.
pub(super) async fn send(place: &Place<'_>, request: Forwarding<'_>) -> Result<Answer, Error> {
    let forward = request.forward;
    let path = if forward.endpoint == Endpoint::Native { &forward.native_path } else { &place.path };
    let uri = endpoint(place.base, path).map_err(|why| Error::new(Kind::Invalid, why))?;
    let ask = Ask {
        method: Method::POST,
        body: body(forward, request.model)?,
        headers: forward.headers.clone(),
        streamed: false,
        call_id: request.call_id,
        traceparent: request.traceparent.and_then(|value| HeaderValue::from_str(value).ok()),
    };
    let response = place.upstream.send(&uri, ask).await?;
    let told = response.headers().clone();
    let (mut answer, _, body) = place.upstream.open(response, Vec::new());
    copy(&told, &mut answer.headers);
    answer.items = items(body, kind_of(&told), known(forward, &told));
    Ok(answer)
}

/// Joins the caller's body around the vendor's model.
fn body(forward: &Forward, model: &str) -> Result<Pieces, Error> {
    let mut pieces = vec![forward.before.clone()];
    match forward.slot {
        Slot::Json => pieces.push(serde_json::to_vec(model).unwrap_or_default().into()),
        Slot::Plain => pieces.push(Bytes::copy_from_slice(model.as_bytes())),
        Slot::None => {}
    }
    pieces.push(forward.after.clone());
    let tail = forward.tail.lock().ok().and_then(|mut tail| tail.take());
    if forward.has_tail && tail.is_none() {
        return Err(Error::new(Kind::Unavailable, "the body was streamed to another target already"));
    }
    Ok(Pieces::new(pieces).with_tail(tail))
}

fn copy(told: &HeaderMap, headers: &mut HeaderMap) {
    for name in BODY_HEADERS {
        if let Some(value) = told.get(&name) {
            headers.insert(name, value.clone());
        }
    }
}

/// How an answer is read in passing.
#[derive(Clone, Copy)]
enum Shape {
    Json,
    Html,
    Events,
    Lines,
    /// AWS's.
    Frames,
    Bytes,
}

fn kind_of(headers: &HeaderMap) -> Shape {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => Shape::Json,
        "text/html" => Shape::Html,
        "text/event-stream" => Shape::Events,
        "application/vnd.amazon.eventstream" => Shape::Frames,
        "application/x-ndjson" | "application/stream+json" | "application/jsonl" => Shape::Lines,
        _ => Shape::Bytes,
    }
}

/// What is known of the usage before the answer: what the request tells, and what the head does.
fn known(forward: &Forward, headers: &HeaderMap) -> Usage {
    let mut usage = units::of_head(headers);
    if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
        usage.set_source(Source::Estimated);
    }
    for (name, count) in &forward.units {
        usage.billable_units.insert((*name).to_owned(), *count);
    }
    usage
}

fn items(body: Incoming, shape: Shape, known: Usage) -> Items<Error> {
    match shape {
        Shape::Json => once(async move {
            let body = http::read_all(body, http::MAX_ANSWER_BYTES).await?;
            let mut tally = Tally::new(known);
            tally.take(std::str::from_utf8(&body).unwrap_or_default());
            let seen = Seen {
                content_events: 1,
                usage: Some(Box::new(tally.usage())),
                last: true,
                progress: true,
                ..Seen::default()
            };
            Ok(vec![Item::Raw(body, seen)])
        }),
        Shape::Html => {
            once(async move { Err(refusal::not_json(&http::read_all(body, http::MAX_ERROR_BYTES).await?)) })
        }
        Shape::Events => Box::pin(Follow::new(body, Pass::<sse::Splitter>::new(known))),
        Shape::Lines => Box::pin(Follow::new(body, Pass::<Lines>::new(known))),
        Shape::Frames => Box::pin(Follow::new(body, Pass::<frames::Splitter>::new(known))),
        Shape::Bytes => Box::pin(Plain { body, usage: known, ended: false }),
    }
}

/// A body that is handed on frame by frame, unread.
struct Plain<B> {
    body: B,
    usage: Usage,
    ended: bool,
}

impl<B> Plain<B> {
    fn seen(&self, last: bool) -> Seen {
        Seen {
            content_events: u32::from(!last),
            usage: Some(Box::new(self.usage.clone())),
            last,
            progress: true,
            ..Seen::default()
        }
    }
}

impl<B> Stream for Plain<B>
where
    B: Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = Result<Item, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.ended {
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let seen = this.seen(false);
                    return Poll::Ready(Some(Ok(Item::Raw(data, seen))));
                }
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(http::cut(error.into().as_ref()))));
                }
                None => {
                    this.ended = true;
                    let seen = this.seen(true);
                    return Poll::Ready(Some(Ok(Item::Raw(Bytes::new(), seen))));
                }
            }
        }
        Poll::Ready(None)
    }
}
