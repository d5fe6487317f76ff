//! One limit's counter: a sliding window, a calendar period, or calls in flight. Plain state; the caller gives the time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Standing,
    calendar::{Calendar, Span},
};
use crate::call::{Limit, Metric, Period, Rule};

/// Slots of a sliding window; each is counted until it has left the window wholly.
const SLOTS: u64 = 60;

/// The counter of one limit.
#[derive(Debug)]
pub(super) struct Window {
    metric: Metric,
    period: Period,
    /// Used and reserved.
    used: i64,
    /// Sliding windows: what each slot holds, the oldest first.
    slots: VecDeque<Slot>,
    /// Calendar windows: the current period.
    span: Span,
    calendar: Calendar,
    /// What of it running calls hold.
    reserved: i64,
    /// When something was last added.
    touched: SystemTime,
}

/// A part of a sliding window.
#[derive(Debug)]
struct Slot {
    number: u64,
    used: i64,
    /// What of it running calls hold.
    reserved: i64,
}

/// Where an amount was added, to settle it later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    slot: u64,
    start: SystemTime,
}

impl Place {
    /// A place that an engine names by a number.
    pub(super) fn at(place: i64) -> Self {
        Self { slot: u64::try_from(place).unwrap_or(0), start: SystemTime::UNIX_EPOCH }
    }

    /// Returns that number.
    pub(super) fn number(self) -> i64 {
        i64::try_from(self.slot).unwrap_or(i64::MAX)
    }
}

/// An amount does not fit.
#[derive(Debug)]
pub(super) struct Full {
    /// When enough has left the window, if that can be known.
    pub(super) wait: Option<Duration>,
}

impl Window {
    pub(super) fn new(limit: &Limit, used: i64, calendar: &Calendar, now: SystemTime) -> Self {
        let (metric, period) = (limit.metric, limit.period);
        let (span, calendar) = (calendar.span(period, now), calendar.clone());
        let mut window = Self {
            metric,
            period,
            used: 0,
            slots: VecDeque::new(),
            span,
            calendar,
            reserved: 0,
            touched: now,
        };
        if window.sliding().is_none() && metric != Metric::Concurrent {
            window.used = used;
        }
        window
    }

    /// Takes over that so much was used, at least, in the period that began then.
    pub(super) fn raise(&mut self, used: i64, since: SystemTime, now: SystemTime) {
        self.advance(now);
        if self.period.is_calendar() && self.metric != Metric::Concurrent && self.span.start == since {
            self.used = self.used.max(used.saturating_add(self.reserved));
        }
    }

    /// Tells how the limit of that rule, which is counted here, stands now.
    pub(super) fn standing(&mut self, rule: &Arc<Rule>, now: SystemTime) -> Standing {
        self.advance(now);
        let counted = self.used.saturating_sub(self.reserved);
        Standing::new(rule, (counted, self.reserved), self.reset(now), now)
    }

    /// Tells whether nothing is lost if the counter is dropped: it was idle for so long, and holds nothing. One that is
    /// made when it is needed again then has nothing either: all that is used goes through here.
    pub(super) fn is_over(&mut self, now: SystemTime, idle: Duration) -> bool {
        let is_idle = now.duration_since(self.touched).is_ok_and(|span| span >= idle);
        if is_idle {
            self.advance(now);
        }
        is_idle && self.used == 0 && self.slots.is_empty()
    }

    /// Returns when the period ends, or all that was used has left the window.
    fn reset(&self, now: SystemTime) -> Option<SystemTime> {
        if self.metric == Metric::Concurrent {
            return None;
        }
        let Some(width) = self.slot_width() else { return self.span.end };
        let Some(last) = self.slots.back() else { return Some(now) };
        let end = u32::try_from(SLOTS + 1).ok().and_then(|slots| width.checked_mul(slots))?;
        let start = Duration::from_millis(last.number.checked_mul(u64::try_from(width.as_millis()).ok()?)?);
        SystemTime::UNIX_EPOCH.checked_add(start)?.checked_add(end)
    }

    /// Finds out whether so much more fits below this ceiling now.
    pub(super) fn room_for(&mut self, amount: i64, ceiling: i64, now: SystemTime) -> Result<(), Full> {
        self.advance(now);
        let fits = self.used.checked_add(amount).is_some_and(|sum| sum <= ceiling);
        if fits { Ok(()) } else { Err(Full { wait: self.wait_for(amount, ceiling, now) }) }
    }

