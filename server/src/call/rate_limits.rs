//! What is left of a call's limits, for the headers of its answer.

use std::time::SystemTime;

use super::Metric;

/// The tightest limits of a call, by what they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// On calls.
    pub requests: Option<RateLimit>,
    /// On tokens of any kind.
    pub tokens: Option<RateLimit>,
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Most that may be used.
    pub limit: i64,
    /// What is left of it.
    pub remaining: i64,
    /// When all of it is there again; absent for totals.
    pub reset: Option<SystemTime>,
}

impl RateLimits {
    /// Notes how a limit stands; of those that count the same, the one with the least left is kept.
    pub fn note(&mut self, metric: Metric, limit: RateLimit) {
        let place = match metric {
            Metric::Requests => &mut self.requests,
            Metric::InputTokens | Metric::OutputTokens | Metric::Tokens => &mut self.tokens,
            Metric::Concurrent | Metric::CostNanos => return,
        };
        let tightness = |one: &RateLimit| (one.remaining, one.limit);
        if place.as_ref().is_none_or(|kept| tightness(&limit) < tightness(kept)) {
            *place = Some(limit);
        }
    }
}

impl RateLimit {
    /// Tells how a limit stands of which so much is used and reserved.
    pub fn new(limit: i64, used: i64, reset: Option<SystemTime>) -> Self {
        Self { limit, remaining: limit.saturating_sub(used).clamp(0, limit.max(0)), reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_with_the_least_left_is_told() {
        let mut limits = RateLimits::default();
        limits.note(Metric::Requests, RateLimit::new(100, 40, None));
        limits.note(Metric::Requests, RateLimit::new(1_000, 990, None));
        limits.note(Metric::Requests, RateLimit::new(50, 0, None));
        limits.note(Metric::OutputTokens, RateLimit::new(10, 12, None));
        limits.note(Metric::Concurrent, RateLimit::new(1, 1, None));
        assert_eq!(limits.requests, Some(RateLimit { limit: 1_000, remaining: 10, reset: None }));
        assert_eq!(limits.tokens, Some(RateLimit { limit: 10, remaining: 0, reset: None }));
    }
}
