//! The section of the file about calls that are repeated.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Size, Span};

/// What is kept for callers who repeat a call under the same `request_id` (`idempotency-key`): the answers of calls that
/// carry one and succeeded, in a file of the data directory. The oldest go first when there are too many.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// How long an answer is kept. `0s` switches it off: then the ids have no effect, and nothing is written. Default
    /// `10m`.
    pub keep: Span,
    /// All kept answers together, in bytes. Default `256MiB`.
    pub max_bytes: Size,
    /// One answer, in bytes; a larger one is not kept. Default `4MiB`.
    pub max_answer_bytes: Size,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self {
            keep: Span(Duration::from_secs(600)),
            max_bytes: Size(256 << 20),
            max_answer_bytes: Size(4 << 20),
        }
    }
}
