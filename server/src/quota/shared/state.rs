//! What one replica knows of all counters, and the calls that wait for an answer of Redis. Plain state: nothing here waits
//! or talks; the caller gives the time and hands the answers in.

mod alone;
mod due;
mod exchange;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{counter::Counter, wire::Exchange};
use crate::{
    call::Rule,
    quota::{
        Amounts, Calendar,
        counters::Counters,
        engine::{Charge, Denied, Held, Standing},
    },
};

/// It counts as dead after so long without a word, and what it held is free for others.
pub(super) const TTL: Duration = Duration::from_secs(10);

/// A counter that nobody wanted anything of for so long is dropped, if nothing is held of it.
const DROP: Duration = Duration::from_secs(3_600);

/// What became of a claim.
pub(super) type Outcome = Result<Held, Denied>;

/// The counter of a rule is not there yet.
pub(super) struct Missing;

/// A call that waits; `W` is whom to tell.
#[derive(Debug)]
struct Waiting<W> {
    charges: Vec<Charge>,
    whom: W,
    since: Duration,
    /// Since when it waits for what others hold free.
    recalled: Option<Duration>,
}

/// An exchange on its way.
#[derive(Debug)]
struct Flight<W> {
    exchange: Exchange,
    /// When it was first sent.
    sent: Duration,
    /// Absent: was answered otherwise meanwhile.
    waiting: Vec<Option<Waiting<W>>>,
}

/// The state of one replica.
#[derive(Debug)]
pub(super) struct State<W> {
    ledger: Arc<str>,
    calendar: Calendar,
    /// Longest that calls wait for an answer.
    patience: Duration,
    counters: Counters<Counter>,
    /// Those that may have something to tell.
    dirty: BTreeSet<Arc<str>>,
    waiting: VecDeque<Waiting<W>>,
    flight: Option<Flight<W>>,
    sequence: u64,
    /// Answers so far.
    replies: u64,
    /// The clock of Redis at the start, in milliseconds since the epoch.
    epoch_ms: i64,
    /// Replicas that were alive when Redis last answered.
    replicas: i64,
    /// Until when leases hold.
    fresh_until: Duration,
    /// Since when Redis is away.
    away: Option<Duration>,
    /// When waiting calls ask again.
    again: Duration,
    /// When something was last told.
    last: Duration,
    /// Whether something is to be told at once.
    hurry: bool,
    /// Until when the talk sleeps.
    sleeps_until: Duration,
}

