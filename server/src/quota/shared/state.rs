//! What one replica knows of all counters, and the calls that wait for an answer of Redis. Plain state: nothing here waits
//! or talks; the caller gives the time and hands the answers in.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    counter::{Counter, time},
    wire::{Exchange, Reply, Verdict},
};
use crate::{
    call::{Metric, Rule},
    error::{Error, Reason},
    quota::{
        Amounts, Calendar,
        engine::{Charge, Denied, Held, Standing},
    },
};

/// What was used is told after this time at the latest.
pub(super) const FLUSH: Duration = Duration::from_millis(100);
/// A replica shows that it lives at least so often.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);
/// It counts as dead after so long without a word, and what it held is free for others.
pub(super) const TTL: Duration = Duration::from_secs(10);
/// So much sooner it takes its own leases for lost.
const MARGIN: Duration = Duration::from_secs(1);
/// A lease that nothing was admitted from for so long goes back.
const IDLE: Duration = Duration::from_secs(1);
/// How long others have to give back what they hold free.
const RECALL: Duration = Duration::from_millis(20);
/// How often a call asks, if others hold free what it needs.
const TRIES: u32 = 3;
/// How long it takes at most until the replicas have told anew what Redis lost, with time to spare.
const REBUILD: Duration = Duration::from_secs(2);
/// Pause between two looks at what is being told anew.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a call that only Redis can admit waits for its late answer, once.
const LAST_WORD: Duration = Duration::from_millis(100);
/// When a call may try again that only Redis could have admitted.
const RETRY: Duration = Duration::from_secs(1);
/// Calls and counters of one exchange: Redis does nothing else meanwhile.
const MOST: usize = 256;

/// What became of a claim.
pub(super) type Outcome = Result<Held, Denied>;

/// A call that waits; `W` is whom to tell.
#[derive(Debug)]
struct Waiting<W> {
    charges: Vec<Charge>,
    whom: W,
    since: Duration,
    tries: u32,
}

/// An exchange on its way.
#[derive(Debug)]
struct Flight<W> {
    exchange: Exchange,
    /// Absent: was answered otherwise meanwhile.
    waiting: Vec<Option<Waiting<W>>>,
}

