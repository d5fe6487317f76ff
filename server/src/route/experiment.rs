//! Named arms: which one a call belongs to, and how the call says so.

use super::{
    entry::{Entry, Line},
    lot::Lot,
    sticky::race,
};
use crate::call::{Call, MAX_TAGS};

/// The arm that a call belongs to.
pub(super) struct Drawn<'r> {
    /// Where its calls go.
    pub(super) lines: &'r [Line],
    experiment: &'r str,
    arm: &'r str,
}

/// Draws the arm of a call: the same for calls that are kept together. `None` if the alias has no experiment.
pub(super) fn draw<'r>(entry: &'r Entry, key: Option<&str>, lot: &Lot) -> Option<Drawn<'r>> {
    let experiment = entry.alias.experiment.as_ref()?;
    let runners = experiment.arms.iter().zip(&entry.arms).filter(|((_, weight, _), _)| *weight > 0);
    let ((arm, _, _), lines) = runners
        .map(|runner| (race(key, &[&experiment.name, &runner.0.0], runner.0.1, lot), runner))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?
        .1;
    let lines = if lines.is_empty() { &entry.lines } else { lines };
    Some(Drawn { lines, experiment: &experiment.name, arm })
}

impl Drawn<'_> {
    /// Returns the rule that decided, for the record.
    pub(super) fn rule(&self) -> String {
        format!("experiment:{}/{}", self.experiment, self.arm)
    }

    /// Returns the tag that tells the arm, unless the call has no room for one more.
    pub(super) fn tag(&self, call: &Call) -> Option<(String, String)> {
        let tag = tag_of(self.experiment);
        let room = call.tags.len() < MAX_TAGS || call.tags.contains_key(&tag);
        room.then(|| (tag, self.arm.to_owned()))
    }
}

/// Returns the tag of an experiment's calls.
fn tag_of(experiment: &str) -> String {
    format!("experiment.{experiment}")
}
