//! Counts over the time just passed, in ten buckets.

use std::time::{Duration, Instant};

const BUCKETS: usize = 10;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All.
    pub all: u64,
    /// Those of them that are marked: failures, or retries.
    pub marked: u64,
}

impl Counts {
    /// Returns the share of those that are marked; absent if there is nothing to share.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than a float holds")]
    pub(super) fn share(self) -> Option<f64> {
        (self.all > 0).then(|| self.marked as f64 / self.all as f64)
    }
}

/// Counts of a span of time that moves on with the clock, a tenth at a step.
#[derive(Debug)]
pub(super) struct Window {
    /// Length of a bucket, never nothing.
    step: Duration,
    /// Where the first bucket began.
    origin: Option<Instant>,
    /// Number of the newest bucket, from the origin.
    newest: u64,
    /// The last ten, each at its number modulo ten.
    buckets: [Counts; BUCKETS],
}

impl Window {
    /// Makes one that looks so far back.
    pub(super) fn new(span: Duration) -> Self {
        let step = (span / 10).max(Duration::from_millis(1));
        Self { step, origin: None, newest: 0, buckets: [Counts::default(); BUCKETS] }
    }

    /// Looks so far back from now on. What was counted is forgotten if that is a change.
    pub(super) fn resize(&mut self, span: Duration) {
        let resized = Self::new(span);
        if resized.step != self.step {
            *self = resized;
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.buckets = [Counts::default(); BUCKETS];
    }

    /// Counts one.
    pub(super) fn add(&mut self, marked: bool, now: Instant) {
        let bucket = self.current(now);
        bucket.all += 1;
        bucket.marked += u64::from(marked);
    }

    /// Marks one that is counted, or will be.
    pub(super) fn mark(&mut self, now: Instant) {
        self.current(now).marked += 1;
    }

    /// Returns the counts of the span that ends now.
    pub(super) fn sum(&self, now: Instant) -> Counts {
        let oldest = (self.number(now) + 1).saturating_sub(BUCKETS as u64);
        let mut sum = Counts::default();
        for number in oldest.max((self.newest + 1).saturating_sub(BUCKETS as u64))..=self.newest {
            let bucket = self.buckets[index(number)];
            sum.all += bucket.all;
            sum.marked += bucket.marked;
        }
        sum
    }

    fn current(&mut self, now: Instant) -> &mut Counts {
        self.origin.get_or_insert(now);
        let number = self.number(now);
        // More than ten steps clear every bucket just the same.
        for passed in (self.newest + 1..=number).take(BUCKETS) {
            self.buckets[index(passed)] = Counts::default();
        }
        self.newest = self.newest.max(number);
        &mut self.buckets[index(self.newest)]
    }

    fn number(&self, now: Instant) -> u64 {
        let Some(origin) = self.origin else { return 0 };
        let steps = now.saturating_duration_since(origin).as_nanos() / self.step.as_nanos();
        u64::try_from(steps).unwrap_or(u64::MAX - 1)
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number % BUCKETS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_leave_the_window_a_tenth_at_a_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut window = Window::new(Duration::from_secs(10));
        window.add(true, at(0));
        window.add(false, at(500));
        window.add(false, at(1_000));
        for (ms, all, marked) in
            [(1_000, 3, 1), (9_999, 3, 1), (10_000, 1, 0), (10_999, 1, 0), (11_000, 0, 0)]
        {
            assert_eq!(window.sum(at(ms)), Counts { all, marked }, "at {ms} ms");
        }
        assert_eq!(window.sum(at(9_999)).share(), Some(1.0 / 3.0));
        assert_eq!(window.sum(at(60_000)).share(), None);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_buckets_within_reach(
            steps in proptest::collection::vec((0_u64..4_000, any::<bool>()), 1..200),
        ) {
            let start = Instant::now();
            let mut window = Window::new(Duration::from_secs(10));
            let (mut log, mut ms) = (Vec::new(), 0);
            for (step, marked) in steps {
                // The first is the origin; most steps are small, some leap over the whole window.
                ms += if log.is_empty() { 0 } else if step > 3_900 { step * 10 } else { step / 4 };
                let now = start + Duration::from_millis(ms);
                window.add(marked, now);
                log.push((ms / 1_000, marked));
                let reach = |second: &&(u64, bool)| second.0 + 10 > ms / 1_000;
                let all = log.iter().filter(reach).count() as u64;
                let marked = log.iter().filter(reach).filter(|(_, marked)| *marked).count() as u64;
                prop_assert_eq!(window.sum(now), Counts { all, marked });
            }
        }
    }
}
