//! Top-ups and resets in memory, as long as they hold.

use std::{collections::BTreeMap, time::SystemTime};

use tollgate_api::admin;

use crate::{
    auth::adjustment::{Kind, Record},
    call::Subject,
};

/// Those whose window runs, by id.
#[derive(Default)]
pub(super) struct Adjusted(BTreeMap<String, Record>);

impl Adjusted {
    /// Takes one over if its window runs, and tells whether it is new.
    pub(super) fn put(&mut self, record: Record, now: SystemTime) -> bool {
        record.holds(now) && self.0.insert(record.id.clone(), record).is_none()
    }

    /// Drops those whose window has passed, and tells whether there were any.
    pub(super) fn lapse(&mut self, now: SystemTime) -> bool {
        let before = self.0.len();
        self.0.retain(|_, record| record.holds(now));
        self.0.len() < before
    }

    /// Returns when the first of them ends.
    pub(super) fn first_end(&self) -> Option<SystemTime> {
        self.0.values().filter_map(|record| record.end).min()
    }

    /// Returns limits with the top-ups of their windows in them.
    pub(super) fn raised(&self, subject: &Subject, limits: &[admin::Limit]) -> Vec<admin::Limit> {
        let mut limits = limits.to_vec();
        if self.0.is_empty() {
            return limits;
        }
        let subject = subject.to_string();
        let raises = self.0.values().filter(|record| record.kind == Kind::TopUp && record.subject == subject);
        for raise in raises {
            for limit in limits.iter_mut().filter(|limit| raise.is_of(limit)) {
                limit.amount = limit.amount.saturating_add(raise.amount);
            }
        }
        limits
    }

    /// Returns what resets took off a counter in the window that runs.
    pub(super) fn taken_off(&self, counter: &str, now: SystemTime) -> i64 {
        let resets = self.0.values().filter(|record| record.kind == Kind::Reset && record.holds(now));
        resets.filter_map(|record| record.used.get(counter)).fold(0, |sum, used| sum.saturating_add(*used))
    }
}
