//! Top-ups and resets in memory, as long as they hold.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use tollgate_api::admin;

use crate::{
    auth::adjustment::{Kind, Record},
    call::{Adjusted, Limit, Rule, Subject},
};

/// Those whose window ran when the last one was made.
#[derive(Default)]
pub(super) struct Adjustments {
    /// By id.
    records: BTreeMap<String, Record>,
}

impl Adjustments {
    /// Takes one over if its window runs, and tells whether it is new. Drops those whose window has passed.
    pub(super) fn put(&mut self, record: Record, now: SystemTime) -> bool {
        self.records.retain(|_, known| known.holds(now));
        record.holds(now) && self.records.insert(record.id.clone(), record).is_none()
    }

    /// Returns limits as they are counted, with what was changed of them.
    pub(super) fn rules(&self, subject: &Subject, limits: &[admin::Limit]) -> Arc<[Arc<Rule>]> {
        let name = subject.to_string();
        let rule = |limit: &admin::Limit| {
            let adjusted = |counter: &str| self.of(&name, limit, counter);
            Some(Rule::adjusted(subject.clone(), Limit::from_contract(limit)?, adjusted))
        };
        limits.iter().filter_map(rule).collect()
    }

    fn of(&self, subject: &str, limit: &admin::Limit, counter: &str) -> Adjusted {
        let about = || self.records.values().filter(|one| one.subject == subject && one.is_of(limit));
        // Where the time zone was changed, a window that began in the old one is not that of the later entries.
        let until = about().filter_map(|one| one.end).max();
        let in_window = || about().filter(|one| one.end == until);
        let top_ups = in_window().filter(|one| one.kind == Kind::TopUp);
        let resets = in_window().filter(|one| one.kind == Kind::Reset);
        Adjusted {
            topped_up: top_ups.fold(0, |sum: i64, one| sum.saturating_add(one.amount)),
            // Each tells all that was used until then: of two at a time, one is enough.
            forgiven: resets.filter_map(|one| one.used.get(counter)).copied().max().unwrap_or(0),
            until,
        }
    }
}
