//! A second target beside a slow first one: whichever brings content first serves the call.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
};

use futures_util::future::{Either, select};

use super::attempt::Outcome;

/// Parts of one hedge that a full budget holds.
const WHOLE: u32 = 1_000_000;

/// How many calls of an alias may be asked twice: every call adds its share of a hedge, up to a whole one.
#[derive(Debug)]
pub struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(WHOLE))
    }
}

impl Budget {
    /// A call begins, of which so large a share may be hedged.
    pub(super) fn add(&self, share: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and WHOLE")]
        let parts = (share.clamp(0.0, 1.0) * f64::from(WHOLE)).round() as u32;
        let added = |held: u32| Some(held.saturating_add(parts).min(WHOLE));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }

    /// Takes a hedge, if there is a whole one.
    pub(super) fn take(&self) -> bool {
        let taken = |held: u32| held.checked_sub(WHOLE);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

/// The state of a budget is no part of a policy's settings.
impl PartialEq for Budget {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// An attempt that runs.
pub(super) type Attempting<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// How an attempt of a race came out, and the other one if that still runs.
pub(super) struct Came<'a> {
    /// Whether it is the second.
    pub(super) is_second: bool,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// The other one.
    pub(super) other: Attempting<'a>,
}

/// Waits for the first of two attempts to end.
pub(super) async fn race<'a>(first: Attempting<'a>, second: Attempting<'a>) -> Came<'a> {
    match select(first, second).await {
        Either::Left((outcome, other)) => Came { is_second: false, outcome, other },
        Either::Right((outcome, other)) => Came { is_second: true, outcome, other },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_share_of_the_calls_and_one_is_hedged() {
        for share in [0.0, 0.02, 0.5, 1.0] {
            let budget = Budget::default();
            let hedged = (0..1_000).filter(|_| {
                budget.add(share);
                budget.take()
            });
            assert!(hedged.count().abs_diff((share * 1e3) as usize) <= 1, "{share}");
        }
    }

    #[test]
    fn a_quiet_time_is_not_saved_up() {
        let budget = Budget::default();
        (0..1_000).for_each(|_| budget.add(0.5));
        assert!(budget.take());
        assert!(!budget.take());
    }
}
