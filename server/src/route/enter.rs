//! The way into a target: its health must admit the attempt, its gate must have a place, and the retry budget a retry.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    attempt::Held,
    dispatch::Dispatch,
    health::{Refused, State, Ticket, View},
};
use crate::{
    call::{Call, now},
    error::Error,
    load::{Busy, Claim, Gate, Pause, Place},
    quota::Turn,
};

/// So often a call looks whether the probe of another one has come to an end, and for so long at most.
const PROBED: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How a target may be entered.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    /// Though it is not well.
    pub(super) last_resort: bool,
    /// After a wait.
    pub(super) may_wait: bool,
    /// The retry budget has allowed it.
    pub(super) is_allowed: bool,
}

impl<J: Fn(&Call) -> Result<(), Error>> Dispatch<'_, '_, J> {
    /// Takes a place and a ticket at a target. If there is none, the schedule knows why.
    pub(super) async fn enter(&mut self, index: usize, entry: Entry) -> Option<(usize, Held)> {
        let gate = self.gate(index);
        if entry.last_resort {
            // Those who wait there for the end of its pause are not in the way.
            let place = match gate.try_pass() {
                Some(place) => place,
                None => self.wait(index, &gate).await?,
            };
            let ticket = self.admit(index, true)?;
            return self.hold(index, entry, ticket, place).await;
        }
        let place = match gate.try_enter() {
            Some(place) => place,
            None if entry.may_wait => self.wait(index, &gate).await?,
            None => return self.has_no_room(index),
        };
        // Whoever has waited finds out only now how the target is, and probes it only now.
        let ticket = self.admit(index, false)?;
        self.hold(index, entry, ticket, place).await
    }

    /// Enters a target that is left alone, as soon as that is over.
    pub(super) async fn rest(&mut self, index: usize, refused: Refused) -> Option<(usize, Held)> {
        let gate = self.gate(index);
        let mut pause = Pause { until: refused.until, is_told: refused.state == State::CoolingDown };
        let (often, long) = PROBED;
        let latest = pause.until + long;
        self.schedule.rests(now());
        loop {
            let Ok(place) = self.queue(&gate, Some(pause)).await else {
                self.schedule.rested_in_vain();
                self.schedule.look_again();
                return None;
            };
            let at = now();
            if at >= latest || !self.is_probed(index, at) {
                let ticket = self.admit(index, false)?;
                return self.hold(index, Entry::default(), ticket, place).await;
            }
            place.unused();
            pause = Pause { until: at + often, is_told: false };
        }
    }

    /// Tells whether a call is just finding out how the target is.
    fn is_probed(&self, index: usize, at: Instant) -> bool {
        let View { state, retry_at, .. } = self.view(index, at);
        state == State::HalfOpen && retry_at.is_some()
    }

    /// Takes a ticket at a target.
    fn admit(&mut self, index: usize, last_resort: bool) -> Option<Ticket> {
        match self.way.health.of(&self.candidates[index].target).admit(last_resort, now()) {
            Ok(ticket) => Some(ticket),
            Err(refused) => {
                self.is_refused(index, refused);
                if last_resort {
                    self.schedule.give_up();
                }
                None
            }
        }
    }

    fn is_refused(&mut self, index: usize, refused: Refused) {
        self.passed_over.get_or_insert("unhealthy");
        self.refusals.retain(|(other, _)| *other != index);
        self.refusals.push((index, refused));
        self.schedule.refused(index, refused);
    }

    /// There is no place at a target; whether it is well matters more.
    fn has_no_room<T>(&mut self, index: usize) -> Option<T> {
        let View { state, retry_at, .. } = self.view(index, now());
        match retry_at {
            Some(until) => self.is_refused(index, Refused { state, until }),
            None => {
                self.passed_over.get_or_insert("full");
                self.schedule.full(index);
            }
        }
        None
    }

