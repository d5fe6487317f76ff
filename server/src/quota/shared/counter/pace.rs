//! How much of a counter is admitted in a short while: what its next lease should suffice for.

use std::time::Duration;

/// Sums over the current and the last tenth of a second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    tenth: u128,
    current: i64,
    last: i64,
}

impl Pace {
    /// Counts what is admitted now.
    pub(super) fn add(&mut self, amount: i64, now: Duration) {
        self.advance(now);
        self.current = self.current.saturating_add(amount);
    }

    /// Returns the larger of the two sums.
    pub(super) fn at(&mut self, now: Duration) -> i64 {
        self.advance(now);
        self.current.max(self.last)
    }

    fn advance(&mut self, now: Duration) {
        let tenth = now.as_millis() / 100;
        if tenth > self.tenth {
            self.last = if tenth == self.tenth + 1 { self.current } else { 0 };
            (self.tenth, self.current) = (tenth, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_of_two_tenths_of_a_second_counts() {
        let at = Duration::from_millis;
        let mut pace = Pace::default();
        pace.add(5, at(10));
        pace.add(4, at(99));
        assert_eq!(pace.at(at(99)), 9);
        pace.add(2, at(150));
        assert_eq!(pace.at(at(199)), 9);
        assert_eq!(pace.at(at(200)), 2);
        assert_eq!(pace.at(at(400)), 0);
    }
}
