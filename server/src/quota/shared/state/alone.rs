//! What is done while Redis does not answer in time.

use std::time::Duration;

use super::{Outcome, State, Waiting, span};
use crate::quota::{
    engine::{Charge, Denied, Standing},
    shared::counter::{is_calendar, time},
};

/// So many times as long a call waits that only Redis can admit, if an answer is late for the first time.
const LAST_WORD: u32 = 4;

impl<W> State<W> {
    /// Refuses a call without Redis: for certain only if what is used, as far as is known here, leaves it no room.
    pub(super) fn refuse_alone(&self, charge: &Charge, server_ms: i64) -> Denied {
        let Charge { rule, amount } = charge.clone();
        let Some(counter) = self.counters.get(&rule.counter) else {
            let standing = Standing::new(&rule, (0, 0), None, time(server_ms));
            return Denied::Away { standing, amount, wait: None };
        };
        let (standing, wait) = if is_calendar(&rule) {
            (counter.standing(&rule, server_ms), counter.until_end(server_ms))
        } else {
            let wait = counter.wait_for_share(amount, self.replicas, server_ms).map(span);
            (counter.own_standing(&rule, server_ms), wait)
        };
        if standing.used.saturating_add(amount) > standing.limit {
            return Denied::Full { standing, amount, wait };
        }
        Denied::Away { standing, amount, wait }
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
            Ok(Some(Err(_))) if is_young => Some(one),
            Ok(Some(outcome)) => {
                told.push((one.whom, outcome));
                None
            }
            Ok(None) | Err(_) => is_young.then_some(one),
        }
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
        for (name, counter) in self.counters.iter_mut() {
            counter.lapse();
            if !self.dirty.contains(name) {
                self.dirty.insert(name.clone());
            }
        }
    }
}
