//! Streams that pass through in whole units, each looked at by the witness: events, lines, AWS frames.

use std::{collections::VecDeque, marker::PhantomData};

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;
use tollgate_api::v1::Usage;

use super::witness::Witness;
use crate::{
    call::{Item, Seen},
    provider::{
        Error, Kind,
        aws::frames::{Damaged, Message},
        follow::{Frames, Lane},
        sse,
    },
};

/// The most bytes one line may have.
const MAX_LINE_BYTES: usize = sse::MAX_EVENT_BYTES;

/// One or more whole units of a stream.
pub(super) trait Unit {
    /// The bytes as they came.
    fn raw(&self) -> Bytes;

    /// Shows the witness what is inside, one after the other, and notes how far it came.
    ///
    /// # Errors
    /// The failure that is told, or that the unit is.
    fn show(&self, witness: &mut Witness, shown: &mut Shown) -> Result<(), Error>;
}

/// What was shown of a unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// Where the last thing begins and ends that was looked at.
    last: (usize, usize),
    /// How many things there were but comments.
    content: u32,
}

impl Shown {
    /// Notes that the next `bytes` are looked at.
    fn next(&mut self, bytes: usize) {
        self.last = (self.last.1, self.last.1 + bytes);
    }
}

/// Hands units on as they come.
pub(super) struct Pass<F> {
    witness: Witness,
    passed: bool,
    frames: PhantomData<fn() -> F>,
}

impl<F> Pass<F> {
    /// Starts with the usage that is known before the answer.
    pub(super) fn new(known: Usage) -> Self {
        Self { witness: Witness::new(known), passed: false, frames: PhantomData }
    }

    fn seen(&self, content: u32) -> Seen {
        Seen {
            content_events: content,
            usage: Some(Box::new(self.witness.usage())),
            progress: content > 0,
            ..Seen::default()
        }
    }
}

impl<F: Frames<Block: Unit>> Lane for Pass<F> {
    type Frames = F;

    fn block(&mut self, block: &F::Block, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let mut shown = Shown::default();
        let outcome = block.show(&mut self.witness, &mut shown);
        let (begin, end) = shown.last;
        self.passed |= outcome.is_ok() || begin > 0;
        // A failure at the very begin is told by its status; later the caller reads the provider's own words first.
        if self.passed {
            let raw = block.raw();
            let end = if outcome.is_ok() { raw.len() } else { end.min(raw.len()) };
            out.push_back(Item::Raw(raw.slice(..end), self.seen(shown.content)));
        }
        outcome
    }

    fn end(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.witness.ended()?;
        out.push_back(Item::Raw(Bytes::new(), Seen { last: true, progress: true, ..self.seen(0) }));
        Ok(())
    }

    /// The answer goes on until the body ends.
    fn is_complete(&self) -> bool {
        false
    }

    fn is_whole(&self) -> bool {
        self.witness.is_complete()
    }
}

impl Unit for sse::Block {
    fn raw(&self) -> Bytes {
        self.raw.clone()
    }

    fn show(&self, witness: &mut Witness, shown: &mut Shown) -> Result<(), Error> {
        for event in self.events() {
            shown.next(event.raw.len());
            if let Some(data) = &event.data {
                shown.content += 1;
                witness.part(std::str::from_utf8(event.name).unwrap_or_default(), data)?;
            }
        }
        Ok(())
    }
}

impl Unit for Result<Message, Damaged> {
    fn raw(&self) -> Bytes {
        self.as_ref().map(|message| message.raw.clone()).unwrap_or_default()
    }

    fn show(&self, witness: &mut Witness, shown: &mut Shown) -> Result<(), Error> {
        let message = self.as_ref().map_err(|damaged| *damaged)?;
        shown.next(message.raw.len());
        shown.content = 1;
        if message.is_failure() {
            return Err(message.failure());
        }
        let inner = if message.name == "chunk" { message.chunk() } else { None };
        witness.part(&message.name, inner.as_ref().unwrap_or(&message.payload))
    }
}

/// Cuts a body into lines.
#[derive(Default)]
pub(super) struct Lines(BytesMut);

/// Some whole lines.
pub(super) struct Block(Bytes);

impl Frames for Lines {
    type Block = Block;

    fn push(&mut self, data: Bytes) -> Result<impl Iterator<Item = Block> + use<>, Error> {
        let end = memchr::memrchr(b'\n', &data).map_or(0, |at| at + 1);
        if self.0.len() + data.len() > MAX_LINE_BYTES && end == 0 {
            return Err(Error::new(Kind::BadResponse, "a line of the answer is too long"));
        }
        let whole = if end == 0 {
            None
        } else if self.0.is_empty() {
            Some(data.slice(..end))
        } else {
            self.0.extend_from_slice(&data[..end]);
            Some(self.0.split().freeze())
        };
        self.0.extend_from_slice(&data[end..]);
        Ok(whole.map(Block).into_iter())
    }

    fn finish(&mut self) -> Option<Block> {
        (!self.0.is_empty()).then(|| Block(self.0.split().freeze()))
    }
}

impl Unit for Block {
    fn raw(&self) -> Bytes {
        self.0.clone()
    }

    fn show(&self, witness: &mut Witness, shown: &mut Shown) -> Result<(), Error> {
        for line in self.0.split_inclusive(|byte| *byte == b'\n') {
            let json = line.trim_ascii();
            let is_whole = line.ends_with(b"\n") || serde_json::from_slice::<IgnoredAny>(json).is_ok();
            if !is_whole {
                return Err(Error::new(Kind::Unavailable, "the answer ended in the middle of a line"));
            }
            shown.next(line.len());
            if !json.is_empty() {
                shown.content += 1;
                witness.part("", json)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
