//! What is held of limits, and given back on every ending.

use std::sync::Arc;

use tollgate_api::v1;

use super::{Amounts, Engine, Held, Standing, refusal::in_words};
use crate::{
    call::{Metric, RateLimits},
    telemetry,
};

/// Code of the warning that a soft limit is passed.
pub const SOFT_LIMIT: &str = "soft_limit";

/// What is held of limits. Dropping it unsettled gives everything but the request itself back.
#[derive(Default)]
pub struct Reservation {
    engine: Option<Arc<dyn Engine>>,
    held: Held,
}

impl Reservation {
    pub(super) fn new(engine: &Arc<dyn Engine>, held: Held) -> Self {
        Self { engine: Some(engine.clone()), held }
    }

    /// Replaces what was reserved by what was used.
    pub fn settle(mut self, used: Amounts) {
        self.finish(used);
    }

    /// Takes the places among calls at a time out of it, which are given back earlier than the rest.
    pub(super) fn split_places(&mut self) -> Self {
        let is_place = |part: &mut super::Part| part.rule().limit.metric == Metric::Concurrent;
        let places = self.held.extract_if(.., is_place).collect();
        Self { engine: self.engine.clone(), held: places }
    }

    /// Returns the tightest of the limits that refuse, as they stand now.
    pub(super) fn rate_limits(&self) -> RateLimits {
        let mut limits = RateLimits::default();
        let standings = self.held.iter().map(|part| &part.standing);
        standings.filter(|one| !one.rule.limit.soft).for_each(|one| one.note(&mut limits));
        limits
    }

    /// Warns of every limit that is passed and refuses nothing.
    pub(super) fn warnings(&self, key_name: &str) -> Vec<v1::Warning> {
        let standings = self.held.iter().map(|part| &part.standing);
        let passed = standings.filter(|one| one.rule.limit.soft && one.taken() > one.limit);
        let warning = |one: &Standing| {
            telemetry::metrics::soft_limit_passed(one.rule.limit.metric.label(), one.rule.subject.label());
            let words = in_words(&one.rule, one.limit, key_name);
            v1::Warning {
                code: SOFT_LIMIT.to_owned(),
                message: format!("{words}, which only warns; {} are used or reserved", one.taken()),
                field: String::new(),
            }
        };
        passed.map(warning).collect()
    }

    /// Lists the limits.
    pub(super) fn parts(&self) -> &[super::Part] {
        &self.held
    }

    fn finish(&mut self, used: Amounts) {
        if let Some(engine) = self.engine.take().filter(|_| !self.held.is_empty()) {
            engine.settle(std::mem::take(&mut self.held), used);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.finish(Amounts::default());
    }
}
