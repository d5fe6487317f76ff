//! What a provider itself says a call costs, where it is known to mean US dollars.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tollgate_api::v1::Cost;

use super::json::{Count, read};
use crate::call::PROVIDERS_OWN_PRICE;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told<'a> {
    /// OpenRouter, in USD; Perplexity, as an object. Others may mean anything by it.
    cost: Value,
    #[serde(borrow)]
    cost_details: Option<&'a RawValue>,
    /// OpenRouter: the model was paid for with the operator's own key, so that `cost` is its fee alone.
    is_byok: Value,
    /// xAI.
    cost_in_usd_ticks: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    upstream_inference_cost: Value,
}

/// xAI's unit of money is a ten-thousand-millionth of a dollar.
const TICKS_PER_NANO: i64 = 10;
const NANOS_PER_USD: f64 = 1e9;
/// A dearer call is a mistake of whoever told it.
const DEAREST_USD: f64 = 1e6;

/// Reads the price that a usage object tells; none if it tells none.
pub(super) fn of(usage: &str) -> Option<Cost> {
    memchr::memmem::find(usage.as_bytes(), b"\"cost")?;
    let told: Told<'_> = read(Some(usage));
    let dollars = match &told.cost {
        Value::Number(cost) => cost.as_f64().zip(told.cost_details).map(|(cost, details)| {
            let details: Details = read(Some(details.get()));
            let behind = details.upstream_inference_cost.as_f64().filter(|_| told.is_byok == true);
            cost + behind.unwrap_or(0.0)
        }),
        Value::Object(cost) => cost.get("total_cost").and_then(Value::as_f64),
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a price far below 2^63 nano-USD")]
    let nanos = dollars
        .filter(|dollars| (0.0..DEAREST_USD).contains(dollars))
        .map(|dollars| (dollars * NANOS_PER_USD).round() as i64);
    let ticks =
        told.cost_in_usd_ticks.0.map(|ticks| ticks.saturating_add(TICKS_PER_NANO / 2) / TICKS_PER_NANO);
    Some(Cost {
        currency_code: "USD".to_owned(),
        amount_nanos: nanos.or(ticks)?,
        price_version: PROVIDERS_OWN_PRICE.to_owned(),
        ..Cost::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_dollars_is_a_price() {
        for (usage, nanos) in [
            (r#"{"cost":0.000241,"cost_details":{"upstream_inference_cost":0.000241}}"#, Some(241_000)),
            (r#"{"cost":0,"is_byok":false,"cost_details":{"upstream_inference_cost":null}}"#, Some(0)),
            // The operator pays OpenRouter its fee and the vendor the rest.
            (
                r#"{"cost":0.0002,"is_byok":true,"cost_details":{"upstream_inference_cost":0.00417}}"#,
                Some(4_370_000),
            ),
            (r#"{"cost":{"input_tokens_cost":0.1,"total_cost":0.006}}"#, Some(6_000_000)),
            (r#"{"cost_in_usd_ticks":6543500}"#, Some(654_350)),
            (r#"{"cost_in_usd_ticks":4}"#, Some(0)),
            (r#"{"cost_in_usd_ticks":5}"#, Some(1)),
            (r#"{"cost":3}"#, None),
            (r#"{"cost":-1,"cost_details":{}}"#, None),
            (r#"{"cost":1e300,"cost_details":{}}"#, None),
            (r#"{"cost":"0.1","cost_details":{}}"#, None),
            (r#"{"cost":{"total_cost":"x"}}"#, None),
            (r#"{"prompt_tokens":1}"#, None),
        ] {
            assert_eq!(of(usage).map(|cost| cost.amount_nanos), nanos, "{usage}");
        }
    }
}
