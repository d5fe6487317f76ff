//! The stream of a call's items: what only the gateway knows is filled in, and the record is made before the end is seen.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};
use tollgate_api::v1;

use super::Open;
use crate::{
    call::{Attempt, Event, Item, Step, Steps},
    error::{CameTo, Error, Reason},
    meter::record::Ending,
};

/// The items of a call, counted as they pass. The record is durable before the last one is handed on.
pub(super) struct Metered {
    open: Open,
    steps: Option<Steps>,
    ready: VecDeque<Result<Item, Error>>,
    warnings: Vec<v1::Warning>,
    /// Whether events of the typed lane were seen, whose grammar wants a usage event before an error.
    typed: bool,
    /// Whether the caller has gone, so that whatever comes the call was cancelled.
    is_abandoned: bool,
    /// Whether what the running attempt says is read on when the caller has gone.
    drains: bool,
}

impl Metered {
    /// Follows the steps of an open call.
    pub(super) fn new(open: Open, steps: Steps, warnings: Vec<v1::Warning>, drains: bool) -> Self {
        let ready = VecDeque::new();
        Self { open, steps: Some(steps), ready, warnings, typed: false, is_abandoned: false, drains }
    }

    /// The caller has gone; what comes is counted all the same. What only a caller needs is given back.
    pub(super) fn abandon(&mut self) {
        self.is_abandoned = true;
        self.open.held = None;
        if let Some(then) = self.open.on_abandon.take() {
            then();
        }
    }

    /// Tells whether there is something to read on that is billed though the caller has gone.
    pub(super) fn is_to_be_read_on(&self) -> bool {
        self.drains && self.steps.is_some() && !self.open.is_settled()
    }

    /// Returns the call that is followed.
    pub(super) fn open(&self) -> &Open {
        &self.open
    }

    /// Fills in what only the gateway knows, settles before the end is seen, and queues what is to be handed on.
    fn pass(&mut self, mut item: Item) {
        self.open.observe(&item);
        match &mut item {
            Item::Raw(_, seen) if seen.last => return self.finish(item),
            Item::Raw(..) => {}
            Item::Counted(_) => return self.finish(item),
            Item::Embeddings(answer) => {
                answer.id = self.open.call.id.to_string();
                answer.warnings.append(&mut self.warnings);
                return self.finish(item);
            }
            // The answer goes on at another target: its start was counted, and the caller has had one.
            Item::Event(Event::Start(_)) if self.typed => return,
            Item::Event(Event::Start(start)) => {
                self.typed = true;
                start.id = self.open.call.id.to_string();
                start.create_time = Some(self.open.call.create_time.into());
                start.route = Some(self.open.route_info());
                start.warnings.append(&mut self.warnings);
            }
            // The final usage goes out with its cost when the call is settled; interim ones pass as they are.
            Item::Event(Event::Usage(usage)) if usage.r#final => return,
            Item::Event(Event::Usage(usage)) => self.open.add_earlier(usage),
            Item::Event(Event::End(_)) => return self.finish(item),
            Item::Event(_) => {}
        }
        self.ready.push_back(Ok(item));
    }

    /// Settles a complete call, then lets its last item out.
    fn finish(&mut self, mut item: Item) {
        let ending = if self.is_abandoned { Ending::ReadOn(None) } else { Ending::Complete };
        if let Err(error) = self.open.settle(&ending) {
            self.steps = None;
            return self.ready.push_back(Err(error));
        }
        let usage = || self.open.settled.get().map(|settled| settled.usage.clone());
        match &mut item {
            Item::Event(Event::End(end)) => {
                end.route = Some(self.open.route_info());
                let usage = usage();
                self.ready.extend(usage.map(|usage| Ok(Item::Event(Event::Usage(Box::new(usage))))));
            }
            Item::Embeddings(answer) => {
                answer.route = Some(self.open.route_info());
                answer.usage = usage();
            }
            _ => {}
        }
        self.ready.push_back(Ok(item));
    }

    /// The running attempt ended, and what the next one would say nobody would hear: it is not made.
    fn end_unheard(&mut self, outcome: &'static str) {
        self.steps = None;
        self.open.cut(outcome);
        // Nobody is left to be told of a failing store; it has been logged.
        let _ = self.open.settle(&Ending::Cancelled);
    }

    fn fail(&mut self, error: Error) {
        self.steps = None;
        if self.open.is_settled() {
            return; // The answer was complete; what happens to the connection afterwards is no matter.
        }
        let ending = if self.is_abandoned { Ending::ReadOn(Some(&error)) } else { Ending::Failed(&error) };
        let mut error = self.open.settle(&ending).err().unwrap_or(error);
        let delivered_event_count = self.open.delivered().content_events;
        let usage = self.open.settled.get().map(|settled| settled.usage.clone());
        if let Some(usage) = usage.filter(|_| delivered_event_count > 0) {
            error = error.after(CameTo {
                delivered_event_count,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                cost_nanos: usage.cost.as_ref().map(|cost| cost.amount_nanos),
                estimated: usage.source() == v1::usage::Source::Estimated,
            });
            if self.typed {
                self.ready.push_back(Ok(Item::Event(Event::Usage(Box::new(usage)))));
            }
        }
        let attempts = self.open.call.attempts.iter().map(Attempt::to_proto).collect();
        self.ready.push_back(Err(error.attempts(attempts)));
    }
}

impl Stream for Metered {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            let Some(steps) = self.steps.as_mut() else { return Poll::Ready(None) };
            // A mistake of ours in this stream must not take the connection and its other calls with it. What panicked
            // is never polled again.
            let polled = catch_unwind(AssertUnwindSafe(|| steps.poll_next_unpin(cx)));
            let polled = polled.unwrap_or_else(|_| Poll::Ready(Some(Err(Error::panicked()))));
            match std::task::ready!(polled) {
                Some(Ok(Step::Item(item))) => self.pass(item),
                Some(Ok(Step::Answered { http_status, upstream_request_id, drains })) => {
                    self.drains = drains;
                    self.open.answered(http_status, upstream_request_id);
                }
                Some(Ok(Step::Reroute { outcome, .. })) if self.is_abandoned => self.end_unheard(outcome),
                Some(Ok(Step::Reroute { outcome, next })) => {
                    self.drains = false;
                    if let Err(error) = self.open.reroute(outcome, next) {
                        self.fail(error);
                    }
                }
                Some(Ok(Step::Cut { outcome })) => self.open.cut(outcome),
                Some(Err(error)) => self.fail(error),
                None if self.open.is_settled() => self.steps = None,
                None => {
                    // Providers must say how an answer ended; one that just stops is cut short.
                    let error = Error::new(Reason::StreamInterrupted, "the answer stopped without an end");
                    self.fail(error);
                }
            }
        }
    }
}
