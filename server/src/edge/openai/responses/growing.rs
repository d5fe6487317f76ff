//! The output of a stream as it grows: each item with the events that tell it. The last item may grow, and of a message
//! the last piece. Every item repeats itself at its end, so all of it is kept.

use serde_json::value::RawValue;
use tollgate_api::v1::{self, PartEnd, PartStart};

use super::{
    frames::{Frames, Place},
    output::{Content, Item, Kind},
    shapes::{Piece, annotation},
};
use crate::edge::openai::shapes::Logprob;

/// The items so far.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) items: Vec<Item>,
    /// Bytes of content that are kept.
    pub(super) held: usize,
    call: String,
    open: Option<Open>,
}

/// What of the last item may grow: the part that it is told by, and whether its piece was begun.
#[derive(Clone, Copy, Debug)]
struct Open {
    part: i32,
    piece: bool,
}

impl Output {
    /// Starts the output of the call of that id.
    pub(super) fn new(call: String) -> Self {
        Self { items: Vec::new(), held: 0, call, open: None }
    }

    /// Returns the id of the call.
    pub(super) fn call(&self) -> &str {
        &self.call
    }

    /// Begins a part. One that is not shown still ends the item before it.
    pub(super) fn part_start(&mut self, start: &PartStart, frames: &mut Frames) {
        let Some(initial) = start.initial.as_ref() else { return };
        if let Some(mut content) = Content::of(initial) {
            let text = std::mem::take(&mut content.text);
            let (notes, refusal) = (std::mem::take(&mut content.notes), content.refusal);
            self.open_content(start.part, content, frames);
            self.text(start.part, &text, refusal, frames);
            self.note(notes, frames);
            return;
        }
        self.finish("completed", frames);
        match Kind::of(initial) {
            Some(Kind::Reasoning { text, summarized, redacted, token }) => {
                let kind = Kind::Reasoning { text: String::new(), summarized, redacted, token };
                self.open_item(start.part, kind, frames);
                self.thought(start.part, &text, frames);
            }
            Some(Kind::Call { call_id, name, input, custom, token }) => {
                let kind = Kind::Call { call_id, name, input: String::new(), custom, token };
                self.open_item(start.part, kind, frames);
                self.begin_piece();
                self.more_input(start.part, &input, frames);
            }
            Some(kind) => self.open_item(start.part, kind, frames),
            None => {}
        }
    }

    /// Adds text or words of refusal, in a piece that is opened for them if their part has none.
    pub(super) fn text(&mut self, part: i32, text: &str, refusal: bool, frames: &mut Frames) {
        if text.is_empty() {
            return;
        }
        if !self.open.is_some_and(|open| open.part == part && open.piece) {
            self.open_content(part, Content { refusal, ..Content::text() }, frames);
        }
        let Some((index, item)) = self.growing(part, text.len()) else { return };
        let Kind::Message(contents) = &mut item.kind else { return };
        let at = contents.len().saturating_sub(1);
        let Some(content) = contents.last_mut() else { return };
        content.text.push_str(text);
        let (name, logprobs) = match content.refusal {
            true => ("response.refusal.delta", None),
            false => ("response.output_text.delta", Some(Vec::new())),
        };
        let place = Place::of(&item.id, index).piece(at, false);
        frames.tell(name, &Place { delta: Some(text), logprobs, ..place });
    }

    /// Adds words to a thought.
    pub(super) fn thought(&mut self, part: i32, text: &str, frames: &mut Frames) {
        let begun = self.open.is_some_and(|open| open.piece);
        let Some((index, item)) = self.growing(part, text.len()).filter(|_| !text.is_empty()) else { return };
        let Kind::Reasoning { text: so_far, summarized, .. } = &mut item.kind else { return };
        so_far.push_str(text);
        let names = match summarized {
            true => ("response.reasoning_summary_part.added", "response.reasoning_summary_text.delta"),
            false => ("response.content_part.added", "response.reasoning_text.delta"),
        };
        let place = || Place::of(&item.id, index).piece(0, *summarized);
        if !begun {
            frames.tell(names.0, &Place { part: Some(Piece::thought("", *summarized)), ..place() });
        }
        frames.tell(names.1, &Place { delta: Some(text), ..place() });
        self.begin_piece();
    }

    /// Adds input to a call.
    pub(super) fn more_input(&mut self, part: i32, text: &str, frames: &mut Frames) {
        let Some((index, item)) = self.growing(part, text.len()).filter(|_| !text.is_empty()) else { return };
        let Kind::Call { input, custom, .. } = &mut item.kind else { return };
        input.push_str(text);
        let name = match custom {
            true => "response.custom_tool_call_input.delta",
            false => "response.function_call_arguments.delta",
        };
        frames.tell(name, &Place { delta: Some(text), ..Place::of(&item.id, index) });
    }

    /// Adds bytes to an image, which is told when it is whole.
    pub(super) fn media(&mut self, delta: &v1::MediaDelta) {
        if let Some((_, item)) = self.growing(delta.part, delta.data.len())
            && let Kind::Image { data, .. } = &mut item.kind
        {
            data.extend_from_slice(&delta.data);
        }
    }

    /// Adds log probabilities to the text that they are about.
    pub(super) fn logprobs(&mut self, delta: &v1::LogprobDelta, frames: &mut Frames) {
        let bytes = delta.logprobs.len().saturating_mul(size_of::<v1::TokenLogprob>());
        let Some((index, item)) = self.growing(delta.part, bytes) else { return };
        let Kind::Message(contents) = &mut item.kind else { return };
        let at = contents.len().saturating_sub(1);
        let Some(content) = contents.last_mut().filter(|content| !content.refusal) else { return };
        let logprobs = Some(delta.logprobs.iter().map(Logprob::of).collect());
        let place = Place::of(&item.id, index).piece(at, false);
        frames.tell("response.output_text.delta", &Place { delta: Some(""), logprobs, ..place });
        content.logprobs.extend_from_slice(&delta.logprobs);
    }

