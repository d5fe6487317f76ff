//! What was used before: the ledger is asked. One that replicas share has to answer promptly; if it does not, what this
//! replica's own ledger knows has to do, and the shared one is asked again until it has answered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::time::{sleep, timeout};

use super::{calendar::Calendar, engine::History};
use crate::{
    call::{Metric, Rule},
    error::Error,
};

/// Longest that a call waits for the shared ledger, before it is known to be away.
const HASTE: Duration = Duration::from_secs(1);
/// Between two tries to reach it.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes over what the shared ledger says of the period that began then. Tells whether it could be; if not, it is asked
/// again.
type Raise = Box<dyn Fn(&Arc<Rule>, i64, SystemTime) -> bool + Send + Sync>;

/// The way to the ledger.
pub(super) struct Past {
    history: Arc<dyn History>,
    calendar: Calendar,
    raise: Raise,
    /// Whether the shared ledger did not answer: nobody waits for it until it does.
    is_away: AtomicBool,
    /// By counter: what started with what this replica knows.
    owed: Mutex<HashMap<Arc<str>, Arc<Rule>>>,
}

impl Past {
    pub(super) fn new(history: Arc<dyn History>, calendar: Calendar, raise: Raise) -> Arc<Self> {
        Arc::new(Self { history, calendar, raise, is_away: AtomicBool::new(false), owed: Mutex::default() })
    }

    /// Returns what was used of a limit in the period that runs at that time, as far as can be known promptly.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if not even this replica's own ledger can be read.
    pub(super) async fn used(self: &Arc<Self>, rule: &Arc<Rule>, now: SystemTime) -> Result<i64, Error> {
        if !rule.limit.period.is_calendar() || rule.limit.metric == Metric::Concurrent {
            return Ok(0);
        }
        let since = self.calendar.span(rule.limit.period, now).start;
        let everywhere = self.history.used(rule, since);
        let Some(here) = self.history.used_here(rule, since) else { return everywhere.await };
        if !self.is_away.load(Relaxed) {
            if let Ok(Ok(used)) = timeout(HASTE, everywhere).await {
                return Ok(used);
            }
            if !self.is_away.swap(true, Relaxed) {
                tracing::warn!(
                    "the shared ledger does not answer; limits go by what this replica knows meanwhile"
                );
            }
        }
        let used = here.await?;
        self.owe(rule);
        Ok(used)
    }

    fn owe(self: &Arc<Self>, rule: &Arc<Rule>) {
        let mut owed = self.owed();
        if owed.is_empty() {
            tokio::spawn(self.clone().ask_again());
        }
        owed.insert(rule.counter.clone(), rule.clone());
    }

    /// Asks the shared ledger until nothing is owed.
    async fn ask_again(self: Arc<Self>) {
        loop {
            sleep(AGAIN).await;
            let owed: Vec<Arc<Rule>> = self.owed().values().cloned().collect();
            let mut known = Vec::new();
            for rule in owed {
                let since = self.calendar.span(rule.limit.period, SystemTime::now()).start;
                let Ok(used) = self.history.used(&rule, since).await else { break };
                self.is_away.store(false, Relaxed);
                if (self.raise)(&rule, used, since) {
                    known.push(rule);
                }
            }
            let mut owed = self.owed();
            for rule in known {
                owed.remove(&rule.counter);
            }
            if owed.is_empty() {
                return;
            }
        }
    }

    fn owed(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Rule>>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
