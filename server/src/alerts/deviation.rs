//! When spend is out of the ordinary. Plain: by the median of what was spent at this time of the week before, and by the
//! median of how far that was from it, which a single odd hour does not move.

use super::Deviation;

/// With fewer hours to compare with, nothing is ordinary.
const FEWEST: usize = 3;
/// The median deviation of what is normally distributed, times this, is its standard deviation; in thousandths.
const CONSISTENT: i128 = 1_483;

/// How far from the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Odd {
    /// Whether it is more, not less.
    pub(super) above: bool,
    /// What is usual in nano-USD.
    pub(super) usual: i64,
}

/// Judges what was spent in an hour; of one that is not over, only whether it is too much already.
pub(super) fn judge(now: i64, is_over: bool, before: &[i64], settings: &Deviation) -> Option<Odd> {
    if before.len() < FEWEST {
        return None;
    }
    let usual = median(before.iter().copied());
    let spread =
        i128::from(median(before.iter().map(|hour| hour.abs_diff(usual).try_into().unwrap_or(i64::MAX))));
    // Spend that never varies has no spread; a tenth is nothing to wake anybody for.
    let spread = (spread * CONSISTENT / 1_000).max(i128::from(usual) / 10);
    let apart = i128::from(now) - i128::from(usual);
    let is_far =
        apart.abs() > spread * i128::from(settings.factor) && apart.abs() >= i128::from(settings.at_least);
    (is_far && (apart > 0 || is_over)).then_some(Odd { above: apart > 0, usual })
}

/// Returns the middle one, the lower of two.
fn median(values: impl Iterator<Item = i64>) -> i64 {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USD: i64 = 1_000_000_000;

    fn settings() -> Deviation {
        Deviation { by: Vec::new(), factor: 4, at_least: 5 * USD, weeks: 4 }
    }

    #[test]
    fn what_is_far_from_the_usual_is_odd_and_cents_are_not() {
        let usual = [10, 11, 9, 10, 12, 10].map(|usd| usd * USD);
        let odd = |now, is_over| judge(now, is_over, &usual, &settings());
        assert_eq!(odd(13 * USD, true), None);
        assert_eq!(odd(40 * USD, false), Some(Odd { above: true, usual: 10 * USD }), "already");
        assert_eq!(odd(0, false), None, "the hour is not over");
        assert_eq!(odd(0, true), Some(Odd { above: false, usual: 10 * USD }));
        assert_eq!(judge(USD, true, &[1_000_000; 12], &settings()), None, "a thousand times cents");
        assert_eq!(
            judge(6 * USD, true, &[0; 12], &settings()),
            Some(Odd { above: true, usual: 0 }),
            "from nothing"
        );
        assert_eq!(judge(600 * USD, true, &[0; 2], &settings()), None, "nothing to compare with");
    }

    #[test]
    fn one_odd_hour_before_hides_nothing() {
        let mut before = vec![10 * USD; 11];
        before.push(1_000 * USD);
        assert!(judge(60 * USD, true, &before, &settings()).is_some());
    }

    proptest! {
        #[test]
        fn what_was_usual_is_never_odd_and_more_is_never_less_odd(
            before in prop::collection::vec(0..i64::MAX / 4, 3..16),
            more in 0..i64::MAX / 4,
        ) {
            let usual = median(before.iter().copied());
            prop_assert_eq!(judge(usual, true, &before, &settings()), None);
            let odd = judge(usual + more / 2, false, &before, &settings());
            if let Some(odd) = odd {
                prop_assert!(odd.above);
                prop_assert!(judge(usual + more, false, &before, &settings()).is_some());
            }
        }
    }
}
