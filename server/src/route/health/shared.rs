//! What all targets have in common: settings, chance, the retries of the process, and those who watch.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use super::{
    budget::{Allowance, Budget},
    settings::Settings,
    view::Transition,
};
use crate::route::lot::Lot;

/// How far pauses differ from each other.
const JITTER: f64 = 0.2;

type Observer = Box<dyn Fn(&Transition) + Send + Sync>;

pub(super) struct Shared {
    settings: RwLock<Settings>,
    lot: Lot,
    budget: Mutex<Budget>,
    observers: RwLock<Vec<Observer>>,
}

impl Shared {
    pub(super) fn new(settings: Settings, lot: Lot) -> Self {
        Self { settings: RwLock::new(settings), lot, budget: Mutex::default(), observers: RwLock::default() }
    }

    pub(super) fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn configure(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    pub(super) fn jitter(&self) -> f64 {
        self.lot.around_one(JITTER)
    }

    pub(super) fn attempted(&self, now: Instant) {
        self.budget().attempted(now);
    }

    pub(super) fn may_retry(&self, share: f64, now: Instant) -> bool {
        let mut budget = self.budget();
        let allowed = budget.allows(share, now);
        if let Some(by) = allowed {
            budget.retried(by, now);
        }
        allowed.is_some()
    }

    pub(super) fn could_retry(&self, share: f64, now: Instant) -> bool {
        self.budget().allows(share, now).is_some()
    }

    pub(super) fn failed_over(&self, now: Instant) {
        self.budget().retried(Allowance::Share, now);
    }

    pub(super) fn observe(&self, observer: Observer) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    pub(super) fn tell(&self, transition: &Transition) {
        for observer in &*self.observers.read().unwrap_or_else(PoisonError::into_inner) {
            observer(transition);
        }
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}