    /// Ends a part with what is only known then. A message may go on with the next part, and a call is not done before
    /// it is known whether it was cut.
    pub(super) fn part_end(&mut self, end: &PartEnd, frames: &mut Frames) {
        self.note(end.annotations.iter().filter_map(annotation).collect(), frames);
        let Some((_, item)) = self.growing(end.part, 0) else { return };
        let told = end.continuity.clone();
        let alone = match &mut item.kind {
            Kind::Message(contents) => {
                if let Some(content) = contents.last_mut() {
                    content.token = told.or(content.token.take());
                }
                false
            }
            Kind::Call { token, .. } => {
                *token = told.or(token.take());
                false
            }
            Kind::Reasoning { token, .. } => {
                *token = told.or(token.take());
                true
            }
            Kind::Image { .. } | Kind::Theirs(_) => true,
        };
        self.close_piece(frames);
        if alone {
            self.finish("completed", frames);
        }
    }

    /// Ends the item that is open, if one is.
    pub(super) fn finish(&mut self, status: &'static str, frames: &mut Frames) {
        self.close_piece(frames);
        if self.open.take().is_some()
            && let Some((item, before)) = self.items.split_last()
        {
            frames.tell("response.output_item.done", &Place::whole(item, before.len(), status));
        }
    }

    fn open_item(&mut self, part: i32, kind: Kind, frames: &mut Frames) {
        self.finish("completed", frames);
        let index = self.items.len();
        let item = Item::new(&self.call, index, kind);
        frames.tell("response.output_item.added", &Place::whole(&item, index, "in_progress"));
        self.items.push(item);
        self.open = Some(Open { part, piece: false });
    }

    /// Opens the next piece of the message that is open, or the first one of a new message.
    fn open_content(&mut self, part: i32, content: Content, frames: &mut Frames) {
        let last = self.items.last().filter(|_| self.open.is_some());
        if matches!(last, Some(Item { kind: Kind::Message(_), .. })) {
            self.close_piece(frames);
        } else {
            self.open_item(part, Kind::Message(Vec::new()), frames);
        }
        let index = self.items.len().saturating_sub(1);
        let Some(Item { id, kind: Kind::Message(contents) }) = self.items.last_mut() else { return };
        let place = Place::of(id, index).piece(contents.len(), false);
        frames.tell("response.content_part.added", &Place { part: Some(Piece::of(&content)), ..place });
        contents.push(content);
        self.open = Some(Open { part, piece: true });
    }

    /// Tells notes on the text that is open.
    fn note(&mut self, notes: Vec<Box<RawValue>>, frames: &mut Frames) {
        let index = self.items.len().saturating_sub(1);
        let last = self.items.last_mut().filter(|_| self.open.is_some());
        let Some(Item { id, kind: Kind::Message(contents) }) = last else { return };
        let at = contents.len().saturating_sub(1);
        let Some(content) = contents.last_mut() else { return };
        for note in notes {
            let annotation_index = Some(content.notes.len());
            let place = Place { annotation_index, annotation: Some(&note), ..Place::of(id, index) };
            frames.tell("response.output_text.annotation.added", &place.piece(at, false));
            self.held = self.held.saturating_add(note.get().len());
            content.notes.push(note);
        }
    }

    /// Returns the open item with its place if the part is told by it.
    fn growing(&mut self, part: i32, bytes: usize) -> Option<(usize, &mut Item)> {
        self.open.filter(|open| open.part == part)?;
        self.held = self.held.saturating_add(bytes);
        let index = self.items.len().checked_sub(1)?;
        self.items.last_mut().map(|item| (index, item))
    }

    fn begin_piece(&mut self) {
        if let Some(open) = &mut self.open {
            open.piece = true;
        }
    }

    /// Repeats the piece that is open, if one is, as it is whole.
    fn close_piece(&mut self, frames: &mut Frames) {
        if !self.open.as_mut().is_some_and(|open| std::mem::replace(&mut open.piece, false)) {
            return;
        }
        let Some((Item { id, kind }, before)) = self.items.split_last() else { return };
        let place = || Place::of(id, before.len());
        match kind {
            Kind::Message(contents) => {
                let Some((content, before)) = contents.split_last() else { return };
                let place = || place().piece(before.len(), false);
                let text = Some(content.text.as_str());
                if content.refusal {
                    frames.tell("response.refusal.done", &Place { refusal: text, ..place() });
                } else {
                    let logprobs = Some(content.logprobs.iter().map(Logprob::of).collect());
                    frames.tell("response.output_text.done", &Place { text, logprobs, ..place() });
                }
                frames
                    .tell("response.content_part.done", &Place { part: Some(Piece::of(content)), ..place() });
            }
            Kind::Reasoning { text, summarized, .. } => {
                let names = match summarized {
                    true => ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
                    false => ("response.reasoning_text.done", "response.content_part.done"),
                };
                let place = || place().piece(0, *summarized);
                frames.tell(names.0, &Place { text: Some(text), ..place() });
                frames.tell(names.1, &Place { part: Some(Piece::thought(text, *summarized)), ..place() });
            }
            Kind::Call { input, custom: true, .. } => {
                frames.tell("response.custom_tool_call_input.done", &Place { input: Some(input), ..place() });
            }
            Kind::Call { input, name, .. } => {
                let told = Place { arguments: Some(input), name: Some(name), ..place() };
                frames.tell("response.function_call_arguments.done", &told);
            }
            Kind::Image { .. } | Kind::Theirs(_) => {}
        }
    }
}
