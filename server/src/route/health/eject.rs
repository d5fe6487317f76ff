//! Outliers among siblings: a target that fails far more often than the others of its plan is left out for a while.

use std::time::Instant;

use super::settings::Settings;

/// Least attempts of late for a target to be compared.
pub(super) const ENOUGH: u64 = 20;
/// Fewer siblings are no company to compare with.
pub(super) const COMPANY: usize = 3;
/// A target is an outlier if its share of failures is at least so many times that of the others …
const TIMES: f64 = 2.0;
/// … and so much more.
const MORE: f64 = 0.1;

/// How a target does, beside its siblings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sibling {
    /// Share of failures; absent if too few attempts ended to compare it.
    pub ratio: Option<f64>,
    /// Whether it takes calls.
    pub well: bool,
    /// Whether it is left out already.
    pub ejected: bool,
}

/// Returns which target is to be left out, the worst if several are: none if half of them are out already, or if no
/// other would be left that takes calls.
pub(super) fn outlier(siblings: &[Sibling]) -> Option<usize> {
    let ejected = siblings.iter().filter(|sibling| sibling.ejected).count();
    let well = siblings.iter().filter(|sibling| sibling.well).count();
    if siblings.len() < COMPANY || (ejected + 1) * 2 > siblings.len() || well < 2 {
        return None;
    }
    let compared = |sibling: &Sibling| if sibling.ejected { None } else { sibling.ratio };
    let sum: f64 = siblings.iter().filter_map(compared).sum();
    let count: u32 = siblings.iter().filter_map(compared).map(|_| 1).sum();
    let is_outlier = |ratio: f64| count > 1 && ratio >= TIMES * (sum - ratio) / f64::from(count - 1) + MORE;
    siblings
        .iter()
        .enumerate()
        .filter(|(_, sibling)| sibling.well)
        .filter_map(|(index, sibling)| Some((index, compared(sibling).filter(|ratio| is_outlier(*ratio))?)))
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(index, _)| index)
}

/// Whether a target is left out.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    until: Option<Instant>,
    /// How often it was, lately.
    times: u32,
    /// Whether its end has not been noticed yet.
    is_out: bool,
}

impl Ejection {
    /// Returns when it is over, if it is not.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// Leaves the target out: longer each time, unless it did well for as long as it can be left out.
    pub(super) fn eject(&mut self, settings: &Settings, jitter: f64, now: Instant) {
        if self.until.is_some_and(|until| now >= until + settings.max_open) {
            self.times = 0;
        }
        self.leave_out(now + settings.pause(self.times, jitter));
        self.times = self.times.saturating_add(1);
    }

    /// Leaves the target out until then, or longer if that is so already.
    pub(super) fn leave_out(&mut self, until: Instant) {
        self.until = Some(self.until.map_or(until, |already| already.max(until)));
        self.is_out = true;
    }

    /// Tells, once, that it is over.
    pub(super) fn comes_back(&mut self, now: Instant) -> bool {
        let comes_back = self.is_out && self.until(now).is_none();
        self.is_out &= !comes_back;
        comes_back
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn with(ratio: f64) -> Sibling {
        Sibling { ratio: Some(ratio), well: true, ejected: false }
    }

    #[test]
    fn who_is_an_outlier() {
        let new = Sibling { ratio: None, ..with(0.0) };
        let open = Sibling { well: false, ..with(1.0) };
        let out = Sibling { well: false, ejected: true, ..with(0.5) };
        let cases: [(&str, &[Sibling], Option<usize>); 9] = [
            ("two are no company", &[with(0.9), with(0.0)], None),
            ("far above the others", &[with(0.0), with(0.3), with(0.02)], Some(1)),
            ("a little above the others", &[with(0.0), with(0.09), with(0.0)], None),
            ("all are bad", &[with(0.5), with(0.6), with(0.5)], None),
            ("the worst of two", &[with(0.4), with(0.9), with(0.0), with(0.0)], Some(1)),
            ("nobody to compare with", &[with(0.9), new, new], None),
            ("its breaker is open already", &[open, with(0.0), with(0.0)], None),
            ("half of four may be out", &[out, with(0.9), with(0.0), with(0.0)], Some(1)),
            ("half of four are out", &[out, out, with(0.9), with(0.0)], None),
        ];
        for (case, siblings, expected) in cases {
            assert_eq!(outlier(siblings), expected, "{case}");
        }
    }

    #[test]
    fn each_time_is_longer_until_it_has_done_well() {
        let settings = Settings::default();
        let mut now = Instant::now();
        let mut ejection = Ejection::default();
        let mut pauses = Vec::new();
        for well_for in [0, 0, 0, 60] {
            ejection.eject(&settings, 1.0, now);
            let until = ejection.until(now).unwrap();
            pauses.push((until - now).as_secs());
            now = until + Duration::from_secs(well_for);
        }
        ejection.eject(&settings, 1.0, now);
        pauses.push((ejection.until(now).unwrap() - now).as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 1]);
    }

    proptest! {
        #[test]
        fn however_bad_they_are_half_of_them_and_one_that_is_well_stay(
            ratios in proptest::collection::vec((proptest::option::of(0.0_f64..=1.0), any::<bool>()), 0..12),
        ) {
            let mut siblings: Vec<Sibling> =
                ratios.iter().map(|(ratio, well)| Sibling { ratio: *ratio, well: *well, ejected: false }).collect();
            let were_well = siblings.iter().any(|sibling| sibling.well);
            while let Some(index) = outlier(&siblings) {
                prop_assert!(siblings[index].well);
                siblings[index] = Sibling { well: false, ejected: true, ..siblings[index] };
            }
            let ejected = siblings.iter().filter(|sibling| sibling.ejected).count();
            prop_assert!(ejected * 2 <= siblings.len());
            prop_assert_eq!(siblings.iter().any(|sibling| sibling.well), were_well);
        }
    }
}
