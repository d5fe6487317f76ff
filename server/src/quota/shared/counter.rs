//! What one replica knows of one counter: what it may still admit, what its calls hold, and what is to be told. Plain
//! state; the caller gives the time, by the clock of Redis, in milliseconds since the epoch.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    tally::Tally,
    wire::{Ask, Kind, Told},
};
use crate::{
    call::{Metric, Period, Rule},
    quota::{
        calendar::{Calendar, Span},
        engine::{Part, Standing},
        window::Place,
    },
};

/// Slots of a sliding window, as `exchange.lua` counts them.
const SLOTS: i64 = 60;
/// How long a counter is kept that nobody asks for: much longer than it can matter.
const DAY_MS: i64 = 86_400_000;

/// One counter.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) rule: Arc<Rule>,
    kind: Kind,
    /// Calendar periods: the current one.
    span: Option<Span>,
    calendar: Calendar,
    /// The incarnation in Redis; 0: not known yet.
    id: i64,
    /// Sliding windows: the oldest slot that counts.
    oldest: i64,
    /// What may be admitted without asking.
    free: i64,
    /// What Redis knows this replica to hold.
    backed: i64,
    /// What running calls hold.
    reserved: Tally,
    /// What was used and is to be told.
    moves: Tally,
    /// What is being told.
    flying: Tally,
    /// Sliding windows: what was told.
    told: Tally,
    /// Calendar periods: what Redis knew to be used, by ledger.
    ledgers: BTreeMap<Arc<str>, i64>,
    /// Whether the ledgers are to be told.
    seeds: bool,
    /// Whether something is to be told even if nothing changed.
    pub(super) tell: bool,
    /// Whether another replica needs what is free.
    pub(super) recalled: bool,
    /// What all replicas told that they used.
    used: i64,
    /// What running calls of other replicas hold.
    pub(super) reserved_by_others: i64,
    /// What others hold free.
    pub(super) free_of_others: i64,
    /// The last lease.
    lease: i64,
    /// What was admitted since the last exchange.
    taken: i64,
    /// When something was last admitted.
    touched: Duration,
}

impl Counter {
    /// Starts with what the ledger says of the current calendar period.
    pub(super) fn new(
        rule: Arc<Rule>,
        ledger: &Arc<str>,
        used: i64,
        calendar: &Calendar,
        server_ms: i64,
    ) -> Self {
        let span = is_calendar(&rule).then(|| calendar.span(rule.limit.period, time(server_ms)));
        let kind = kind(&rule, span);
        let is_calendar = matches!(kind, Kind::Calendar(_));
        Self {
            rule,
            kind,
            span,
            calendar: calendar.clone(),
            id: 0,
            oldest: 0,
            free: 0,
            backed: 0,
            reserved: Tally::default(),
            moves: Tally::default(),
            flying: Tally::default(),
            told: Tally::default(),
            ledgers: is_calendar.then(|| (ledger.clone(), used)).into_iter().collect(),
            seeds: is_calendar,
            tell: false,
            recalled: false,
            used: if is_calendar { used } else { 0 },
            reserved_by_others: 0,
            free_of_others: 0,
            lease: 0,
            taken: 0,
            touched: Duration::ZERO,
        }
    }

    /// Tells whether the limit fails closed when Redis is away: money, and what is counted by the calendar.
    pub(super) fn is_hard(&self) -> bool {
        self.is_calendar() || self.rule.limit.metric == Metric::CostNanos
    }

    /// Returns what all replicas used of it, as far as this one knows.
    pub(super) fn used(&self) -> i64 {
        self.used.saturating_add(self.moves.sum()).saturating_add(self.flying.sum())
    }

    /// Returns what this replica's running calls hold.
    pub(super) fn reserved(&self) -> i64 {
        self.reserved.sum()
    }

    /// Returns what may be admitted without asking.
    pub(super) fn free(&self) -> i64 {
        self.free
    }

    /// Forgets what has left the window, or the period that is over.
    pub(super) fn advance(&mut self, server_ms: i64) {
        match self.kind {
            Kind::Concurrent => {}
            Kind::Calendar(_) => {
                // A clock that went back does not open a new period.
                if self.span.and_then(|span| span.end).is_some_and(|end| time(server_ms) >= end) {
                    self.begin(server_ms);
                }
            }
            Kind::Sliding(width) => {
                self.oldest = self.oldest.max(server_ms / width - SLOTS);
                let oldest = self.oldest;
                for tally in [&mut self.moves, &mut self.flying, &mut self.told] {
                    tally.forget_before(oldest);
                }
                let gone = self.reserved.forget_before(oldest);
                self.give_back(gone);
            }
        }
    }

    /// Starts the calendar period that holds this moment.
    fn begin(&mut self, server_ms: i64) {
        self.span = Some(self.calendar.span(self.rule.limit.period, time(server_ms)));
        self.kind = kind(&self.rule, self.span);
        for tally in [&mut self.reserved, &mut self.moves, &mut self.flying] {
            *tally = Tally::default();
        }
        (self.free, self.backed, self.used) = (0, 0, 0);
        (self.reserved_by_others, self.free_of_others) = (0, 0);
        self.ledgers.clear();
    }

