//! What is told of a counter in an exchange, and what an answer changes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Counter;
use crate::{
    call::Period,
    quota::shared::{
        counter::SLOTS,
        wire::{Ask, Kind, Told},
    },
};

/// A lease that nothing was admitted from for so long goes back.
const IDLE: Duration = Duration::from_secs(1);
/// How long a counter is kept that nobody asks for: much longer than it can matter.
const DAY_MS: i64 = 86_400_000;

impl Counter {
    /// Makes what is told and asked, given what waiting calls ask for.
    pub(in super::super) fn ask(&mut self, demand: Option<i64>, now: Duration) -> Ask {
        if demand.is_some() || self.recalled || self.is_idle(now) {
            // Whoever asks first gives back, so that all is granted where it is needed.
            self.free = 0;
        }
        let soft = self.rule.limit.soft;
        let wish = if self.recalled || soft { 0 } else { self.pace.at(now).max(demand.unwrap_or(0)) };
        let held = self.reserved.sum().saturating_add(self.free);
        self.backed = held;
        self.flying = std::mem::take(&mut self.moves);
        let seeds = if self.seeds { self.ledgers.clone().into_iter().collect() } else { Vec::new() };
        (self.taken, self.tell, self.recalled) = (false, false, false);
        self.asked = true;
        Ask {
            counter: self.rule.counter.clone(),
            kind: self.kind,
            limit: if soft { -1 } else { self.ceiling.max(0) },
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
    pub(in super::super) fn hear(&mut self, told: &Told, server_ms: i64) -> bool {
        self.asked = false;
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
        self.heard_ms = server_ms;
        self.others = told.used.saturating_sub(self.told.sum()).max(0).saturating_add(told.reserved);
        self.lease = told.lease;
        self.grant(told.lease);
        true
    }

    /// Takes over what the ledger says of the period that began then, to tell it. Not while something is untold that the
    /// ledger may have as well, which would count twice.
    pub(in super::super) fn raise(&mut self, (ledger, used): (&Arc<str>, i64), since: SystemTime) -> bool {
        let is_told = !self.asked && self.moves.is_empty() && self.flying.is_empty();
        if is_told && self.span.is_some_and(|span| span.start == since) {
            let known = self.ledgers.entry(ledger.clone()).or_default();
            *known = (*known).max(used);
            self.used = self.used.max(used);
            self.seeds = true;
        }
        is_told
    }

    /// Adds to what may be admitted.
    pub(in super::super) fn grant(&mut self, amount: i64) {
        self.backed = self.backed.saturating_add(amount);
        self.give_back(amount);
    }

    /// Counts what Redis granted to a call. Returns where it belongs.
    pub(in super::super) fn take_granted(&mut self, amount: i64, now: Duration, server_ms: i64) -> i64 {
        self.backed = self.backed.saturating_add(amount);
        let place = self.place(server_ms);
        self.count(place, amount);
        self.touched = now;
        place
    }

    /// Tells whether there is something to tell.
    pub(in super::super) fn is_due(&self, now: Duration) -> bool {
        let is_idle = self.free > 0 && self.is_idle(now);
        self.must_tell() || is_idle || self.runs_low()
    }

    /// Tells whether nothing is kept here that would ever have to be told.
    pub(in super::super) fn is_quiet(&self) -> bool {
        self.free == 0 && !self.must_tell()
    }

    /// Tells whether nothing is lost if the counter is dropped: nobody wanted it for so long, nothing is held or was used
    /// in the window that runs, and Redis knows. It is made anew of what the ledger and Redis say.
    pub(in super::super) fn is_over(&mut self, now: Duration, server_ms: i64, idle: Duration) -> bool {
        if self.asked || now.saturating_sub(self.wanted) < idle {
            return false;
        }
        self.advance(server_ms);
        let is_used = matches!(self.kind, Kind::Calendar(_)) && self.used != 0;
        let tallies = [&self.reserved, &self.moves, &self.flying, &self.told];
        self.is_quiet() && self.backed == 0 && !is_used && tallies.iter().all(|tally| tally.is_empty())
    }

    fn is_idle(&self, now: Duration) -> bool {
        now.saturating_sub(self.touched) >= IDLE
    }

    fn must_tell(&self) -> bool {
        // What is given back and not kept is others' as soon as Redis hears of it.
        let holds_less = self.backed > self.reserved.sum().saturating_add(self.free);
        self.tell || self.seeds || self.recalled || holds_less || !self.moves.is_empty()
    }

    /// Tells whether the lease is more than half spent, so that the next one is fetched before a call waits for it.
    pub(in super::super) fn runs_low(&self) -> bool {
        self.taken && self.lease > 0 && self.free < self.lease / 2
    }
}
