//! Exchanges: what is told and asked, and what an answer changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{Flight, Outcome, State, TTL, Waiting, due::FLUSH, millis, span};
use crate::quota::{
    engine::{Charge, Denied, Held},
    shared::{
        counter::Counter,
        wire::{Ask, Exchange, Reply, Verdict},
    },
};

/// So much sooner it takes its own leases for lost.
const MARGIN: Duration = Duration::from_secs(1);
/// When it asks again, if nobody tells that there is room.
const RECALL: Duration = Duration::from_millis(20);
/// How long a call waits at most for what others hold free.
const RECALLED: Duration = Duration::from_millis(100);
/// How long it takes at most until the replicas have told anew what Redis lost, with time to spare.
const REBUILD: Duration = Duration::from_secs(2);
/// Pause between two looks at what is being told anew.
const AGAIN: Duration = Duration::from_millis(20);
/// Calls and counters of one exchange: Redis does nothing else meanwhile.
const MOST: usize = 256;

impl<W> State<W> {
    /// Makes the next exchange, or repeats the one that was not answered.
    pub(in super::super) fn next(&mut self, now: Duration) -> Exchange {
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
        let mut asks: Vec<Ask> = Vec::with_capacity(demands.len());
        for (name, demand) in demands {
            if let Some(counter) = self.counters.get_mut(&name) {
                counter.advance(server_ms);
                asks.push(counter.ask(demand, now));
            }
        }
        let order: HashMap<Arc<str>, usize> = asks.iter().map(|ask| ask.counter.clone()).zip(0..).collect();
        let charge = |charge: &Charge| Some((*order.get(&charge.rule.counter)?, charge.amount));
        let claims = waiting.iter().map(|one| one.charges.iter().filter_map(charge).collect()).collect();
        self.sequence += 1;
        let exchange = Exchange { sequence: self.sequence, asks, claims };
        let waiting = waiting.into_iter().map(Some).collect();
        self.flight = Some(Flight { exchange: exchange.clone(), sent: now, waiting });
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
            if self.counters.get(name).is_some_and(|counter| counter.is_due(now)) {
                demands.entry(name.clone()).or_default();
            }
        }
    }

    /// Takes in the answer to the exchange, which was sent then. Returns whom to tell what.
    pub(in super::super) fn apply(
        &mut self,
        reply: &Reply,
        sent: Duration,
        now: Duration,
    ) -> Vec<(W, Outcome)> {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        self.replicas = reply.owners.max(1);
        // The answer to a repeated exchange is that to the first.
        self.fresh_until = flight.sent + TTL.saturating_sub(MARGIN);
        if self.replies == 0 || now.saturating_sub(sent) <= FLUSH {
            // It was that late at some moment since; taken for too late, nothing leaves a window too soon.
            self.epoch_ms = reply.now_ms.saturating_sub(millis(sent));
        }
        self.replies += 1;
        let mut counts = Vec::with_capacity(reply.counters.len());
        let server_ms = self.server_ms(now);
        for (ask, told) in flight.exchange.asks.iter().zip(&reply.counters) {
            let counter = self.counters.get_mut(&ask.counter);
            counts.push(counter.is_some_and(|counter| counter.hear(told, server_ms)));
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
        self.admit_waiting(now, &mut told);
        let counters = &self.counters;
        self.hurry |= self.dirty.iter().any(|name| counters.get(name).is_some_and(Counter::runs_low));
        told
    }

    /// Admits those that came too late for the exchange from the leases that it brought: asking for them would give the
    /// leases back.
    fn admit_waiting(&mut self, now: Duration, told: &mut Vec<(W, Outcome)>) {
        for one in std::mem::take(&mut self.waiting) {
            if matches!(self.short_of(&one.charges, now), Ok(None)) {
                told.push((one.whom, Ok(self.take(&one.charges, now))));
            } else {
                self.waiting.push_back(one);
            }
        }
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
        let since = *one.recalled.get_or_insert(now);
        if counter.free_of_others > 0 && now.saturating_sub(since) < RECALLED {
            self.again = if self.waiting.is_empty() { now + RECALL } else { self.again.min(now + RECALL) };
            self.waiting.push_back(one);
            return None;
        }
        let charge = one.charges.iter().find(|charge| charge.rule.counter == *name)?;
        let mut standing = counter.standing(&charge.rule, server_ms);
        standing.used = standing.used.saturating_add(counter.free_of_others);
        let wait = wait.or_else(|| counter.until_end(server_ms));
        Some((one.whom, Err(Denied::Full { standing, amount: charge.amount, wait })))
    }

    fn once_more(&mut self, one: Waiting<W>, now: Duration) -> Option<(W, Outcome)> {
        if now.saturating_sub(one.since) > REBUILD {
            let denied = self.refuse_alone(one.charges.first()?, self.server_ms(now));
            return Some((one.whom, Err(denied)));
        }
        self.again = if self.waiting.is_empty() { now + AGAIN } else { self.again.min(now + AGAIN) };
        self.waiting.push_back(one);
        None
    }
}
