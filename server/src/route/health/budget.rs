//! How many retries there may be: a share of the calls of late, and a trickle beside it.

use std::time::{Duration, Instant};

use super::{trickle::Trickle, window::Window};

/// How far back calls and retries count.
const SPAN: Duration = Duration::from_secs(10);

/// The retries of a target, or of the whole process.
#[derive(Debug)]
pub(super) struct Budget {
    /// Attempts, and the retries among them.
    attempts: Window,
    /// Retries that are allowed however few calls there are, so that a quiet target is retried too.
    floor: Trickle,
}

/// What a retry is allowed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// The share of calls.
    Share,
    /// The trickle.
    Floor,
}

impl Default for Budget {
    fn default() -> Self {
        Self { attempts: Window::new(SPAN), floor: Trickle::default() }
    }
}

impl Budget {
    /// Counts an attempt, a retry or not.
    pub(super) fn attempted(&mut self, now: Instant) {
        self.attempts.add(false, now);
    }

    /// Tells what allows another retry; nothing if none is left.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than a float holds")]
    pub(super) fn allows(&self, share: f64, now: Instant) -> Option<Allowance> {
        let counts = self.attempts.sum(now);
        let calls = counts.all.saturating_sub(counts.marked);
        if (counts.marked + 1) as f64 <= share * calls as f64 {
            return Some(Allowance::Share);
        }
        self.floor.has_room(now).then_some(Allowance::Floor)
    }

    /// Counts a retry that is about to be made; its attempt is counted beside it.
    pub(super) fn retried(&mut self, by: Allowance, now: Instant) {
        self.attempts.mark(now);
        if by == Allowance::Floor {
            self.floor.take(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retry(budget: &mut Budget, share: f64, now: Instant) -> bool {
        let allowance = budget.allows(share, now);
        if let Some(by) = allowance {
            budget.retried(by, now);
            budget.attempted(now);
        }
        allowance.is_some()
    }

    #[test]
    fn a_busy_target_is_retried_by_its_share_and_then_by_the_floor() {
        let now = Instant::now();
        let mut budget = Budget::default();
        for _ in 0..1_000 {
            budget.attempted(now);
        }
        let granted = (0..1_000).filter(|_| retry(&mut budget, 0.1, now)).count();
        assert_eq!(granted, 100 + 10);
        let later = now + Duration::from_secs(1);
        let granted = (0..1_000).filter(|_| retry(&mut budget, 0.1, later)).count();
        assert_eq!(granted, 10, "the share is spent, the floor is not");
    }

    #[test]
    fn without_a_share_only_the_floor_is_left() {
        let now = Instant::now();
        let mut budget = Budget::default();
        (0..1_000).for_each(|_| budget.attempted(now));
        assert_eq!((0..1_000).filter(|_| retry(&mut budget, 0.0, now)).count(), 10);
    }

    proptest! {
        /// Judged from a log of its own: in each ten seconds that end with a retry there are no more than the share
        /// of their calls and ten a second.
        #[test]
        fn ten_seconds_never_have_more_retries_than_share_and_floor(
            share in 0.0_f64..1.0,
            events in proptest::collection::vec((0_u64..300, 0_u64..40, 0_u64..20), 1..100),
        ) {
            let start = Instant::now();
            let mut budget = Budget::default();
            let (mut calls, mut retries, mut ms) = (Vec::new(), Vec::new(), 0);
            for (gap, called, asked) in events {
                ms += gap;
                let now = start + Duration::from_millis(ms);
                for _ in 0..called {
                    budget.attempted(now);
                    calls.push(ms);
                }
                for _ in 0..asked {
                    if retry(&mut budget, share, now) {
                        retries.push(ms);
                    }
                }
            }
            for end in retries.iter().step_by(7).chain(retries.last()) {
                let within = |log: &[u64], reach: u64| {
                    log.iter().filter(|at| **at <= *end && **at + reach > *end).count()
                };
                let (made, called) = (within(&retries, 10_000), within(&calls, 20_000));
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let most = share * called as f64 + 100.0;
                prop_assert!(made as u64 as f64 <= most, "{made} retries with {called} calls");
            }
        }
    }
}
