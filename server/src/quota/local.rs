//! Counting in this process, exact on one replica: every decision over all limits of a call is one critical section.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use futures_util::future::BoxFuture;

use super::{
    Amounts,
    engine::{Charge, Claim, Denied, Engine, Held, History, Part, Standing},
    window::{self, Window},
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
}

impl Local {
    /// Starts with what the ledger says, counter by counter as they are first needed.
    pub fn new(history: Arc<dyn History>) -> Self {
        Self { counters: Mutex::default(), history }
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
                self.history.used(&rule, window::start_of(rule.limit.period, now)).await?
            } else {
                0
            };
            let new = || Window::new(rule.limit.clone(), used, now);
            self.counters().entry(rule.counter.clone()).or_insert_with(new);
        }
        Ok(())
    }

    fn take(&self, charges: &[Charge], now: SystemTime) -> Result<Held, Denied> {
        let mut counters = self.counters();
        for Charge { rule, amount } in charges {
            let Some(window) = counters.get_mut(&rule.counter) else { continue };
            window.limit.amount = rule.limit.amount;
            if let Some(full) = window.would_overflow(*amount, now).filter(|_| !rule.limit.soft) {
                return Err(Denied::Full {
                    rule: rule.clone(),
                    amount: *amount,
                    used: full.used,
                    wait: full.wait,
                });
            }
        }
        let parts = charges.iter().filter_map(|Charge { rule, amount }| {
            let place = counters.get_mut(&rule.counter)?.add(*amount, now);
            Some(Part { rule: rule.clone(), amount: *amount, place })
        });
        Ok(parts.collect())
    }
}

impl Engine for Local {
    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Held, Denied>> {
        Box::pin(async move {
            let now = SystemTime::now();
            let rules = claim.charges.iter().map(|charge| &charge.rule);
            self.recall(rules, now).await.map_err(Denied::Unknown)?;
            self.take(&claim.charges, now)
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
