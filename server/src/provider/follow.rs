//! Drives one streamed answer: body frames to whole events to items, with the connection's fate at the end.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::Body;

use super::{Error, Kind, http};
use crate::call::Item;

/// Cuts a body into whole units: server-sent events, lines, binary frames. A plain state machine, bounded in memory.
pub trait Frames: Default + Send + Unpin {
    /// One or more whole units.
    type Block;

    /// Takes what arrived and returns what is whole with it. Half a unit is never handed out.
    ///
    /// # Errors
    /// `BadResponse` if it is no such stream, or a unit is larger than allowed.
    fn push(&mut self, data: Bytes) -> Result<impl Iterator<Item = Self::Block> + use<Self>, Error>;

    /// Ends the body. Returns a unit that lacks only its mark of the end.
    fn finish(&mut self) -> Option<Self::Block>;
}

/// What a dialect makes of whole events.
pub trait Lane: Send + Unpin {
    /// How the body is cut.
    type Frames: Frames;

    /// Takes one or more whole events.
    ///
    /// # Errors
    /// The failure that the events tell, or are. The items before it are still handed on.
    fn block(
        &mut self,
        block: &<Self::Frames as Frames>::Block,
        out: &mut VecDeque<Item>,
    ) -> Result<(), Error>;

    /// Takes the clean end of the body, which may or may not be the end of the answer.
    ///
    /// # Errors
    /// If the answer is not complete.
    fn end(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error>;

    /// Appends what should still be told when the answer has failed.
    fn broken(&mut self, _out: &mut VecDeque<Item>) {}

    /// Tells whether the answer's own end has been seen.
    fn is_complete(&self) -> bool;

    /// Tells whether the answer is whole, though the vendor may still append a mark that belongs to the body. A
    /// connection that breaks then has cost nothing.
    fn is_whole(&self) -> bool {
        self.is_complete()
    }
}

/// How a body ends: with a failure, or without one.
type Ended = Option<Box<dyn StdError + Send + Sync>>;

/// So much of what has arrived is looked at in one piece.
const PIECE_BYTES: usize = 32 * 1024;

/// The items of a streamed answer. Dropping it before its end closes the connection.
pub struct Follow<B, L: Lane> {
    body: Option<B>,
    /// How the body ended behind the last data, which are dealt with first.
    ended: Option<Ended>,
    frames: L::Frames,
    lane: L,
    ready: VecDeque<Item>,
    failed: Option<Error>,
}

impl<B, L: Lane> Follow<B, L> {
    /// Starts to read the body.
    pub fn new(body: B, lane: L) -> Self {
        let frames = L::Frames::default();
        Self { body: Some(body), ended: None, frames, lane, ready: VecDeque::new(), failed: None }
    }
}

/// Waits for data or for the end.
fn poll_data<B>(body: &mut B, cx: &mut Context<'_>) -> Poll<Result<Bytes, Ended>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                // Trailers tell nothing.
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Ok(data));
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(Some(error.into()))),
            None => return Poll::Ready(Err(None)),
        }
    }
}

/// Waits for something to arrive, and takes all there is of it: what came together goes its way together.
fn poll_arrived<B>(
    body: &mut B,
    ended: &mut Option<Ended>,
    cx: &mut Context<'_>,
) -> Poll<Result<Bytes, Ended>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    if let Some(ended) = ended.take() {
        return Poll::Ready(Err(ended));
    }
    let first = match ready!(poll_data(body, cx)) {
        Ok(first) => first,
        Err(ended) => return Poll::Ready(Err(ended)),
    };
    let mut joined = BytesMut::new();
    while first.len().max(joined.len()) < PIECE_BYTES {
        match poll_data(body, cx) {
            Poll::Ready(Ok(data)) => {
                if joined.is_empty() {
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(&data);
            }
            Poll::Ready(Err(how)) => {
                *ended = Some(how);
                break;
            }
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(if joined.is_empty() { first } else { joined.freeze() }))
}

impl<B, L> Follow<B, L>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    L: Lane,
{
    fn frame(&mut self, data: Bytes) -> Result<(), Error> {
        let blocks = self.frames.push(data)?;
        for block in blocks {
            self.lane.block(&block, &mut self.ready)?;
            if self.lane.is_complete() {
                break;
            }
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<(), Error> {
        if let Some(block) = self.frames.finish()
            && self.lane.block(&block, &mut self.ready).is_err()
        {
            return Err(Error::new(Kind::Unavailable, "the answer ended in the middle of an event"));
        }
        if self.lane.is_complete() { Ok(()) } else { self.lane.end(&mut self.ready) }
    }
}

impl<B, L> Stream for Follow<B, L>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    L: Lane,
{
    type Item = Result<Item, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(item) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
            let outcome = match ready!(poll_arrived(body, &mut this.ended, cx)) {
                Ok(data) => this.frame(data),
                Err(Some(_)) if this.lane.is_whole() => {
                    this.body = None;
                    this.lane.end(&mut this.ready)
                }
                Err(Some(error)) => Err(http::cut(error.as_ref())),
                Err(None) => {
                    this.body = None;
                    this.ended()
                }
            };
            match outcome {
                Err(error) => {
                    this.lane.broken(&mut this.ready);
                    this.failed = Some(error);
                    this.body = None;
                }
                Ok(()) if this.lane.is_complete() => {
                    if let Some(body) = this.body.take().filter(|_| this.ended.is_none()) {
                        http::drain(body);
                    }
                }
                Ok(()) => {}
            }
        }
    }
}