/// The state of one replica.
#[derive(Debug)]
pub(super) struct State<W> {
    ledger: Arc<str>,
    calendar: Calendar,
    counters: HashMap<Arc<str>, Counter>,
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
    pub(super) fn new(ledger: Arc<str>, calendar: Calendar, epoch: SystemTime) -> Self {
        let since = epoch.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            ledger,
            calendar,
            counters: HashMap::new(),
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

    /// Tells whether the counter is there.
    pub(super) fn knows(&self, rule: &Rule) -> bool {
        self.counters.contains_key(&rule.counter)
    }

    /// Makes a counter with what the ledger says. Of two that do so at a time, the first counts.
    pub(super) fn learn(&mut self, rule: &Arc<Rule>, used: i64, now: Duration) {
        let server_ms = self.server_ms(now);
        let (ledger, calendar) = (&self.ledger, &self.calendar);
        let new = || Counter::new(rule.clone(), ledger, used, calendar, server_ms);
        self.counters.entry(rule.counter.clone()).or_insert_with(new);
    }

    /// Admits a call from what is held here. Nothing: only Redis can tell; `enqueue` it.
    pub(super) fn admit(&mut self, charges: &[Charge], now: Duration) -> Option<Outcome> {
        let server_ms = self.server_ms(now);
        self.lapse(now);
        for Charge { rule, .. } in charges {
            let counter = self.counters.get_mut(&rule.counter)?;
            if !Arc::ptr_eq(&counter.rule, rule) {
                counter.rule = rule.clone();
            }
            counter.advance(server_ms);
        }
        let short = charges.iter().find(|charge| !self.fits(charge));
        match (short, self.away) {
            (None, _) => Some(Ok(self.take(charges, now))),
            (Some(_), None) => None,
            (Some(charge), Some(_)) => Some(Err(self.refuse_alone(charge, server_ms))),
        }
    }

    fn fits(&self, charge: &Charge) -> bool {
        self.counters.get(&charge.rule.counter).is_some_and(|counter| {
            counter.fits(charge.amount)
                || (self.away.is_some() && counter.fits_share(charge.amount, self.replicas))
        })
    }

    fn refuse_alone(&self, charge: &Charge, server_ms: i64) -> Denied {
        let (rule, amount) = (charge.rule.clone(), charge.amount);
        let Some(counter) = self.counters.get(&rule.counter).filter(|counter| !counter.is_hard()) else {
            return away(&rule);
        };
        let wait = counter.wait_for_share(amount, self.replicas, server_ms).map(span);
        let (used, reserved) = (counter.own(), counter.reserved());
        Denied::Full { used, reserved, wait, reset: counter.reset(server_ms), rule, amount }
    }

    fn take(&mut self, charges: &[Charge], now: Duration) -> Held {
        let server_ms = self.server_ms(now);
        let mut held = Held::with_capacity(charges.len());
        for Charge { rule, amount } in charges {
            let Some(counter) = self.counters.get_mut(&rule.counter) else { continue };
            let place = counter.take(*amount, now, server_ms);
            held.push(counter.part(rule, *amount, place, server_ms));
            self.hurry |= counter.runs_low();
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
        self.waiting.push_back(Waiting { charges, whom, since: now, tries: 0 });
        self.again = self.again.min(now);
    }

    /// Replaces what a call held by what it used.
    pub(super) fn settle(&mut self, held: Held, used: Amounts) {
        for part in held {
            if let Some(counter) = self.counters.get_mut(&part.rule.counter) {
                counter.settle(part.place.number(), part.amount, used.of(part.rule.limit.metric));
                self.mark(&part.rule.counter);
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
        for (name, counter) in &mut self.counters {
            counter.tell = true;
            if !self.dirty.contains(name) {
                self.dirty.insert(name.clone());
            }
        }
        self.hurry = true;
    }

    /// Has this counter asked about at once, and returns the number of the exchange that will do so.
    pub(super) fn look(&mut self, rules: &[Arc<Rule>]) -> u64 {
        for rule in rules {
            if let Some(counter) = self.counters.get_mut(&rule.counter) {
                counter.tell = true;
                self.mark(&rule.counter);
            }
        }
        self.hurry = true;
        self.sequence + 1
    }

    /// Gives everything back that no call holds, for good.
    pub(super) fn leave(&mut self) -> u64 {
        for (name, counter) in &mut self.counters {
            counter.recalled = true;
            self.dirty.insert(name.clone());
        }
        self.hurry = true;
        self.sequence + 1
    }

    /// Returns when the next exchange is due.
    fn due(&self) -> Duration {
        if self.hurry {
            return Duration::ZERO;
        }
        let pause = if self.dirty.is_empty() { HEARTBEAT } else { FLUSH };
        let told = self.last + pause;
        if self.waiting.is_empty() { told } else { told.min(self.again) }
    }

    /// Makes the next exchange, or repeats the one that was not answered.
    pub(super) fn next(&mut self, now: Duration) -> Exchange {
        self.hurry = false;
        self.last = now;
        if let Some(flight) = &self.flight {
            return flight.exchange.clone();
        }
        self.lapse(now);
        let server_ms = self.server_ms(now);
        let most = self.waiting.len().min(MOST);
        let waiting: Vec<_> = self.waiting.drain(..most).collect();
        let mut demands: BTreeMap<Arc<str>, Option<i64>> = BTreeMap::new();
        for Charge { rule, amount } in waiting.iter().flat_map(|one| &one.charges) {
            let demand = demands.entry(rule.counter.clone()).or_default();
            *demand = Some(demand.unwrap_or(0).saturating_add(*amount));
        }
        self.add_due(&mut demands, now);
        let order: HashMap<Arc<str>, usize> = demands.keys().cloned().zip(0..).collect();
        let mut asks = Vec::with_capacity(demands.len());
        for (name, demand) in demands {
            if let Some(counter) = self.counters.get_mut(&name) {
                counter.advance(server_ms);
                asks.push(counter.ask(demand, now, IDLE));
            }
        }
        let charge = |charge: &Charge| Some((*order.get(&charge.rule.counter)?, charge.amount));
        let claims = waiting.iter().map(|one| one.charges.iter().filter_map(charge).collect()).collect();
        self.sequence += 1;
        let exchange = Exchange { sequence: self.sequence, asks, claims };
        self.flight =
            Some(Flight { exchange: exchange.clone(), waiting: waiting.into_iter().map(Some).collect() });
        exchange
    }

    /// Adds the counters that have something to tell, and forgets those that have not.
    fn add_due(&mut self, demands: &mut BTreeMap<Arc<str>, Option<i64>>, now: Duration) {
        let counters = &self.counters;
        self.dirty.retain(|name| counters.get(name).is_some_and(|counter| !counter.is_quiet()));
        for name in &self.dirty {
            if demands.len() >= MOST {
                self.hurry = true;
                break;
            }
            if self.counters.get(name).is_some_and(|counter| counter.is_due(now, IDLE)) {
                demands.entry(name.clone()).or_default();
            }
        }
    }

    /// Takes in the answer to the exchange, which was sent then. Returns whom to tell what.
    pub(super) fn apply(&mut self, reply: &Reply, sent: Duration, now: Duration) -> Vec<(W, Outcome)> {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        self.replicas = reply.owners.max(1);
        self.fresh_until = sent + TTL.saturating_sub(MARGIN);
        if self.replies == 0 || now.saturating_sub(sent) <= FLUSH {
            // It was that late at some moment since; taken for too late, nothing leaves a window too soon.
            self.epoch_ms = reply.now_ms.saturating_sub(millis(sent));
        }
        self.replies += 1;
        let mut counts = Vec::with_capacity(reply.counters.len());
        for (ask, told) in flight.exchange.asks.iter().zip(&reply.counters) {
            let counter = self.counters.get_mut(&ask.counter);
            counts.push(counter.is_some_and(|counter| counter.hear(told)));
            self.dirty.insert(ask.counter.clone());
        }
        let mut told = Vec::new();
        let verdicts = flight.waiting.into_iter().zip(&reply.verdicts);
        for ((waiting, verdict), charges) in verdicts.zip(&flight.exchange.claims) {
            match (waiting, verdict) {
                (Some(one), Verdict::Granted) => {
                    let held = self.take_granted(&one.charges, &flight.exchange, &counts, now);
                    told.push((one.whom, Ok(held)));
                }
                (None, Verdict::Granted) => self.keep_granted(charges, &flight.exchange, &counts),
                (Some(one), Verdict::Short { counter, wait_ms }) => {
                    let wait = wait_ms.map(span);
                    let name = flight.exchange.asks[*counter].counter.clone();
                    told.extend(self.short(one, &name, wait, now));
                }
                (Some(one), Verdict::Again) => told.extend(self.once_more(one, now)),
                (None, _) => {}
            }
        }
        told
    }

    fn take_granted(
        &mut self,
        charges: &[Charge],
        exchange: &Exchange,
        counts: &[bool],
        now: Duration,
    ) -> Held {
        let server_ms = self.server_ms(now);
        let mut held = Held::with_capacity(charges.len());
        for Charge { rule, amount } in charges {
            let index = exchange.asks.iter().position(|ask| ask.counter == rule.counter);
            let counts = index.and_then(|index| counts.get(index)).copied().unwrap_or(false);
            let Some(counter) = self.counters.get_mut(&rule.counter) else { continue };
            let place = if counts {
                counter.take_granted(*amount, now, server_ms)
            } else {
                counter.take(*amount, now, server_ms)
            };
            held.push(counter.part(rule, *amount, place, server_ms));
        }
        held
    }

    /// What was granted to a call that does not wait any more is a lease.
    fn keep_granted(&mut self, charges: &[(usize, i64)], exchange: &Exchange, counts: &[bool]) {
        for (index, amount) in charges {
            if !counts[*index] {
                continue;
            }
            if let Some(counter) = self.counters.get_mut(&exchange.asks[*index].counter) {
                counter.grant(*amount);
            }
        }
    }

    fn short(
        &mut self,
        mut one: Waiting<W>,
        name: &Arc<str>,
        wait: Option<Duration>,
        now: Duration,
    ) -> Option<(W, Outcome)> {
        let server_ms = self.server_ms(now);
        let counter = self.counters.get(name)?;
        one.tries += 1;
        if counter.free_of_others > 0 && one.tries < TRIES {
            self.again = if self.waiting.is_empty() { now + RECALL } else { self.again.min(now + RECALL) };
            self.waiting.push_back(one);
            return None;
        }
        let charge = one.charges.iter().find(|charge| charge.rule.counter == *name)?;
        let reset = counter.reset(server_ms);
        let end = reset.filter(|_| counter.is_calendar());
        let denied = Denied::Full {
            rule: charge.rule.clone(),
            amount: charge.amount,
            used: counter.all().saturating_add(counter.free_of_others),
            reserved: counter.all_reserved(),
            wait: wait.or_else(|| end?.duration_since(time(server_ms)).ok()),
            reset,
        };
        Some((one.whom, Err(denied)))
    }

    fn once_more(&mut self, one: Waiting<W>, now: Duration) -> Option<(W, Outcome)> {
        if now.saturating_sub(one.since) > REBUILD {
            let charge = one.charges.first()?;
            return Some((one.whom, Err(away(&charge.rule))));
        }
        self.again = if self.waiting.is_empty() { now + AGAIN } else { self.again.min(now + AGAIN) };
        self.waiting.push_back(one);
        None
    }

    /// Redis does not answer in time. Returns whom to tell what: those that can do without it.
    pub(super) fn go_away(&mut self, now: Duration) -> Vec<(W, Outcome)> {
        self.away.get_or_insert(now);
        let mut flight = self.flight.take();
        let waiting = std::mem::take(&mut self.waiting);
        let mut told = Vec::new();
        // What is on its way may still be answered, late; its place in the exchange stays.
        for slot in flight.iter_mut().flat_map(|flight| &mut flight.waiting) {
            *slot = slot.take().and_then(|one| self.alone(one, now, &mut told));
        }
        self.waiting = waiting.into_iter().filter_map(|one| self.alone(one, now, &mut told)).collect();
        self.flight = flight;
        told
    }

    /// Answers a call without Redis, unless it may wait for a late answer.
    fn alone(&mut self, one: Waiting<W>, now: Duration, told: &mut Vec<(W, Outcome)>) -> Option<Waiting<W>> {
        let is_young = now.saturating_sub(one.since) < LAST_WORD;
        match self.admit(&one.charges, now) {
            None | Some(Err(Denied::Unknown(_))) if is_young => return Some(one),
            None => {}
            Some(outcome) => told.push((one.whom, outcome)),
        }
        None
    }

    /// Redis answers in time again.
    pub(super) fn come_back(&mut self) {
        self.away = None;
        self.again = Duration::ZERO;
    }

    /// Tells since when Redis does not answer in time.
    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Has the next exchange be due at once.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// Notes that the talk sleeps until the next exchange is due, and tells when that is.
    pub(super) fn sleep(&mut self) -> Duration {
        self.sleeps_until = self.due();
        self.sleeps_until
    }

    /// Tells, once, whether the talk sleeps for too long.
    pub(super) fn wakes(&mut self) -> bool {
        let due = self.due();
        let wakes = due < self.sleeps_until;
        self.sleeps_until = self.sleeps_until.min(due);
        wakes
    }

    /// Counts the counters of which something is held free.
    pub(super) fn leases(&self) -> usize {
        self.dirty
            .iter()
            .filter_map(|name| self.counters.get(name))
            .filter(|counter| counter.free() > 0)
            .count()
    }

    /// After too long without an answer, leases may be others' by now.
    fn lapse(&mut self, now: Duration) {
        if self.fresh_until == Duration::ZERO || now < self.fresh_until {
            return;
        }
        self.fresh_until = Duration::ZERO;
        for (name, counter) in &mut self.counters {
            counter.lapse();
            if !self.dirty.contains(name) {
                self.dirty.insert(name.clone());
            }
        }
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

/// What a call is told that only Redis could have admitted.
fn away(rule: &Rule) -> Denied {
    let limit = &rule.limit;
    let is_budget = limit.metric == Metric::CostNanos;
    let reason = if is_budget { Reason::BudgetExhausted } else { Reason::RateLimited };
    let message = format!(
        "the counters that replicas share do not answer, and what this replica held of the {} per {} of `{}` is spent",
        limit.metric.as_str(),
        limit.period.as_str(),
        rule.subject
    );
    let error = Error::new(reason, message)
        .with("subject", rule.subject.to_string())
        .with("metric", limit.metric.as_str())
        .with("window", limit.period.as_str())
        .with("limit", limit.amount.to_string());
    Denied::Unknown(error.retry_after(Some(RETRY)))
}

/// Returns a span as whole milliseconds.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the span of so many milliseconds.
fn span(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
