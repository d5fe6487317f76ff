//! Who is told of what is spent: `alerts`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Secret, Share, Usd};

/// What one webhook is told. Each alert is sent once, as a POST of JSON with `x-tollgate-alert-id`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Where it is sent, with `http://` or `https://`; redirects are not followed. Example
    /// `https://hooks.example.com/tollgate`.
    #[serde(skip_serializing)]
    pub webhook: Secret,
    /// What it is signed with: `x-tollgate-signature: t=<unix time>,v1=<hex>`, the HMAC-SHA256 of `<unix time>.<body>`.
    /// Empty or absent: it is not signed. Example `${TOLLGATE_ALERT_SECRET}`.
    #[serde(default, skip_serializing)]
    pub secret: Option<Secret>,
    /// Share of a budget from which its use is told, once in each of its windows. Example `80%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Share>,
    /// Whether it is told that a budget of a day or month will be spent before that is over, if it goes on like this.
    /// Default `false`.
    #[serde(default)]
    pub forecast: bool,
    /// Whether it is told that a limit was passed that only warns. Default `false`.
    #[serde(default)]
    pub soft_limits: bool,
    /// Which spend is watched for leaving its trend: what was spent at the same time of the week before. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Deviation>,
}

/// Spend that is watched for leaving its trend.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deviation {
    /// By what: `team`, `model`, `key`, `provider`, `target`, `surface`, or `tag:` and a name. Default `[team, model]`.
    pub by: Vec<String>,
    /// How far from the median, as a multiple of the usual spread. Default `5`.
    pub factor: u32,
    /// By how many USD an hour at least, so that cents wake nobody. Default `10`.
    pub at_least: Usd,
    /// How many weeks are looked back on. Default `4`.
    pub weeks: u32,
}

impl Default for Deviation {
    fn default() -> Self {
        let by = vec!["team".to_owned(), "model".to_owned()];
        Self { by, factor: 5, at_least: Usd(10_000_000_000), weeks: 4 }
    }
}
