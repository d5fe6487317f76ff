//! Chance for choices and pauses: one source, which tests can seed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What SplitMix64 counts by: 2⁶⁴ divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of numbers that look drawn by lot. Not for secrets. Cheap, and shared by reference.
#[derive(Debug)]
pub struct Lot {
    count: AtomicU64,
}

impl Lot {
    /// Makes a source that nobody can foretell.
    pub fn new() -> Self {
        // Without the system's randomness the lots of two processes may agree, and nothing worse.
        Self::seeded(getrandom::u64().unwrap_or_default())
    }

    /// Makes a source that always draws the same.
    pub fn seeded(seed: u64) -> Self {
        Self { count: AtomicU64::new(seed) }
    }

    /// Draws a number.
    pub fn draw(&self) -> u64 {
        mixed(self.count.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
    }

    /// Draws a number from 0 to 1, 1 excluded.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds exactly")]
    pub fn share(&self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws a time between nothing and the longest: full jitter.
    pub fn up_to(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.share())
    }

    /// Draws a factor that differs from 1 by `spread` at most.
    pub fn around_one(&self, spread: f64) -> f64 {
        1.0 - spread + 2.0 * spread * self.share()
    }
}

impl Default for Lot {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the number that SplitMix64 makes of a count.
fn mixed(count: u64) -> u64 {
    let mixed = (count ^ (count >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_what_splitmix64_draws() {
        // The first two of the reference implementation for seed 1234567.
        let lot = Lot::seeded(1_234_567);
        assert_eq!([lot.draw(), lot.draw()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn draws_stay_within_their_bounds_and_fill_them() {
        let lot = Lot::seeded(1);
        let mut sum = Duration::ZERO;
        for _ in 0..4_000 {
            assert!((0.0..1.0).contains(&lot.share()));
            assert!((0.8..=1.2).contains(&lot.around_one(0.2)));
            let pause = lot.up_to(Duration::from_secs(2));
            assert!(pause <= Duration::from_secs(2));
            sum += pause;
        }
        assert!((Duration::from_millis(950)..Duration::from_millis(1_050)).contains(&(sum / 4_000)));
    }
}
