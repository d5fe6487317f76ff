//! How long an attempt may take to bring content while another target could serve the call instead. A silent target must
//! not use up the caller's time alone; one that is well but slow must not be given up without need.

use std::time::{Duration, Instant};

use super::{
    attempt::longest,
    dispatch::Dispatch,
    health::{State, View},
};
use crate::{
    call::Call,
    error::Error,
    provider::{self, Kind},
};

/// The part of the time that is left which the others need at least.
const LEAST_PART: u32 = 6;
/// Who usually takes more than this part of it could hardly answer in what would be left for him.
const TOO_SLOW_PART: u32 = 3;
/// Who was silent for this part of it since its last answer may be as slow as the one that would be given up for it. The
/// last of three gets more than that, whatever is known of the others.
const SILENT_PART: u32 = 40;
/// Who was silent for all of it but this part is as good as silent for all.
const NO_HOPE_PART: u32 = 20;
/// An answer may take so many times as long as usual.
const USUAL_TIMES: u32 = 3;
/// Silence for so many times as long as usual, and for that long, speaks against the target itself.
const OVERDUE: (u32, Duration) = (10, Duration::from_secs(1));

/// What is known of how long a target takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Usually so long.
    pub(super) usual: Option<Duration>,
    /// Longer than that, of late: calls waited so long in vain since it last answered.
    pub(super) silent: Duration,
}

/// How long an attempt may take to its first content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// So long.
    pub(super) wait: Duration,
    /// Whether the target has failed if nothing came by then, and not only taken too long for this caller.
    pub(super) is_overdue: bool,
}

impl Patience {
    /// Works out the patience with a target of which this is known, when that much time is left and others could serve of
    /// which that is known. `None` if there is nobody to spare time for.
    ///
    /// Everyone gets the same share, and this one twice that. A target that is known to be slow gets more, as far as the
    /// quickest of the others still has the time that it is known to need. Others that were silent too are no better than
    /// this one, until it has had all the time in vain; then everybody is who may answer at all.
    pub(super) fn new(
        left: Duration,
        Known { usual, silent }: Known,
        others: impl Iterator<Item = Known>,
    ) -> Option<Self> {
        let has_no_hope = silent >= left - left / NO_HOPE_PART;
        let could = others.filter(|other| {
            let answers = has_no_hope || other.silent < left / SILENT_PART;
            let most = if has_no_hope { left } else { left / TOO_SLOW_PART };
            answers && other.usual.is_none_or(|usual| usual <= most)
        });
        let (count, quickest) = could.fold((0_u32, None::<Duration>), |(count, quickest), other| {
            (count + 1, [quickest, other.usual].into_iter().flatten().min())
        });
        if count == 0 {
            return None;
        }
        let needed = quickest.map(|quickest| (quickest * USUAL_TIMES).max(left / LEAST_PART));
        let slow = usual
            .zip(needed)
            .map(|(usual, needed)| usual.saturating_mul(USUAL_TIMES).min(left.saturating_sub(needed)));
        let wait = fair(left, count).max(slow.unwrap_or_default());
        let (times, least) = OVERDUE;
        let is_overdue = usual.is_some_and(|usual| wait >= usual.saturating_mul(times).max(least));
        Some(Self { wait, is_overdue })
    }

    /// Returns how the attempt failed.
    pub(super) fn failure(self) -> provider::Error {
        let message = format!(
            "no content within {:?}, and the rest of the time before the deadline is for the other targets",
            self.wait
        );
        provider::Error::new(Kind::Timeout, message)
    }
}

/// Returns the share of the first of so many others.
fn fair(left: Duration, others: u32) -> Duration {
    left * 2 / others.saturating_add(2)
}

impl<J: Fn(&Call) -> Result<(), Error>> Dispatch<'_, '_, J> {
    /// Works out the patience with an attempt that was just begun.
    pub(super) fn patience(&self, index: usize, now: Instant) -> Option<Patience> {
        let left = self.way.deadline.at.saturating_duration_since(now);
        let (first_token, _) = longest(self.candidates[index], self.way.timeouts, self.brief);
        let most = u32::try_from(self.schedule.others(index).count()).unwrap_or(u32::MAX);
        // Mostly deadlines are far away, and nobody else need be looked at.
        if most == 0 || first_token <= fair(left, most) {
            return None;
        }
        let known = |index: usize| {
            let (view, streamed) = (self.view(index, now), self.brief.streamed);
            Known { usual: view.usual(streamed), silent: view.silent(streamed) }
        };
        let others = self.schedule.others(index).filter(|other| self.could_serve(*other, now));
        Patience::new(left, known(index), others.map(known))
    }

