//! How targets are: what their attempts came to, and whether the next call may go there. Shared by all aliases that lead
//! to the same target, and kept over a reload.
//!
//! `breaker`, `cool_down`, `eject`, `pace` and `budget` are plain state machines, which `condition` puts together; `ticket`
//! puts a lock around it and tells observers. Config: `breaker`. Metrics: `tollgate_circuit_state`,
//! `tollgate_target_health`.

mod breaker;
mod budget;
mod condition;
mod cool_down;
mod eject;
mod pace;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod ticket;
mod trickle;
mod view;
mod window;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

pub use settings::Settings;
pub use ticket::{TargetHealth, Ticket};
pub use view::{Refused, State, Transition, View};

use self::shared::Shared;
use super::lot::Lot;
use crate::{call::Target, telemetry::metrics};

/// Most targets that are remembered. Wildcard aliases make one of each model that a caller names.
const MOST_TARGETS: usize = 10_000;

type Targets = HashMap<Arc<str>, Arc<TargetHealth>>;

/// The health of all targets.
#[derive(Debug)]
pub struct Health {
    targets: RwLock<Targets>,
    shared: Arc<Shared>,
    /// Held while siblings are compared, so that two comparisons cannot leave out more than one.
    comparing: Mutex<()>,
}

impl Health {
    /// Starts with every target well.
    pub fn new(settings: Settings) -> Self {
        Self::by_lot(settings, Lot::new())
    }

    /// Starts with every target well, and takes chance from here.
    pub fn by_lot(settings: Settings, lot: Lot) -> Self {
        let shared = Arc::new(Shared::new(settings, lot));
        Self { targets: RwLock::default(), shared, comparing: Mutex::default() }
    }

    /// Goes by other settings from now on; what is known of the targets stays.
    pub fn configure(&self, settings: Settings) {
        // Nobody adds a target with the old settings meanwhile.
        let targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        self.shared.configure(settings);
        for target in targets.values() {
            target.configure(settings);
        }
    }

    /// Calls this whenever a target is tried no longer, or again: on the task that found out, which it must not keep. Two
    /// changes in quick succession may be told in either order; what holds is in the target's view.
    pub fn on_change(&self, observer: impl Fn(&Transition) + Send + Sync + 'static) {
        self.shared.observe(Box::new(observer));
    }

    /// Returns the health of a target.
    pub fn of(&self, target: &Target) -> Arc<TargetHealth> {
        self.named(&target.name)
    }

    /// Returns the health of a target by its name.
    pub fn named(&self, name: &Arc<str>) -> Arc<TargetHealth> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = targets.get(name) {
            return known.clone();
        }
        drop(targets);
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= MOST_TARGETS && !targets.contains_key(name) {
            forget_some(&mut targets);
        }
        let made = || Arc::new(TargetHealth::new(name.clone(), self.shared.clone()));
        targets.entry(name.clone()).or_insert_with(made).clone()
    }

    /// Returns how every target is that was asked for, by name.
    pub fn targets(&self, now: Instant) -> Vec<(Arc<str>, View)> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = targets.iter().map(|(name, target)| (name.clone(), target.view(now))).collect();
        drop(targets);
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Shows the targets in the metrics, in place of those of any other.
    pub fn show(self: &Arc<Self>) {
        let health = self.clone();
        metrics::watch_targets(move || {
            let targets = health.targets(crate::call::now());
            targets.into_iter().map(|(target, view)| view.gauges(target)).collect()
        });
    }

    /// Tells whether a retry may be made at a target: not if retries are already more than their share of its calls, or of
    /// all calls. Counts it if so.
    pub fn may_retry(&self, target: &Target, share: f64, now: Instant) -> bool {
        self.of(target).change(now, |condition| {
            let allowed = condition.budget.allows(share, now);
            let may = allowed.filter(|_| self.shared.may_retry(share, now));
            if let Some(by) = may {
                condition.budget.retried(by, now);
            }
            may.is_some()
        })
    }

    /// Tells whether a retry could be made at a target now, without counting it.
    pub fn could_retry(&self, target: &Target, share: f64, now: Instant) -> bool {
        let allowed = self.of(target).read(|condition| condition.budget.allows(share, now));
        allowed.is_some() && self.shared.could_retry(share, now)
    }

    /// Counts a call that goes on to another target. That is never refused, but what it adds to the load counts against
    /// the retries of all.
    pub fn failed_over(&self, now: Instant) {
        self.shared.failed_over(now);
    }

    /// Compares the targets of one plan, and leaves one out for a while if it fails far more often than the others: never
    /// more than half of them. To be called after a failure; nothing else makes an outlier.
    pub fn compare<'a>(&self, siblings: impl IntoIterator<Item = &'a Target>, now: Instant) {
        let mut names: Vec<&Arc<str>> = siblings.into_iter().map(|target| &target.name).collect();
        names.sort();
        names.dedup();
        if names.len() < eject::COMPANY {
            return;
        }
        let _one_at_a_time = self.comparing.lock().unwrap_or_else(PoisonError::into_inner);
        let siblings: Vec<_> = names.into_iter().map(|name| self.named(name)).collect();
        let doing: Vec<_> = siblings.iter().map(|target| target.read(|kept| kept.sibling(now))).collect();
        if let Some(index) = eject::outlier(&doing) {
            let jitter = self.shared.jitter();
            siblings[index].change(now, |condition| condition.eject(jitter, now));
        }
    }
}

/// Makes room for a tenth: of what is idle and well, what was not used for longest goes first.
fn forget_some(targets: &mut Targets) {
    let now = crate::call::now();
    let mut worth: Vec<_> =
        targets.iter().map(|(name, target)| (target.read(|kept| kept.worth(now)), name.clone())).collect();
    worth.sort();
    for (_, name) in worth.into_iter().take(MOST_TARGETS / 10) {
        targets.remove(&name);
    }
}
