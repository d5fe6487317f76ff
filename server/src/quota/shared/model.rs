//! The function in `exchange.lua` once more, plainly: random exchanges of several replicas have the same answers here and
//! in a real Redis, and never more is granted than the limit.

mod steps;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::wire::{Ask, Exchange, Kind, Owner, Reply, Told, Verdict};

const SLOTS: i64 = 60;
const QUIET_MS: i64 = 250;
const RECALL_MS: i64 = 100;
const SHARES: i64 = 20;

/// Redis, with the function.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Until when each replica counts as alive.
    alive: BTreeMap<Arc<str>, i64>,
    /// Which era it is, and when it began; absent: the next exchange begins one.
    era: i64,
    since: Option<i64>,
    counters: HashMap<Arc<str>, Counter>,
    answered: HashMap<Arc<str>, (u64, Reply)>,
}

#[derive(Clone, Debug, Default)]
struct Counter {
    id: i64,
    era: i64,
    period: i64,
    quiet_until: i64,
    awaited: Option<(Arc<str>, i64)>,
    ledgers: BTreeMap<Arc<str>, i64>,
    slots: BTreeMap<i64, i64>,
    /// The same, as known before this incarnation.
    ledgers_before: BTreeMap<Arc<str>, i64>,
    slots_before: BTreeMap<i64, i64>,
    /// What each replica holds, and the free part of it.
    held: BTreeMap<Arc<str>, (i64, i64)>,
}

/// A counter as one exchange sees it.
struct View {
    again: bool,
    recalled: bool,
    is_awaited: bool,
    held: i64,
    free: i64,
    room: i64,
    used: i64,
    reserved: i64,
    free_of_others: i64,
    slot_now: i64,
    slots: BTreeMap<i64, i64>,
}

impl Model {
    /// Loses who is alive, or is taken over by another server: a new era begins.
    fn forget_the_era(&mut self) {
        self.alive.clear();
        self.era += 1;
        self.since = None;
    }

    /// Answers as Redis should. What Redis drew itself, the time and the ids of new counters, is taken from its answer.
    pub(super) fn exchange(&mut self, exchange: &Exchange, owner: &Owner, real: &Reply) -> Reply {
        if let Some((sequence, reply)) = self.answered.get(&owner.id)
            && *sequence == exchange.sequence
        {
            return reply.clone();
        }
        let now = real.now_ms;
        self.alive.retain(|_, till| *till + owner.ttl_ms >= now);
        self.alive.insert(owner.id.clone(), now + owner.ttl_ms);
        let knows_all = now - *self.since.get_or_insert(now) > owner.ttl_ms;
        let is_dead = |other: &Arc<str>| self.alive.get(other).map_or(knows_all, |till| *till <= now);
        let mut views = Vec::new();
        for (ask, told) in exchange.asks.iter().zip(&real.counters) {
            let counter = self.counters.entry(ask.counter.clone()).or_default();
            counter.open(ask, self.era, now, told.id);
            counter.held.retain(|other, _| *other == owner.id || !is_dead(other));
            views.push(counter.read(ask, owner, now));
        }
        let mut verdicts = Vec::new();
        for claim in &exchange.claims {
            verdicts.push(verdict(claim, &mut views, &exchange.asks, now));
        }
        let alive = self.alive.values().filter(|till| **till > now).count();
        let owners = i64::try_from(alive).unwrap();
        let mut counters = Vec::new();
        for (ask, view) in exchange.asks.iter().zip(views) {
            counters.push(self.counters.get_mut(&ask.counter).unwrap().close(ask, &view, owner, owners, now));
        }
        let reply = Reply { now_ms: now, owners, counters, verdicts };
        self.answered.insert(owner.id.clone(), (exchange.sequence, reply.clone()));
        reply
    }
}

impl Counter {
    fn open(&mut self, ask: &Ask, era: i64, now: i64, drawn: i64) {
        let is_old = self.id != 0 && self.era != era;
        if is_old {
            self.ledgers_before = self.ledgers.clone();
            for (slot, used) in std::mem::take(&mut self.slots) {
                let before = self.slots_before.entry(slot).or_default();
                *before = used.max(*before);
            }
        }
        if is_old || self.id == 0 {
            (self.id, self.era) = (drawn, era);
            let is_lost = is_old || ask.id != 0;
            self.quiet_until = if is_lost { now + QUIET_MS } else { 0 };
        }
        if let Kind::Calendar(start) = ask.kind
            && start > self.period
        {
            self.period = start;
            self.ledgers.clear();
            self.ledgers_before.clear();
            self.held.clear();
        }
    }