    /// Tells whether a target would take the call now.
    fn could_serve(&self, index: usize, now: Instant) -> bool {
        let View { state, retry_at, .. } = self.view(index, now);
        let is_well = matches!(state, State::Closed | State::HalfOpen) && retry_at.is_none();
        is_well && self.gate(index).has_room() && self.could_be_made(index, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn known(usual: Option<u64>) -> Known {
        Known { usual: usual.map(ms), silent: ms(0) }
    }

    fn wait(left: u64, usual: Option<u64>, others: &[Option<u64>]) -> Option<u64> {
        let others = others.iter().map(|usual| known(*usual));
        let patience = Patience::new(ms(left), known(usual), others)?;
        u64::try_from(patience.wait.as_millis()).ok()
    }

    #[test]
    fn all_get_their_share_and_a_slow_one_what_the_others_can_spare() {
        for (left, usual, others, expected) in [
            // Nobody else, or nobody who could answer in the rest of the time.
            (3_000, None, vec![], None),
            (3_000, Some(9_000), vec![Some(1_001)], None),
            // Two thirds with one other, half with two.
            (3_000, None, vec![None], Some(2_000)),
            (3_000, Some(100), vec![Some(100)], Some(2_000)),
            (3_000, None, vec![None, Some(10)], Some(1_500)),
            // A reasoning model before a quick one gets nearly all; before one that nobody knows, its share.
            (30_000, Some(12_000), vec![Some(500)], Some(25_000)),
            (30_000, Some(12_000), vec![Some(3_000)], Some(21_000)),
            (30_000, Some(60_000), vec![None], Some(20_000)),
            (30_000, Some(7_500), vec![Some(500)], Some(22_500)),
        ] {
            assert_eq!(wait(left, usual, &others), expected, "{left} {usual:?} {others:?}");
        }
    }

    #[test]
    fn only_a_silence_that_is_out_of_all_proportion_speaks_against_the_target() {
        for (left, usual, is_overdue) in
            [(6_000, None, false), (6_000, Some(401), false), (6_000, Some(400), true), (900, Some(1), false)]
        {
            let patience = Patience::new(ms(left), known(usual), [known(None)].into_iter()).unwrap();
            assert_eq!(patience.is_overdue, is_overdue, "{left} {usual:?}");
        }
    }

    #[test]
    fn others_that_were_silent_are_no_help_unless_this_one_was_silent_for_all_the_time() {
        let silent = |ms| Known { usual: None, silent: Duration::from_millis(ms) };
        for (own, other, expected) in [
            (0, 749, Some(20_000)),
            (0, 750, None),
            (20_000, 10_000, None),
            (28_499, 10_000, None),
            (28_500, 10_000, Some(20_000)),
        ] {
            let patience = Patience::new(ms(30_000), silent(own), [silent(other)].into_iter());
            assert_eq!(patience.map(|patience| patience.wait), expected.map(ms), "{own} {other}");
        }
    }

    /// Makes a call to targets that all take so long, and notes what they are known by then. Tells whether it is served.
    fn call(left: u64, takes: u64, targets: &mut [Known]) -> bool {
        let mut rest = ms(left);
        for at in 0..targets.len() {
            let (done, others) = targets.split_at_mut(at + 1);
            let wait =
                Patience::new(rest, done[at], others.iter().copied()).map_or(rest, |patience| patience.wait);
            if ms(takes) <= wait {
                done[at] = known(Some(takes));
                return true;
            }
            done[at].silent = done[at].silent.max(wait);
            rest -= wait;
            if rest.is_zero() {
                break;
            }
        }
        false
    }

    fn usual() -> impl Strategy<Value = Option<u64>> {
        prop::option::of(1_u64..100_000)
    }

    proptest! {
        /// Whoever is known or not: the attempt has at least its fair share, the others at least a part of the time, and
        /// one that is known to be quick has what it usually needs.
        #[test]
        fn nobody_is_starved(
            left in 10_u64..100_000,
            own in usual(),
            others in prop::collection::vec(usual(), 0..4),
        ) {
            let could = others.iter().filter(|usual| usual.is_none_or(|usual| usual <= left / 3));
            let count = u64::try_from(could.clone().count()).unwrap();
            let Some(wait) = wait(left, own, &others) else {
                prop_assert_eq!(count, 0);
                return Ok(());
            };
            prop_assert!(wait + 1 >= left * 2 / (count + 2), "{wait}");
            prop_assert!(left - wait >= left / 6, "{wait}");
            if let Some(quickest) = could.flatten().min() {
                prop_assert!(left - wait >= *quickest, "{wait} leaves too little for {quickest}");
            }
        }

        /// Targets that are all slow cost one another no more than the first call, or a few if they were known as quicker.
        #[test]
        fn slow_targets_are_not_given_up_for_ever(
            left in 1_000_u64..100_000,
            part in 0.01_f64..1.0,
            before in prop::collection::vec(usual(), 2..4),
        ) {
            let takes = (left as f64 * part) as u64;
            let mut fresh = vec![known(None); before.len()];
            call(left, takes, &mut fresh);
            prop_assert!((0..5).all(|_| call(left, takes, &mut fresh)), "{fresh:?}");
            let mut targets: Vec<_> = before.into_iter().map(known).collect();
            let _learnt = (0..5).filter(|_| call(left, takes, &mut targets)).count();
            prop_assert!((0..5).all(|_| call(left, takes, &mut targets)), "{targets:?}");
        }

        /// A target that nobody knows behind silent ones that nobody knows still gets a tenth.
        #[test]
        fn a_chain_of_silent_targets_leaves_time_for_the_last(left in 1_000_u64..100_000, silent in 1_usize..3) {
            let mut rest = left;
            for behind in (1..=silent).rev() {
                rest -= wait(rest, None, &vec![None; behind]).unwrap();
            }
            prop_assert!(rest >= left / 10, "{rest}");
        }
    }
}
