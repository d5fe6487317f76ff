//! Limits and budgets as people write them, and as the contract's `Limit`.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tollgate_api::admin::Limit;

use super::values::{Amount, Usd};

/// Every limit a key may have, in the order in which they are shown. `total` and `month` are for budgets.
const NAMES: &[&str] = &[
    "requests_per_second",
    "requests_per_minute",
    "requests_per_hour",
    "requests_per_day",
    "tokens_per_second",
    "tokens_per_minute",
    "tokens_per_hour",
    "tokens_per_day",
    "input_tokens_per_second",
    "input_tokens_per_minute",
    "input_tokens_per_hour",
    "input_tokens_per_day",
    "output_tokens_per_second",
    "output_tokens_per_minute",
    "output_tokens_per_hour",
    "output_tokens_per_day",
    "concurrent",
];

/// Rates and concurrency: at most so many in any such span of time. 0 refuses every call.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Limits(BTreeMap<Name, Amount>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = NAMES.iter().find(|name| **name == text);
        known.map(|name| Self(name)).ok_or_else(|| de::Error::unknown_field(&text, NAMES))
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl JsonSchema for Limits {
    fn schema_name() -> Cow<'static, str> {
        "Limits".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let amount = generator.subschema_for::<Amount>();
        let names: serde_json::Map<_, _> =
            NAMES.iter().map(|name| ((*name).to_owned(), amount.clone().to_value())).collect();
        json_schema!({
            "type": "object",
            "description": "At most so many in any such span of time; `concurrent`: calls at a time. 0 refuses every call.",
            "properties": names,
            "additionalProperties": false,
        })
    }
}

/// Money a key may spend in a span of time.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Most that may be spent in the span, in USD. Example `20`.
    pub usd: Usd,
    /// The span; `total` is the key's whole life. Default `month`.
    #[serde(default)]
    pub per: Window,
}

/// A span of time, by the clock in UTC.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Window {
    Second,
    Minute,
    Hour,
    Day,
    #[default]
    Month,
    Total,
}

impl Window {
    fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

/// Returns limits and budget in the contract's form.
pub fn to_contract(limits: &Limits, budget: Option<&Budget>) -> Vec<Limit> {
    let limit = |metric: &str, window: &str, amount| Limit {
        metric: metric.to_owned(),
        window: window.to_owned(),
        amount,
        ..Default::default()
    };
    let rates = limits.0.iter().map(|(Name(name), Amount(amount))| {
        let (metric, window) = name.split_once("_per_").unwrap_or((name, ""));
        limit(metric, window, *amount)
    });
    rates.chain(budget.map(|budget| limit("cost_nanos", budget.per.as_str(), budget.usd.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_a_metric_and_a_window_of_the_contract() {
        let all = Limits(NAMES.iter().map(|name| (Name(name), Amount(7))).collect());
        let budget = Budget { usd: Usd(20_000_000_000), per: Window::Day };
        let limits = to_contract(&all, Some(&budget));
        assert_eq!(limits.len(), NAMES.len() + 1);
        for limit in &limits {
            let metrics = ["requests", "tokens", "input_tokens", "output_tokens", "concurrent", "cost_nanos"];
            assert!(metrics.contains(&limit.metric.as_str()), "{}", limit.metric);
            let windowless = limit.metric == "concurrent";
            assert_eq!(windowless, limit.window.is_empty(), "{}", limit.metric);
        }
        let spent = limits.last().unwrap();
        assert_eq!((spent.metric.as_str(), spent.window.as_str()), ("cost_nanos", "day"));
        assert_eq!(spent.amount, 20_000_000_000);
    }
}
