//! How a counter stands, over all replicas and for this one alone.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Counter, SLOTS, is_hard, time};
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
    /// Returns how long the calendar period still runs.
    pub(in super::super) fn until_end(&self, server_ms: i64) -> Option<Duration> {
        self.span?.end?.duration_since(time(server_ms)).ok()
    }

    /// Returns what all replicas used and reserved, as far as is known here.
    pub(in super::super) fn all(&self) -> i64 {
        self.used().saturating_add(self.reserved()).saturating_add(self.reserved_by_others)
    }

    /// Returns when the period ends, or all that was used has left the window.
    fn reset(&self, server_ms: i64) -> Option<SystemTime> {
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
        let reserved = self.reserved().saturating_add(self.reserved_by_others);
        self.standing_of(rule, self.all(), reserved, server_ms)
    }

    /// Tells how the limit stands, if only what this replica used of a rate and holds is looked at.
    pub(in super::super) fn own_standing(&self, rule: &Arc<Rule>, server_ms: i64) -> Standing {
        self.standing_of(rule, self.own(), self.reserved(), server_ms)
    }

    fn standing_of(&self, rule: &Arc<Rule>, all: i64, reserved: i64, server_ms: i64) -> Standing {
        // A call that runs is a call that was made.
        let is_made = matches!(rule.limit.metric, Metric::Requests | Metric::Concurrent);
        let reserved = if is_made { 0 } else { reserved };
        let counted = all.saturating_sub(reserved);
        Standing::new(rule, (counted, reserved), self.reset(server_ms), time(server_ms))
    }

    /// Makes what a call holds of it.
    pub(in super::super) fn part(&self, rule: &Arc<Rule>, amount: i64, place: i64, server_ms: i64) -> Part {
        Part { standing: self.standing(rule, server_ms), amount, place: Place::at(place) }
    }

    /// Tells whether so much may be admitted while Redis is away: each replica has its share of what was left of a rate
    /// when Redis last told, and of what has become free since.
    pub(in super::super) fn fits_share(&self, amount: i64, replicas: i64, server_ms: i64) -> bool {
        let since = self.own().saturating_sub(self.told.sum());
        let wanted = since.checked_add(amount).and_then(|sum| sum.checked_mul(replicas.max(1)));
        // A limit that is less than one for each admits one at each that has used nothing.
        let is_first = amount == 1 && self.own() == 0 && (1..replicas).contains(&self.ceiling);
        !is_hard(&self.rule) && wanted.is_some_and(|wanted| wanted <= self.left_alone(server_ms) || is_first)
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
        self.ceiling.saturating_sub(self.told.sum()).saturating_sub(others).max(0)
    }

    /// Returns what this replica used of a rate and holds.
    fn own(&self) -> i64 {
        let tallies = [&self.told, &self.flying, &self.moves, &self.reserved];
        tallies.iter().fold(0, |sum, tally| sum.saturating_add(tally.sum()))
    }

    /// Returns the milliseconds until so much of what this replica used has left a sliding window.
    pub(in super::super) fn wait_for_share(&self, amount: i64, replicas: i64, server_ms: i64) -> Option<i64> {
        let Kind::Sliding(width) = self.kind else { return None };
        let mut all = self.told.clone();
        [&self.flying, &self.moves, &self.reserved].into_iter().for_each(|tally| all.add_all(tally));
        let share = (self.ceiling / replicas.max(1)).max(1);
        let mut excess = all.sum().saturating_add(amount).saturating_sub(share);
        for (slot, held) in all.iter() {
            excess = excess.saturating_sub(held);
            if excess <= 0 {
                return Some((slot + SLOTS + 1).saturating_mul(width).saturating_sub(server_ms).max(0));
            }
        }
        None
    }
}
