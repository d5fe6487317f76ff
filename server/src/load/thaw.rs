//! How a gate lets those in who waited for its target's pause to be over: one first, two more for each that was answered,
//! and twice as many with each moment in which nobody was sent away again. A plain state machine.
//!
//! That time alone lets out more is for pauses that a target asked for. Behind a breaker, all but the one that probes
//! would be refused: there nobody goes before that one was answered, or is gone.

use std::time::{Duration, Instant};

/// How many more are let out for each that was answered.
const MORE: usize = 2;
/// A moment. A target that still refuses says so sooner; one that is well may take a minute to its first token, and nobody
/// is to wait for that.
const MOMENT: Duration = Duration::from_millis(100);
/// So many moments after the end of a pause nobody is held back any more.
const MOMENTS: u32 = 8;

/// A pause that calls wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it is over.
    pub until: Instant,
    /// Whether the target itself said so. What we only guess is over as soon as it answers anybody, and not before.
    pub is_told: bool,
}

/// What holds those back who wait. Nothing, unless somebody waits for a pause to be over.
#[derive(Clone, Debug, Default)]
pub(super) struct Thaw(Option<Thawing>);

#[derive(Clone, Debug)]
struct Thawing {
    pause: Pause,
    /// How many may go now, once the pause is over.
    free: usize,
    /// The moments that have passed since then.
    moments: u32,
}

impl Thaw {
    /// Somebody waits for a pause to be over. The longest one holds; after one that was over, it begins with one again.
    pub(super) fn wait_for(&mut self, pause: Pause, now: Instant) {
        match &mut self.0 {
            Some(thawing) if now < thawing.pause.until => {
                if pause.until > thawing.pause.until {
                    thawing.pause = pause;
                }
            }
            _ => self.0 = Some(Thawing { pause, free: 1, moments: 0 }),
        }
    }

    /// Returns when more of those who wait may go, if they are held back.
    pub(super) fn opens_at(&mut self, now: Instant) -> Option<Instant> {
        self.pass(now);
        self.0.as_ref().map(|Thawing { pause, moments, .. }| {
            match pause {
                Pause { until, .. } if now < *until => *until,
                Pause { is_told: true, until } => *until + MOMENT * (moments + 1),
                // When the target will answer, nobody knows: whoever waits looks again.
                Pause { is_told: false, .. } => now + MOMENT,
            }
        })
    }