    /// Returns where what is admitted now belongs.
    pub(super) fn place(&self, server_ms: i64) -> i64 {
        match self.kind {
            Kind::Concurrent => 0,
            Kind::Calendar(start) => start,
            Kind::Sliding(width) => server_ms / width,
        }
    }

    /// Tells whether so much may be admitted without asking.
    pub(super) fn fits(&self, amount: i64) -> bool {
        self.rule.limit.soft || self.free >= amount
    }

    /// Tells whether so much may be admitted while Redis is away: each replica has its share of a rate.
    pub(super) fn fits_share(&self, amount: i64, replicas: i64) -> bool {
        let share = (self.rule.limit.amount / replicas.max(1)).max(1);
        !self.is_hard() && self.own().checked_add(amount).is_some_and(|sum| sum <= share)
    }

    /// Returns what this replica used of a rate and holds.
    pub(super) fn own(&self) -> i64 {
        let tallies = [&self.told, &self.flying, &self.moves, &self.reserved];
        tallies.iter().fold(0, |sum, tally| sum.saturating_add(tally.sum()))
    }

    /// Returns the milliseconds until so much of what this replica used has left a sliding window.
    pub(super) fn wait_for_share(&self, amount: i64, replicas: i64, server_ms: i64) -> Option<i64> {
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

    /// Admits so much, from what is free as far as that goes. Returns where it belongs.
    pub(super) fn take(&mut self, amount: i64, now: Duration, server_ms: i64) -> i64 {
        let place = self.place(server_ms);
        self.free = (self.free - amount).max(0);
        self.count(place, amount);
        self.taken = self.taken.saturating_add(amount);
        self.touched = now;
        place
    }

    fn count(&mut self, place: i64, amount: i64) {
        if self.rule.limit.metric == Metric::Requests {
            // The request is made, whatever becomes of it.
            self.moves.add(place, amount);
        } else {
            self.reserved.add(place, amount);
        }
    }

    /// Replaces an amount that was admitted there by what was used.
    pub(super) fn settle(&mut self, place: i64, amount: i64, used: i64) {
        let metric = self.rule.limit.metric;
        let is_over = match self.kind {
            Kind::Concurrent => false,
            Kind::Calendar(start) => place != start,
            Kind::Sliding(_) => place < self.oldest,
        };
        if metric == Metric::Requests || is_over {
            return;
        }
        self.reserved.add(place, -amount);
        let used = if metric == Metric::Concurrent { 0 } else { used };
        if used != 0 {
            self.moves.add(place, used);
        }
        self.give_back(amount.saturating_sub(used));
    }

    /// Keeps what was held as a lease, as far as Redis knows it to be held.
    fn give_back(&mut self, amount: i64) {
        let backed = self.backed - self.reserved.sum() - self.moves.sum();
        let limited = if self.rule.limit.soft { 0 } else { backed };
        self.free = self.free.saturating_add(amount).min(limited).max(0);
    }

    /// Gives up what is free: Redis may have given it to others.
    pub(super) fn lapse(&mut self) {
        (self.free, self.backed) = (0, 0);
        self.tell = true;
    }

    /// Tells whether there is something to tell.
    pub(super) fn is_due(&self, now: Duration, idle: Duration) -> bool {
        let is_idle = self.free > 0 && now.saturating_sub(self.touched) >= idle;
        self.tell || self.seeds || self.recalled || is_idle || !self.moves.is_empty() || self.runs_low()
    }

    /// Tells whether nothing is kept here that would ever have to be told.
    pub(super) fn is_quiet(&self) -> bool {
        self.moves.is_empty() && self.free == 0 && !self.tell && !self.seeds && !self.recalled
    }

    /// Tells whether the lease is more than half spent, so that the next one is fetched before a call waits for it.
    pub(super) fn runs_low(&self) -> bool {
        self.taken > 0 && self.lease > 0 && self.free < self.lease / 2
    }

    /// Makes what is told and asked, given what waiting calls ask for.
    pub(super) fn ask(&mut self, demand: Option<i64>, now: Duration, idle: Duration) -> Ask {
        let is_idle = now.saturating_sub(self.touched) >= idle;
        if demand.is_some() || self.recalled || is_idle {
            // Whoever asks first gives back, so that all is granted where it is needed.
            self.free = 0;
        }
        let soft = self.rule.limit.soft;
        let wish = if self.recalled || soft { 0 } else { self.taken.max(demand.unwrap_or(0)) };
        let held = self.reserved.sum().saturating_add(self.free);
        self.backed = held;
        self.flying = std::mem::take(&mut self.moves);
        let seeds = if self.seeds { self.ledgers.clone().into_iter().collect() } else { Vec::new() };
        (self.taken, self.tell, self.recalled) = (0, false, false);
        Ask {
            counter: self.rule.counter.clone(),
            kind: self.kind,
            limit: if soft { -1 } else { self.rule.limit.amount.max(0) },
            id: self.id,
            held,
            free: self.free,
            wish: wish.saturating_mul(2),
            keep_ms: self.keep_ms(),
            seeds,
            moves: self.flying.iter().collect(),
        }
    }

    fn keep_ms(&self) -> i64 {
        match self.kind {
            Kind::Concurrent => DAY_MS,
            Kind::Sliding(width) => (SLOTS + 2) * width + DAY_MS,
            Kind::Calendar(_) if self.rule.limit.period == Period::Total => 400 * DAY_MS,
            Kind::Calendar(_) => 40 * DAY_MS,
        }
    }

    /// Takes in what was answered. Tells whether what was granted counts: not, if a new period has begun meanwhile.
    pub(super) fn hear(&mut self, told: &Told) -> bool {
        if let Kind::Calendar(start) = self.kind {
            if told.period < start {
                return false;
            }
            if told.period > start {
                self.begin(told.period);
            }
        }
        let flying = std::mem::take(&mut self.flying);
        if self.id != 0 && told.id != self.id {
            // Redis lost it, and with it all that was told; this time nothing was heard.
            self.moves.add_all(&flying);
            self.moves.add_all(&std::mem::take(&mut self.told));
            self.seeds = matches!(self.kind, Kind::Calendar(_));
            self.tell = true;
        } else {
            if matches!(self.kind, Kind::Sliding(_)) {
                self.told.add_all(&flying);
            }
            self.seeds = false;
            self.used = told.used;
            for (ledger, used) in &told.ledgers {
                let known = self.ledgers.entry(ledger.clone()).or_default();
                *known = (*known).max(*used);
            }
        }
        self.id = told.id;
        (self.reserved_by_others, self.free_of_others) = (told.reserved, told.free);
        self.lease = told.lease;
        self.grant(told.lease);
        true
    }

    /// Adds to what may be admitted.
    pub(super) fn grant(&mut self, amount: i64) {
        self.backed = self.backed.saturating_add(amount);
        self.give_back(amount);
    }

    /// Counts what Redis granted to a call. Returns where it belongs.
    pub(super) fn take_granted(&mut self, amount: i64, now: Duration, server_ms: i64) -> i64 {
        self.backed = self.backed.saturating_add(amount);
        let place = self.place(server_ms);
        self.count(place, amount);
        self.touched = now;
        place
    }
}

impl Counter {
    /// Tells whether it counts by the calendar.
    pub(super) fn is_calendar(&self) -> bool {
        matches!(self.kind, Kind::Calendar(_))
    }

