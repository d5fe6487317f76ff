//! OpenAI's usage, and that of its compatibles, as the contract counts: input with cached, output with reasoning.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{ModalityTokens, Usage, usage::Source};

use super::{
    cost,
    json::{Count, Text, read},
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told<'a> {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Count,
    /// Moonshot, older Mistral.
    cached_tokens: Count,
    num_cached_tokens: Count,
    /// Databricks, which passes on Anthropic's names.
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    /// Perplexity and older xAI tell it beside the details.
    reasoning_tokens: Count,
    /// xAI.
    num_sources_used: Count,
    /// Perplexity.
    num_search_queries: Count,
    /// OpenRouter.
    #[serde(borrow)]
    server_tool_use_details: Option<&'a RawValue>,
    /// Mistral: the length of the sound in the prompt.
    prompt_audio_seconds: Count,
    /// Mistral.
    #[serde(borrow)]
    service_tier: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerTools {
    web_search_requests: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub(super) cached_tokens: Count,
    pub(super) cache_write_tokens: Count,
    audio_tokens: Count,
    text_tokens: Count,
    image_tokens: Count,
    video_tokens: Count,
    pub(super) reasoning_tokens: Count,
    accepted_prediction_tokens: Count,
    rejected_prediction_tokens: Count,
}

/// Reads a usage object. None if it is null, no object, or counts nothing: absent is not zero.
pub(in crate::provider) fn parse(json: &str) -> Option<Usage> {
    let told: Told<'_> = serde_json::from_str::<Option<Told<'_>>>(json).ok()??;
    let known = told.prompt_tokens.0.is_some() || told.completion_tokens.0.is_some();
    let total_only = told.total_tokens.0.filter(|_| !known);
    if !known && total_only.is_none() {
        return None;
    }
    Some(Usage { cost: cost::of(json), ..normalised(&told, total_only) })
}

fn normalised(told: &Told<'_>, total_only: Option<i64>) -> Usage {
    let input: Details = read(told.prompt_tokens_details.map(RawValue::get));
    let output: Details = read(told.completion_tokens_details.map(RawValue::get));
    let reasoning = output.reasoning_tokens.0.or(told.reasoning_tokens.0);
    let cached = input
        .cached_tokens
        .0
        .or(told.prompt_cache_hit_tokens.0)
        .or(told.cached_tokens.0)
        .or(told.num_cached_tokens.0)
        .or(told.cache_read_input_tokens.0);
    let (prompt, completion) = whole(told, &input, reasoning);
    let mut usage = Usage {
        // Embedding models of some vendors tell only the total, which is all input.
        input_tokens: prompt.or(total_only),
        output_tokens: completion,
        cache_read_input_tokens: cached,
        cache_write_input_tokens: input.cache_write_tokens.0.or(told.cache_creation_input_tokens.0),
        reasoning_output_tokens: reasoning,
        input_by_modality: by_modality(&input, prompt),
        output_by_modality: by_modality(&output, completion),
        accepted_prediction_tokens: output.accepted_prediction_tokens.0,
        rejected_prediction_tokens: output.rejected_prediction_tokens.0,
        service_tier: told.service_tier.0.clone().into_owned(),
        r#final: true,
        ..Usage::default()
    };
    let tools: ServerTools = read(told.server_tool_use_details.map(RawValue::get));
    for (name, count) in [
        ("sources", told.num_sources_used),
        ("search_queries", told.num_search_queries),
        ("web_search_requests", tools.web_search_requests),
        ("seconds", told.prompt_audio_seconds),
    ] {
        if let Some(count) = count.0.filter(|count| *count > 0) {
            usage.billable_units.insert(name.to_owned(), count);
        }
    }
    usage.set_source(Source::Provider);
    usage
}

/// Returns all of the input and all of the output. Two vendors count a part beside them, as only the total tells: xAI
/// its reasoning, Mistral the sound in a prompt. Everybody else counts both inside.
fn whole(told: &Told<'_>, input: &Details, reasoning: Option<i64>) -> (Option<i64>, Option<i64>) {
    let counts = (told.prompt_tokens.0, told.completion_tokens.0);
    let (Some(prompt), Some(completion), Some(total)) = (counts.0, counts.1, told.total_tokens.0) else {
        return counts;
    };
    let beside = total.saturating_sub(prompt.saturating_add(completion));
    let (reasoning, audio) = (reasoning.unwrap_or(0), input.audio_tokens.0.unwrap_or(0));
    let parts = [(0, reasoning), (audio, 0), (audio, reasoning)];
    let found =
        parts.into_iter().find(|(of_input, of_output)| of_input.checked_add(*of_output) == Some(beside));
    let (of_input, of_output) = found.filter(|_| beside > 0).unwrap_or_default();
    // Neither sum is more than the total.
    (Some(prompt + of_input), Some(completion + of_output))
}

/// Returns the counts by what they are of, if there is more than text.
pub(super) fn by_modality(details: &Details, all: Option<i64>) -> Vec<ModalityTokens> {
    let mut list = Vec::new();
    let special = [
        ("audio", details.audio_tokens.0),
        ("image", details.image_tokens.0),
        ("video", details.video_tokens.0),
    ];
    let other: i64 = special.iter().filter_map(|(_, count)| *count).fold(0, i64::saturating_add);
    if other == 0 {
        return list;
    }
    let text = details.text_tokens.0.or_else(|| all.map(|all| all.saturating_sub(other)));
    for (modality, count) in [("text", text)].into_iter().chain(special) {
        if let Some(tokens) = count.filter(|tokens| *tokens > 0) {
            list.push(ModalityTokens { modality: modality.to_owned(), tokens, cache_read_tokens: 0 });
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_includes_cached_and_output_includes_reasoning() {
        let usage = parse(
            r#"{"prompt_tokens":100,"completion_tokens":40,"total_tokens":140,
                "prompt_tokens_details":{"cached_tokens":64,"audio_tokens":0,"cache_write_tokens":12},
                "completion_tokens_details":{"reasoning_tokens":30,"accepted_prediction_tokens":2}}"#,
        )
        .unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(100), Some(40)));
        assert_eq!((usage.cache_read_input_tokens, usage.cache_write_input_tokens), (Some(64), Some(12)));
        assert_eq!((usage.reasoning_output_tokens, usage.accepted_prediction_tokens), (Some(30), Some(2)));
        assert_eq!(usage.rejected_prediction_tokens, None);
        assert!(usage.input_by_modality.is_empty());
    }

    #[test]
    fn reasoning_beside_the_completion_is_added_when_the_total_says_so() {
        let xai = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":215,
            "completion_tokens_details":{"reasoning_tokens":200}}"#;
        assert_eq!(parse(xai).unwrap().output_tokens, Some(205));
        let inside = r#"{"prompt_tokens":10,"completion_tokens":205,"total_tokens":215,
            "completion_tokens_details":{"reasoning_tokens":200}}"#;
        assert_eq!(parse(inside).unwrap().output_tokens, Some(205));
    }

    #[test]
    fn null_counts_are_absent_and_an_empty_usage_is_none() {
        for nothing in ["null", "{}", r#"{"prompt_tokens":null,"completion_tokens":null}"#, "7", "\"x\""] {
            assert!(parse(nothing).is_none(), "{nothing}");
        }
        let half =
            parse(r#"{"prompt_tokens":396,"completion_tokens":null,"prompt_tokens_details":null}"#).unwrap();
        assert_eq!((half.input_tokens, half.output_tokens), (Some(396), None));
    }

    #[test]
    fn negative_and_fractional_counts_are_not_believed() {
        let usage = parse(r#"{"prompt_tokens":-1,"completion_tokens":5,"total_tokens":4.5}"#).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (None, Some(5)));
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let max = i64::MAX;
        let json = format!(
            r#"{{"prompt_tokens":{max},"completion_tokens":{max},"total_tokens":{max},
            "prompt_tokens_details":{{"audio_tokens":{max},"image_tokens":{max}}},
            "completion_tokens_details":{{"reasoning_tokens":{max}}}}}"#
        );
        assert!(parse(&json).is_some());
    }

    #[test]
    fn modalities_are_listed_when_there_is_more_than_text() {
        let usage = parse(
            r#"{"prompt_tokens":30,"completion_tokens":1,"prompt_tokens_details":{"audio_tokens":20}}"#,
        );
        let list = usage.unwrap().input_by_modality;
        let pairs: Vec<(&str, i64)> = list.iter().map(|one| (one.modality.as_str(), one.tokens)).collect();
        assert_eq!(pairs, [("text", 10), ("audio", 20)]);
    }

    #[test]
    fn mi_sound_beside_the_prompt_is_input_when_the_total_says_so() {
        let usage = parse(
            r#"{"prompt_audio_seconds":4,"prompt_tokens":9,"total_tokens":585,"completion_tokens":201,
                "prompt_tokens_details":{"cached_tokens":0,"audio_tokens":375},"service_tier":"standard"}"#,
        )
        .unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(384), Some(201)));
        let pairs: Vec<(&str, i64)> =
            usage.input_by_modality.iter().map(|one| (one.modality.as_str(), one.tokens)).collect();
        assert_eq!(pairs, [("text", 9), ("audio", 375)]);
        assert_eq!(usage.billable_units, [("seconds".to_owned(), 4)].into());
        assert_eq!(usage.service_tier, "standard");
        let inside = r#"{"prompt_tokens":384,"total_tokens":585,"completion_tokens":201,
            "prompt_tokens_details":{"audio_tokens":375}}"#;
        assert_eq!(parse(inside).unwrap().input_tokens, Some(384));
    }

    #[test]
    fn details_of_a_wrong_type_cost_no_counts() {
        let usage = parse(
            r#"{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":7,"service_tier":null,
                "completion_tokens_details":"x","server_tool_use_details":[1]}"#,
        );
        assert_eq!(usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((Some(3), Some(4))));
    }

    #[test]
    fn or_searches_and_price_are_told() {
        let usage = parse(
            r#"{"prompt_tokens":8,"completion_tokens":4,"cost":0.0133176,"is_byok":false,
                "cost_details":{"upstream_inference_cost":0.0133176},
                "server_tool_use_details":{"web_search_requests":3}}"#,
        )
        .unwrap();
        assert_eq!(usage.cost.map(|cost| cost.amount_nanos), Some(13_317_600));
        assert_eq!(usage.billable_units["web_search_requests"], 3);
    }
}
