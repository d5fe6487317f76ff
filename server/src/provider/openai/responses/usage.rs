//! Usage of the Responses API as the contract counts: input with cached, output with reasoning. Both are so already.

use serde::Deserialize;
use tollgate_api::v1::{Usage, usage::Source};

use super::{
    super::{
        json::Count,
        usage::{Details, by_modality},
    },
    event::Node,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    input_tokens: Count,
    output_tokens: Count,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
    /// xAI.
    num_sources_used: Count,
    server_side_tool_usage_details: Option<std::collections::BTreeMap<String, Count>>,
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
    let told: Told = serde_json::from_str(response.raw("usage")?).ok()?;
    if told.input_tokens.0.is_none() && told.output_tokens.0.is_none() {
        return None;
    }
    let (input, output) =
        (told.input_tokens_details.unwrap_or_default(), told.output_tokens_details.unwrap_or_default());
    let mut usage = Usage {
        input_tokens: told.input_tokens.0,
        output_tokens: told.output_tokens.0,
        cache_read_input_tokens: input.cached_tokens.0,
        cache_write_input_tokens: input.cache_write_tokens.0,
        reasoning_output_tokens: output.reasoning_tokens.0,
        // Images and sound are told apart by the endpoints that make them.
        input_by_modality: by_modality(&input, told.input_tokens.0),
        output_by_modality: by_modality(&output, told.output_tokens.0),
        r#final: true,
        ..Usage::default()
    };
    let mut bill = |name: &str, count: Count| {
        if let Some(count) = count.0.filter(|count| *count > 0) {
            usage.billable_units.insert(name.to_owned(), count);
        }
    };
    bill("sources", told.num_sources_used);
    for (name, count) in told.server_side_tool_usage_details.into_iter().flatten() {
        bill(if name == "web_search_calls" { "web_search_requests" } else { &name }, count);
    }
    let tools: ToolUsage =
        response.raw("tool_usage").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    bill("web_search_requests", tools.web_search.unwrap_or_default().num_requests);
    usage.set_source(Source::Provider);
    Some(usage)
}
