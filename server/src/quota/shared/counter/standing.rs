//! How a counter stands, over all replicas and for this one alone.

use std::{sync::Arc, time::SystemTime};

use super::{Counter, SLOTS, time};
use crate::{
    call::{Metric, Rule},
    quota::{
        engine::{Part, Standing},
        shared::{tally::Tally, wire::Kind},
        window::Place,
    },
};

/// How long what others run is thought to go on while nothing is heard of them.
const MINUTE_MS: i64 = 60_000;

impl Counter {
    /// Tells whether it counts by the calendar.
    pub(in super::super) fn is_calendar(&self) -> bool {
        matches!(self.kind, Kind::Calendar(_))
    }

    /// Returns what all replicas used and reserved, as far as is known here.
    pub(in super::super) fn all(&self) -> i64 {
        self.used().saturating_add(self.reserved()).saturating_add(self.reserved_by_others)
    }

    /// Returns the part of that which running calls hold in reserve.
    pub(in super::super) fn all_reserved(&self) -> i64 {
        match self.rule.limit.metric {
            // A call that runs is a call that was made.
            Metric::Requests | Metric::Concurrent => 0,
            _ => self.reserved().saturating_add(self.reserved_by_others),
        }
    }

    /// Returns when the period ends, or all that was used has left the window.
    pub(in super::super) fn reset(&self, server_ms: i64) -> Option<SystemTime> {
        match self.kind {
            Kind::Concurrent => None,
            Kind::Calendar(_) => self.span.and_then(|span| span.end),
            Kind::Sliding(_) if self.all() == 0 => Some(time(server_ms)),
            Kind::Sliding(width) => {
                // Of what others used it is only known that it was before now.
                let own = [&self.told, &self.flying, &self.moves, &self.reserved].into_iter();
                let own = own.filter_map(Tally::last).max().filter(|_| self.own() >= self.all());
                Some(time((own.unwrap_or(server_ms / width) + SLOTS + 1) * width))
            }
        }
    }

    /// Tells how the limit stands, as far as is known here.
    pub(in super::super) fn standing(&self, rule: &Arc<Rule>, server_ms: i64) -> Standing {
        let reserved = self.all_reserved();
        let used = self.all().saturating_sub(reserved);
        Standing { rule: rule.clone(), used, reserved, reset: self.reset(server_ms) }
    }

    /// Makes what a call holds of it.
    pub(in super::super) fn part(&self, rule: &Arc<Rule>, amount: i64, place: i64, server_ms: i64) -> Part {
        let (used, reset) = (self.all(), self.reset(server_ms));
        Part { rule: rule.clone(), amount, used, reset, place: Place::at(place) }
    }

    /// Tells whether so much may be admitted while Redis is away: each replica has its share of what was left of a rate
    /// when Redis last told, and of what has become free since.
    pub(in super::super) fn fits_share(&self, amount: i64, replicas: i64, server_ms: i64) -> bool {
        let since = self.own().saturating_sub(self.told.sum());
        let wanted = since.checked_add(amount).and_then(|sum| sum.checked_mul(replicas.max(1)));
        // A limit that is less than one for each admits one.
        let is_first = since == 0 && amount == 1;
        !self.is_hard() && wanted.is_some_and(|wanted| wanted <= self.left_alone(server_ms) || is_first)
    }

    /// Returns what is left of a rate if what others used of it leaves the window evenly. What they did just now does so
    /// for none of it at first.
    fn left_alone(&self, server_ms: i64) -> i64 {
        let window = match self.kind {
            Kind::Sliding(width) => width * SLOTS,
            Kind::Concurrent | Kind::Calendar(_) => MINUTE_MS,
        };
        let passed = server_ms.saturating_sub(self.heard_ms).clamp(0, window);
        let still = (window - passed).min(window * 5 / 6);
        let others = i128::from(self.others) * i128::from(still) * 6 / i128::from(window * 5);
        let others = i64::try_from(others).unwrap_or(i64::MAX);
        self.rule.limit.amount.saturating_sub(self.told.sum()).saturating_sub(others).max(0)
    }

    /// Returns what this replica used of a rate and holds.
    pub(in super::super) fn own(&self) -> i64 {
        let tallies = [&self.told, &self.flying, &self.moves, &self.reserved];
        tallies.iter().fold(0, |sum, tally| sum.saturating_add(tally.sum()))
    }

    /// Returns the milliseconds until so much of what this replica used has left a sliding window.
    pub(in super::super) fn wait_for_share(&self, amount: i64, replicas: i64, server_ms: i64) -> Option<i64> {
        let Kind::Sliding(width) = self.kind else { return None };
        let mut all = self.told.clone();
        [&self.flying, &self.moves, &self.reserved].into_iter().for_each(|tally| all.add_all(tally));
        let share = (self.rule.limit.amount / replicas.max(1)).max(1);
        let mut excess = all.sum().saturating_add(amount).saturating_sub(share);
        for (slot, held) in all.iter() {
            excess = excess.saturating_sub(held);
            if excess <= 0 {
                return Some((slot + SLOTS + 1).saturating_mul(width).saturating_sub(server_ms).max(0));
            }
        }
        None
    }

    /// Tells whether the limit fails closed when Redis is away: money, and what is counted by the calendar.
    pub(in super::super) fn is_hard(&self) -> bool {
        self.is_calendar() || self.rule.limit.metric == Metric::CostNanos
    }
}
