//! OpenAI's usage, and that of its compatibles, as the contract counts: input with cached, output with reasoning.

use serde::Deserialize;
use serde_json::Value;
use tollgate_api::v1::{Cost, ModalityTokens, Usage, usage::Source};

use super::json::Count;
use crate::call::PROVIDERS_OWN_PRICE;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
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
    /// OpenRouter, in USD; Perplexity, as an object. Others may mean anything by it.
    cost: serde_json::Value,
    cost_details: serde_json::Value,
    /// xAI.
    cost_in_usd_ticks: Count,
}

/// xAI's unit of money: ten thousand millionths of a dollar.
const TICKS_PER_NANO: i64 = 10;
const NANOS_PER_USD: f64 = 1e9;

/// Returns what the provider itself says the call costs, if it is one that is known to mean US dollars.
fn told_cost(told: &Told) -> Option<Cost> {
    let dollars = match &told.cost {
        Value::Number(cost) if told.cost_details.is_object() => cost.as_f64(),
        Value::Object(cost) => cost.get("total_cost").and_then(Value::as_f64),
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a price far below 2^63 nano-USD")]
    let nanos = dollars
        .filter(|dollars| (0.0..1e6).contains(dollars))
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

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub(super) cached_tokens: Count,
    pub(super) cache_write_tokens: Count,
    audio_tokens: Count,
    text_tokens: Count,
    image_tokens: Count,
    pub(super) reasoning_tokens: Count,
    accepted_prediction_tokens: Count,
    rejected_prediction_tokens: Count,
}

/// Reads a usage object. None if it is null, no object, or counts nothing: absent is not zero.
pub(in crate::provider) fn parse(json: &str) -> Option<Usage> {
    let told: Told = serde_json::from_str::<Option<Told>>(json).ok()??;
    let known = told.prompt_tokens.0.is_some() || told.completion_tokens.0.is_some();
    let total_only = told.total_tokens.0.filter(|_| !known);
    if !known && total_only.is_none() {
        return None;
    }
    Some(normalised(&told, total_only))
}

fn normalised(told: &Told, total_only: Option<i64>) -> Usage {
    let none = Details::default();
    let input = told.prompt_tokens_details.as_ref().unwrap_or(&none);
    let output = told.completion_tokens_details.as_ref().unwrap_or(&none);
    let reasoning = output.reasoning_tokens.0.or(told.reasoning_tokens.0);
    let cached = input
        .cached_tokens
        .0
        .or(told.prompt_cache_hit_tokens.0)
        .or(told.cached_tokens.0)
        .or(told.num_cached_tokens.0)
        .or(told.cache_read_input_tokens.0);
    let mut usage = Usage {
        // Embedding models of some vendors tell only the total, which is all input.
        input_tokens: told.prompt_tokens.0.or(total_only),
        output_tokens: with_reasoning(told, reasoning),
        cache_read_input_tokens: cached,
        cache_write_input_tokens: input.cache_write_tokens.0.or(told.cache_creation_input_tokens.0),
        reasoning_output_tokens: reasoning,
        input_by_modality: by_modality(input, told.prompt_tokens.0),
        output_by_modality: by_modality(output, told.completion_tokens.0),
        accepted_prediction_tokens: output.accepted_prediction_tokens.0,
        rejected_prediction_tokens: output.rejected_prediction_tokens.0,
        cost: told_cost(told),
        r#final: true,
        ..Usage::default()
    };
    for (name, count) in [("sources", told.num_sources_used.0), ("search_queries", told.num_search_queries.0)]
    {
        if let Some(count) = count.filter(|count| *count > 0) {
            usage.billable_units.insert(name.to_owned(), count);
        }
    }
    usage.set_source(Source::Provider);
    usage
}

/// xAI counts reasoning beside `completion_tokens`: only the total tells. Everybody else counts it inside.
fn with_reasoning(told: &Told, reasoning: Option<i64>) -> Option<i64> {
    let completion = told.completion_tokens.0?;
    let Some(reasoning) = reasoning.filter(|reasoning| *reasoning > 0) else { return Some(completion) };
    let beside = completion.checked_add(reasoning)?;
    let sum = told.prompt_tokens.0.and_then(|prompt| prompt.checked_add(beside));
    Some(if sum.is_some() && told.total_tokens.0 == sum { beside } else { completion })
}

pub(super) fn by_modality(details: &Details, all: Option<i64>) -> Vec<ModalityTokens> {
    let mut list = Vec::new();
    let special = [("audio", details.audio_tokens.0), ("image", details.image_tokens.0)];
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
}
