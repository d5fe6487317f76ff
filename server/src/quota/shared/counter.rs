//! What one replica knows of one counter: what it may still admit, what its calls hold, and what is to be told. Plain
//! state; the caller gives the time, by the clock of Redis, in milliseconds since the epoch.

mod pace;
mod standing;
mod telling;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use self::pace::Pace;
use super::{tally::Tally, wire::Kind};
use crate::{
    call::{Metric, Period, Rule},
    quota::calendar::{Calendar, Span},
};

/// Slots of a sliding window, as `exchange.lua` counts them.
const SLOTS: i64 = 60;

/// One counter.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) rule: Arc<Rule>,
    /// What it may come to, when it was last looked at.
    ceiling: i64,
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
    /// What others had used and held when Redis last told, and when that was.
    others: i64,
    heard_ms: i64,
    /// The last lease.
    lease: i64,
    /// What was admitted lately.
    pace: Pace,
    /// Whether anything was since the last exchange.
    taken: bool,
    /// When something was last admitted.
    touched: Duration,
    /// When anybody last asked for it.
    pub(super) wanted: Duration,
    /// Whether Redis was asked about it and has not answered yet.
    asked: bool,
}

impl Counter {
    /// Starts with what the ledger says of the current calendar period.
    pub(super) fn new(
        rule: Arc<Rule>,
        (ledger, used): (&Arc<str>, i64),
        calendar: &Calendar,
        (now, server_ms): (Duration, i64),
    ) -> Self {
        let span = is_calendar(&rule).then(|| calendar.span(rule.limit.period, time(server_ms)));
        let kind = kind(&rule, span);
        let is_calendar = matches!(kind, Kind::Calendar(_));
        Self {
            ceiling: rule.ceiling(time(server_ms)),
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
            others: 0,
            heard_ms: 0,
            lease: 0,
            pace: Pace::default(),
            taken: false,
            touched: Duration::ZERO,
            wanted: now,
            asked: false,
        }
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
        self.ceiling = self.rule.ceiling(time(server_ms));
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
        self.rule.limit.soft || self.free.min(self.left()) >= amount
    }

    /// Returns what is left of the limit, as far as is known here. Less than what is free, if calls used more than they
    /// reserved, or the limit was lowered.
    fn left(&self) -> i64 {
        let all = self.all().saturating_add(self.free_of_others);
        self.ceiling.saturating_sub(all)
    }

    /// Admits so much, from what is free as far as that goes. Returns where it belongs.
    pub(super) fn take(&mut self, amount: i64, now: Duration, server_ms: i64) -> i64 {
        let place = self.place(server_ms);
        self.free = (self.free - amount).max(0);
        self.count(place, amount);
        self.pace.add(amount, now);
        self.taken = true;
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
        let backed = self.backed.saturating_sub(self.reserved.sum()).saturating_sub(self.moves.sum());
        let most = if self.rule.limit.soft { 0 } else { backed.min(self.left()) };
        self.free = self.free.saturating_add(amount).min(most).max(0);
    }

    /// Gives up what is free: Redis may have given it to others.
    pub(super) fn lapse(&mut self) {
        (self.free, self.backed) = (0, 0);
        self.tell = true;
    }
}

/// Tells whether a limit is counted by the calendar.
pub(super) fn is_calendar(rule: &Rule) -> bool {
    rule.limit.period.is_calendar() && rule.limit.metric != Metric::Concurrent
}

/// Tells whether a limit fails closed when Redis is away: money, and what is counted by the calendar.
pub(super) fn is_hard(rule: &Rule) -> bool {
    is_calendar(rule) || rule.limit.metric == Metric::CostNanos
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
