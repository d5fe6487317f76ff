//! What a caller has of an answer: whether it can go on elsewhere, and from where.

use tollgate_api::v1::part;

use crate::call::{Event, content_bytes, estimate_delta_tokens};

/// A longer answer is not sent along with a prompt.
const MOST_TEXT: usize = 4 << 20;

/// What was handed on so far.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// The text of choice 0.
    pub(super) text: String,
    /// Estimated tokens of all content.
    pub(super) output_tokens: i64,
    /// The part that has begun and not ended, and whether it is text.
    pub(super) open: Option<(i32, bool)>,
    /// The number of the next part.
    pub(super) next_part: i32,
    /// Whether something was handed on that no other model could go on from.
    bound: bool,
    ended: bool,
}

impl Delivered {
    /// Tells whether the answer is unfinished plain text, which another model can go on with.
    pub(super) fn may_go_on(&self) -> bool {
        !self.bound && !self.ended && !self.text.is_empty()
    }

    /// The answer passes as the bytes of its dialect, or has something in it that only its own model understands.
    pub(super) fn bind(&mut self) {
        self.bound = true;
    }

    /// Sees an event pass.
    pub(super) fn see(&mut self, event: &Event) {
        if let Some(bytes) = content_bytes(event) {
            self.output_tokens = self.output_tokens.saturating_add(estimate_delta_tokens(bytes).into());
        }
        match event {
            Event::Text(delta) => {
                self.open_part(delta.choice, delta.part, true);
                self.push(&delta.text);
            }
            Event::PartStart(start) => {
                let initial = start.initial.as_ref();
                let kind = initial.and_then(|initial| initial.kind.as_ref());
                self.bound |= initial.is_some_and(|initial| initial.continuity.is_some());
                self.open_part(start.choice, start.part, matches!(kind, Some(part::Kind::Text(_))));
                match kind {
                    Some(part::Kind::Text(text)) => self.push(text),
                    Some(part::Kind::Thought(_)) | None => {}
                    Some(_) => self.bind(),
                }
            }
            Event::PartEnd(end) => {
                // The state of a provider's own reasoning is of no use to another one.
                self.bound |= end.continuity.is_some();
                self.open = None;
            }
            Event::ToolCall(_) | Event::Refusal(_) | Event::Media(_) => self.bind(),
            Event::ChoiceEnd(_) | Event::End(_) => self.ended = true,
            Event::Thought(_)
            | Event::Start(_)
            | Event::Usage(_)
            | Event::Logprobs(_)
            | Event::Notice(_)
            | Event::Extension(_) => {}
        }
    }

    fn open_part(&mut self, choice: i32, part: i32, text: bool) {
        self.bound |= choice != 0;
        self.open = Some((part, text));
        self.next_part = self.next_part.max(part.saturating_add(1));
    }

    fn push(&mut self, text: &str) {
        self.bound |= self.text.len().saturating_add(text.len()) > MOST_TEXT;
        if !self.bound {
            self.text.push_str(text);
        }
    }
}