    /// Tells whether one of those who wait may go now.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        self.pass(now);
        self.0.as_ref().is_none_or(|thawing| thawing.pause.until <= now && thawing.free > 0)
    }

    /// Lets time pass: the first moment lets one more go, the next two, then four, until nobody is held back.
    fn pass(&mut self, now: Instant) {
        let Some(thawing) = self.0.as_mut().filter(|thawing| thawing.pause.is_told) else { return };
        while now >= thawing.pause.until + MOMENT * (thawing.moments + 1) {
            thawing.free = thawing.free.saturating_add(1 << thawing.moments);
            thawing.moments += 1;
            if thawing.moments == MOMENTS {
                return self.is_over();
            }
        }
    }

    /// Somebody goes. Tells whether he is one who has to show how the target is.
    pub(super) fn goes(&mut self) -> bool {
        let Some(thawing) = &mut self.0 else { return false };
        thawing.free = thawing.free.saturating_sub(1);
        true
    }

    /// The target answered a call.
    pub(super) fn answered(&mut self, now: Instant) {
        let Some(thawing) = &mut self.0 else { return };
        if !thawing.pause.is_told {
            thawing.pause = Pause { until: now, is_told: true };
        }
        // A call from before the pause shows nothing of what is after it.
        if thawing.pause.until <= now {
            thawing.free = thawing.free.saturating_add(MORE);
        }
    }

    /// One who went was not answered: another may go in his place, unless a new pause has begun.
    pub(super) fn came_back(&mut self, now: Instant) {
        if let Some(thawing) = &mut self.0
            && thawing.pause.until <= now
        {
            thawing.free += 1;
        }
    }

    /// Nobody waits any more.
    pub(super) fn is_over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn pause(until: Instant, is_told: bool) -> Pause {
        Pause { until, is_told }
    }

    #[test]
    fn nobody_goes_in_the_pause_and_then_one_and_two_for_each_answer() {
        let start = Instant::now();
        let end = start + Duration::from_secs(2);
        let mut thaw = Thaw::default();
        assert!(thaw.has_room(start), "nobody waits for a pause");
        thaw.wait_for(pause(end, true), start);
        assert_eq!((thaw.has_room(start), thaw.opens_at(start)), (false, Some(end)));
        assert!(thaw.has_room(end) && thaw.goes());
        assert!(!thaw.has_room(end));
        thaw.answered(end);
        assert!(thaw.goes() && thaw.has_room(end) && thaw.goes());
        assert!(!thaw.has_room(end));
        thaw.came_back(end);
        assert!(thaw.has_room(end));
        thaw.is_over();
        assert!(thaw.has_room(start) && !thaw.goes());
    }

    #[test]
    fn an_answer_ends_what_is_only_guessed_and_never_what_the_target_asked_for() {
        let start = Instant::now();
        let end = start + Duration::from_secs(2);
        for (is_told, opens) in [(true, end), (false, start)] {
            let mut thaw = Thaw::default();
            thaw.wait_for(pause(end, is_told), start);
            thaw.answered(start);
            assert_eq!(thaw.opens_at(start), Some(if is_told { end } else { start + MOMENT }));
            let gone = (0..9).take_while(|_| thaw.has_room(opens) && thaw.goes()).count();
            assert_eq!(gone, if is_told { 1 } else { 1 + MORE });
        }
    }

    #[test]
    fn time_alone_lets_out_nobody_beside_the_one_that_probes() {
        let start = Instant::now();
        let mut thaw = Thaw::default();
        thaw.wait_for(pause(start, false), start);
        assert!(thaw.has_room(start) && thaw.goes());
        let late = start + MOMENT * MOMENTS * 2;
        assert!(!thaw.has_room(late));
        thaw.came_back(late);
        assert!(thaw.has_room(late) && thaw.goes() && !thaw.has_room(late), "in its place");
        thaw.answered(late);
        assert_eq!((0..9).take_while(|_| thaw.has_room(late) && thaw.goes()).count(), MORE);
        assert!(thaw.has_room(late + MOMENT), "from then on time does");
    }

    #[test]
    fn a_target_that_is_slow_to_answer_holds_nobody_up() {
        let start = Instant::now();
        let mut thaw = Thaw::default();
        thaw.wait_for(pause(start, true), start);
        let mut go = |moments: u32| {
            let now = start + MOMENT * moments;
            // No more than a crowd, since nobody is held back at the end.
            (0..500).take_while(|_| thaw.has_room(now) && thaw.goes()).count()
        };
        assert_eq!([0, 1, 2, 3, 7].map(&mut go), [1, 1, 2, 4, 8 + 16 + 32 + 64]);
        assert!(thaw.has_room(start + MOMENT * MOMENTS) && !thaw.goes(), "nobody is held back any more");
    }

    proptest! {
        /// However calls come, are answered, fail, and find new pauses: nobody goes in a pause, within a moment of its end
        /// no more than one, one for each that came back, and two for each answer; and one always may go a little later.
        #[test]
        fn no_herd_goes_and_none_waits_for_nothing(
            steps in proptest::collection::vec((0_u8..5, 0_u64..400, 1_u64..2_000), 1..200),
        ) {
            let start = Instant::now();
            let (mut thaw, mut ms, mut out, mut until) = (Thaw::default(), 0, 0, start);
            thaw.wait_for(pause(start, true), start);
            // Who went since the last pause, and who may have.
            let (mut gone, mut may) = (0, 1);
            for (step, gap, length) in steps {
                ms += gap;
                let now = start + Duration::from_millis(ms);
                let is_open = now >= until;
                match step {
                    0 | 1 if thaw.has_room(now) => {
                        prop_assert!(is_open);
                        thaw.goes();
                        out += 1;
                        gone += 1;
                    }
                    2 if out > 0 => {
                        out -= 1;
                        may += if is_open { MORE } else { 0 };
                        thaw.answered(now);
                    }
                    3 if out > 0 => {
                        out -= 1;
                        may += usize::from(is_open);
                        thaw.came_back(now);
                    }
                    4 => {
                        let next = now + Duration::from_millis(length);
                        thaw.wait_for(pause(next, true), now);
                        if is_open {
                            (gone, may) = (0, 1);
                        }
                        until = until.max(next);
                    }
                    _ => {}
                }
                prop_assert!(now >= until + MOMENT || gone <= may, "{gone} of {may}");
                prop_assert!(thaw.clone().has_room(now.max(until) + MOMENT * MOMENTS));
            }
        }
    }
}
