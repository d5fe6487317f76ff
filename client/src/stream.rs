//! Streams of the server: an answer's events, usage records as they are made, quotas as they are used up.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tollgate_api::v1::{
    CompleteResponse, StreamCompleteResponse, UsageRecord, WatchQuotaResponse, WatchUsageResponse,
    stream_complete_response::Event,
};
use tonic::{Response, Streaming};

use crate::{
    error::{Error, Result},
    fold::Fold,
};

/// What this side waits beyond the deadline for the server's own word, which says what was produced.
const GRACE: Duration = Duration::from_millis(250);

/// The messages of a server stream, until it ends, fails or its deadline is over.
struct Messages<M> {
    /// `None` once the stream has ended; dropping it before cancels the call.
    source: Option<Streaming<M>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<M> Messages<M> {
    fn new(source: Streaming<M>, deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline + GRACE)));
        Self { source: Some(source), deadline }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<M>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let end = match Pin::new(source).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => return Poll::Ready(Some(Ok(message))),
            Poll::Ready(Some(Err(status))) => Some(Err(Error::from(status))),
            Poll::Ready(None) => None,
            Poll::Pending => {
                let Some(deadline) = &mut self.deadline else { return Poll::Pending };
                ready!(deadline.as_mut().poll(cx));
                Some(Err(Error::deadline()))
            }
        };
        self.source = None;
        Poll::Ready(end)
    }
}

/// The events of a streamed answer, in the order of the contract's grammar. Events that this library does
/// not know are skipped. Ends after [`Event::End`], or with one error; a stream that the network cut
/// before its `end` is an error too. Dropping it cancels the call.
pub struct ChatStream {
    messages: Messages<StreamCompleteResponse>,
    request_id: Option<String>,
    complete: bool,
    over: bool,
}

impl ChatStream {
    pub(crate) fn new(
        response: Response<Streaming<StreamCompleteResponse>>,
        deadline: Option<Instant>,
    ) -> Self {
        let id = response.metadata().get("x-request-id");
        let request_id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let messages = Messages::new(response.into_inner(), deadline);
        Self { messages, request_id, complete: false, over: false }
    }

    /// Returns the id of the call, which is that of its usage record.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Returns the next event; `None` after the answer is complete or has failed. Dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Keeps the text of the first choice alone: what most programs show.
    pub fn text(self) -> TextStream {
        TextStream(self)
    }

    /// Waits for the end and returns the whole answer, as `Client::chat` does. Fails if the answer is cut.
    pub async fn collect(mut self) -> Result<CompleteResponse> {
        let mut fold = Fold::default();
        while let Some(event) = self.next().await {
            fold.push(event?);
        }
        Ok(fold.finish())
    }
}

impl Stream for ChatStream {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let item = match ready!(this.messages.poll(cx)) {
                Some(Ok(StreamCompleteResponse { event: None, .. })) => continue,
                Some(Ok(StreamCompleteResponse { event: Some(event), .. })) => {
                    this.complete |= matches!(event, Event::End(_));
                    return Poll::Ready(Some(Ok(event)));
                }
                Some(Err(error)) => Some(Err(error)),
                None if this.complete || this.over => None,
                None => Some(Err(Error::truncated())),
            };
            this.over = true;
            return Poll::Ready(item);
        }
    }
}

/// The text of an answer's first choice, piece by piece; made by [`ChatStream::text`].
pub struct TextStream(ChatStream);

impl TextStream {
    /// Returns the next piece of text; `None` when the answer is complete.
    pub async fn next(&mut self) -> Option<Result<String>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for TextStream {
    type Item = Result<String>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let events = &mut self.get_mut().0;
        loop {
            match ready!(Pin::new(&mut *events).poll_next(cx)) {
                Some(Ok(Event::Text(delta))) if delta.choice == 0 => {
                    return Poll::Ready(Some(Ok(delta.text)));
                }
                Some(Ok(Event::PartStart(start))) if start.choice == 0 => {
                    if let Some(text) = start.initial.and_then(whole_text) {
                        return Poll::Ready(Some(Ok(text)));
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// A part that the provider gave at once is whole in its `part_start`.
fn whole_text(part: tollgate_api::v1::Part) -> Option<String> {
    match part.kind {
        Some(tollgate_api::v1::part::Kind::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// Usage records as they are made. Dropping it ends the watch.
pub struct RecordStream(Messages<WatchUsageResponse>);

impl RecordStream {
    pub(crate) fn new(response: Response<Streaming<WatchUsageResponse>>, deadline: Option<Instant>) -> Self {
        Self(Messages::new(response.into_inner(), deadline))
    }

    /// Returns the next record; `None` if the server ended the watch.
    pub async fn next(&mut self) -> Option<Result<UsageRecord>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for RecordStream {
    type Item = Result<UsageRecord>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let messages = &mut self.get_mut().0;
        loop {
            match ready!(messages.poll(cx)) {
                Some(Ok(WatchUsageResponse { record: None })) => {}
                Some(Ok(WatchUsageResponse { record: Some(record) })) => {
                    return Poll::Ready(Some(Ok(record)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Quotas each time that they pass a threshold. Dropping it ends the watch.
pub struct QuotaStream(Messages<WatchQuotaResponse>);

impl QuotaStream {
    pub(crate) fn new(response: Response<Streaming<WatchQuotaResponse>>, deadline: Option<Instant>) -> Self {
        Self(Messages::new(response.into_inner(), deadline))
    }

    /// Returns the next quota and the threshold that it passed; `None` if the server ended the watch.
    pub async fn next(&mut self) -> Option<Result<WatchQuotaResponse>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for QuotaStream {
    type Item = Result<WatchQuotaResponse>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll(cx)
    }
}
