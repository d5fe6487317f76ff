//! The open record of a call: sees everything that happens to it and is settled exactly once, on every ending.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _};
use tollgate_api::v1;

use super::{
    Meter, Progress, bill,
    record::{self, Ending, Over},
    sum,
    tally::Tally,
};
use crate::{
    call::{Attempt, Call, Event, Item, Items, Settled, Step, Steps, Target, now},
    error::{CameTo, Error, Reason},
    telemetry,
};

/// A crash loses at most this much of a running stream's count …
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// … or this many tokens, whichever comes first.
const CHECKPOINT_TOKENS: i64 = 256;

/// The record of a call that is not over. Dropping it settles the call as cancelled.
pub struct Open {
    /// The call, as far as it is known.
    pub call: Call,
    meter: Arc<Meter>,
    /// Of the running attempt.
    tally: Tally,
    /// What the attempts before it handed on.
    handed_on: Progress,
    first_token: Option<Instant>,
    checkpoint: (Instant, i64),
    /// When the record was made.
    over: Option<Instant>,
    settled: Arc<OnceLock<Settled>>,
    on_settle: Option<OnSettle>,
    held: Option<Box<dyn Send>>,
}

/// What another room wants to do with the outcome of a call, whatever it is.
type OnSettle = Box<dyn FnOnce(&Settled) + Send>;

impl Open {
    pub(super) fn new(meter: Arc<Meter>, call: Call) -> Self {
        telemetry::metrics::call_opened();
        Self {
            checkpoint: (call.started, 0),
            call,
            meter,
            tally: Tally::default(),
            handed_on: Progress::default(),
            first_token: None,
            over: None,
            settled: Arc::default(),
            on_settle: None,
            held: None,
        }
    }

    /// Returns the place where the outcome will stand once the call is over.
    pub fn outcome(&self) -> Arc<OnceLock<Settled>> {
        self.settled.clone()
    }

    /// Has this done with the outcome, on every ending.
    pub fn on_settle(&mut self, then: impl FnOnce(&Settled) + Send + 'static) {
        self.on_settle = Some(Box::new(then));
    }

    /// Keeps this until the call is over, whatever its ending is.
    pub fn hold(&mut self, what: impl Send + 'static) {
        self.held = Some(Box::new(what));
    }

    /// Settles the call as refused or failed, and hands the error on.
    pub fn refuse(mut self, error: Error) -> Error {
        self.settle(&Ending::Failed(&error)).err().unwrap_or(error).by_rule(&self.call.rule)
    }

    /// Follows the call's answer to its end.
    pub fn follow(self, steps: Steps, warnings: Vec<v1::Warning>) -> Items {
        Box::pin(Metered { open: self, steps: Some(steps), ready: VecDeque::new(), warnings, typed: false })
    }

    fn answered(&mut self, http_status: u16, upstream_request_id: String) {
        if let Some(attempt) = self.call.attempts.last_mut() {
            attempt.http_status = http_status;
            attempt.upstream_request_id = upstream_request_id;
        }
    }

    fn is_settled(&self) -> bool {
        self.settled.get().is_some()
    }

    /// Returns what all attempts have handed on.
    fn delivered(&self) -> Progress {
        Progress {
            output_tokens: self.handed_on.output_tokens.saturating_add(self.tally.output_tokens),
            content_events: self.handed_on.content_events.saturating_add(self.tally.content_events),
        }
    }

    /// Ends the running attempt and starts the next one, which must not be made if it cannot be written down.
    fn reroute(&mut self, outcome: &'static str, next: Arc<Target>) -> Result<(), Error> {
        let (now, delivered) = (now(), self.delivered());
        if let Some(attempt) = self.call.attempts.last_mut() {
            attempt.end(outcome, now);
            bill::end_part(attempt, &self.tally, &self.call.asked, &self.meter.catalog);
        }
        self.call.attempts.push(Attempt::start(next, now));
        if let Err(error) = self.meter.begin(&self.call, delivered) {
            self.call.attempts.pop();
            return Err(error);
        }
        self.handed_on = delivered;
        self.tally = Tally::after(delivered.output_tokens);
        Ok(())
    }

    /// Ends the running attempt, which no other follows though its answer is not complete.
    fn cut(&mut self, outcome: &'static str) {
        self.tally.cut = true;
        if let Some(attempt) = self.call.attempts.last_mut() {
            attempt.end(outcome, now());
        }
    }

    /// Adds to a provider's interim count what earlier attempts came to, so that it stays cumulative.
    fn add_earlier(&self, usage: &mut v1::Usage) {
        let Some((_, earlier)) = self.call.attempts.split_last() else { return };
        for part in earlier.iter().filter_map(|attempt| attempt.usage.as_deref()) {
            *usage = v1::Usage { cost: None, ..sum::plus(std::mem::take(usage), part) };
        }
    }

