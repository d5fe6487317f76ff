//! A place behind a gate, and what its call finds out about the target.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use super::Gate;
use crate::{call::now, load::thaw::Thaw};

/// A place behind a gate. Dropping it gives it to the next.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    /// How often the limit had been cut when the place was taken.
    cuts: u64,
    /// Whether it was given to one who has to show how the target is after its pause, and has not yet.
    is_thawed: bool,
}

impl Place {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        let cuts = gate.cuts.load(SeqCst);
        Self { gate, cuts, is_thawed: false }
    }

    /// It is given to somebody who waited.
    pub(super) fn goes(&mut self, thaw: &mut Thaw) {
        if !self.is_thawed {
            self.is_thawed = thaw.goes();
        }
    }

    /// Tells the gate that the call was refused for want of capacity (429), so that it lets fewer in.
    pub fn throttled(&self) {
        let mut inside = self.gate.inside();
        inside.found.refused(self.cuts, self.gate.running(), now());
        self.gate.cuts.store(inside.found.cuts(), SeqCst);
        self.gate.set_limit(&mut inside);
    }

    /// Tells the gate that the target answers, so that more of those may go who waited for its pause to be over.
    pub fn answered(&mut self) {
        self.is_thawed = false;
        if self.gate.waiting() > 0 {
            self.gate.inside().thaw.answered(now());
            self.gate.call_next();
        }
    }

    /// Gives it back unused, because another call finds out how the target is. None goes in its place.
    pub fn unused(mut self) {
        self.is_thawed = false;
    }

    /// Tells the gate that the call was served, so that it may let more in again.
    pub fn served(&self) {
        if self.gate.cuts.load(SeqCst) == 0 {
            return;
        }
        let mut inside = self.gate.inside();
        inside.found.served();
        self.gate.set_limit(&mut inside);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_thawed {
            self.gate.inside().thaw.came_back(now());
        }
        self.gate.running.fetch_sub(1, SeqCst);
        self.gate.call_next();
    }
}
