//! What a call may use, or did use.

use tollgate_api::v1;

use crate::call::Metric;

/// Tokens and nano-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Input tokens.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Cost; zero where no price is known.
    pub cost_nanos: i64,
}

impl Amounts {
    /// Returns the larger of each amount.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
            cost_nanos: self.cost_nanos.max(other.cost_nanos),
        }
    }

    /// Returns the sum of each amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost_nanos: self.cost_nanos.saturating_add(other.cost_nanos),
        }
    }

    /// Returns how much of a metric that is. A call is one request, and one at a time, whatever it uses.
    pub fn of(self, metric: Metric) -> i64 {
        match metric {
            Metric::Requests | Metric::Concurrent => 1,
            Metric::InputTokens => self.input_tokens,
            Metric::OutputTokens => self.output_tokens,
            Metric::Tokens => self.input_tokens.saturating_add(self.output_tokens),
            Metric::CostNanos => self.cost_nanos,
        }
    }
}

/// Returns what a call or a sum of calls used.
pub fn used(usage: &v1::Usage) -> Amounts {
    Amounts {
        // An upstream may say anything; nothing it says gives budget back.
        input_tokens: usage.input_tokens.unwrap_or(0).max(0),
        output_tokens: usage.output_tokens.unwrap_or(0).max(0),
        cost_nanos: usage.cost.as_ref().map_or(0, |cost| cost.amount_nanos.max(0)),
    }
}