    /// Takes what else an attempt needs.
    async fn hold(
        &mut self,
        index: usize,
        entry: Entry,
        ticket: Ticket,
        place: Place,
    ) -> Option<(usize, Held)> {
        let turn = match self.turn(index).await {
            Ok(turn) => turn,
            Err(limited) => {
                self.passed_over.get_or_insert("limited");
                self.limited = Some(limited);
                self.schedule.limited(index);
                return None;
            }
        };
        if !entry.is_allowed && !self.may_be_made(index) {
            turn.into_iter().for_each(Turn::cost_nothing);
            self.schedule.give_up();
            return None;
        }
        if entry.last_resort {
            self.schedule.repeat_nothing();
        }
        Some((index, Held { ticket, place, turn }))
    }

    /// Returns the gate of a target.
    pub(super) fn gate(&self, index: usize) -> Arc<Gate> {
        let candidate = self.candidates[index];
        self.way.gates.of(&candidate.target.name, candidate.concurrent)
    }

    /// Takes what an attempt at a target needs of its limits.
    async fn turn(&self, index: usize) -> Result<Option<Turn>, Error> {
        let Some(spending) = &self.way.spending else { return Ok(None) };
        let billed = self.running.call.attempts.iter().filter(|attempt| attempt.may_be_billed()).count();
        spending.enter(&self.candidates[index].target.name, billed).await
    }

    /// Waits for a place at a target.
    async fn wait(&mut self, index: usize, gate: &Arc<Gate>) -> Option<Place> {
        match self.queue(gate, None).await {
            Ok(place) => Some(place),
            Err(busy) => {
                self.busy = Some((index, busy));
                self.schedule.busy(index);
                None
            }
        }
    }

    /// Waits before a gate, for a pause to be over if there is one, and for a place.
    async fn queue(&mut self, gate: &Arc<Gate>, pause: Option<Pause>) -> Result<Place, Busy> {
        let began = now();
        let call = &mut *self.running.call;
        let (caller, deadline) = (call.caller.clone(), self.way.deadline.at);
        let claim = Claim { tenant: &caller.key_id, priority: call.priority, deadline };
        let entered = match pause {
            None => gate.enter(claim).await,
            Some(pause) => gate.enter_after(pause, claim).await,
        };
        call.waited += now().saturating_duration_since(began);
        entered
    }

    /// Enters a target that has failed, after a pause.
    pub(super) async fn enter_again(&mut self, index: usize, pause: Duration) -> Option<(usize, Held)> {
        if !self.may_be_made(index) {
            self.schedule.repeat_nothing();
            return None;
        }
        sleep(pause).await;
        self.schedule.look_again();
        self.enter(index, Entry { may_wait: true, is_allowed: true, ..Entry::default() }).await
    }

    /// Tells whether the retry budget allows one more attempt, and counts it if so.
    fn may_be_made(&self, index: usize) -> bool {
        let (target, share) = (&self.candidates[index].target, self.way.plan.policy.retry_share);
        !self.schedule.is_charged(index) || self.way.health.may_retry(target, share, now())
    }

    /// Tells whether the retry budget would allow one more attempt.
    pub(super) fn could_be_made(&self, index: usize, at: Instant) -> bool {
        let (target, share) = (&self.candidates[index].target, self.way.plan.policy.retry_share);
        !self.schedule.is_charged(index) || self.way.health.could_retry(target, share, at)
    }

    /// Enters a target that is asked beside a slow one, if there is one that is well and has room, and few enough calls
    /// are asked twice.
    pub(super) async fn enter_beside(&mut self) -> Option<(usize, Held)> {
        while let Some(index) = self.schedule.beside() {
            let candidate = self.candidates[index];
            let at = now();
            let ticket = match self.way.health.of(&candidate.target).admit(false, at) {
                Ok(ticket) => ticket,
                Err(refused) => {
                    self.schedule.refused(index, refused);
                    continue;
                }
            };
            let Some(place) = self.gate(index).try_enter() else {
                self.schedule.full(index);
                continue;
            };
            let Ok(turn) = self.turn(index).await else {
                self.schedule.limited(index);
                continue;
            };
            if self.way.plan.policy.hedges.take() {
                return Some((index, Held { ticket, place, turn }));
            }
            turn.into_iter().for_each(Turn::cost_nothing);
            return None;
        }
        None
    }
}
