//! How a gate lets those in who waited for its target's pause to be over: one first, and two more for each that was
//! answered. A plain state machine.

use std::time::Instant;

/// How many more are let out for each that was answered.
const MORE: usize = 2;

/// A pause that calls wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it is over.
    pub until: Instant,
    /// Whether the target itself said so. What we only guess is over as soon as it answers anybody.
    pub is_told: bool,
}

/// What holds those back who wait. Nothing, unless somebody waits for a pause to be over.
#[derive(Debug, Default)]
pub(super) struct Thaw(Option<Thawing>);

#[derive(Debug)]
struct Thawing {
    pause: Pause,
    /// How many may go now, once the pause is over.
    free: usize,
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
            _ => self.0 = Some(Thawing { pause, free: 1 }),
        }
    }

    /// Returns when the pause is over, if it is not.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.0.as_ref().map(|thawing| thawing.pause.until).filter(|until| now < *until)
    }

    /// Tells whether one of those who wait may go now.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|thawing| thawing.pause.until <= now && thawing.free > 0)
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
            thawing.pause.until = thawing.pause.until.min(now);
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
        for (is_told, opens_at) in [(true, Some(end)), (false, None)] {
            let mut thaw = Thaw::default();
            thaw.wait_for(pause(end, is_told), start);
            thaw.answered(start);
            assert_eq!(thaw.opens_at(start), opens_at);
            let mut go = 0;
            while thaw.has_room(end) && thaw.goes() {
                go += 1;
            }
            assert_eq!(go, if is_told { 1 } else { 1 + MORE });
        }
    }

    proptest! {
        /// However calls come, are answered, fail, and find new pauses: nobody goes in a pause, never are more on their way
        /// than one for each pause and one for each answer, and there is always one who may go or has gone.
        #[test]
        fn no_herd_goes_and_none_waits_for_nothing(
            steps in proptest::collection::vec((0_u8..5, 0_u64..400, 1_u64..2_000), 1..200),
        ) {
            let start = Instant::now();
            let (mut thaw, mut ms, mut out, mut answers) = (Thaw::default(), 0, 0, 0);
            let (mut pauses, mut until) = (1, start);
            thaw.wait_for(pause(start, true), start);
            for (step, gap, length) in steps {
                ms += gap;
                let now = start + Duration::from_millis(ms);
                match step {
                    0 | 1 => {
                        if thaw.has_room(now) {
                            prop_assert!(now >= until);
                            prop_assert!(thaw.goes());
                            out += 1;
                        }
                    }
                    2 if out > 0 => {
                        out -= 1;
                        answers += 1;
                        thaw.answered(now);
                    }
                    3 if out > 0 => {
                        out -= 1;
                        thaw.came_back(now);
                    }
                    4 => {
                        let next = now + Duration::from_millis(length);
                        thaw.wait_for(pause(next, true), now);
                        until = until.max(next);
                        pauses += 1;
                    }
                    _ => {}
                }
                prop_assert!(out <= pauses + answers);
                prop_assert!(now < until || out > 0 || thaw.has_room(now));
            }
        }
    }
}
