//! Amounts by where they belong: a slot of a sliding window, or a calendar period.

use std::collections::BTreeMap;

/// Amounts by place, and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    by_place: BTreeMap<i64, i64>,
    sum: i64,
}

impl Tally {
    /// Returns the sum of all.
    pub(super) fn sum(&self) -> i64 {
        self.sum
    }

    /// Tells whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// Returns the last place that has something.
    pub(super) fn last(&self) -> Option<i64> {
        self.by_place.last_key_value().map(|(place, _)| *place)
    }

    /// Adds an amount, which may be negative.
    pub(super) fn add(&mut self, place: i64, amount: i64) {
        let at = self.by_place.entry(place).or_default();
        *at = at.saturating_add(amount);
        if *at == 0 {
            self.by_place.remove(&place);
        }
        self.sum = self.sum.saturating_add(amount);
    }

    /// Adds all of another.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (place, amount) in &other.by_place {
            self.add(*place, *amount);
        }
    }

    /// Forgets what is before this place, and returns how much that was.
    pub(super) fn forget_before(&mut self, place: i64) -> i64 {
        if self.by_place.first_key_value().is_none_or(|(first, _)| *first >= place) {
            return 0;
        }
        let kept = self.by_place.split_off(&place);
        let gone = std::mem::replace(&mut self.by_place, kept);
        let gone = gone.values().fold(0_i64, |sum, amount| sum.saturating_add(*amount));
        self.sum = self.sum.saturating_sub(gone);
        gone
    }

    /// Goes through all, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        self.by_place.iter().map(|(place, amount)| (*place, *amount))
    }
}