    /// Counts this amount and tells where.
    pub(super) fn add(&mut self, amount: i64, now: SystemTime) -> Place {
        self.advance(now);
        let held = if self.reserves() { amount } else { 0 };
        self.used = self.used.saturating_add(amount);
        self.reserved = self.reserved.saturating_add(held);
        self.touched = now;
        let mut slot = self.slot(now);
        if self.sliding().is_some() {
            match self.slots.back_mut() {
                // A clock that went back: it is counted here, so it is settled here.
                Some(last) if last.number >= slot => {
                    slot = last.number;
                    last.change(amount, held);
                }
                _ => self.slots.push_back(Slot { number: slot, used: amount, reserved: held }),
            }
        }
        Place { slot, start: self.span.start }
    }

    /// Replaces an amount that was added there by what was used.
    pub(super) fn settle(&mut self, place: Place, amount: i64, used: i64) {
        let correction = match self.metric {
            // The request was made, whatever became of it.
            Metric::Requests => return,
            Metric::Concurrent => -amount,
            _ => used.saturating_sub(amount),
        };
        let released = if self.reserves() { amount } else { 0 };
        if self.sliding().is_none() {
            // A period that has passed is of no interest any more, nor is a slot that has left the window.
            if self.span.start != place.start {
                return;
            }
        } else {
            let slot = self.slots.iter_mut().rev().find(|slot| slot.number == place.slot);
            let Some(slot) = slot else { return };
            slot.change(correction, -released);
        }
        self.used = self.used.saturating_add(correction);
        self.reserved = self.reserved.saturating_sub(released);
    }

    /// Tells whether calls hold an amount of this that only their end makes true.
    fn reserves(&self) -> bool {
        !matches!(self.metric, Metric::Requests | Metric::Concurrent)
    }

    fn advance(&mut self, now: SystemTime) {
        if self.sliding().is_some() {
            let slot = self.slot(now);
            if self.slots.back().is_some_and(|last| last.number > slot.saturating_add(SLOTS)) {
                // The clock was ahead by more than the window: what was counted then counts as from now on.
                self.reserved = 0;
                self.slots = VecDeque::from([Slot { number: slot, used: self.used, reserved: 0 }]);
            }
            while let Some(left) = self.slots.pop_front_if(|oldest| oldest.number + SLOTS < slot) {
                self.used = self.used.saturating_sub(left.used);
                self.reserved = self.reserved.saturating_sub(left.reserved);
            }
        } else if self.metric != Metric::Concurrent && self.span.end.is_some_and(|end| now >= end) {
            // A clock that went back opens no new period.
            self.span = self.calendar.span(self.period, now);
            (self.used, self.reserved) = (0, 0);
        }
    }

    fn sliding(&self) -> Option<Duration> {
        if self.metric == Metric::Concurrent {
            return None;
        }
        match self.period {
            Period::Second => Some(Duration::from_secs(1)),
            Period::Minute => Some(Duration::from_secs(60)),
            Period::Hour => Some(Duration::from_secs(3600)),
            Period::Day | Period::Month | Period::Total => None,
        }
    }

    fn slot(&self, now: SystemTime) -> u64 {
        let Some(width) = self.slot_width() else { return 0 };
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis() / width.as_millis().max(1)).unwrap_or(u64::MAX)
    }

    /// Returns the width of a slot in whole milliseconds, rounded up: all slots together never span less than the window.
    fn slot_width(&self) -> Option<Duration> {
        let millis = u64::try_from(self.sliding()?.as_millis()).ok()?.div_ceil(SLOTS);
        Some(Duration::from_millis(millis))
    }

    fn wait_for(&self, amount: i64, ceiling: i64, now: SystemTime) -> Option<Duration> {
        let Some(width) = self.slot_width() else {
            return self.span.end.and_then(|end| end.duration_since(now).ok());
        };
        let mut excess = self.used.saturating_add(amount).saturating_sub(ceiling);
        let slot_now = self.slot(now);
        for slot in &self.slots {
            excess = excess.saturating_sub(slot.used);
            if excess <= 0 {
                let slots = (slot.number + SLOTS + 1).saturating_sub(slot_now);
                return Some((width * u32::try_from(slots).unwrap_or(u32::MAX)).max(super::LEAST_WAIT));
            }
        }
        None
    }
}

impl Slot {
    fn change(&mut self, used: i64, reserved: i64) {
        self.used = self.used.saturating_add(used);
        self.reserved = self.reserved.saturating_add(reserved);
    }
}

#[cfg(test)]
impl Window {
    /// Returns what is used and reserved now.
    pub(super) fn used(&mut self, now: SystemTime) -> i64 {
        self.advance(now);
        self.used
    }

    /// Returns what of it running calls hold.
    pub(super) fn reserved(&self) -> i64 {
        self.reserved
    }
}

#[cfg(test)]
mod tests;