    fn read(&mut self, ask: &Ask, owner: &Owner, now: i64) -> View {
        let is_strange = ask.id != 0 && ask.id != self.id;
        let is_late = matches!(ask.kind, Kind::Calendar(start) if start < self.period);
        let slot_now = if let Kind::Sliding(width) = ask.kind { now / width } else { 0 };
        if !is_strange && !is_late {
            let is_quiet = self.quiet_until > now;
            for (ledger, used) in &ask.seeds {
                let all = self.ledgers.entry(ledger.clone()).or_default();
                let known =
                    if is_quiet { self.ledgers_before.entry(ledger.clone()).or_default() } else { &mut *all };
                let (before, more) = (*known, (used - *known).max(0));
                *known = before + more;
                if is_quiet {
                    *all += more;
                }
            }
            self.ledgers.retain(|_, used| *used != 0);
            for (slot, used) in &ask.moves {
                match ask.kind {
                    Kind::Calendar(_) => *self.ledgers.entry(owner.ledger.clone()).or_default() += used,
                    Kind::Sliding(_) if slot + SLOTS >= slot_now => {
                        *self.slots.entry((*slot).min(slot_now)).or_default() += used;
                    }
                    Kind::Sliding(_) | Kind::Concurrent => {}
                }
            }
        }
        self.slots.retain(|slot, _| slot + SLOTS >= slot_now);
        self.slots_before.retain(|slot, _| slot + SLOTS >= slot_now);
        let mut slots = self.slots_before.clone();
        for (slot, used) in &self.slots {
            let larger = slots.entry(*slot).or_default();
            *larger = used.max(larger).to_owned();
        }
        let others = || self.held.iter().filter(|(other, _)| **other != owner.id);
        let reserved: i64 = others().map(|(_, (held, _))| held).sum();
        let free_of_others: i64 = others().map(|(_, (_, free))| free).sum();
        let used = self.ledgers.values().sum::<i64>() + slots.values().sum::<i64>();
        let (held, free) = if is_late { (0, 0) } else { (ask.held, ask.free) };
        let waits = self.awaited.clone().filter(|(other, till)| *till > now && *other != owner.id);
        let had = self.held.get(&owner.id).map_or(0, |(_, free)| *free);
        if waits.is_some() && free < had {
            self.awaited = None;
        }
        View {
            again: is_strange || self.quiet_until > now,
            recalled: false,
            is_awaited: waits.is_some() && free >= had,
            held,
            free,
            room: ask.limit - used - reserved - held,
            used,
            reserved: reserved - free_of_others,
            free_of_others,
            slot_now,
            slots,
        }
    }

    fn close(&mut self, ask: &Ask, view: &View, owner: &Owner, owners: i64, now: i64) -> Told {
        if view.recalled {
            self.awaited = Some((owner.id.clone(), now + RECALL_MS));
        }
        let may_lease = ask.limit >= 0 && !view.again && !view.is_awaited && !view.recalled;
        let part = view.room.div_euclid(SHARES * owners);
        let lease = if may_lease && ask.wish > 0 { ask.wish.min(part).max(0) } else { 0 };
        let (held, free) = (view.held + lease, view.free + lease);
        if held == 0 {
            self.held.remove(&owner.id);
        } else {
            self.held.insert(owner.id.clone(), (held, free));
        }
        Told {
            id: self.id,
            period: self.period,
            used: view.used,
            reserved: view.reserved,
            free: view.free_of_others,
            lease,
            ledgers: self.ledgers.clone().into_iter().collect(),
        }
    }
}

fn verdict(claim: &[(usize, i64)], views: &mut [View], asks: &[Ask], now: i64) -> Verdict {
    if claim.iter().any(|(counter, _)| views[*counter].again) {
        return Verdict::Again;
    }
    let is_short =
        |(counter, amount): &&(usize, i64)| asks[*counter].limit >= 0 && views[*counter].room < *amount;
    let Some((counter, amount)) = claim.iter().find(is_short).copied() else {
        for (counter, amount) in claim {
            views[*counter].room -= amount;
            views[*counter].held += amount;
        }
        return Verdict::Granted;
    };
    let view = &mut views[counter];
    view.recalled |= view.free_of_others > 0;
    Verdict::Short { counter, wait_ms: wait(&asks[counter], view, amount, now) }
}

fn wait(ask: &Ask, view: &View, amount: i64, now: i64) -> Option<i64> {
    let Kind::Sliding(width) = ask.kind else { return None };
    if amount > ask.limit {
        return None;
    }
    let mut excess = amount - view.room;
    let enough = |(_, used): &(&i64, &i64)| {
        excess -= **used;
        excess <= 0
    };
    let slot = view.slots.iter().find(enough).map_or(view.slot_now, |(slot, _)| *slot);
    Some((slot + SLOTS + 1) * width - now).filter(|wait| *wait >= 0)
}