impl<W> State<W> {
    /// Starts knowing nothing. `epoch` is the time at `Duration::ZERO`.
    pub(super) fn new(ledger: Arc<str>, calendar: Calendar, patience: Duration, epoch: SystemTime) -> Self {
        let since = epoch.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            ledger,
            calendar,
            patience,
            counters: Counters::default(),
            dirty: BTreeSet::new(),
            waiting: VecDeque::new(),
            flight: None,
            sequence: 0,
            replies: 0,
            epoch_ms: millis(since),
            replicas: 1,
            fresh_until: Duration::ZERO,
            away: None,
            again: Duration::ZERO,
            last: Duration::ZERO,
            hurry: true,
            sleeps_until: Duration::ZERO,
        }
    }

    /// Returns the time by the clock of Redis.
    pub(super) fn server_ms(&self, now: Duration) -> i64 {
        self.epoch_ms.saturating_add(millis(now))
    }

    /// Tells whether the counter is there, which then stays for a while.
    pub(super) fn knows(&mut self, rule: &Rule, now: Duration) -> bool {
        self.counters.get_mut(&rule.counter).map(|counter| counter.wanted = now).is_some()
    }

    /// Makes a counter with what the ledger says. Of two that do so at a time, the first counts.
    pub(super) fn learn(&mut self, rule: &Arc<Rule>, used: i64, now: Duration) {
        let server_ms = self.server_ms(now);
        let (ledger, calendar) = (&self.ledger, &self.calendar);
        let new = || Counter::new(rule.clone(), (ledger, used), calendar, (now, server_ms));
        self.counters.add(&rule.counter, new, |counter| counter.is_over(now, server_ms, DROP));
    }

    /// Takes over what the ledger says of the period that began then, and tells whether that could be done.
    pub(super) fn raise(&mut self, rule: &Arc<Rule>, used: i64, since: SystemTime) -> bool {
        let Some(counter) = self.counters.get_mut(&rule.counter) else { return true };
        if !counter.raise((&self.ledger, used), since) {
            return false;
        }
        self.mark(&rule.counter);
        true
    }

    /// Looks at some counters, and drops those that are not needed.
    pub(super) fn sweep(&mut self, looks: usize, idle: Duration, now: Duration) {
        let server_ms = self.server_ms(now);
        self.counters.sweep(looks, |counter| counter.is_over(now, server_ms, idle));
    }

    /// Admits a call from what is held here. Nothing: only Redis can tell; `enqueue` it.
    pub(super) fn admit(&mut self, charges: &[Charge], now: Duration) -> Result<Option<Outcome>, Missing> {
        self.lapse(now);
        let short = self.short_of(charges, now)?;
        self.sweep(1, DROP, now);
        Ok(match (short, self.away) {
            (None, _) => Some(Ok(self.take(charges, now))),
            (Some(_), None) => None,
            (Some(charge), Some(_)) => Some(Err(self.refuse_alone(charge, self.server_ms(now)))),
        })
    }

    /// Returns the first that what is held here does not suffice for.
    fn short_of<'a>(&mut self, charges: &'a [Charge], now: Duration) -> Result<Option<&'a Charge>, Missing> {
        let server_ms = self.server_ms(now);
        for Charge { rule, .. } in charges {
            let counter = self.counters.get_mut(&rule.counter).ok_or(Missing)?;
            if !Arc::ptr_eq(&counter.rule, rule) {
                counter.rule = rule.clone();
            }
            counter.wanted = now;
            counter.advance(server_ms);
        }
        Ok(charges.iter().find(|charge| !self.fits(charge, server_ms)))
    }

    fn fits(&self, charge: &Charge, server_ms: i64) -> bool {
        self.counters.get(&charge.rule.counter).is_some_and(|counter| {
            counter.fits(charge.amount)
                || (self.away.is_some() && counter.fits_share(charge.amount, self.replicas, server_ms))
        })
    }

    fn take(&mut self, charges: &[Charge], now: Duration) -> Held {
        let server_ms = self.server_ms(now);
        let mut held = Held::with_capacity(charges.len());
        for Charge { rule, amount } in charges {
            let Some(counter) = self.counters.get_mut(&rule.counter) else { continue };
            let place = counter.take(*amount, now, server_ms);
            held.push(counter.part(rule, *amount, place, server_ms));
            // What is on its way may well bring more.
            self.hurry |= self.flight.is_none() && counter.runs_low();
            self.mark(&rule.counter);
        }
        held
    }

    fn mark(&mut self, counter: &Arc<str>) {
        if !self.dirty.contains(counter) {
            self.dirty.insert(counter.clone());
        }
    }

    /// Puts a call in the queue of those that wait for Redis.
    pub(super) fn enqueue(&mut self, charges: Vec<Charge>, whom: W, now: Duration) {
        self.waiting.push_back(Waiting { charges, whom, since: now, recalled: None });
        self.again = self.again.min(now);
    }

    /// Replaces what a call held by what it used.
    pub(super) fn settle(&mut self, held: Held, used: Amounts) {
        for part in held {
            let rule = part.rule();
            if let Some(counter) = self.counters.get_mut(&rule.counter) {
                counter.settle(part.place.number(), part.amount, used.of(rule.limit.metric));
                self.mark(&rule.counter);
            }
        }
    }

    /// Another replica needs what is held free of this counter.
    pub(super) fn recall(&mut self, counter: &str) {
        if let Some(known) = self.counters.get_mut(counter).filter(|known| known.free() > 0) {
            known.recalled = true;
            self.hurry = true;
            let counter = known.rule.counter.clone();
            self.mark(&counter);
        }
    }

    /// Room was made in this counter; whoever waits for it may ask at once.
    pub(super) fn room(&mut self, counter: &str) {
        let waits = |one: &Waiting<W>| one.charges.iter().any(|charge| *charge.rule.counter == *counter);
        if self.waiting.iter().any(waits) {
            self.again = Duration::ZERO;
        }
    }

    /// Tells everything anew: Redis may have lost it.
    pub(super) fn rebuild(&mut self) {
        for (name, counter) in self.counters.iter_mut() {
            counter.tell = true;
            if !self.dirty.contains(name) {
                self.dirty.insert(name.clone());
            }
        }
        self.hurry = true;
    }

    /// Has this counter asked about at once, and returns the number of the exchange that will do so.
    pub(super) fn look(&mut self, rules: &[Arc<Rule>], now: Duration) -> u64 {
        for rule in rules {
            if let Some(counter) = self.counters.get_mut(&rule.counter) {
                (counter.tell, counter.wanted) = (true, now);
                self.mark(&rule.counter);
            }
        }
        self.hurry = true;
        self.sequence + 1
    }

    /// Gives everything back that no call holds, for good.
    pub(super) fn leave(&mut self) -> u64 {
        for (name, counter) in self.counters.iter_mut() {
            counter.recalled = true;
            self.dirty.insert(name.clone());
        }
        self.hurry = true;
        self.sequence + 1
    }

    /// Counts the counters of which something is held free.
    pub(super) fn leases(&self) -> usize {
        self.dirty
            .iter()
            .filter_map(|name| self.counters.get(name))
            .filter(|counter| counter.free() > 0)
            .count()
    }

    /// Tells how a limit stands, as far as is known here.
    pub(super) fn standing(&mut self, rule: &Arc<Rule>, now: Duration) -> Option<Standing> {
        let server_ms = self.server_ms(now);
        let counter = self.counters.get_mut(&rule.counter)?;
        counter.advance(server_ms);
        Some(counter.standing(rule, server_ms))
    }
}

#[cfg(test)]
impl<W> State<W> {
    /// Returns what is held free of a limit.
    pub(super) fn held_free(&self, rule: &Rule) -> i64 {
        self.counters.get(&rule.counter).map_or(0, Counter::free)
    }
}

/// Returns a span as whole milliseconds.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the span of so many milliseconds.
fn span(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
