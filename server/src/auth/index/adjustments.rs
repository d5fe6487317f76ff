//! Top-ups and resets in memory, as long as they hold.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use tollgate_api::admin;

use crate::{
    auth::adjustment::{Kind, Record},
    call::{Adjusted, Limit, Rule, Subject},
};

/// By subject, those whose window ran when the last one of it was made.
#[derive(Default)]
pub(super) struct Adjustments {
    /// By subject, and by id.
    records: HashMap<String, BTreeMap<String, Record>>,
}

impl Adjustments {
    /// Takes one over if its window runs, and tells whether it is new. Drops those of its subject whose window has passed.
    pub(super) fn put(&mut self, record: Record, now: SystemTime) -> bool {
        if !record.holds(now) {
            return false;
        }
        let known = self.records.entry(record.subject.clone()).or_default();
        known.retain(|_, one| one.holds(now));
        known.insert(record.id.clone(), record).is_none()
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
        let of_subject = self.records.get(subject);
        let about = || of_subject.into_iter().flat_map(BTreeMap::values).filter(|one| one.is_of(limit));
        // Where the time zone was changed, a window that began in the old one is not that of the later entries.
        let until = about().filter_map(|one| one.end).max();
        let in_window = || about().filter(|one| one.end == until);
        let of_kind = |kind| in_window().filter(move |one| one.kind == kind);
        let used = |kind| of_kind(kind).filter_map(|one| one.used.get(counter)).copied();
        let set_back = used(Kind::SetBack).fold(0, i64::saturating_add);
        Adjusted {
            topped_up: of_kind(Kind::TopUp).fold(0, |sum: i64, one| sum.saturating_add(one.amount)),
            // Each tells all that was used until then: of two at a time, one is enough.
            forgiven: used(Kind::Reset).fold(set_back, i64::max),
            until,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn record(id: &str, kind: Kind, used: i64, seconds: u64) -> Record {
        Record {
            id: id.to_owned(),
            create_time: NOW,
            kind,
            subject: "key:k".to_owned(),
            metric: "requests".to_owned(),
            window: "day".to_owned(),
            amount: used,
            used: [("counter".to_owned(), used)].into(),
            end: Some(NOW + Duration::from_secs(seconds)),
            created_by: "admin".to_owned(),
            reason: String::new(),
            request_id: None,
        }
    }

    fn limit() -> admin::Limit {
        admin::Limit { metric: "requests".into(), window: "day".into(), amount: 10, ..Default::default() }
    }

    #[test]
    fn resets_of_earlier_versions_keep_their_meaning() {
        let mut adjustments = Adjustments::default();
        let mut forgiven_after = |record| {
            assert!(adjustments.put(record, NOW));
            adjustments.of("key:k", &limit(), "counter").forgiven
        };
        assert_eq!(forgiven_after(record("a", Kind::SetBack, 5, 9)), 5);
        assert_eq!(forgiven_after(record("b", Kind::SetBack, 3, 9)), 8, "each what it took off");
        assert_eq!(forgiven_after(record("c", Kind::Reset, 11, 9)), 11, "what the counter had come to");
        assert_eq!(forgiven_after(record("d", Kind::Reset, 11, 9)), 11, "of two at a time, one is enough");
    }

    #[test]
    fn what_has_passed_goes_with_the_next_of_its_subject_and_says_nothing_of_others() {
        let mut adjustments = Adjustments::default();
        assert!(adjustments.put(record("a", Kind::TopUp, 5, 9), NOW));
        assert!(!adjustments.put(record("a", Kind::TopUp, 5, 9), NOW), "it is known");
        assert_eq!(adjustments.of("key:other", &limit(), "counter").topped_up, 0);
        let later = NOW + Duration::from_secs(9);
        assert!(!adjustments.put(record("b", Kind::TopUp, 5, 9), later), "it has passed");
        assert!(adjustments.put(record("c", Kind::TopUp, 2, 20), later));
        assert_eq!(adjustments.of("key:k", &limit(), "counter").topped_up, 2);
        assert_eq!(adjustments.records["key:k"].len(), 1);
    }
}
