//! Top-ups and resets in memory, as long as they hold.

use std::{collections::BTreeMap, time::SystemTime};

use tollgate_api::admin;

use crate::{
    auth::{
        adjustment::{Kind, Record},
        check,
    },
    call::Subject,
};

/// Those whose window runs.
#[derive(Default)]
pub(super) struct Adjusted {
    /// By id.
    records: BTreeMap<String, Record>,
    /// Whether a reset makes room in the limit, in place of setting its counter back.
    pub(super) resets_are_room: bool,
}

impl Adjusted {
    /// Takes one over if its window runs, and tells whether it is new.
    pub(super) fn put(&mut self, record: Record, now: SystemTime) -> bool {
        record.holds(now) && self.records.insert(record.id.clone(), record).is_none()
    }

    /// Drops those whose window has passed, and tells whether there were any.
    pub(super) fn lapse(&mut self, now: SystemTime) -> bool {
        let before = self.records.len();
        self.records.retain(|_, record| record.holds(now));
        self.records.len() < before
    }

    /// Returns when the first of them ends.
    pub(super) fn first_end(&self) -> Option<SystemTime> {
        self.records.values().filter_map(|record| record.end).min()
    }

    /// Returns limits with the top-ups of their windows in them.
    pub(super) fn raised(&self, of: &Subject, limits: &[admin::Limit]) -> Vec<admin::Limit> {
        let mut limits = limits.to_vec();
        if self.records.is_empty() {
            return limits;
        }
        let subject = of.to_string();
        let raises =
            self.records.values().filter(|record| record.kind == Kind::TopUp && record.subject == subject);
        for raise in raises {
            for limit in limits.iter_mut().filter(|limit| raise.is_of(limit)) {
                limit.amount = limit.amount.saturating_add(raise.amount);
            }
        }
        if self.resets_are_room {
            for limit in &mut limits {
                let rules = check::rules(of, std::slice::from_ref(limit));
                let room: i64 = rules.iter().map(|rule| self.reset(&rule.counter)).sum();
                limit.amount = limit.amount.saturating_add(room);
            }
        }
        limits
    }

    /// Returns what resets in the window that runs found to be used of a counter.
    pub(super) fn reset(&self, counter: &str) -> i64 {
        let resets = self.records.values().filter(|record| record.kind == Kind::Reset);
        resets.filter_map(|record| record.used.get(counter)).fold(0, |sum, used| sum.saturating_add(*used))
    }
}
