//! Plan to answer: one upstream call after another until one brings content, within the caller's deadline.

use std::{sync::Arc, time::Instant};

use tokio::time::timeout;

use super::{
    Candidate, Health, Hedge, Plan,
    attempt::{Brief, Dispatched, Failed, Held, Outcome, Timeouts, Upcall},
    degraded,
    enter::Entry,
    failure,
    guarded::deadline_error,
    health::{Refused, View},
    heard::Heard,
    hedge::{Attempting, Came, race},
    lot::Lot,
    patience::Patience,
    running::Running,
    schedule::{Lesson, Schedule, Step},
};
use crate::{
    call::{Call, Deadline, Request, now},
    error::Error,
    load::{Busy, Gates},
    provider::{self, Kind},
    quota::Spending,
    telemetry::metrics,
};

/// The outcome of an attempt that the upstream limited.
const RATE_LIMITED: &str = Kind::RateLimited { retry_after: None }.as_str();

/// What dispatching a call needs beside the call.
pub struct Way {
    /// Where it may go.
    pub plan: Plan,
    /// What is asked.
    pub request: Request,
    /// How long the phases may take; a candidate may have its own `first_token`.
    pub timeouts: Timeouts,
    /// When all must be over.
    pub deadline: Deadline,
    /// How the targets are.
    pub health: Arc<Health>,
    /// Who may enter them.
    pub gates: Arc<Gates>,
    /// What the call holds of its limits, if it has any.
    pub spending: Option<Arc<Spending>>,
}

/// Tries the plan's targets until one brings content. `before_attempt` runs before each upstream call, when the attempt
/// already stands in the call.
///
/// # Errors
/// The last attempt's failure in the caller's words, with every attempt; why there was none; or the deadline's.
pub async fn dispatch(
    way: Arc<Way>,
    call: &mut Call,
    before_attempt: impl Fn(&Call) -> Result<(), Error>,
) -> Result<Dispatched, Error> {
    let brief = Brief::of(call);
    let mut dispatch = Dispatch {
        way: &way,
        brief: &brief,
        candidates: way.plan.all().collect(),
        schedule: Schedule::new(&way.plan, way.deadline),
        lot: lot_of(&brief),
        running: Running::new(call, before_attempt),
        last: None,
        refusals: Vec::new(),
        busy: None,
        limited: None,
        passed_over: None,
    };
    if let Some(hedge) = way.plan.policy.hedge {
        way.plan.policy.hedges.add(hedge.at_most);
    }
    let done = dispatch.until_content().await;
    dispatch.running.give_up(now());
    done.or_else(|error| {
        let text = way.plan.policy.degraded.as_deref();
        degraded::answer(text, &dispatch.running.call.asked.model, &way.request, &error)
            .ok_or_else(|| error.attempts(dispatch.running.to_proto()))
    })
}

/// A call on its way to its first content.
pub(super) struct Dispatch<'a, 'c, J> {
    pub(super) way: &'a Way,
    pub(super) brief: &'a Brief,
    /// Every target of the plan, as the schedule counts them.
    pub(super) candidates: Vec<&'a Candidate>,
    pub(super) schedule: Schedule,
    lot: Lot,
    pub(super) running: Running<'c, J>,
    /// The last failure and where it was.
    last: Option<(usize, provider::Error)>,
    /// Targets that are not well.
    pub(super) refusals: Vec<(usize, Refused)>,
    /// Where a wait for a place was in vain.
    pub(super) busy: Option<(usize, Busy)>,
    /// The limit of a target that had no room.
    pub(super) limited: Option<Error>,
    /// Why a target was passed over that would have come first.
    pub(super) passed_over: Option<&'static str>,
}

