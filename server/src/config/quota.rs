//! How limits and budgets are counted, and what callers see of them: `time_zone`, `queue`, `unpriced`, `budget_status`.

use std::{borrow::Cow, fmt, time::Duration};

use jiff::tz;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::values::Span;

/// A time zone of the IANA database, which is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZone(pub tz::TimeZone);

impl Default for TimeZone {
    fn default() -> Self {
        Self(tz::TimeZone::UTC)
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl<'de> Deserialize<'de> for TimeZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let zone = tz::TimeZone::get(&name).map(Self);
        zone.map_err(|_| de::Error::custom("there is no such time zone; write e.g. `UTC` or `Europe/Berlin`"))
    }
}

impl Serialize for TimeZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for TimeZone {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "TimeZone".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Write a time zone like `UTC` or `Europe/Berlin`." })
    }
}

/// Whether calls that just miss a rate wait for it, the first to come first.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Longest wait, never past the caller's deadline; a call that would wait longer is refused at once. Default `0s`: no
    /// call waits. Example `2s`.
    pub max_wait: Span,
    /// Calls that may wait; more are refused at once. Default `1000`.
    pub size: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { max_wait: Span(Duration::ZERO), size: 1_000 }
    }
}

/// What happens under a budget to a call whose price is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unpriced {
    /// It is made, and counts nothing.
    #[default]
    Allow,
    /// It is refused.
    Refuse,
}

/// HTTP status of a call that a spent budget refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum BudgetStatus {
    /// Too Many Requests, as OpenAI answers.
    #[default]
    #[serde(rename = "429")]
    TooManyRequests,
    /// Payment Required.
    #[serde(rename = "402")]
    PaymentRequired,
    /// Forbidden.
    #[serde(rename = "403")]
    Forbidden,
}

impl BudgetStatus {
    /// Returns the status as a number.
    pub fn code(self) -> u16 {
        match self {
            Self::TooManyRequests => 429,
            Self::PaymentRequired => 402,
            Self::Forbidden => 403,
        }
    }
}