    /// Counts an item before it is handed on.
    fn observe(&mut self, item: &Item) {
        if !self.tally.count(item) {
            return;
        }
        let now = now();
        if self.first_token.is_none() {
            self.first_token = Some(now);
        }
        let (at, tokens) = self.checkpoint;
        let progress = self.delivered();
        if now.saturating_duration_since(at) >= CHECKPOINT_EVERY
            || progress.output_tokens - tokens >= CHECKPOINT_TOKENS
        {
            self.checkpoint = (now, progress.output_tokens);
            // A lost checkpoint only makes a recovered record less exact; the settlement will complain.
            let _ = self.meter.journal.checkpoint(self.call.id, progress);
        }
    }

    /// Writes the record. Only the first call does anything.
    fn settle(&mut self, ending: &Ending<'_>) -> Result<(), Error> {
        if self.is_settled() {
            return Ok(());
        }
        let now = now();
        let outcome = match ending {
            Ending::Complete => "ok",
            Ending::Cancelled => "cancelled",
            Ending::Failed(error) => {
                error.facts().upstream.as_ref().map_or("cancelled", |upstream| upstream.kind)
            }
        };
        if let Some(attempt) = self.call.attempts.last_mut() {
            attempt.end(outcome, now);
        }
        self.over = Some(now);
        let complete = matches!(ending, Ending::Complete);
        let bill = bill::settle(&mut self.call, &self.tally, complete, &self.meter.catalog);
        let (first_token, delivered) = (self.first_token, self.delivered());
        let over = Over { ending, at: now, first_token, delivered, bill };
        let record = record::settled(&self.call, &self.tally, over);
        let settled = self.settled.get_or_init(|| Settled {
            usage: record.usage.clone().unwrap_or_default(),
            attempts: record.attempts.clone(),
        });
        if let Some(then) = self.on_settle.take() {
            then(settled);
        }
        telemetry::metrics::call_settled(&record);
        self.meter.settle(record)
    }

    fn route_info(&self) -> v1::RouteInfo {
        let target = self.tally.served_by(&self.call).map(|attempt| &attempt.target);
        v1::RouteInfo {
            target: target.map_or_else(String::new, |target| target.name.to_string()),
            provider: target.map_or_else(String::new, |target| target.provider.to_string()),
            model: target.map_or_else(String::new, |target| target.model.to_string()),
            requested_model: self.call.asked.model.clone(),
            attempts: self.call.attempts.iter().map(Attempt::to_proto).collect(),
            cache_status: v1::CacheStatus::Bypass.into(),
            rule: self.call.rule.clone(),
            queue_duration: Some(self.call.waited)
                .filter(|wait| !wait.is_zero())
                .and_then(|wait| wait.try_into().ok()),
            gateway_duration: record::gateway_duration(&self.call, self.over.unwrap_or_else(now))
                .try_into()
                .ok(),
            first_token_duration: self
                .first_token
                .and_then(|at| at.saturating_duration_since(self.call.started).try_into().ok()),
            ..Default::default()
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_settled() {
            let mistake = std::thread::panicking().then(Error::panicked);
            let ending = mistake.as_ref().map_or(Ending::Cancelled, Ending::Failed);
            // The caller is gone, so nobody is left to be told of a failing store; it has been logged.
            let _ = self.settle(&ending);
        }
        telemetry::metrics::call_closed();
    }
}

/// The items of a call, counted as they pass. The record is durable before the last one is handed on.
struct Metered {
    open: Open,
    steps: Option<Steps>,
    ready: VecDeque<Result<Item, Error>>,
    warnings: Vec<v1::Warning>,
    /// Whether events of the typed lane were seen, whose grammar wants a usage event before an error.
    typed: bool,
}

impl Metered {
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
        if let Err(error) = self.open.settle(&Ending::Complete) {
            self.steps = None;
            return self.ready.push_back(Err(error));
        }
        let route = self.open.route_info();
        let usage = self.open.settled.get().map(|settled| settled.usage.clone());
        match &mut item {
            Item::Event(Event::End(end)) => {
                end.route = Some(route);
                self.ready.extend(usage.map(|usage| Ok(Item::Event(Event::Usage(Box::new(usage))))));
            }
            Item::Embeddings(answer) => {
                answer.route = Some(route);
                answer.usage = usage;
            }
            _ => {}
        }
        self.ready.push_back(Ok(item));
    }

    fn fail(&mut self, error: Error) {
        self.steps = None;
        if self.open.is_settled() {
            return; // The answer was complete; what happens to the connection afterwards is no matter.
        }
        let mut error = self.open.settle(&Ending::Failed(&error)).err().unwrap_or(error);
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
                Some(Ok(Step::Answered { http_status, upstream_request_id })) => {
                    self.open.answered(http_status, upstream_request_id);
                }
                Some(Ok(Step::Reroute { outcome, next })) => {
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

#[cfg(test)]
mod tests;
