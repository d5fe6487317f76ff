//! Every reader of answers by its name, for tests and fuzzers: bytes go in, through the same `Follow` that reads a
//! connection, and items come out.
//!
//! A dialect lists its own readers in its `lanes.rs`; a registered dialect that no reader claims fails a test here.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::{Body, Frame};

use super::{
    Error, anthropic, bedrock, cohere,
    follow::{Follow, Lane},
    forward, gemini, openai, vendors,
};
use crate::call::Item;

pub mod check;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

/// The family of every dialect that is a row of the table of vendors.
pub const OPENAI: &str = "openai";

/// What a reader makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// A stream of the contract's events.
    Events,
    /// The stream's own bytes, in whole units of this kind, all of them.
    Bytes(Unit),
    /// The stream's own bytes, but for events that the caller has not asked for.
    SomeBytes(Unit),
    /// Whatever a whole body is.
    Whole,
}

/// What a stream of bytes is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Server-sent events.
    Events,
    /// Lines.
    Lines,
    /// AWS's binary messages.
    Messages,
}

/// The pieces of a body, in order.
pub type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;
/// Takes what a reader tells.
pub type Taker<'a> = &'a mut dyn FnMut(Result<Item, Error>);

/// One reader of answers.
#[derive(Clone, Copy)]
pub struct Reader {
    /// What it is called.
    pub name: &'static str,
    /// The registered dialects that it reads for; `OPENAI` stands for all rows of the table of vendors.
    pub dialects: &'static [&'static str],
    /// What it makes of an answer.
    pub makes: Makes,
    read: fn(Pieces, Taker<'_>),
}

impl Reader {
    pub(in crate::provider) const fn new(
        name: &'static str,
        dialects: &'static [&'static str],
        makes: Makes,
        read: fn(Pieces, Taker<'_>),
    ) -> Self {
        Self { name, dialects, makes, read }
    }

    /// Reads a body, one piece after the other, and hands on what comes out as it comes.
    pub fn read(&self, pieces: Pieces, taker: Taker<'_>) {
        (self.read)(pieces, taker);
    }

    /// Reads a body that is cut at these places.
    pub fn read_cut(&self, body: &Bytes, cuts: &[usize]) -> Vec<Result<Item, Error>> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<Bytes> = cuts.windows(2).map(|pair| body.slice(pair[0]..pair[1])).collect();
        let mut told = Vec::new();
        self.read(Box::new(pieces.into_iter()), &mut |item| told.push(item));
        told
    }
}

/// Lists every reader.
pub fn readers() -> impl Iterator<Item = &'static Reader> {
    let lists: [&'static [Reader]; 7] = [
        openai::lanes::READERS,
        openai::lanes::RESPONSES,
        anthropic::lanes::READERS,
        gemini::lanes::READERS,
        bedrock::lanes::READERS,
        cohere::lanes::READERS,
        forward::lanes::READERS,
    ];
    lists.into_iter().flatten()
}

/// Names by which readers claim a registered dialect.
pub fn family(dialect: &str) -> &str {
    // Mantle is Bedrock's door to OpenAI's wire.
    let is_openais = vendors::find(dialect).is_some() || dialect == super::bedrock::mantle::DIALECT.name;
    if is_openais { OPENAI } else { dialect }
}

/// Reads a stream, with the runtime that reads on after an answer is complete.
pub(in crate::provider) fn follow<L: Lane + 'static>(lane: L, pieces: Pieces, taker: Taker<'_>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    runtime.block_on(async move {
        let mut items = Follow::new(Fed { pieces, comes: false }, lane);
        while let Some(item) = items.next().await {
            taker(item);
        }
        tokio::task::yield_now().await;
    });
}

/// Reads a whole body.
pub(in crate::provider) fn whole(
    pieces: Pieces,
    taker: Taker<'_>,
    decode: impl FnOnce(Bytes) -> Result<Vec<Item>, Error>,
) {
    let body: Vec<u8> = pieces.flat_map(Vec::from).collect();
    match decode(body.into()) {
        Ok(items) => items.into_iter().for_each(|item| taker(Ok(item))),
        Err(error) => taker(Err(error)),
    }
}

/// A body whose pieces come one at a time, so that none is joined to the next.
struct Fed {
    pieces: Pieces,
    comes: bool,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.comes = !self.comes;
        if !self.comes {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.next().map(|piece| Ok(Frame::data(piece))))
    }
}
