//! What calls are counted by that did not succeed at once.

use metrics::{Counter, counter};

use super::table::{Bounded, Table};

/// Distinct models and distinct targets that get a label of their own.
const MOST: usize = 1_000;
const OTHER: &str = "_other";

/// The metrics of further attempts, with their handles.
#[derive(Default)]
pub(super) struct Tries {
    models: Bounded,
    targets: Bounded,
    /// By target and reason.
    retries: Table<2, Counter>,
    /// By model and reason.
    fallbacks: Table<2, Counter>,
    /// By model and whether the second was first.
    hedges: Table<2, Counter>,
}

impl Tries {
    pub(super) fn retried(&self, target: &str, reason: &'static str) {
        let target = if self.targets.admits(&[target], MOST) { target } else { OTHER };
        let make = |[target, reason]: &[String; 2]| counter!(super::RETRIES, "target" => target.clone(), "reason" => reason.clone());
        self.retries.get([target, reason], make).increment(1);
    }

    pub(super) fn fell_back(&self, model: &str, reason: &'static str) {
        let make = |[model, reason]: &[String; 2]| counter!(super::FALLBACKS, "model" => model.clone(), "reason" => reason.clone());
        self.fallbacks.get([self.model(model), reason], make).increment(1);
    }

    pub(super) fn hedged(&self, model: &str, won: bool) {
        let make = |[model, won]: &[String; 2]| counter!(super::HEDGES, "model" => model.clone(), "won" => won.clone());
        self.hedges.get([self.model(model), if won { "true" } else { "false" }], make).increment(1);
    }

    fn model<'a>(&self, model: &'a str) -> &'a str {
        if self.models.admits(&[model], MOST) { model } else { OTHER }
    }
}
