//! Limits and budgets as people write them, and as the contract's `Limit`.
//!
//! Every section that has limits (the whole file, a model, a target, a team, a key) says them by the same three keys,
//! `limits`, `budget` and `limits_by`: its `Allowance`.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tollgate_api::admin::Limit;

use super::values::{Amount, Usd};
use crate::call::Period;

/// Every limit there is, in the order in which they are shown.
const NAMES: &[&str] = &[
    "requests_per_second",
    "requests_per_minute",
    "requests_per_hour",
    "requests_per_day",
    "requests_per_month",
    "requests_total",
    "tokens_per_second",
    "tokens_per_minute",
    "tokens_per_hour",
    "tokens_per_day",
    "tokens_per_month",
    "tokens_total",
    "input_tokens_per_second",
    "input_tokens_per_minute",
    "input_tokens_per_hour",
    "input_tokens_per_day",
    "input_tokens_per_month",
    "input_tokens_total",
    "output_tokens_per_second",
    "output_tokens_per_minute",
    "output_tokens_per_hour",
    "output_tokens_per_day",
    "output_tokens_per_month",
    "output_tokens_total",
    "concurrent",
];

/// Rates, quotas and concurrency: at most so many in any second, minute or hour, in a day or month of the calendar, or in
/// all (`_total`). 0 refuses every call.
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

impl Limits {
    /// Tells whether there is no limit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
            "description": "At most so many in any second, minute or hour, in a day or month of the calendar, or in all; `concurrent`: calls at a time. 0 refuses every call.",
            "properties": names,
            "additionalProperties": false,
        })
    }
}

/// Money that may be spent in a span of time.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Most that may be spent in the span, in USD. Example `20`.
    pub usd: Usd,
    /// The span: `second`, `minute` and `hour` slide, `day` and `month` are the calendar's in `time_zone`, `total` is for
    /// ever. Default `month`.
    #[serde(default = "month")]
    pub per: Period,
}

fn month() -> Period {
    Period::Month
}

/// Limits and budget of only some of the calls, or such that only warn.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsBy {
    /// Only calls that ask for this model: a name, or a pattern with `*`. Default: all. Example `gpt-*`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Only calls that have this tag, the key's tags included. Default: all. Example `feature=batch`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// Whether to warn and alert only: `true` refuses no call. Default `false`.
    pub soft: bool,
    /// Rates, quotas and concurrency of these calls. Example `{ requests_per_minute: 60 }`.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Money that these calls may spend. Example `{ usd: 20, per: day }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What a section allows: its keys `limits`, `budget` and `limits_by`.
#[derive(Clone, Copy, Debug)]
pub struct Allowance<'c> {
    /// Over all calls.
    pub limits: &'c Limits,
    /// Over all calls.
    pub budget: Option<&'c Budget>,
    /// Over some calls.
    pub limits_by: &'c [LimitsBy],
}

impl Allowance<'_> {
    /// Tells whether there is no limit.
    pub fn is_empty(self) -> bool {
        self.limits.is_empty() && self.budget.is_none() && self.limits_by.is_empty()
    }

    /// Returns the limits and budgets in the contract's form.
    pub fn to_contract(self) -> Vec<Limit> {
        let some = self.limits_by.iter().flat_map(LimitsBy::to_contract);
        contract(self.limits, self.budget).chain(some).collect()
    }
}

impl LimitsBy {
    /// Returns the limits and the budget in the contract's form.
    pub fn to_contract(&self) -> impl Iterator<Item = Limit> + '_ {
        let all = contract(&self.limits, self.budget.as_ref());
        all.map(|limit| Limit { soft: self.soft, model: self.model.clone(), tag: self.tag.clone(), ..limit })
    }
}

/// Gives a section its `allowance`.
macro_rules! allows {
    ($($section:ty),*) => {$(
        impl $section {
            /// Returns what the section allows.
            pub fn allowance(&self) -> $crate::config::Allowance<'_> {
                $crate::config::Allowance {
                    limits: &self.limits,
                    budget: self.budget.as_ref(),
                    limits_by: &self.limits_by,
                }
            }
        }
    )*};
}

pub(super) use allows;

fn contract<'c>(limits: &'c Limits, budget: Option<&'c Budget>) -> impl Iterator<Item = Limit> + 'c {
    let limit = |metric: &str, window: &str, amount| Limit {
        metric: metric.to_owned(),
        window: window.to_owned(),
        amount,
        ..Default::default()
    };
    let rates = limits.0.iter().map(move |(Name(name), Amount(amount))| {
        let total = || name.strip_suffix("_total").map(|metric| (metric, "total"));
        let (metric, window) = name.split_once("_per_").or_else(total).unwrap_or((name, ""));
        limit(metric, window, *amount)
    });
    rates.chain(budget.map(move |budget| limit("cost_nanos", budget.per.as_str(), budget.usd.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_a_metric_and_a_window_of_the_contract() {
        let all = Limits(NAMES.iter().map(|name| (Name(name), Amount(7))).collect());
        let budget = Budget { usd: Usd(20_000_000_000), per: Period::Day };
        let allowance = Allowance { limits: &all, budget: Some(&budget), limits_by: &[] };
        let limits = allowance.to_contract();
        assert_eq!(limits.len(), NAMES.len() + 1);
        let windows = ["second", "minute", "hour", "day", "month", "total", ""];
        for limit in &limits {
            assert!(windows.contains(&limit.window.as_str()), "{}", limit.window);
            let metrics = ["requests", "tokens", "input_tokens", "output_tokens", "concurrent", "cost_nanos"];
            assert!(metrics.contains(&limit.metric.as_str()), "{}", limit.metric);
            let windowless = limit.metric == "concurrent";
            assert_eq!(windowless, limit.window.is_empty(), "{}", limit.metric);
        }
        let spent = limits.last().unwrap();
        assert_eq!((spent.metric.as_str(), spent.window.as_str()), ("cost_nanos", "day"));
        assert_eq!(spent.amount, 20_000_000_000);
    }

    #[test]
    fn limits_of_some_calls_carry_which() {
        let limits = Limits([(Name("requests_total"), Amount(7))].into());
        let some = LimitsBy {
            model: "gpt-*".to_owned(),
            tag: "feature=batch".to_owned(),
            soft: true,
            limits,
            budget: None,
        };
        let allowance = Allowance { limits: &Limits::default(), budget: None, limits_by: &[some] };
        let limits = allowance.to_contract();
        let [limit] = &limits[..] else { panic!("{limits:?}") };
        assert_eq!((limit.metric.as_str(), limit.window.as_str(), limit.amount), ("requests", "total", 7));
        assert_eq!((limit.soft, limit.model.as_str(), limit.tag.as_str()), (true, "gpt-*", "feature=batch"));
    }
}
