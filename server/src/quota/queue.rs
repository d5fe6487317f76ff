//! Waiting near a rate: briefly, within the caller's deadline, and the first to come first.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout_at};

use super::{Charge, Claim, Denied, Engine, Held};
use crate::{
    call::{Metric, Rule, now},
    config,
};

/// Whoever is first in line looks again after this long at the latest: calls that end give back what they did not use.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How soon whoever is first looks for a place among calls at a time.
const PLACE: Duration = Duration::from_millis(20);

/// The lines before limits that have no room just now.
pub(super) struct Queue {
    max_wait: Duration,
    size: usize,
    waiting: AtomicUsize,
    lines: Mutex<HashMap<Arc<str>, Line>>,
}

/// A line: whoever holds it is first. It is fair.
type Line = Arc<tokio::sync::Mutex<()>>;

/// A place in the lines.
struct Place<'q>(&'q Queue);

impl Queue {
    pub(super) fn new(settings: &config::Queue) -> Self {
        Self {
            max_wait: settings.max_wait.0,
            size: usize::try_from(settings.size).unwrap_or(usize::MAX),
            waiting: AtomicUsize::new(0),
            lines: Mutex::default(),
        }
    }

    /// Reserves as the engine does, after a wait if that helps and nobody was there before.
    pub(super) async fn reserve(&self, engine: &dyn Engine, claim: Claim) -> Result<Held, Denied> {
        if self.max_wait.is_zero() {
            return engine.reserve(claim).await;
        }
        let until = claim.deadline.min(now() + self.max_wait);
        let mut counter = self.line_before(&claim.charges);
        let mut place = None;
        loop {
            if counter.is_some() && place.is_none() {
                place = self.enter();
                if place.is_none() {
                    // Too many wait already. Whoever is refused is told how the limit stands.
                    return engine.reserve(claim).await;
                }
            }
            let line = counter.clone().map(|counter| self.line(counter));
            let _first = match line {
                None => None,
                Some(line) => match timeout_at(until.into(), line.lock_owned()).await {
                    Ok(first) => Some(first),
                    Err(_) => return engine.reserve(claim).await,
                },
            };
            loop {
                let denied = match engine.reserve(claim.clone()).await {
                    Err(denied) => denied,
                    held => return held,
                };
                let Some((rule, wait)) = wait_for(&denied).filter(|(_, wait)| now() + *wait <= until) else {
                    return Err(denied);
                };
                if counter.as_ref() != Some(&rule.counter) {
                    counter = Some(rule.counter.clone());
                    break;
                }
                sleep(wait.min(LOOK_AGAIN)).await;
            }
        }
    }

    /// Returns the counter that others already wait for, if there is one.
    fn line_before(&self, charges: &[Charge]) -> Option<Arc<str>> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let lines = self.lines();
        let waited_for =
            |counter: &Arc<str>| lines.get(counter).is_some_and(|line| Arc::strong_count(line) > 1);
        charges.iter().map(|charge| &charge.rule.counter).find(|counter| waited_for(counter)).cloned()
    }

    fn enter(&self) -> Option<Place<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        (before < self.size).then_some(place)
    }

    fn line(&self, counter: Arc<str>) -> Line {
        self.lines().entry(counter).or_default().clone()
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Arc<str>, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.lines().retain(|_, line| Arc::strong_count(line) > 1);
        }
    }
}

/// Returns what is waited for and how long it takes, if it is a matter of moments.
fn wait_for(denied: &Denied) -> Option<(&Rule, Duration)> {
    let (Denied::Full { standing, amount, wait } | Denied::Away { standing, amount, wait }) = denied else {
        return None;
    };
    let rule = &*standing.rule;
    match rule.limit.metric {
        _ if *amount > standing.limit => None,
        Metric::CostNanos => None,
        Metric::Concurrent => Some((rule, PLACE)),
        _ if rule.limit.period.is_calendar() => None,
        _ => Some((rule, (*wait)?)),
    }
}

#[cfg(test)]
mod tests;
