//! Counting in this process, exact on one replica: every decision over all limits of a call is one critical section.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, Either};

use super::{
    Amounts,
    calendar::Calendar,
    counters::Counters,
    engine::{Charge, Claim, Decision, Denied, Engine, Held, History, Part, Standing},
    past::Past,
    window::{Full, Window},
};
use crate::{call::Rule, error::Error};

/// The engine. Each counter is some hundred bytes; there are as many as limits of keys, teams, models and targets of
/// which something was used in the window that runs, and no more than that for long.
pub struct Local {
    counters: Arc<Mutex<Counters<Window>>>,
    past: Arc<Past>,
    calendar: Calendar,
}

/// A counter that nothing was added to for so long is dropped, if it holds nothing.
const IDLE: Duration = Duration::from_secs(3_600);

/// The counter of a rule is not there yet.
struct Missing;

impl Local {
    /// Starts with what the ledger says, counter by counter as they are first needed.
    pub fn new(history: Arc<dyn History>, calendar: Calendar) -> Self {
        let counters = Arc::<Mutex<Counters<Window>>>::default();
        let raised = counters.clone();
        let raise = move |rule: &Arc<Rule>, used: i64, since: SystemTime| {
            let now = SystemTime::now();
            if let Some(window) = lock(&raised).get_mut(&rule.counter) {
                window.raise(used.max(rule.forgiven(now)), since, now);
            }
            true
        };
        Self { counters, past: Past::new(history, calendar.clone(), Box::new(raise)), calendar }
    }

    fn counters(&self) -> MutexGuard<'_, Counters<Window>> {
        lock(&self.counters)
    }

    /// Makes the counters that are not there yet. Of two that do so at a time, the first counts.
    async fn recall(&self, rules: impl Iterator<Item = &Arc<Rule>>, now: SystemTime) -> Result<(), Error> {
        let missing: Vec<Arc<Rule>> = {
            let counters = self.counters();
            rules.filter(|rule| counters.get(&rule.counter).is_none()).cloned().collect()
        };
        for rule in missing {
            // Calls that came to nothing are requests all the same, which only their counter and the reset knew of.
            let used = self.past.used(&rule, now).await?.max(rule.forgiven(now));
            let new = || Window::new(&rule.limit, used, &self.calendar, now);
            self.counters().add(&rule.counter, new, |window| window.is_over(now, IDLE));
        }
        Ok(())
    }

    /// Takes everything or nothing, in one critical section.
    fn take(&self, charges: &[Charge], now: SystemTime) -> Result<Result<Held, Denied>, Missing> {
        let mut counters = self.counters();
        for Charge { rule, amount } in charges {
            let window = counters.get_mut(&rule.counter).ok_or(Missing)?;
            if rule.limit.soft {
                continue;
            }
            if let Err(Full { wait }) = window.room_for(*amount, rule.ceiling(now), now) {
                let (standing, amount) = (window.standing(rule, now), *amount);
                return Ok(Err(Denied::Full { standing, amount, wait }));
            }
        }
        let mut held = Vec::with_capacity(charges.len());
        for Charge { rule, amount } in charges {
            let window = counters.get_mut(&rule.counter).ok_or(Missing)?;
            let place = window.add(*amount, now);
            held.push(Part { standing: window.standing(rule, now), amount: *amount, place });
        }
        counters.sweep(1, |window| window.is_over(now, IDLE));
        Ok(Ok(held))
    }
}

impl Engine for Local {
    fn reserve(&self, claim: Claim) -> Decision<'_> {
        let now = SystemTime::now();
        if let Ok(decided) = self.take(&claim.charges, now) {
            return Either::Left(std::future::ready(decided));
        }
        Either::Right(Box::pin(async move {
            self.recall(claim.charges.iter().map(|charge| &charge.rule), now)
                .await
                .map_err(Denied::Unknown)?;
            let missing = |Missing| Denied::Unknown(Error::internal("a counter that was made is not there"));
            self.take(&claim.charges, SystemTime::now()).map_err(missing)?
        }))
    }

    fn settle(&self, held: Held, used: Amounts) {
        let mut counters = self.counters();
        for part in held {
            let rule = part.rule();
            if let Some(window) = counters.get_mut(&rule.counter) {
                window.settle(part.place, part.amount, used.of(rule.limit.metric));
            }
        }
    }

    fn standing<'a>(&'a self, rules: &'a [Arc<Rule>]) -> BoxFuture<'a, Result<Vec<Standing>, Error>> {
        Box::pin(async move {
            let now = SystemTime::now();
            self.recall(rules.iter(), now).await?;
            let mut counters = self.counters();
            let stands =
                rules.iter().filter_map(|rule| Some(counters.get_mut(&rule.counter)?.standing(rule, now)));
            Ok(stands.collect())
        })
    }
}

fn lock(counters: &Mutex<Counters<Window>>) -> MutexGuard<'_, Counters<Window>> {
    // Every change leaves the counters whole before anything can panic.
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
