//! The way into a target: its health must admit the attempt, its gate must have a place, and the retry budget a retry.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{attempt::Held, dispatch::Dispatch};
use crate::{
    call::{Call, now},
    error::Error,
    load::{Claim, Gate, Place},
    quota::Turn,
};

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
    /// Takes a ticket and a place at a target. If there is none, the schedule knows why.
    pub(super) async fn enter(&mut self, index: usize, entry: Entry) -> Option<(usize, Held)> {
        let candidate = self.candidates[index];
        let asked = now();
        let ticket = match self.way.health.of(&candidate.target).admit(entry.last_resort, asked) {
            Ok(ticket) => ticket,
            Err(refused) => {
                self.passed_over.get_or_insert("unhealthy");
                self.refusals.retain(|(other, _)| *other != index);
                self.refusals.push((index, refused));
                if entry.last_resort {
                    self.schedule.give_up();
                } else {
                    self.schedule.refused(index, refused.until);
                }
                return None;
            }
        };
        let gate = self.way.gates.of(&candidate.target.name, candidate.concurrent);
        let place = match gate.try_enter() {
            Some(place) => place,
            None if !entry.may_wait => {
                self.passed_over.get_or_insert("full");
                self.schedule.full(index);
                return None;
            }
            None => self.wait(index, &gate).await?,
        };
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

    /// Takes what an attempt at a target needs of its limits.
    async fn turn(&self, index: usize) -> Result<Option<Turn>, Error> {
        let Some(spending) = &self.way.spending else { return Ok(None) };
        let billed = self.running.call.attempts.iter().filter(|attempt| attempt.may_be_billed()).count();
        spending.enter(&self.candidates[index].target.name, billed).await
    }

    /// Waits for a place at a target.
    async fn wait(&mut self, index: usize, gate: &Arc<Gate>) -> Option<Place> {
        let began = now();
        let call = &mut *self.running.call;
        let (caller, deadline) = (call.caller.clone(), self.way.deadline.at);
        let claim = Claim { tenant: &caller.key_id, priority: call.priority, deadline };
        let entered = gate.enter(claim).await;
        call.waited += now().saturating_duration_since(began);
        match entered {
            Ok(place) => Some(place),
            Err(busy) => {
                self.busy = Some((index, busy));
                self.schedule.busy(index);
                None
            }
        }
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

    /// Enters a target that is asked beside a slow one, if there is one that is well and has room, and few enough calls
    /// are asked twice.
    pub(super) async fn enter_beside(&mut self) -> Option<(usize, Held)> {
        while let Some(index) = self.schedule.beside() {
            let candidate = self.candidates[index];
            let at = now();
            let ticket = match self.way.health.of(&candidate.target).admit(false, at) {
                Ok(ticket) => ticket,
                Err(refused) => {
                    self.schedule.refused(index, refused.until);
                    continue;
                }
            };
            let Some(place) = self.way.gates.of(&candidate.target.name, candidate.concurrent).try_enter()
            else {
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
