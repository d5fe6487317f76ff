//! Breaker, probe, load and what replicas share: spans and counts that would make no sense.

use secrecy::ExposeSecret as _;

use super::{Checker, Step::Name};
use crate::config::{Config, Secret};

/// What is wrong with a span or a share of nothing.
const POSITIVE: &str = "must be more than nothing";
/// What is wrong with a count of nothing.
const AT_LEAST_ONE: &str = "must be at least 1";

impl Checker<'_> {
    pub(super) fn ranges(&mut self, config: &Config) {
        let breaker = &config.breaker;
        let counts = [("failures", breaker.failures), ("min_calls", breaker.min_calls)];
        for (name, count) in counts {
            self.require(count > 0, &[Name("breaker"), Name(name)], AT_LEAST_ONE);
        }
        let ratio = [Name("breaker"), Name("failure_ratio")];
        self.require(breaker.failure_ratio.0 > 0, &ratio, POSITIVE);
        let spans = [
            ("window", breaker.window),
            ("open", breaker.open),
            ("max_open", breaker.max_open),
            ("max_cool_down", breaker.max_cool_down),
        ];
        for (name, span) in spans {
            self.require(!span.0.is_zero(), &[Name("breaker"), Name(name)], POSITIVE);
        }
        self.require(
            breaker.open.0 <= breaker.max_open.0,
            &[Name("breaker"), Name("max_open")],
            "must not be shorter than `open`",
        );
        if let Some(probe) = &config.probe {
            self.require(!probe.every.0.is_zero(), &[Name("probe"), Name("every")], POSITIVE);
        }
        self.require(config.load.concurrent != Some(0), &[Name("load"), Name("concurrent")], AT_LEAST_ONE);
        if let Some(shared) = config.shared.as_ref().and_then(Secret::filled) {
            // The address may hold a password: it is never shown.
            if let Err(problem) = crate::shared::check(shared.expose_secret()) {
                self.report(&[Name("shared")], format!("not an address of Redis: {problem}"));
            }
        }
    }
}
