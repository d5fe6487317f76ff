//! Streams that pass through in whole units, each looked at by the witness: events, lines, AWS frames.

use std::{collections::VecDeque, marker::PhantomData};

use bytes::{Bytes, BytesMut};
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

    /// Shows the witness what is inside. Returns whether there was anything but comments.
    ///
    /// # Errors
    /// The failure that is told, or that the unit is.
    fn show(&self, witness: &mut Witness) -> Result<bool, Error>;
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

    fn seen(&self, content: bool) -> Seen {
        Seen {
            content_events: u32::from(content),
            usage: Some(Box::new(self.witness.usage())),
            progress: content,
            ..Seen::default()
        }
    }
}

impl<F: Frames<Block: Unit>> Lane for Pass<F> {
    type Frames = F;

    fn block(&mut self, block: &F::Block, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let shown = block.show(&mut self.witness);
        // A failure at the very begin is told by its status; later the caller reads the provider's own words first.
        if shown.is_ok() || self.passed {
            out.push_back(Item::Raw(block.raw(), self.seen(*shown.as_ref().unwrap_or(&true))));
            self.passed = true;
        }
        shown.map(drop)
    }

    fn end(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.witness.ended()?;
        out.push_back(Item::Raw(Bytes::new(), Seen { last: true, progress: true, ..self.seen(false) }));
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

    fn show(&self, witness: &mut Witness) -> Result<bool, Error> {
        let mut any = false;
        for event in self.events() {
            match &event.data {
                Some(data) => witness.part(std::str::from_utf8(event.name).unwrap_or_default(), data)?,
                None => continue,
            }
            any = true;
        }
        Ok(any)
    }
}

impl Unit for Result<Message, Damaged> {
    fn raw(&self) -> Bytes {
        self.as_ref().map(|message| message.raw.clone()).unwrap_or_default()
    }

    fn show(&self, witness: &mut Witness) -> Result<bool, Error> {
        let message = self.as_ref().map_err(|damaged| *damaged)?;
        if message.is_failure() {
            return Err(message.failure());
        }
        let inner = if message.name == "chunk" { message.chunk() } else { None };
        witness.part(&message.name, inner.as_ref().unwrap_or(&message.payload))?;
        Ok(true)
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

    fn show(&self, witness: &mut Witness) -> Result<bool, Error> {
        let lines = self.0.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        for line in lines.filter(|line| !line.is_empty()) {
            witness.part("", line)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
