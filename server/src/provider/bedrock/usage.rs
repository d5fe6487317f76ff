//! Converse's usage as the contract counts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Usage, usage::Source};

use crate::provider::json::{Count, Text};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told<'a> {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
    /// The same counts once more under their older names.
    cache_read_input_token_count: Count,
    cache_write_input_token_count: Count,
    /// The names of `InvokeModel`'s metrics.
    input_token_count: Count,
    output_token_count: Count,
    #[serde(borrow)]
    cache_details: Option<&'a RawValue>,
    #[serde(borrow)]
    server_tool_usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Written<'a> {
    input_tokens: Count,
    #[serde(borrow)]
    ttl: Text<'a>,
}

/// Reads a usage object. None if it counts nothing: absent is not zero.
pub(in crate::provider) fn parse(json: &str) -> Option<Usage> {
    let told: Told<'_> = serde_json::from_str(json).ok()?;
    let input = told.input_tokens.0.or(told.input_token_count.0);
    let output = told.output_tokens.0.or(told.output_token_count.0);
    if input.is_none() && output.is_none() {
        return None;
    }
    let read = told.cache_read_input_tokens.0.or(told.cache_read_input_token_count.0);
    let written = told.cache_write_input_tokens.0.or(told.cache_write_input_token_count.0);
    let mut usage = Usage {
        // Bedrock tells what was read from and written to the cache beside the input, not in it.
        input_tokens: input
            .map(|fresh| [read, written].into_iter().flatten().fold(fresh, i64::saturating_add)),
        output_tokens: output,
        cache_read_input_tokens: read,
        cache_write_input_tokens: written,
        r#final: true,
        ..Usage::default()
    };
    let details =
        told.cache_details.and_then(|list| serde_json::from_str::<Vec<Written<'_>>>(list.get()).ok());
    for one in details.into_iter().flatten().filter(|one| !one.ttl.is_empty()) {
        let sum = usage.cache_write_by_ttl.entry(one.ttl.0.into_owned()).or_default();
        *sum = sum.saturating_add(one.input_tokens.0.unwrap_or_default());
    }
    let units = told
        .server_tool_usage
        .and_then(|map| serde_json::from_str::<BTreeMap<String, Count>>(map.get()).ok());
    for (name, count) in units.into_iter().flatten() {
        if let Some(count) = count.0.filter(|count| *count > 0) {
            usage.billable_units.insert(snake_case(&name), count);
        }
    }
    usage.set_source(Source::Provider);
    Some(usage)
}

/// Writes `webSearchRequests` as `web_search_requests`.
pub(in crate::provider) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn br_cache_twice_counts_the_cache_once_and_within_the_input() {
        let usage = parse(
            r#"{"cacheDetails":[{"inputTokens":1700,"ttl":"5m"},{"inputTokens":12,"ttl":"1h"}],
                "cacheReadInputTokenCount":100,"cacheReadInputTokens":100,
                "cacheWriteInputTokenCount":1712,"cacheWriteInputTokens":1712,
                "inputTokens":3,"outputTokens":227,"serverToolUsage":{"webSearchRequests":2,"other":{}},
                "totalTokens":2042}"#,
        )
        .unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(1815), Some(227)));
        assert_eq!((usage.cache_read_input_tokens, usage.cache_write_input_tokens), (Some(100), Some(1712)));
        assert_eq!(usage.cache_write_by_ttl["5m"], 1700);
        assert_eq!(usage.cache_write_by_ttl["1h"], 12);
        assert_eq!(usage.billable_units["web_search_requests"], 2);
        assert_eq!(usage.billable_units.len(), 1);
    }

    #[test]
    fn what_is_not_told_is_absent() {
        let usage =
            parse(r#"{"inputTokens":13,"outputTokens":5,"totalTokens":18,"cacheDetails":7}"#).unwrap();
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens), (Some(13), None));
        for nothing in ["{}", "null", "[]", r#"{"totalTokens":5}"#, r#"{"inputTokens":"many"}"#] {
            assert!(parse(nothing).is_none(), "{nothing}");
        }
        let huge = format!(r#"{{"inputTokens":{0},"cacheReadInputTokens":{0},"outputTokens":1}}"#, i64::MAX);
        assert_eq!(parse(&huge).unwrap().input_tokens, Some(i64::MAX));
    }
}
