//! The items of a call that has a `request_id`, written down as they pass. The last one is handed on when the answer
//! is kept, so that whoever saw it can have it again, even after a crash.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use prost::Message as _;

use super::{Answer, Claim};
use crate::{
    call::{Event, Item, Items, Reply, Settled},
    error::Error,
};

/// A stream of items that keeps them.
pub(super) struct Keeping {
    items: Items,
    /// Taken when the call is over. Dropping it lets the next one under the id run.
    claim: Option<Claim>,
    /// What was written down; nothing once it is too large.
    answer: Option<Vec<u8>>,
    most_bytes: usize,
    settled: Arc<OnceLock<Settled>>,
    /// The last item, and the write that it waits for.
    ending: Option<(Item, BoxFuture<'static, ()>)>,
}

impl Keeping {
    /// Keeps the answer of a reply, if it is whole and has at most so many bytes.
    pub(super) fn new(claim: Claim, reply: &mut Reply, most_bytes: usize) -> Self {
        let items = std::mem::replace(&mut reply.items, futures_util::stream::empty().boxed());
        Self {
            items,
            claim: Some(claim),
            answer: Some(Answer::head(reply).encode_to_vec()),
            most_bytes,
            settled: reply.settled.clone(),
            ending: None,
        }
    }

    fn write_down(&mut self, part: &Answer) {
        let Some(answer) = &mut self.answer else { return };
        if answer.len().saturating_add(part.encoded_len()) > self.most_bytes {
            self.answer = None;
            return;
        }
        // Messages are joined by writing them one after the other.
        part.encode_raw(answer);
    }

    /// Starts to keep the answer, which ends with this item.
    fn finish(&mut self, item: Item) {
        if let Some(settled) = self.settled.get() {
            self.write_down(&Answer::settled(&settled.usage));
        }
        let writing = match (self.claim.take(), self.answer.take()) {
            // The answer is whole and was settled: it is kept even if the caller goes now.
            (Some(claim), Some(answer)) => tokio::spawn(claim.keep(answer)).map(drop).boxed(),
            (claim, _) => async move { drop(claim) }.boxed(),
        };
        self.ending = Some((item, writing));
    }
}

impl Stream for Keeping {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some((_, writing)) = &mut self.ending {
                ready!(writing.poll_unpin(cx));
                return Poll::Ready(self.ending.take().map(|(item, _)| Ok(item)));
            }
            match ready!(self.items.poll_next_unpin(cx)) {
                Some(Ok(item)) if self.claim.is_some() => {
                    if self.answer.is_some() {
                        self.write_down(&Answer::item(&item));
                    }
                    if !is_last(&item) {
                        return Poll::Ready(Some(Ok(item)));
                    }
                    self.finish(item);
                }
                Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
                failed_or_over => {
                    self.claim = None;
                    return Poll::Ready(failed_or_over);
                }
            }
        }
    }
}

/// Tells whether an answer ends with the item.
fn is_last(item: &Item) -> bool {
    match item {
        Item::Raw(_, seen) => seen.last,
        Item::Event(event) => matches!(event, Event::End(_)),
        Item::Embeddings(_) | Item::Counted(_) => true,
    }
}
