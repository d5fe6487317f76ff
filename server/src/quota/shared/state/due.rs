//! When the next exchange is due.

use std::time::Duration;

use super::State;

/// What was used is told after this time at the latest.
pub(super) const FLUSH: Duration = Duration::from_millis(100);
/// A replica shows that it lives at least so often.
const HEARTBEAT: Duration = Duration::from_millis(500);

impl<W> State<W> {
    /// Returns when the next exchange is due.
    fn due(&self) -> Duration {
        if self.hurry {
            return Duration::ZERO;
        }
        let pause = if self.dirty.is_empty() { HEARTBEAT } else { FLUSH };
        let told = self.last + pause;
        if self.waiting.is_empty() { told } else { told.min(self.again) }
    }

    /// Has the next exchange be due at once.
    pub(in super::super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// Notes that the talk sleeps until the next exchange is due, and tells when that is.
    pub(in super::super) fn sleep(&mut self) -> Duration {
        self.sleeps_until = self.due();
        self.sleeps_until
    }

    /// Tells, once, whether the talk sleeps for too long.
    pub(in super::super) fn wakes(&mut self) -> bool {
        let due = self.due();
        let wakes = due < self.sleeps_until;
        self.sleeps_until = self.sleeps_until.min(due);
        wakes
    }
}
