//! The open record of a call: sees everything that happens to it and is settled exactly once, on every ending.

mod draining;
mod metered;
mod repeat;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tollgate_api::v1;

pub(super) use self::draining::Drains;
use self::{draining::Draining, metered::Metered, repeat::Repeat};
use super::{
    Meter, Progress, bill,
    record::{self, Ending, Over},
    sum,
    tally::Tally,
};
use crate::{
    call::{Attempt, Call, Item, Items, Settled, Steps, Target, now},
    error::Error,
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
    /// What the answer cost that is said once more; absent unless this is a repeat.
    repeats: Option<Box<v1::Usage>>,
    /// When the record was made.
    over: Option<Instant>,
    settled: Arc<OnceLock<Settled>>,
    on_settle: Option<OnSettle>,
    held: Option<Box<dyn Send>>,
    on_abandon: Option<Box<dyn FnOnce() + Send>>,
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
            repeats: None,
            over: None,
            settled: Arc::default(),
            on_settle: None,
            held: None,
            on_abandon: None,
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

    /// Has this done if the caller goes away while its answer is read on.
    pub fn on_abandon(&mut self, then: impl FnOnce() + Send + 'static) {
        self.on_abandon = Some(Box::new(then));
    }

    /// Keeps this until the call is over, whatever its ending is, or its caller has gone.
    pub fn hold(&mut self, what: impl Send + 'static) {
        self.held = Some(Box::new(what));
    }

    /// Settles the call as refused or failed, and hands the error on.
    pub fn refuse(mut self, error: Error) -> Error {
        self.settle(&Ending::Failed(&error)).err().unwrap_or(error).by_rule(&self.call.rule)
    }

    /// Follows the call's answer to its end.
    pub fn follow(self, steps: Steps, warnings: Vec<v1::Warning>) -> Items {
        Box::pin(Metered::new(self, steps, warnings, false))
    }

    /// Follows the call's answer to its end even if nobody hears it any more, as far as its targets want that: `drains`
    /// tells it of the first.
    pub fn follow_and_drain(self, steps: Steps, warnings: Vec<v1::Warning>, drains: bool) -> Items {
        Box::pin(Draining::new(Box::pin(Metered::new(self, steps, warnings, drains))))
    }

    /// Says once more what another call was answered, which was settled with this usage. Nothing is sent upstream, and
    /// nothing is owed.
    pub fn repeat(mut self, items: Vec<Item>, settled: Option<&v1::Usage>) -> Items {
        self.repeats = Some(Box::new(repeat::usage(settled)));
        Box::pin(Repeat::new(self, items))
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
            Ending::Complete | Ending::ReadOn(None) => "ok",
            Ending::Cancelled => "cancelled",
            Ending::Failed(error) | Ending::ReadOn(Some(error)) => {
                error.facts().upstream.as_ref().map_or("cancelled", |upstream| upstream.kind)
            }
        };
        if let Some(attempt) = self.call.attempts.last_mut() {
            attempt.end(outcome, now);
        }
        self.over = Some(now);
        let complete = matches!(ending, Ending::Complete | Ending::ReadOn(None));
        let bill = match &self.repeats {
            Some(usage) => repeat::bill(usage),
            None => bill::settle(&mut self.call, &self.tally, complete, &self.meter.catalog),
        };
        let (first_token, delivered) = (self.first_token, self.delivered());
        let over = Over { ending, at: now, first_token, delivered, bill };
        let mut record = record::settled(&self.call, &self.tally, over);
        if self.repeats.is_some() {
            repeat::mark(&mut record);
        }
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
            target: target.map_or_else(String::new, |target| (*target.name).to_owned()),
            provider: target.map_or_else(String::new, |target| (*target.provider).to_owned()),
            model: target.map_or_else(String::new, |target| (*target.model).to_owned()),
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

#[cfg(test)]
mod tests;
