//! When a target may be asked after a pause: the same one again, or one that is about to be well.

use std::time::{Duration, Instant};

use super::{
    Schedule,
    standing::{Mark, Standing},
};
use crate::{
    provider::Kind,
    route::health::{Refused, State, View},
};

/// The longest that a call waits for a target that failed: longer than a breaker is open for the first time. How long it
/// rests is our guess then, and whoever breaks a circuit wants calls to fail fast.
pub(super) const GUESSED: Duration = Duration::from_millis(1_250);

impl Schedule {
    /// Returns the target that is well again soonest, if none is well. One that is only worse than its siblings comes first:
    /// without them it may be tried at once.
    pub(super) fn soonest_well(&self) -> Option<(Refused, usize)> {
        let refused = self.untried().map(|(index, standing)| match standing.mark {
            Mark::Refused(refused) => Some((refused, index)),
            Mark::None | Mark::Full | Mark::Busy => None,
        });
        let all: Option<Vec<(Refused, usize)>> = refused.collect();
        all?.into_iter().min_by_key(|(refused, _)| (refused.state != State::Ejected, refused.until))
    }

    /// Tells whether a call waits for a target to become well: not for long, not for what could not answer in time, and
    /// not again after it was in vain.
    pub(super) fn may_rest(&self, refused: Refused, view: &View, now: Instant) -> bool {
        let longest = match refused.state {
            State::CoolingDown => self.backoff.most,
            State::Open | State::HalfOpen => self.backoff.most.min(GUESSED),
            State::Closed | State::Ejected => return false,
        };
        let latest = self.rests_since.unwrap_or(now).checked_add(longest);
        let is_soon = latest.is_none_or(|latest| refused.until <= latest);
        let answers = refused.until.checked_add(view.first_token.unwrap_or_default());
        !self.rested && is_soon && answers.is_some_and(|answers| answers < self.deadline.at)
    }

    /// Returns the least pause before a target may be asked again, and the one that was drawn; `None` if it may not, or
    /// could not answer before the deadline.
    pub(super) fn again(
        &self,
        standing: &Standing,
        view: &View,
        draw: f64,
        now: Instant,
    ) -> Option<(Duration, Duration)> {
        let Standing { calls, last, .. } = self.targets[standing.same_as];
        let (lesson, at) = last.filter(|_| standing.mark == Mark::None)?;
        let may_help = matches!(
            lesson.kind,
            Kind::RateLimited { .. } | Kind::Timeout | Kind::Unavailable | Kind::BadResponse
        );
        if !may_help || !matches!(view.state, State::Closed | State::CoolingDown) {
            return None;
        }
        let told = lesson.retry_after.and_then(|wait| at.checked_add(wait));
        let wait = told.max(view.retry_at).map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        let (least, pause) = if wait.is_zero() {
            (self.backoff.bound(calls), self.backoff.after(calls, draw))
        } else {
            (wait, self.backoff.at_least(wait, draw)?)
        };
        let typical = view.first_token.unwrap_or_default();
        let answers = now.checked_add(pause)?.checked_add(typical)?;
        (answers < self.deadline.at).then_some((least, pause))
    }
}
