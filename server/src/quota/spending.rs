//! What one call holds from its admission to its end: once for the call, and once for each attempt at a target that has
//! limits of its own. Whatever becomes of the call, it is settled by what the call came to.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tollgate_api::v1;
use uuid::Uuid;

use super::{Amounts, Charge, Claim, Engine, Reservation, refusal::refusal, used};
use crate::{
    call::{Caller, Metric, Settled},
    config::BudgetStatus,
    error::Error,
};

/// What one call holds.
pub struct Spending {
    engine: Arc<dyn Engine>,
    call: Uuid,
    caller: Arc<Caller>,
    budget_status: BudgetStatus,
    deadline: Instant,
    offers: Vec<Offer>,
    shares: Mutex<Vec<Option<Share>>>,
}

/// What an attempt at a target asks of the target's own limits.
#[derive(Debug)]
pub struct Offer {
    /// The target, by its name.
    pub target: Arc<str>,
    /// What the attempt may use of its limits.
    pub charges: Vec<Charge>,
}

/// A part of what is held: the call's, or an attempt's at that target.
struct Share {
    target: Option<Arc<str>>,
    reservation: Reservation,
}

/// What an attempt holds while it runs.
pub struct Turn {
    spending: Arc<Spending>,
    share: usize,
    /// Its places among calls at a time, which end with it.
    _places: Reservation,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("call", &self.spending.call).finish_non_exhaustive()
    }
}

impl Spending {
    pub(super) fn new(
        (engine, first): (&Arc<dyn Engine>, Reservation),
        (call, deadline): (Uuid, Instant),
        (caller, budget_status): (Arc<Caller>, BudgetStatus),
        offers: Vec<Offer>,
    ) -> Arc<Self> {
        let shares = Mutex::new(vec![Some(Share { target: None, reservation: first })]);
        let engine = engine.clone();
        Arc::new(Self { engine, call, caller, budget_status, deadline, offers, shares })
    }

    /// Takes what an attempt at a target needs of the target's limits, if it has any. `billed` tells how many attempts
    /// before it may be billed beside it: what it may use is then held once more for each.
    ///
    /// # Errors
    /// As a call's: the limit that has no room.
    pub async fn enter(self: &Arc<Self>, target: &str, billed: usize) -> Result<Option<Turn>, Error> {
        self.hold_another(billed).await?;
        let Some(offer) = self.offers.iter().find(|offer| &*offer.target == target) else { return Ok(None) };
        let mut reservation = self.claim(&offer.charges).await?;
        let places = reservation.split_places();
        let mut shares = self.shares();
        shares.push(Some(Share { target: Some(offer.target.clone()), reservation }));
        let share = shares.len() - 1;
        drop(shares);
        Ok(Some(Turn { spending: self.clone(), share, _places: places }))
    }

    /// Gives back the call's own places among calls at a time: its caller has gone. What it may use stays held.
    pub fn leave(&self) {
        let places: Vec<_> =
            self.shares().iter_mut().flatten().map(|share| share.reservation.split_places()).collect();
        drop(places);
    }

    /// Settles all that is held by what the call came to.
    pub fn settle(&self, settled: &Settled) {
        let shares: Vec<Share> = std::mem::take(&mut *self.shares()).into_iter().flatten().collect();
        let mut told: Vec<Option<Arc<str>>> = Vec::with_capacity(shares.len());
        for Share { target, reservation } in shares {
            // The first share of each is settled by all of it, the further ones by nothing more.
            let amounts = match &target {
                _ if told.contains(&target) => Amounts::default(),
                None => used(&settled.usage),
                Some(target) => used_at(target, settled),
            };
            told.push(target);
            reservation.settle(amounts);
        }
    }

    async fn hold_another(&self, billed: usize) -> Result<(), Error> {
        while let Some(another) = self.another(billed) {
            let reservation = self.claim(&another).await?;
            self.shares().push(Some(Share { target: None, reservation }));
        }
        Ok(())
    }

    /// Returns what one more answer may use, unless enough is held for it and so many others.
    fn another(&self, billed: usize) -> Option<Vec<Charge>> {
        let shares = self.shares();
        let of_call = |share: &&Share| share.target.is_none();
        let first = shares.iter().flatten().find(of_call)?;
        if shares.iter().flatten().filter(of_call).count() > billed {
            return None;
        }
        let again = first.reservation.parts().iter().filter(|part| is_used_up(part.rule().limit.metric));
        let charges: Vec<_> =
            again.map(|part| Charge { rule: part.rule().clone(), amount: part.amount }).collect();
        (!charges.is_empty()).then_some(charges)
    }

    async fn claim(&self, charges: &[Charge]) -> Result<Reservation, Error> {
        let claim = Claim { call: self.call, charges: charges.to_vec(), deadline: self.deadline };
        match self.engine.reserve(claim).await {
            Ok(held) => Ok(Reservation::new(&self.engine, held)),
            Err(denied) => Err(refusal(&self.caller, denied, self.budget_status)),
        }
    }

    fn shares(&self) -> MutexGuard<'_, Vec<Option<Share>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Gives back what the attempt holds: it failed, and nobody bills it.
    pub fn cost_nothing(self) {
        let share = self.spending.shares().get_mut(self.share).and_then(Option::take);
        drop(share);
    }
}

/// Tells whether a second answer uses the metric once more. It is the same request, and runs in the same place.
fn is_used_up(metric: Metric) -> bool {
    !matches!(metric, Metric::Requests | Metric::Concurrent)
}

/// Returns what the attempts at a target came to.
fn used_at(target: &str, settled: &Settled) -> Amounts {
    let attempts = &settled.attempts;
    let is_part = |one: &&v1::Attempt| {
        one.input_tokens.is_some() || one.output_tokens.is_some() || one.cost_nanos.is_some()
    };
    let mut parts = attempts.iter().filter(is_part).peekable();
    if parts.peek().is_some() {
        let here = parts.filter(|attempt| attempt.target == target);
        return here.fold(Amounts::default(), |sum, attempt| {
            sum.plus(Amounts {
                input_tokens: attempt.input_tokens.unwrap_or(0).max(0),
                output_tokens: attempt.output_tokens.unwrap_or(0).max(0),
                cost_nanos: attempt.cost_nanos.unwrap_or(0).max(0),
            })
        });
    }
    // Only one was billed, which is the one that served, or was given up, or came last.
    let worked = attempts
        .iter()
        .rev()
        .find(|attempt| matches!(attempt.outcome.as_str(), "ok" | "cancelled" | "timeout"));
    let billed = worked.or(attempts.last()).is_some_and(|attempt| attempt.target == target);
    if billed { used(&settled.usage) } else { Amounts::default() }
}

#[cfg(test)]
mod tests;
