//! How long a target is left alone before it is asked again: full jitter, or as long as it wants itself.

use std::time::Duration;

use uuid::Uuid;

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

/// Draws a number from 0 to 1 for the nth pause of a call. The lot is the call's own id, which nobody can foresee and
/// a test can set.
pub(super) fn draw(call: Uuid, nth: usize) -> f64 {
    let (high, low) = call.as_u64_pair();
    let mut bits = high ^ low.rotate_left(32) ^ (nth as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // The end of SplitMix64: every bit of the id counts.
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    f64::from(u32::try_from(bits >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
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

    #[test]
    fn draws_fill_the_range_and_depend_on_the_call_and_the_pause() {
        let draws: Vec<f64> =
            (0..1_000_u128).map(|id| draw(Uuid::from_u128(id * 7), usize::from(id % 2 == 0))).collect();
        let mean = draws.iter().sum::<f64>() / 1e3;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)));
        assert!(draws.iter().any(|draw| *draw < 0.05) && draws.iter().any(|draw| *draw > 0.95));
        let id = Uuid::from_u128(9);
        assert!(draw(id, 1).to_bits() != draw(id, 2).to_bits());
    }
}
