//! The frames of a stream: an `event:` line and its JSON, numbered in order.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    output::Item,
    shapes::{Piece, Shown},
};
use crate::edge::openai::shapes::Logprob;

/// Writes frames until they are taken.
#[derive(Debug, Default)]
pub(super) struct Frames {
    next: u64,
    out: Vec<u8>,
}

#[derive(Serialize)]
struct Frame<'a, T> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    body: &'a T,
}

/// What an event about a place in the output says; what it does not say is left out.
#[derive(Default, Serialize)]
pub(super) struct Place<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_id: Option<&'a str>,
    pub(super) output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotation_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotation: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<Piece<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<Vec<Logprob<'a>>>,
}

impl<'a> Place<'a> {
    /// Starts what is said of an item.
    pub(super) fn of(item_id: &'a str, output_index: usize) -> Self {
        Self { item_id: Some(item_id), output_index, ..Self::default() }
    }

    /// Starts what is said of an item as a whole.
    pub(super) fn whole(item: &'a Item, output_index: usize, status: &'static str) -> Self {
        Self { item: Some(Shown::of(item, status)), output_index, ..Self::default() }
    }

    /// Says which piece of a message or of a thought it is about.
    pub(super) fn piece(self, index: usize, summary: bool) -> Self {
        if summary {
            Self { summary_index: Some(index), ..self }
        } else {
            Self { content_index: Some(index), ..self }
        }
    }
}

impl Frames {
    /// Writes one event.
    pub(super) fn tell(&mut self, name: &str, body: &impl Serialize) {
        let frame = Frame { r#type: name, sequence_number: self.next, body };
        // Strings and numbers in memory cannot fail to be written.
        let Ok(json) = serde_json::to_vec(&frame) else { return };
        self.next += 1;
        for piece in [b"event: ", name.as_bytes(), b"\ndata: ", &json, b"\n\n"] {
            self.out.extend_from_slice(piece);
        }
    }

    /// Goes on behind events of another hand.
    pub(super) fn go_on_after(&mut self, sequence_number: u64) {
        self.next = self.next.max(sequence_number.saturating_add(1));
    }

    /// Takes what was written.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.out).into()
    }
}
