//! Counting in this process, exact on one replica: every decision over all limits of a call is one critical section.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use futures_util::future::BoxFuture;

use super::{
    Amounts,
    calendar::Calendar,
    engine::{Charge, Claim, Denied, Engine, Held, History, Part, Standing},
    window::Window,
};
use crate::{
    call::{Metric, Rule},
    error::Error,
};

/// The engine. Each counter is some hundred bytes and is the limit's memory: there are at most as many as limits of
/// keys, teams, models and targets that were called, which the store of the keys bounds.
pub struct Local {
    counters: Mutex<HashMap<Arc<str>, Window>>,
    history: Arc<dyn History>,
    calendar: Calendar,
}

/// The counter of a rule is not there yet.
struct Missing;

impl Local {
    /// Starts with what the ledger says, counter by counter as they are first needed.
    pub fn new(history: Arc<dyn History>, calendar: Calendar) -> Self {
        Self { counters: Mutex::default(), history, calendar }
    }

    fn counters(&self) -> MutexGuard<'_, HashMap<Arc<str>, Window>> {
        // Every change leaves the counters whole before anything can panic.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the counters that are not there yet. Of two that do so at a time, the first counts.
    async fn recall(&self, rules: impl Iterator<Item = &Arc<Rule>>, now: SystemTime) -> Result<(), Error> {
        let missing: Vec<Arc<Rule>> = {
            let counters = self.counters();
            rules.filter(|rule| !counters.contains_key(&rule.counter)).cloned().collect()
        };
        for rule in missing {
            let used = if rule.limit.period.is_calendar() && rule.limit.metric != Metric::Concurrent {
                self.history.used(&rule, self.calendar.span(rule.limit.period, now).start).await?
            } else {
                0
            };
            let new = || Window::new(rule.limit.clone(), used, &self.calendar, now);
            self.counters().entry(rule.counter.clone()).or_insert_with(new);
        }
        Ok(())
    }

    /// Takes everything or nothing, in one critical section.
    fn take(&self, charges: &[Charge], now: SystemTime) -> Result<Result<Held, Denied>, Missing> {
        let mut counters = self.counters();
        for Charge { rule, amount } in charges {
            let window = counters.get_mut(&rule.counter).ok_or(Missing)?;
            window.limit.amount = rule.limit.amount;
            if let Some(full) = window.would_overflow(*amount, now).filter(|_| !rule.limit.soft) {
                return Ok(Err(Denied::Full {
                    rule: rule.clone(),
                    amount: *amount,
                    used: full.used,
                    reserved: window.reserved(),
                    wait: full.wait,
                    reset: window.reset(now),
                }));
            }
        }
        let mut held = Vec::with_capacity(charges.len());
        for Charge { rule, amount } in charges {
            let window = counters.get_mut(&rule.counter).ok_or(Missing)?;
            let place = window.add(*amount, now);
            let (used, reset) = (window.used(now), window.reset(now));
            held.push(Part { rule: rule.clone(), amount: *amount, used, reset, place });
        }
        Ok(Ok(held))
    }
}

impl Engine for Local {
    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Held, Denied>> {
        let now = SystemTime::now();
        if let Ok(decided) = self.take(&claim.charges, now) {
            return Box::pin(std::future::ready(decided));
        }
        Box::pin(async move {
            self.recall(claim.charges.iter().map(|charge| &charge.rule), now)
                .await
                .map_err(Denied::Unknown)?;
            let missing = |Missing| Denied::Unknown(Error::internal("a counter that was made is not there"));
            self.take(&claim.charges, now).map_err(missing)?
        })
    }

    fn settle(&self, held: Held, used: Amounts) {
        let mut counters = self.counters();
        for part in held {
            if let Some(window) = counters.get_mut(&part.rule.counter) {
                window.settle(part.place, part.amount, used.of(part.rule.limit.metric));
            }
        }
    }

    fn set_back(&self, counter: &str, used: i64, _: &str) {
        if let Some(window) = self.counters().get_mut(counter) {
            window.set_back(used);
        }
    }

    fn standing<'a>(&'a self, rules: &'a [Arc<Rule>]) -> BoxFuture<'a, Result<Vec<Standing>, Error>> {
        Box::pin(async move {
            let now = SystemTime::now();
            self.recall(rules.iter(), now).await?;
            let mut counters = self.counters();
            let stands = rules.iter().filter_map(|rule| {
                let window = counters.get_mut(&rule.counter)?;
                let (held, reserved) = (window.used(now), window.reserved());
                let reset = window.reset(now);
                Some(Standing { rule: rule.clone(), used: held - reserved, reserved, reset })
            });
            Ok(stands.collect())
        })
    }
}

#[cfg(test)]
mod tests;
