//! How many calls a target bears: found out by its refusals, as it does not say.

use std::time::{Duration, Instant};

/// What is left of the running calls when one was refused, in tenths.
const KEPT_TENTHS: usize = 7;
/// So many are always let through: where no more run, it is not their number that was refused, and a pause is enough.
const LEAST: usize = 4;
/// A target that has not refused for so long is let show that it bears twice as many, and so on: of calls that take long,
/// too few are served to find that out.
const DOUBLES: Duration = Duration::from_secs(1);
/// A target that has not refused for so long has no limit any more.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// A limit that a refusal cuts, that success raises again by one at a time, and time doubles. There is none before the
/// first refusal.
#[derive(Debug, Default)]
pub(super) struct Aimd {
    found: Option<Found>,
    /// How often the limit was cut.
    cuts: u64,
}

#[derive(Debug)]
struct Found {
    limit: usize,
    served: usize,
    last_refusal: Instant,
    /// How often it was doubled since then.
    doubled: u32,
}

impl Found {
    /// Returns when it doubles next.
    fn doubles_at(&self) -> Instant {
        self.last_refusal + DOUBLES * (self.doubled + 1)
    }
}

impl Aimd {
    /// Returns when there will be more places, if nobody is refused meanwhile.
    pub(super) fn grows_at(&self) -> Option<Instant> {
        self.found.as_ref().map(Found::doubles_at)
    }

    /// Returns the limit, if there is one.
    pub(super) fn limit(&mut self, now: Instant) -> Option<usize> {
        let forgiven = |found: &Found| now.saturating_duration_since(found.last_refusal) >= FORGIVEN_AFTER;
        if self.found.as_ref().is_some_and(forgiven) {
            self.found = None;
        }
        if let Some(found) = &mut self.found {
            while now >= found.doubles_at() {
                found.limit = found.limit.saturating_mul(2);
                found.doubled += 1;
            }
        }
        self.found.as_ref().map(|found| found.limit)
    }

    /// Returns how often the limit was cut. A call remembers it from its start.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Notes that the target refused a call for want of capacity while so many were running. A call from before the
    /// last cut tells nothing new: many are refused at the same moment, and only the first of them counts.
    pub(super) fn refused(&mut self, cuts_at_start: u64, running: usize, now: Instant) {
        if cuts_at_start < self.cuts {
            if let Some(found) = &mut self.found {
                (found.last_refusal, found.doubled) = (now, 0);
            }
            return;
        }
        if self.found.is_none() && running <= LEAST {
            return;
        }
        self.cuts += 1;
        let limit = (running * KEPT_TENTHS / 10).max(LEAST);
        self.found = Some(Found { limit, served: 0, last_refusal: now, doubled: 0 });
    }

    /// Notes that the target served a call.
    pub(super) fn served(&mut self) {
        let Some(found) = &mut self.found else { return };
        found.served += 1;
        if found.served >= found.limit {
            found.served = 0;
            found.limit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_limit_before_the_first_refusal() {
        let now = Instant::now();
        let mut aimd = Aimd::default();
        (0..100).for_each(|_| aimd.served());
        assert_eq!(aimd.limit(now), None);
    }

    #[test]
    fn a_refusal_leaves_seven_tenths_and_success_raises_one_at_a_time() {
        let now = Instant::now();
        let mut aimd = Aimd::default();
        aimd.refused(0, 20, now);
        assert_eq!(aimd.limit(now), Some(14));
        (0..13).for_each(|_| aimd.served());
        assert_eq!(aimd.limit(now), Some(14));
        aimd.served();
        assert_eq!(aimd.limit(now), Some(15));
        aimd.refused(aimd.cuts(), 1, now);
        assert_eq!(aimd.limit(now), Some(LEAST), "some are always let through");
    }

    #[test]
    fn a_refusal_where_few_run_says_nothing_of_how_many_may() {
        let now = Instant::now();
        let mut aimd = Aimd::default();
        aimd.refused(0, LEAST, now);
        assert_eq!((aimd.limit(now), aimd.cuts()), (None, 0));
        aimd.refused(0, LEAST + 1, now);
        assert_eq!((aimd.limit(now), aimd.cuts()), (Some(LEAST), 1));
    }

    #[test]
    fn a_limit_doubles_with_each_second_without_a_refusal_however_long_calls_take() {
        let start = Instant::now();
        let mut aimd = Aimd::default();
        aimd.refused(0, 10, start);
        assert_eq!(aimd.grows_at(), Some(start + DOUBLES));
        let at = |tenths: u32| start + DOUBLES * tenths / 10;
        assert_eq!([9, 10, 19, 20, 40].map(|tenths| aimd.limit(at(tenths))), [7, 14, 14, 28, 112].map(Some));
        aimd.refused(0, 9, at(41));
        assert_eq!(
            [50, 51].map(|tenths| aimd.limit(at(tenths))),
            [112, 224].map(Some),
            "from the last one on"
        );
    }

    #[test]
    fn calls_that_are_refused_together_cut_once() {
        let now = Instant::now();
        let mut aimd = Aimd::default();
        for running in (1..=20).rev() {
            aimd.refused(0, running, now);
        }
        assert_eq!((aimd.limit(now), aimd.cuts()), (Some(14), 1));
        aimd.refused(1, 10, now);
        assert_eq!(aimd.limit(now), Some(7));
    }

    #[test]
    fn a_minute_without_refusals_forgives_all() {
        let now = Instant::now();
        let mut aimd = Aimd::default();
        aimd.refused(0, 20, now);
        aimd.refused(0, 1, now + Duration::from_secs(5));
        assert!(aimd.limit(now + Duration::from_secs(64)).is_some(), "the last one counts");
        assert_eq!(aimd.limit(now + Duration::from_secs(65)), None);
        aimd.served();
        assert_eq!(aimd.limit(now), None);
    }

    #[test]
    fn it_settles_near_what_an_upstream_bears() {
        // An upstream that serves 10 at a time and refuses the others; callers fill whatever they are given.
        let (mut aimd, mut now, mut served_all) = (Aimd::default(), Instant::now(), 0);
        for round in 0..200 {
            let running = aimd.limit(now).unwrap_or(40).min(40);
            let cuts = aimd.cuts();
            let (served, refused) = (running.min(10), running.saturating_sub(10));
            (0..refused).for_each(|_| aimd.refused(cuts, running, now));
            (0..served).for_each(|_| aimd.served());
            served_all += if round >= 20 { served } else { 0 };
            now += Duration::from_millis(50);
        }
        assert!(served_all >= 180 * 8, "{served_all} of {} possible", 180 * 10);
    }
}
