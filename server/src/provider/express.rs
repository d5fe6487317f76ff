//! The express lane: the caller's bytes to the vendor and the vendor's bytes back, patched and watched, not rebuilt.
//! What a dialect adds is a `Tap`, which looks at whole events.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    Error,
    follow::Lane,
    http::Pieces,
    sse::{Block, Event, Splitter},
};
use crate::call::{Item, Raw, Seen};

/// New bytes in place of a span of the caller's body.
pub type Patch = (Range<usize>, Bytes);

/// Makes the patch that puts the vendor's model in the place of the caller's alias.
///
/// # Errors
/// `INTERNAL` if the raw request is not what it should be.
pub fn model_patch(raw: &Raw, model: &str) -> Result<Patch, Error> {
    let model = serde_json::to_vec(model).map_err(|_| broken_spans())?;
    Ok((raw.model.clone(), model.into()))
}

/// Makes the patch that adds a member to the body, or puts it in the place of a null. None if that cannot be.
pub fn member_patch(raw: &Raw, name: &str, value: &str) -> Option<Patch> {
    // Somebody who says null has the key in the body: a second one would contradict the first.
    if memchr::memmem::find(&raw.body, format!("\"{name}\"").as_bytes()).is_some()
        && let Some(span) = null_span(&raw.body, name)
    {
        return Some((span, Bytes::copy_from_slice(value.as_bytes())));
    }
    let after_brace = memchr::memchr(b'{', &raw.body)? + 1;
    Some((after_brace..after_brace, format!("\"{name}\":{value},").into()))
}

/// Returns where a member of the body stands that is null.
fn null_span(body: &[u8], name: &str) -> Option<Range<usize>> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).ok()?;
    let value = members.get(name).map(|value| value.get()).filter(|value| *value == "null")?;
    let start = value.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    Some(start..start + value.len())
}

/// Builds the upstream's request from the caller's bytes. Only the patches are new bytes; they may not overlap.
///
/// # Errors
/// `INTERNAL` if a span does not fit the body.
pub fn patched(raw: &Raw, mut patches: Vec<Patch>) -> Result<Pieces, Error> {
    patches.sort_unstable_by_key(|(span, _)| span.start);
    let mut pieces = Vec::with_capacity(2 * patches.len() + 1);
    let mut from = 0;
    for (span, patch) in patches {
        if span.start < from || span.start > span.end || span.end > raw.body.len() {
            return Err(broken_spans());
        }
        pieces.push(raw.body.slice(from..span.start));
        pieces.push(patch);
        from = span.end;
    }
    pieces.push(raw.body.slice(from..));
    Ok(Pieces::new(pieces))
}

/// Makes the failure of spans that do not fit their body, which is a mistake of ours.
pub fn broken_spans() -> Error {
    crate::error::Error::internal("a raw request's spans do not fit its body").into()
}

/// Looks at the events of one answer as they pass.
pub trait Tap: Send + Unpin {
    /// Looks at one event and notes what it tells. Returns whether the caller may see it.
    ///
    /// # Errors
    /// The failure that the event tells, or is.
    fn event(&mut self, event: &Event<'_>, seen: &mut Seen) -> Result<bool, Error>;

    /// Takes the clean end of the body, which may or may not be the end of the answer.
    ///
    /// # Errors
    /// If the answer is not complete.
    fn ended(&mut self) -> Result<(), Error>;

    /// Tells whether the answer's own end has been seen.
    fn is_complete(&self) -> bool;

    /// As `Lane::is_whole`.
    fn is_whole(&self) -> bool {
        self.is_complete()
    }
}

/// The lane of an answer that is handed on as it comes.
#[derive(Debug)]
pub struct Express<T>(pub T);

impl<T: Tap> Lane for Express<T> {
    type Frames = Splitter;

    fn block(&mut self, block: &Block, out: &mut VecDeque<Item>) -> Result<(), Error> {
        let mut seen = Seen::default();
        let (mut from, mut at) = (0, 0);
        let mut failed = Ok(());
        for event in block.events() {
            let end = at + event.raw.len();
            match self.0.event(&event, &mut seen) {
                Ok(true) => {}
                Ok(false) => {
                    if from < at {
                        let passed = Seen { progress: true, ..Seen::default() };
                        out.push_back(Item::Raw(block.raw.slice(from..at), passed));
                    }
                    from = end;
                }
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            }
            at = end;
            if self.0.is_complete() {
                break;
            }
        }
        if from < at || seen.usage.is_some() {
            out.push_back(Item::Raw(block.raw.slice(from..at), seen));
        }
        failed
    }

    fn end(&mut self, out: &mut VecDeque<Item>) -> Result<(), Error> {
        self.0.ended()?;
        let seen = Seen { last: true, progress: true, ..Seen::default() };
        out.push_back(Item::Raw(Bytes::new(), seen));
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    fn is_whole(&self) -> bool {
        self.0.is_whole()
    }
}
