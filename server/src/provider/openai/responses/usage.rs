//! Usage of the Responses API as the contract counts: input with cached, output with reasoning. Both are so already.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Usage, usage::Source};

use super::{
    super::{
        cost,
        json::{Count, read},
        usage::{Details, by_modality},
    },
    event::Node,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told<'a> {
    input_tokens: Count,
    output_tokens: Count,
    #[serde(borrow)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
    /// xAI.
    num_sources_used: Count,
    #[serde(borrow)]
    server_side_tool_usage_details: Option<&'a RawValue>,
}

/// What OpenAI tells of its own tools, beside the usage.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ToolUsage {
    web_search: Option<WebSearch>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WebSearch {
    num_requests: Count,
}

/// Reads the usage of an answer. None if it tells none: absent is not zero.
pub(super) fn of(response: &Node<'_>) -> Option<Usage> {
    let json = response.raw("usage")?;
    let told: Told<'_> = serde_json::from_str(json).ok()?;
    if told.input_tokens.0.is_none() && told.output_tokens.0.is_none() {
        return None;
    }
    let input: Details = read(told.input_tokens_details.map(RawValue::get));
    let output: Details = read(told.output_tokens_details.map(RawValue::get));
    let mut usage = Usage {
        input_tokens: told.input_tokens.0,
        output_tokens: told.output_tokens.0,
        cache_read_input_tokens: input.cached_tokens.0,
        cache_write_input_tokens: input.cache_write_tokens.0,
        reasoning_output_tokens: output.reasoning_tokens.0,
        // Images and sound are told apart by the endpoints that make them.
        input_by_modality: by_modality(&input, told.input_tokens.0),
        output_by_modality: by_modality(&output, told.output_tokens.0),
        service_tier: response.text("service_tier").into_owned(),
        cost: cost::of(json),
        r#final: true,
        ..Usage::default()
    };
    let mut bill = |name: &str, count: Count| {
        if let Some(count) = count.0.filter(|count| *count > 0) {
            usage.billable_units.insert(name.to_owned(), count);
        }
    };
    bill("sources", told.num_sources_used);
    let tools: BTreeMap<String, Count> = read(told.server_side_tool_usage_details.map(RawValue::get));
    for (name, count) in tools {
        bill(if name == "web_search_calls" { "web_search_requests" } else { &name }, count);
    }
    let tools: ToolUsage = read(response.raw("tool_usage"));
    bill("web_search_requests", tools.web_search.unwrap_or_default().num_requests);
    usage.set_source(Source::Provider);
    Some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(response: &str) -> Option<Usage> {
        of(&Node::read(response))
    }

    #[test]
    fn the_tier_and_the_vendors_own_price_are_told() {
        let usage = told(
            r#"{"service_tier":"priority","usage":{"input_tokens":289,"input_tokens_details":{"cached_tokens":128},
                "output_tokens":171,"output_tokens_details":{"reasoning_tokens":163},"cost_in_usd_ticks":6543500,
                "server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":0}}}"#,
        )
        .unwrap();
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens), (Some(289), Some(128)));
        assert_eq!((usage.output_tokens, usage.reasoning_output_tokens), (Some(171), Some(163)));
        assert_eq!(usage.service_tier, "priority");
        assert_eq!(usage.cost.map(|cost| cost.amount_nanos), Some(654_350));
        assert_eq!(usage.billable_units, [("web_search_requests".to_owned(), 2)].into());
    }

    #[test]
    fn details_of_a_wrong_type_cost_no_counts_and_nothing_told_is_nothing_known() {
        let odd = r#"{"usage":{"input_tokens":3,"output_tokens":4,"input_tokens_details":7,
            "output_tokens_details":[],"server_side_tool_usage_details":"x"},"tool_usage":1}"#;
        assert_eq!(told(odd).map(|usage| usage.output_tokens), Some(Some(4)));
        for nothing in ["{}", r#"{"usage":null}"#, r#"{"usage":{}}"#, r#"{"usage":{"total_tokens":3}}"#] {
            assert_eq!(told(nothing), None, "{nothing}");
        }
    }
}
