//! A few each second, or each few seconds, and no more: what is let through even where nothing else is.

use std::time::{Duration, Instant};

/// How many each span.
const AT_MOST: usize = 10;
/// The span if nothing else is said.
const SECOND: Duration = Duration::from_secs(1);

/// Lets ten through in any span of time. Unlike a bucket that refills, it never lets a burst and its refill through within
/// the same span.
#[derive(Debug)]
pub(super) struct Trickle {
    /// The last ten that were let through; the oldest is next to go.
    last: [Option<Instant>; AT_MOST],
    oldest: usize,
    span: Duration,
}

impl Default for Trickle {
    fn default() -> Self {
        Self::over(SECOND)
    }
}

impl Trickle {
    /// Lets ten through in any such span.
    pub(super) fn over(span: Duration) -> Self {
        Self { last: [None; AT_MOST], oldest: 0, span }
    }

    /// Tells whether one more may go through.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let oldest = self.last[self.oldest];
        oldest.is_none_or(|then| now.saturating_duration_since(then) >= self.span)
    }

    /// Lets one through if there is room, and counts it.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let has_room = self.has_room(now);
        if has_room {
            self.last[self.oldest] = Some(now);
            self.oldest = (self.oldest + 1) % AT_MOST;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ten_pass_at_once_and_the_next_ten_a_second_later() {
        let start = Instant::now();
        let mut trickle = Trickle::default();
        let mut passed = |ms| (0..50).filter(|_| trickle.take(start + Duration::from_millis(ms))).count();
        assert_eq!([passed(0), passed(999), passed(1_000), passed(1_500), passed(9_000)], [10, 0, 10, 0, 10]);
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_ten_and_none_waits_longer_than_one(
            gaps in proptest::collection::vec(0_u64..400, 1..300),
        ) {
            let start = Instant::now();
            let mut trickle = Trickle::default();
            let (mut passed, mut ms) = (Vec::new(), 0);
            for gap in gaps {
                ms += gap;
                let before = passed.iter().filter(|then| **then + 1_000 > ms).count();
                let took = trickle.take(start + Duration::from_millis(ms));
                prop_assert_eq!(took, before < AT_MOST);
                if took {
                    passed.push(ms);
                }
            }
        }
    }
}
