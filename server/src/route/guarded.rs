//! The stream of an attempt under guard: idle timeout, deadline, and failures in the caller's words.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::Stream;
use tokio::time::{Sleep, sleep_until};

use super::{attempt::Held, failure};
use crate::{
    call::{Deadline, Event, Item, Items, Step, Target, content_bytes, estimate_delta_tokens, now},
    error::{Error, Reason},
    provider::{self, Kind},
};

/// Items of one attempt. Ends after an error; drops the upstream with it.
pub(super) struct Guarded {
    items: Option<Items<provider::Error>>,
    target: Arc<Target>,
    streamed: bool,
    /// How long nothing may come, and whether only the caller wants it so short.
    idle: (Duration, bool),
    idle_until: Instant,
    deadline: Deadline,
    timer: Pin<Box<Sleep>>,
    held: Option<Held>,
    /// Estimated tokens so far, for how fast the target is.
    output_tokens: i64,
}

impl Guarded {
    pub(super) fn new(
        items: Items<provider::Error>,
        target: Arc<Target>,
        streamed: bool,
        idle: (Duration, bool),
        deadline: Deadline,
        held: Held,
    ) -> Self {
        let idle_until = now() + idle.0;
        let timer = Box::pin(sleep_until(idle_until.min(deadline.at).into()));
        let (items, held, output_tokens) = (Some(items), Some(held), 0);
        Self { items, target, streamed, idle, idle_until, deadline, timer, held, output_tokens }
    }

    fn fail(&mut self, failed: provider::Error) -> Poll<Option<Result<Step, Error>>> {
        self.items = None;
        if let Some(held) = self.held.take() {
            held.failed(&failed, now());
        }
        Poll::Ready(Some(Err(failure::to_caller(failed, &self.target, self.streamed))))
    }

    /// Decides what a fired timer means: the deadline, real silence, or progress since it was set.
    fn timer_fired(&mut self, cx: &mut Context<'_>) -> Option<Poll<Option<Result<Step, Error>>>> {
        let now = now();
        if now >= self.deadline.at {
            self.items = None;
            return Some(Poll::Ready(Some(Err(deadline_error(self.deadline)))));
        }
        if now >= self.idle_until {
            let (idle, is_callers) = self.idle;
            let whose = if is_callers { "the call's `idle_timeout`" } else { "`timeouts.idle`" };
            let message = format!("no event within {whose} = {idle:?}");
            if is_callers {
                // Too slow for the caller alone, which says nothing against the target.
                self.held = None;
            }
            return Some(self.fail(provider::Error::new(Kind::Timeout, message)));
        }
        let until = self.idle_until.min(self.deadline.at);
        self.timer.as_mut().reset(until.into());
        // Registers the waker for the new moment.
        let _ = self.timer.as_mut().poll(cx);
        None
    }
}

impl Stream for Guarded {
    type Item = Result<Step, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(items) = self.items.as_mut() else { return Poll::Ready(None) };
        match items.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(item))) => {
                // Comments and pings are no progress: a provider that only sends them is stalled.
                let now = now();
                if now >= self.deadline.at {
                    self.items = None;
                    return Poll::Ready(Some(Err(deadline_error(self.deadline))));
                }
                if !matches!(&item, Item::Raw(_, seen) if !seen.progress) {
                    self.idle_until = now + self.idle.0;
                }
                self.output_tokens = self.output_tokens.saturating_add(output_tokens(&item));
                if is_last(&item)
                    && let Some(held) = self.held.take()
                {
                    held.complete(self.output_tokens, now);
                }
                Poll::Ready(Some(Ok(Step::Item(item))))
            }
            Poll::Ready(Some(Err(failed))) => self.fail(failed),
            Poll::Ready(None) => {
                self.items = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                if self.timer.as_mut().poll(cx).is_ready()
                    && let Some(ended) = self.timer_fired(cx)
                {
                    return ended;
                }
                Poll::Pending
            }
        }
    }
}

/// Estimates the tokens of an item, unless it tells them itself.
fn output_tokens(item: &Item) -> i64 {
    let tokens = match item {
        Item::Raw(_, seen) => seen.output_tokens,
        Item::Event(event) => content_bytes(event).map_or(0, estimate_delta_tokens),
        Item::Embeddings(_) | Item::Counted(_) => 0,
    };
    i64::from(tokens)
}

fn is_last(item: &Item) -> bool {
    match item {
        Item::Embeddings(_) | Item::Counted(_) => true,
        Item::Raw(_, seen) => seen.last,
        Item::Event(event) => matches!(event, Event::End(_)),
    }
}

/// Says whose deadline has passed.
pub(super) fn deadline_error(deadline: Deadline) -> Error {
    if deadline.by_caller {
        Error::new(
            Reason::CallerDeadlineExceeded,
            "the caller's deadline passed before the answer was complete",
        )
    } else {
        Error::new(
            Reason::UpstreamTimeout,
            "the answer was not complete within `timeouts.total`; raise it or ask for less",
        )
    }
}