impl<'a, J: Fn(&Call) -> Result<(), Error>> Dispatch<'a, '_, J> {
    async fn until_content(&mut self) -> Result<Dispatched, Error> {
        loop {
            let (at, draw) = (now(), self.lot.share());
            let entry = match self.schedule.next(|index| self.view(index, at), draw, at) {
                Step::Try(index) => self.enter(index, Entry::default()).await,
                Step::Rest(refused, index) => self.rest(index, refused).await,
                Step::Wait(index) => self.enter(index, Entry { may_wait: true, ..Entry::default() }).await,
                Step::LastResort(index) => {
                    self.enter(index, Entry { last_resort: true, may_wait: true, ..Entry::default() }).await
                }
                Step::Pause(pause, index) => self.enter_again(index, pause).await,
                Step::Stop => return Err(self.error(at)),
            };
            let Some((index, held)) = entry else { continue };
            if now() >= self.way.deadline.at {
                return Err(deadline_error(self.way.deadline));
            }
            if let Some(dispatched) = self.attempt(index, held).await? {
                return Ok(dispatched);
            }
        }
    }

    /// Makes an attempt, and another one beside it if it is slow. `None` if it failed and the schedule knows.
    async fn attempt(&mut self, index: usize, held: Held) -> Result<Option<Dispatched>, Error> {
        self.count(index);
        let (place, attempting) = self.start(index, held, false)?;
        let hedge = self.way.plan.policy.hedge.filter(|_| self.schedule.made() == 1);
        let outcome = match hedge {
            None => attempting.await,
            Some(hedge) => return self.hedged(hedge, (index, place), Box::pin(attempting)).await,
        };
        self.came((index, place), outcome)
    }

    /// Writes an attempt down and begins it.
    fn start(
        &mut self,
        index: usize,
        held: Held,
        hedged: bool,
    ) -> Result<(usize, impl Future<Output = Outcome> + Send + 'a), Error> {
        let candidate = self.candidates[index];
        let (place, heard) = self.running.start(&candidate.target, hedged, now())?;
        self.schedule.started(index);
        let patience = self.patience(index, now());
        Ok((place, ask((self.way, self.brief), candidate, held, heard, patience)))
    }

    /// Returns how a target is.
    pub(super) fn view(&self, index: usize, at: Instant) -> View {
        self.way.health.of(&self.candidates[index].target).view(at)
    }

    /// Waits for a first attempt, and asks a second target if it takes too long.
    async fn hedged(
        &mut self,
        hedge: Hedge,
        first: (usize, usize),
        mut attempting: Attempting<'a>,
    ) -> Result<Option<Dispatched>, Error> {
        if let Ok(outcome) = timeout(hedge.after, &mut attempting).await {
            return self.came(first, outcome);
        }
        let Some((index, held)) = self.enter_beside().await else {
            let outcome = attempting.await;
            return self.came(first, outcome);
        };
        let (place, beside) = self.start(index, held, true)?;
        self.running.set_company(first.1, true);
        let Came { is_second, outcome, other } = race(attempting, Box::pin(beside)).await;
        let (this, that) = if is_second { ((index, place), first) } else { (first, (index, place)) };
        let (done, won) = if matches!(outcome, Err(Failed::Upstream(_))) {
            self.came(this, outcome)?;
            self.running.set_company(that.1, false);
            let outcome = other.await;
            (self.came(that, outcome), !is_second)
        } else {
            drop(other);
            (self.came(this, outcome), is_second)
        };
        metrics::hedged(&self.running.call.asked.model, won && matches!(done, Ok(Some(_))));
        done
    }

    /// Writes down how an attempt came out.
    fn came(
        &mut self,
        (index, place): (usize, usize),
        outcome: Outcome,
    ) -> Result<Option<Dispatched>, Error> {
        let failure = match outcome {
            Ok(dispatched) => {
                self.running.won(place, now());
                return Ok(Some(dispatched));
            }
            Err(Failed::Deadline(error)) => return Err(error),
            Err(Failed::Upstream(failure)) => failure,
        };
        let at = now();
        self.running.failed(place, &failure, at);
        self.schedule.failed(index, Lesson::from(&failure), at);
        if !self.way.request.can_be_sent() {
            self.schedule.give_up();
        }
        if !self.running.any() {
            self.running.put_last(place);
        }
        self.way.health.compare(self.way.plan.candidates.iter().map(|candidate| &*candidate.target), at);
        self.last = Some((index, failure));
        Ok(None)
    }

    /// Counts an attempt that is not simply the first at the first target.
    fn count(&self, index: usize) {
        if self.last.is_some() && !self.schedule.is_charged(index) {
            self.way.health.failed_over(now());
        }
        let model = &self.running.call.asked.model;
        let reason = self.last.as_ref().map(|(_, failure)| failure.kind.as_str());
        match reason {
            Some(reason) if self.schedule.calls(index) > 0 => {
                metrics::retried(&self.candidates[index].target.name, reason);
            }
            _ => {
                // The first target as a last resort is no other.
                if let Some(reason) = reason.or(self.passed_over.filter(|_| index > 0)) {
                    metrics::fell_back(model, reason);
                }
            }
        }
    }

    /// Says why the call has no answer.
    fn error(&mut self, at: Instant) -> Error {
        if at >= self.way.deadline.at {
            return deadline_error(self.way.deadline);
        }
        if let Some((index, failure)) = self.last.take() {
            let error = failure::to_caller(failure, &self.candidates[index].target, false);
            let limited = self.running.call.attempts.iter().any(|attempt| attempt.outcome == RATE_LIMITED);
            let wait = failure::wait_until(self.soonest(at), at).filter(|_| limited);
            return if wait.is_some() { error.retry_after(wait) } else { error };
        }
        if let Some(limited) = self.limited.take() {
            return limited;
        }
        if let Some((index, busy)) = self.busy {
            let candidate = self.candidates[index];
            return failure::busy(&candidate.target, candidate.concurrent, busy);
        }
        let why = |(index, refused): &(usize, Refused)| {
            let target = &*self.candidates[*index].target;
            let last_failure = self.view(*index, at).last_failure;
            (target, *refused, last_failure.map(|(kind, _)| kind))
        };
        let refusals: Vec<_> = self.refusals.iter().map(why).collect();
        failure::refused(&refusals, &self.running.call.asked.model, at)
    }

    /// Returns when the first target can be asked again.
    fn soonest(&self, at: Instant) -> Option<Instant> {
        let views = (0..self.candidates.len()).map(|index| self.view(index, at));
        let kept_away = views.filter_map(|view| view.retry_at).min();
        [kept_away, self.schedule.soonest()].into_iter().flatten().min()
    }
}

/// The lot of a call is its own id, which nobody can foretell and a test can set.
fn lot_of(brief: &Brief) -> Lot {
    let (high, low) = brief.call_id.as_u64_pair();
    Lot::seeded(high ^ low)
}

/// Makes one upstream call of a way.
async fn ask<'a>(
    (way, brief): (&'a Way, &'a Brief),
    candidate: &'a Candidate,
    held: Held,
    heard: Arc<Heard>,
    patience: Option<Patience>,
) -> Outcome {
    let Way { request, timeouts, deadline, .. } = way;
    let upcall = Upcall { candidate, request, brief, timeouts: *timeouts, deadline: *deadline, patience };
    upcall.run(held, &heard).await
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timed;
