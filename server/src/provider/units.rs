//! What an answer that passes through tells of its usage, in whatever shape: the contract's counts and other units.

use ::http::HeaderMap;
use serde_json::Value;
use tollgate_api::v1::{Usage, usage::Source};

/// Where the members that tell usage stand.
const PLACES: [&str; 9] = [
    "/usage",
    "/usageMetadata",
    "/meta",
    "/response/usage",
    "/message/usage",
    "/amazon-bedrock-invocationMetrics",
    "/results/0",
    "/details",
    "",
];
/// Names of input counts that include what was read from a cache.
const INPUT: [&str; 9] = [
    "input_tokens",
    "prompt_tokens",
    "promptTokenCount",
    "inputTokenCount",
    "inputTokens",
    "prompt_eval_count",
    "prompt_token_count",
    "input_token_count",
    "inputTextTokenCount",
];
/// Names of output counts.
const OUTPUT: [&str; 10] = [
    "output_tokens",
    "completion_tokens",
    "candidatesTokenCount",
    "outputTokenCount",
    "outputTokens",
    "eval_count",
    "generation_token_count",
    "generated_token_count",
    "generated_tokens",
    "tokenCount",
];
/// Other things that are billed, by the names of vendors and of the contract.
const UNITS: [(&str, &str); 5] = [
    ("search_units", "search_units"),
    ("images", "images"),
    ("seconds", "seconds"),
    ("characters", "characters"),
    ("classifications", "classifications"),
];

/// Reads what JSON tells of its usage; none if it tells nothing.
pub(super) fn of_json(json: &[u8]) -> Option<Usage> {
    let json: Value = serde_json::from_slice(json).ok()?;
    let mut usage = Usage::default();
    let mut told = false;
    for place in PLACES.iter().filter_map(|place| json.pointer(place)) {
        let nested = [place, &place["billed_units"], &place["tokens"]];
        for member in nested.into_iter().filter(|member| member.is_object()) {
            told |= read(member, &mut usage);
        }
    }
    usage.set_source(Source::Provider);
    told.then_some(usage)
}

fn read(member: &Value, usage: &mut Usage) -> bool {
    let count = |names: &[&str]| names.iter().find_map(|name| whole(&member[*name]));
    let cached = whole(&member["cache_read_input_tokens"]).or(whole(&member["cacheReadInputTokens"]));
    let written = whole(&member["cache_creation_input_tokens"]).or(whole(&member["cacheWriteInputTokens"]));
    let (input, output) = (count(&INPUT), count(&OUTPUT));
    // An embedding or a ranking tells its total only.
    let input = input.or(whole(&member["total_tokens"]).filter(|_| output.is_none()));
    usage.input_tokens =
        usage
            .input_tokens
            .or(input
                .map(|input| input.saturating_add(cached.unwrap_or(0)).saturating_add(written.unwrap_or(0))));
    let thoughts = whole(&member["thoughtsTokenCount"]);
    usage.output_tokens =
        usage.output_tokens.or(output.map(|output| output.saturating_add(thoughts.unwrap_or(0))));
    usage.cache_read_input_tokens = usage.cache_read_input_tokens.or(cached);
    usage.cache_write_input_tokens = usage.cache_write_input_tokens.or(written);
    let mut any = input.is_some() || output.is_some();
    for (theirs, ours) in UNITS {
        if let Some(count) = whole(&member[theirs]).filter(|count| *count > 0) {
            usage.billable_units.entry(ours.to_owned()).or_insert(count);
            any = true;
        }
    }
    any
}

/// A count; parts of a unit (seconds of sound) are rounded up, as they are billed.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().filter(|count| *count >= 0).or_else(|| {
        let part = value.as_f64().filter(|part| (0.0..9e15).contains(part))?;
        #[expect(clippy::cast_possible_truncation, reason = "not negative, and below 2^53")]
        Some(part.ceil() as i64)
    })
}

/// Reads what the head of an answer tells: Bedrock counts there.
pub(super) fn of_head(headers: &HeaderMap) -> Usage {
    let count = |name| headers.get(name)?.to_str().ok()?.parse().ok();
    let mut usage = Usage {
        input_tokens: count("x-amzn-bedrock-input-token-count"),
        output_tokens: count("x-amzn-bedrock-output-token-count"),
        ..Usage::default()
    };
    usage.set_source(Source::Provider);
    usage
}

/// Joins what was known with what was told later, which wins.
pub(super) fn joined(known: Usage, told: Option<Usage>) -> Usage {
    let Some(mut told) = told else { return known };
    told.input_tokens = told.input_tokens.or(known.input_tokens);
    told.output_tokens = told.output_tokens.or(known.output_tokens);
    told.cache_read_input_tokens = told.cache_read_input_tokens.or(known.cache_read_input_tokens);
    told.cache_write_input_tokens = told.cache_write_input_tokens.or(known.cache_write_input_tokens);
    for (name, count) in known.billable_units {
        told.billable_units.entry(name).or_insert(count);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_usage_is_read() {
        for (json, input, output) in [
            (r#"{"usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}"#, Some(3), Some(5)),
            (r#"{"usage":{"total_tokens":7}}"#, Some(7), None),
            (
                r#"{"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}"#,
                Some(7),
                Some(1),
            ),
            (
                r#"{"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4}}"#,
                Some(2),
                Some(7),
            ),
            (r#"{"model":"x","done":true,"prompt_eval_count":11,"eval_count":18}"#, Some(11), Some(18)),
            (r#"{"meta":{"billed_units":{"input_tokens":1,"output_tokens":2}}}"#, Some(1), Some(2)),
            (r#"{"results":[{"generated_token_count":9,"input_token_count":4}]}"#, Some(4), Some(9)),
            (r#"{"inputTextTokenCount":4,"results":[{"tokenCount":6,"outputText":"x"}]}"#, Some(4), Some(6)),
        ] {
            let usage = of_json(json.as_bytes()).unwrap();
            assert_eq!((usage.input_tokens, usage.output_tokens), (input, output), "{json}");
        }
        assert_eq!(of_json(br#"{"data":[]}"#), None);
        assert_eq!(of_json(b"no json"), None);
    }

    #[test]
    fn units_are_kept_and_parts_are_rounded_up() {
        let usage = of_json(br#"{"meta":{"billed_units":{"search_units":2}}}"#).unwrap();
        assert_eq!(usage.billable_units["search_units"], 2);
        let usage = of_json(br#"{"usage":{"type":"duration","seconds":3.2}}"#).unwrap();
        assert_eq!(usage.billable_units["seconds"], 4);
    }
}