    /// Returns what all replicas used and reserved, as far as is known here.
    pub(super) fn all(&self) -> i64 {
        self.used().saturating_add(self.reserved()).saturating_add(self.reserved_by_others)
    }

    /// Returns the part of that which running calls hold in reserve.
    pub(super) fn all_reserved(&self) -> i64 {
        match self.rule.limit.metric {
            // A call that runs is a call that was made.
            Metric::Requests | Metric::Concurrent => 0,
            _ => self.reserved().saturating_add(self.reserved_by_others),
        }
    }

    /// Returns when the period ends, or all that was used has left the window.
    pub(super) fn reset(&self, server_ms: i64) -> Option<SystemTime> {
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
    pub(super) fn standing(&self, rule: &Arc<Rule>, server_ms: i64) -> Standing {
        let reserved = self.all_reserved();
        let used = self.all().saturating_sub(reserved);
        Standing { rule: rule.clone(), used, reserved, reset: self.reset(server_ms) }
    }

    /// Makes what a call holds of it.
    pub(super) fn part(&self, rule: &Arc<Rule>, amount: i64, place: i64, server_ms: i64) -> Part {
        let (used, reset) = (self.all(), self.reset(server_ms));
        Part { rule: rule.clone(), amount, used, reset, place: Place::at(place) }
    }
}

fn is_calendar(rule: &Rule) -> bool {
    rule.limit.period.is_calendar() && rule.limit.metric != Metric::Concurrent
}

fn kind(rule: &Rule, span: Option<Span>) -> Kind {
    if rule.limit.metric == Metric::Concurrent {
        return Kind::Concurrent;
    }
    let width = |window_ms: i64| Kind::Sliding((window_ms + SLOTS - 1) / SLOTS);
    match rule.limit.period {
        Period::Second => width(1_000),
        Period::Minute => width(60_000),
        Period::Hour => width(3_600_000),
        Period::Day | Period::Month | Period::Total => {
            let start = span.map_or(SystemTime::UNIX_EPOCH, |span| span.start);
            let since = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Kind::Calendar(i64::try_from(since.as_millis()).unwrap_or(0))
        }
    }
}

/// Returns a moment of the clock of Redis as others have it.
pub(super) fn time(server_ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(server_ms).unwrap_or(0))
}
