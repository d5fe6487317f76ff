//! How long a target is left alone before it is asked again: full jitter, or as long as it wants itself.

use std::time::Duration;

/// A wait that a target asks for is drawn out by at most this share, so that not all come back at once.
const JITTER: f64 = 0.1;

/// The pauses of one policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// Longest pause before the second call to the same target.
    pub(super) first: Duration,
    /// Longest pause of all.
    pub(super) most: Duration,
}

impl Backoff {
    /// Draws the pause after so many calls to a target: between nothing and a bound that doubles with each call.
    /// `draw` is from 0 to 1.
    pub(super) fn after(&self, calls: u32, draw: f64) -> Duration {
        self.bound(calls).mul_f64(draw.clamp(0.0, 1.0))
    }

    /// Returns the longest pause after so many calls.
    pub(super) fn bound(&self, calls: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(calls.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.most)
    }

    /// Returns the pause before a target that asked for a wait: that long, and a little more. `None` if it is longer
    /// than any pause may be.
    pub(super) fn at_least(&self, wait: Duration, draw: f64) -> Option<Duration> {
        let longer = wait.mul_f64(1.0 + JITTER * draw.clamp(0.0, 1.0));
        (wait <= self.most).then(|| longer.min(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(1) };

    #[test]
    fn the_bound_doubles_up_to_the_longest() {
        let bounds = [1, 2, 3, 4, 60].map(|calls| BACKOFF.bound(calls).as_millis());
        assert_eq!(bounds, [200, 400, 800, 1_000, 1_000]);
        assert_eq!(BACKOFF.after(2, 0.5), Duration::from_millis(200));
        assert_eq!(BACKOFF.after(1, 0.0), Duration::ZERO);
    }

    #[test]
    fn a_wait_that_was_asked_for_is_never_cut_short() {
        let wait = Duration::from_millis(950);
        assert_eq!(BACKOFF.at_least(wait, 0.0), Some(wait));
        assert_eq!(BACKOFF.at_least(wait, 1.0), Some(BACKOFF.most));
        assert_eq!(BACKOFF.at_least(Duration::from_secs(2), 0.0), None);
    }
}
