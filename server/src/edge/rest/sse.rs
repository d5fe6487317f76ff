//! The body of a streamed answer: one item in, its bytes out at once, and comments when it is silent.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    call::{Event, Item, Items},
    error::Error,
};

const KEEP_ALIVE: Bytes = Bytes::from_static(b": keepalive\n\n");

/// A part of a body.
pub(in crate::edge) type Piece = Result<Bytes, Infallible>;

/// Returns the size of a piece.
pub(in crate::edge) fn size(piece: &Piece) -> usize {
    piece.as_ref().map_or(0, Bytes::len)
}

/// Writes typed events in the frames of one dialect.
pub(in crate::edge) trait Encode: Send + Unpin {
    /// Writes what an event says; empty if the dialect has no place for it.
    fn event(&mut self, event: Event) -> Bytes;

    /// Writes the last frames of a stream that failed, whichever lane it took.
    fn failed(&mut self, error: &Error) -> Bytes;

    /// Sees whole events of the express lane pass, for a dialect whose last frames must fit what was before them.
    fn passed(&mut self, _events: &[u8]) {}
}

/// Items as server-sent events. Dropping it drops the items, which cancels the call.
pub(in crate::edge) struct Sse<E> {
    items: Option<Items>,
    encoder: E,
    keep_alive: Duration,
    silent_since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<E: Encode> Sse<E> {
    pub(in crate::edge) fn new(items: Items, encoder: E, keep_alive: Duration) -> Self {
        let now = Instant::now();
        let timer = Box::pin(sleep_until(now + keep_alive));
        Self { items: Some(items), encoder, keep_alive, silent_since: now, timer }
    }

    /// Returns the next piece that is not empty, or none at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(items) = self.items.as_mut() else { return Poll::Ready(None) };
            let piece = match std::task::ready!(items.as_mut().poll_next(cx)) {
                None => {
                    self.items = None;
                    continue;
                }
                Some(Ok(Item::Raw(bytes, _))) => {
                    self.encoder.passed(&bytes);
                    bytes
                }
                Some(Ok(Item::Event(event))) => self.encoder.event(event),
                Some(Ok(Item::Embeddings(_) | Item::Counted(_))) => Bytes::new(),
                Some(Err(failed)) => {
                    self.items = None;
                    self.encoder.failed(&failed)
                }
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(piece));
            }
        }
    }

    /// Tells whether it is time for a comment, and sets the timer anew. The timer is only touched when it fires:
    /// a busy stream pays nothing for it.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let due = self.silent_since + self.keep_alive;
            if now >= due {
                self.silent_since = now;
                self.timer.as_mut().reset(now + self.keep_alive);
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<E: Encode> Stream for Sse<E> {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = self.poll_piece(cx) {
            self.silent_since = Instant::now();
            return Poll::Ready(piece.map(Ok));
        }
        self.poll_silence(cx).map(|()| Some(Ok(KEEP_ALIVE)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use tollgate_api::v1;
    use uuid::Uuid;

    use super::*;
    use crate::{call::Seen, edge::openai::chat_chunks::Chunks, error::Reason};

    fn raw(text: &'static str) -> Result<Item, Error> {
        Ok(Item::Raw(Bytes::from_static(text.as_bytes()), Seen::default()))
    }

    fn sse(items: Items) -> Sse<Chunks> {
        Sse::new(items, Chunks::new(Uuid::nil(), false), Duration::from_secs(15))
    }

    async fn all(items: Items) -> Vec<String> {
        sse(items).map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap()).collect().await
    }

    #[tokio::test]
    async fn raw_bytes_pass_exactly_and_empty_ones_are_skipped() {
        let items = stream::iter([raw("data: {\"x\" : 1}\r\n\r\n"), raw(""), raw("data: [DONE]\n\n")]);
        assert_eq!(all(Box::pin(items)).await, ["data: {\"x\" : 1}\r\n\r\n", "data: [DONE]\n\n"]);
    }

    #[tokio::test]
    async fn a_failure_is_the_last_frame_and_nothing_follows_it() {
        let failed = Err(Error::new(Reason::StreamInterrupted, "cut"));
        let items = stream::iter([raw("data: {}\n\n"), failed, raw("data: [DONE]\n\n")]);
        let frames = all(Box::pin(items)).await;
        assert_eq!(frames.len(), 2);
        assert!(frames[1].starts_with("data: {\"error\":{\"message\":\"cut\""), "{frames:?}");
        assert!(!frames.concat().contains("[DONE]"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments_and_content_leaves_at_once() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Result<Item, Error>>();
        let items = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        let mut body = sse(Box::pin(items));
        let began = Instant::now();
        assert_eq!(body.next().await.unwrap().unwrap(), KEEP_ALIVE);
        assert_eq!(began.elapsed(), Duration::from_secs(15));
        tokio::time::advance(Duration::from_secs(10)).await;
        let text = v1::TextDelta { text: "hi".to_owned(), choice: 0, part: 0 };
        sender.send(Ok(Item::Event(Event::Text(text)))).unwrap();
        let piece = body.next().await.unwrap().unwrap();
        assert!(piece.starts_with(b"data: {"), "{piece:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(25));
        assert_eq!(body.next().await.unwrap().unwrap(), KEEP_ALIVE);
        assert_eq!(began.elapsed(), Duration::from_secs(40));
    }
}
