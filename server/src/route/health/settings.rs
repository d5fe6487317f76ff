//! When a target is left alone, and for how long.

use std::time::Duration;

use crate::config;

/// Longer pauses than this make no sense, and could not be added to a clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// When a target is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Failures in a row that open the breaker.
    pub failures: u32,
    /// Share of failures within `window` that opens it, 0 to 1.
    pub failure_ratio: f64,
    /// Least calls within `window` for the share to count.
    pub min_calls: u32,
    /// How far back failures count.
    pub window: Duration,
    /// How long it stays open the first time.
    pub open: Duration,
    /// The longest it stays open.
    pub max_open: Duration,
    /// The longest pause that `Retry-After` can cause.
    pub max_cool_down: Duration,
}

impl From<&config::Breaker> for Settings {
    fn from(breaker: &config::Breaker) -> Self {
        Self {
            failures: breaker.failures,
            failure_ratio: breaker.failure_ratio.ratio(),
            min_calls: breaker.min_calls,
            window: breaker.window.0,
            open: breaker.open.0,
            max_open: breaker.max_open.0.min(LONGEST),
            max_cool_down: breaker.max_cool_down.0.min(LONGEST),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&config::Breaker::default())
    }
}

impl Settings {
    /// Returns how long a target is left alone that was so many times before, spread by the factor `jitter`, so that
    /// replicas do not come back in step.
    pub(super) fn pause(&self, times: u32, jitter: f64) -> Duration {
        let doubled = self.open.saturating_mul(1 << times.min(30)).min(self.max_open);
        doubled.mul_f64(jitter).min(self.max_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let settings = Settings::default();
        let pauses = [0, 1, 5, 6, u32::MAX].map(|times| settings.pause(times, 1.0).as_secs());
        assert_eq!(pauses, [1, 2, 32, 60, 60]);
        let spread = [0.8, 1.2].map(|jitter| settings.pause(0, jitter).as_millis());
        assert_eq!(spread, [800, 1_200]);
        assert_eq!(settings.pause(9, 1.2), settings.max_open);
    }
}
