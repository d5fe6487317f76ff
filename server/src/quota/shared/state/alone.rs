//! What is done while Redis does not answer in time.

use std::time::Duration;

use super::{Outcome, State, Waiting, span};
use crate::{
    call::{Metric, Rule},
    error::{Error, Reason},
    quota::engine::{Charge, Denied},
};

/// So many times as long a call waits that only Redis can admit, if an answer is late for the first time.
const LAST_WORD: u32 = 4;
/// When a call may try again that only Redis could have admitted.
const RETRY: Duration = Duration::from_secs(1);

impl<W> State<W> {
    pub(super) fn refuse_alone(&self, charge: &Charge, server_ms: i64) -> Denied {
        let (rule, amount) = (charge.rule.clone(), charge.amount);
        let Some(counter) = self.counters.get(&rule.counter).filter(|counter| !counter.is_hard()) else {
            return away(&rule);
        };
        let wait = counter.wait_for_share(amount, self.replicas, server_ms).map(span);
        let (used, reserved) = (counter.own(), counter.reserved());
        Denied::Full { used, reserved, wait, reset: counter.reset(server_ms), rule, amount }
    }

    /// Redis does not answer in time. Returns whom to tell what: those that can do without it.
    pub(in super::super) fn go_away(&mut self, now: Duration) -> Vec<(W, Outcome)> {
        self.away.get_or_insert(now);
        self.look_after(now)
    }

    /// Returns whom to tell what as long as Redis is away: those that have waited for long enough.
    pub(in super::super) fn look_after(&mut self, now: Duration) -> Vec<(W, Outcome)> {
        if self.away.is_none() {
            return Vec::new();
        }
        let mut flight = self.flight.take();
        let waiting = std::mem::take(&mut self.waiting);
        let mut told = Vec::new();
        // What is on its way may still be answered, late; its place in the exchange stays.
        for slot in flight.iter_mut().flat_map(|flight| &mut flight.waiting) {
            *slot = slot.take().and_then(|one| self.alone(one, now, &mut told));
        }
        self.waiting = waiting.into_iter().filter_map(|one| self.alone(one, now, &mut told)).collect();
        self.flight = flight;
        told
    }

    /// Answers a call without Redis, unless it may wait for a late answer.
    fn alone(&mut self, one: Waiting<W>, now: Duration, told: &mut Vec<(W, Outcome)>) -> Option<Waiting<W>> {
        let is_young = now.saturating_sub(one.since) < self.patience * LAST_WORD;
        match self.admit(&one.charges, now) {
            // Nobody is refused for what the late answer may yet grant.
            None | Some(Err(_)) if is_young => return Some(one),
            None => {}
            Some(outcome) => told.push((one.whom, outcome)),
        }
        None
    }

    /// Redis answers in time again.
    pub(in super::super) fn come_back(&mut self) {
        self.away = None;
        self.again = Duration::ZERO;
    }

    /// Tells since when Redis does not answer in time.
    pub(in super::super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// After too long without an answer, leases may be others' by now.
    pub(super) fn lapse(&mut self, now: Duration) {
        if self.fresh_until == Duration::ZERO || now < self.fresh_until {
            return;
        }
        self.fresh_until = Duration::ZERO;
        for (name, counter) in &mut self.counters {
            counter.lapse();
            if !self.dirty.contains(name) {
                self.dirty.insert(name.clone());
            }
        }
    }
}

/// What a call is told that only Redis could have admitted.
pub(super) fn away(rule: &Rule) -> Denied {
    let limit = &rule.limit;
    let is_budget = limit.metric == Metric::CostNanos;
    let reason = if is_budget { Reason::BudgetExhausted } else { Reason::RateLimited };
    let message = format!(
        "the counters that replicas share do not answer, and what this replica held of the {} per {} of `{}` is spent",
        limit.metric.as_str(),
        limit.period.as_str(),
        rule.subject
    );
    let error = Error::new(reason, message)
        .with("subject", rule.subject.to_string())
        .with("metric", limit.metric.as_str())
        .with("window", limit.period.as_str())
        .with("limit", limit.amount.to_string());
    Denied::Unknown(error.retry_after(Some(RETRY)))
}
