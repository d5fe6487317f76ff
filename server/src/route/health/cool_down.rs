//! Pauses that a target asks for: 429, or a 503 that says how long.

use std::time::{Duration, Instant};

/// The first pause after a refusal that says nothing of how long; it doubles with each further one in a row.
const FIRST: Duration = Duration::from_secs(1);
/// The longest of those.
const LONGEST: Duration = Duration::from_secs(10);

/// The pause of one target.
#[derive(Debug, Default)]
pub(super) struct CoolDown {
    until: Option<Instant>,
    /// Refusals in a row that did not say how long.
    in_a_row: u32,
    /// Number of the first attempt that was started after the last refusal.
    since: u64,
}

impl CoolDown {
    /// Returns when the pause is over, if it is not.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// Notes a refusal of an attempt. Many at a time that do not say how long are one: they knew nothing of each other.
    pub(super) fn refused(
        &mut self,
        attempt: u64,
        next: u64,
        asked: Option<Duration>,
        longest: Duration,
        now: Instant,
    ) {
        if let Some(asked) = asked {
            return self.pause(now + asked.min(longest), next);
        }
        if attempt >= self.since {
            let pause = FIRST.saturating_mul(1 << self.in_a_row.min(16)).min(LONGEST);
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.pause(now + pause.min(longest), next);
        }
    }

    /// Pauses until then, or longer if that is so already.
    pub(super) fn pause(&mut self, until: Instant, next: u64) {
        self.until = Some(self.until.map_or(until, |already| already.max(until)));
        self.since = next;
    }

    /// Notes a success, which ends the row if the attempt was started since the last refusal. What the target asked
    /// for is waited for all the same.
    pub(super) fn succeeded(&mut self, attempt: u64) {
        if attempt >= self.since {
            self.in_a_row = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_target_is_left_alone_for_as_long_as_it_says_within_bounds() {
        let now = Instant::now();
        let nothing = Duration::ZERO;
        let cases =
            [(nothing, None), (seconds(2), Some(2)), (seconds(61), Some(60)), (Duration::MAX, Some(60))];
        for (asked, paused) in cases {
            let mut cool_down = CoolDown::default();
            cool_down.refused(0, 1, Some(asked), MINUTE, now);
            assert_eq!(cool_down.until(now), paused.map(|paused| now + seconds(paused)), "{asked:?}");
        }
    }

    #[test]
    fn a_shorter_word_does_not_cut_a_longer_one() {
        let now = Instant::now();
        let mut cool_down = CoolDown::default();
        cool_down.refused(0, 2, Some(seconds(30)), MINUTE, now);
        cool_down.refused(1, 2, Some(seconds(1)), MINUTE, now);
        assert_eq!(cool_down.until(now), Some(now + seconds(30)));
        assert_eq!(cool_down.until(now + seconds(30)), None);
    }

    #[test]
    fn refusals_in_a_row_double_the_pause_and_a_success_ends_the_row() {
        let mut now = Instant::now();
        let mut cool_down = CoolDown::default();
        let mut pause = |attempt: u64, served: bool| {
            if served {
                cool_down.succeeded(attempt);
                return 0;
            }
            cool_down.refused(attempt, attempt + 1, None, MINUTE, now);
            let until = cool_down.until(now).unwrap();
            let pause = until - now;
            now = until;
            pause.as_secs()
        };
        let pauses = [false, false, false, false, false, true, false];
        let pauses: Vec<u64> = (0..).zip(pauses).map(|(attempt, served)| pause(attempt, served)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 0, 1]);
    }

    #[test]
    fn refusals_of_attempts_that_ran_together_count_once_and_their_successes_not_at_all() {
        let now = Instant::now();
        let mut cool_down = CoolDown::default();
        for attempt in 0..200 {
            cool_down.refused(attempt, 201, None, MINUTE, now);
        }
        cool_down.succeeded(200);
        assert_eq!(cool_down.until(now), Some(now + seconds(1)));
        cool_down.refused(201, 202, None, MINUTE, now + seconds(1));
        assert_eq!(cool_down.until(now + seconds(1)), Some(now + seconds(3)));
    }
}
