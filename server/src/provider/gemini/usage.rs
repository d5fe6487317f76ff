//! Gemini's `usageMetadata` as the contract counts: input with cached tokens and tool results, output with thoughts.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{ModalityTokens, Usage, usage::Source};

use crate::provider::json::{Count, Text};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::provider) struct Told<'a> {
    prompt_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    tool_use_prompt_token_count: Count,
    cached_content_token_count: Count,
    total_token_count: Count,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    /// The name that embeddings have for it.
    #[serde(borrow)]
    prompt_token_details: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    candidates_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_prompt_tokens_details: Option<&'a RawValue>,
    /// Vertex: how the call was paid for (`ON_DEMAND`, `PROVISIONED_THROUGHPUT`).
    #[serde(borrow)]
    pub(super) traffic_type: Text<'a>,
    /// AI Studio: the class that served the call.
    #[serde(borrow)]
    pub(super) service_tier: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(borrow)]
    modality: Text<'a>,
    token_count: Count,
}

impl Told<'_> {
    /// Returns the usage. None if it counts nothing: absent is not zero.
    pub(in crate::provider) fn usage(&self) -> Option<Usage> {
        let input = sum([self.prompt_token_count.0, self.tool_use_prompt_token_count.0]);
        let told = sum([self.candidates_token_count.0, self.thoughts_token_count.0]);
        // An answer without a token has no count of them; the total then tells that there is none.
        let output = told.or_else(|| self.total_token_count.0?.checked_sub(input?).filter(|rest| *rest >= 0));
        if input.is_none() && output.is_none() {
            return None;
        }
        let details = self.prompt_tokens_details.or(self.prompt_token_details);
        let mut usage = Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_input_tokens: self.cached_content_token_count.0,
            reasoning_output_tokens: self.thoughts_token_count.0,
            input_by_modality: by_modality(
                &[details, self.tool_use_prompt_tokens_details],
                self.cache_tokens_details,
            ),
            output_by_modality: by_modality(&[self.candidates_tokens_details], None),
            service_tier: self.tier(),
            ..Usage::default()
        };
        // The details of the output leave the thoughts out, which are text.
        if let Some(thoughts) = self.thoughts_token_count.0.filter(|_| !usage.output_by_modality.is_empty()) {
            let text = entry(&mut usage.output_by_modality, "text");
            text.tokens = text.tokens.saturating_add(thoughts);
        }
        usage.set_source(Source::Provider);
        Some(usage)
    }

    /// Returns the class that served the call, in one word for both platforms: `flex`, `priority`, `standard`, …
    pub(super) fn tier(&self) -> String {
        let tier = self.service_tier.0.to_ascii_lowercase();
        if !tier.is_empty() {
            return tier;
        }
        let traffic = self.traffic_type.0.strip_prefix("ON_DEMAND_").unwrap_or_default();
        traffic.to_ascii_lowercase()
    }
}

fn sum(counts: [Option<i64>; 2]) -> Option<i64> {
    counts.into_iter().flatten().reduce(i64::saturating_add)
}

fn by_modality(told: &[Option<&RawValue>], cached: Option<&RawValue>) -> Vec<ModalityTokens> {
    let mut list = Vec::new();
    for (modality, tokens) in told.iter().flat_map(|json| counted(*json)) {
        let entry = entry(&mut list, &modality);
        entry.tokens = entry.tokens.saturating_add(tokens);
    }
    for (modality, tokens) in counted(cached) {
        entry(&mut list, &modality).cache_read_tokens = tokens;
    }
    list
}

/// Reads a list of details; what has no count or no word is left out.
fn counted(json: Option<&RawValue>) -> Vec<(String, i64)> {
    let list = json.and_then(|json| serde_json::from_str::<Vec<Detail<'_>>>(json.get()).ok());
    let list = list.unwrap_or_default().into_iter();
    list.filter_map(|detail| Some((modality(&detail.modality.0)?, detail.token_count.0?))).collect()
}

fn entry<'a>(list: &'a mut Vec<ModalityTokens>, modality: &str) -> &'a mut ModalityTokens {
    let place = list.iter().position(|entry| entry.modality == modality).unwrap_or_else(|| {
        list.push(ModalityTokens { modality: modality.to_owned(), ..ModalityTokens::default() });
        list.len() - 1
    });
    &mut list[place]
}

/// Returns the contract's word. Enums are numbers if somebody between asked for that.
fn modality(word: &str) -> Option<String> {
    match word {
        "" | "0" | "MODALITY_UNSPECIFIED" => None,
        "1" => Some("text".to_owned()),
        "2" => Some("image".to_owned()),
        "3" => Some("video".to_owned()),
        "4" => Some("audio".to_owned()),
        "5" => Some("document".to_owned()),
        word => Some(word.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Option<Usage> {
        serde_json::from_str::<Told<'_>>(json).unwrap().usage()
    }

    fn counts(json: &str) -> (Option<i64>, Option<i64>) {
        usage(json).map_or((None, None), |usage| (usage.input_tokens, usage.output_tokens))
    }

    #[test]
    fn ge_thoughts_outside_candidates_are_output_and_tool_results_are_input() {
        let told = usage(
            r#"{"promptTokenCount":132,"candidatesTokenCount":65,"totalTokenCount":1733,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":132}],"toolUsePromptTokenCount":1387,
            "toolUsePromptTokensDetails":[{"modality":"TEXT","tokenCount":1387}],"thoughtsTokenCount":149}"#,
        )
        .unwrap();
        assert_eq!((told.input_tokens, told.output_tokens), (Some(1519), Some(214)));
        assert_eq!(told.reasoning_output_tokens, Some(149));
        assert_eq!(told.input_by_modality[0].tokens, 1519);
    }

    #[test]
    fn ge_cached_tokens_are_inside_the_prompt() {
        let told = usage(
            r#"{"promptTokenCount":100,"candidatesTokenCount":5,"totalTokenCount":105,
            "cachedContentTokenCount":64,
            "promptTokensDetails":[{"modality":"DOCUMENT","tokenCount":90},{"modality":"TEXT","tokenCount":10}],
            "cacheTokensDetails":[{"modality":"DOCUMENT","tokenCount":64}]}"#,
        )
        .unwrap();
        assert_eq!((told.input_tokens, told.cache_read_input_tokens), (Some(100), Some(64)));
        let document = &told.input_by_modality[0];
        assert_eq!(
            (document.modality.as_str(), document.tokens, document.cache_read_tokens),
            ("document", 90, 64)
        );
    }

    #[test]
    fn ge_no_candidates_count_is_what_the_total_leaves() {
        assert_eq!(counts(r#"{"promptTokenCount":14,"totalTokenCount":14}"#), (Some(14), Some(0)));
        let thoughts_only = r#"{"promptTokenCount":5,"totalTokenCount":9,"thoughtsTokenCount":4}"#;
        assert_eq!(counts(thoughts_only), (Some(5), Some(4)));
        assert_eq!(counts(r#"{"candidatesTokenCount":18,"thoughtsTokenCount":58}"#), (None, Some(76)));
        assert_eq!(counts(r#"{"promptTokenCount":14}"#), (Some(14), None));
    }

    #[test]
    fn ge_traffic_type_alone_counts_nothing() {
        assert!(usage(r#"{"trafficType":"ON_DEMAND"}"#).is_none());
        assert!(usage("{}").is_none());
    }

    #[test]
    fn ge_enum_int_modalities_have_their_words() {
        let told = usage(
            r#"{"promptTokenCount":5,"trafficType":1,"promptTokensDetails":[{"modality":1,"tokenCount":2},
            {"modality":4,"tokenCount":3},{"modality":[],"tokenCount":"x"}]}"#,
        )
        .unwrap();
        let words: Vec<&str> = told.input_by_modality.iter().map(|entry| entry.modality.as_str()).collect();
        assert_eq!(words, ["text", "audio"]);
    }

    #[test]
    fn the_tier_is_one_word_for_both_platforms() {
        for (told, tier) in [
            (r#""trafficType":"ON_DEMAND_FLEX""#, "flex"),
            (r#""trafficType":"ON_DEMAND_PRIORITY""#, "priority"),
            (r#""trafficType":"ON_DEMAND""#, ""),
            (r#""trafficType":"PROVISIONED_THROUGHPUT""#, ""),
            (r#""trafficType":1"#, ""),
            (r#""serviceTier":"PRIORITY""#, "priority"),
            (r#""serviceTier":"standard","trafficType":"ON_DEMAND""#, "standard"),
        ] {
            let json = format!(r#"{{"promptTokenCount":1,{told}}}"#);
            assert_eq!(usage(&json).unwrap().service_tier, tier, "{told}");
        }
    }

    #[test]
    fn thoughts_are_text_of_the_output() {
        let told = usage(
            r#"{"candidatesTokenCount":10,"thoughtsTokenCount":7,
            "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":10}]}"#,
        )
        .unwrap();
        let pairs: Vec<(&str, i64)> =
            told.output_by_modality.iter().map(|entry| (entry.modality.as_str(), entry.tokens)).collect();
        assert_eq!(pairs, [("image", 10), ("text", 7)]);
        let max = i64::MAX;
        let huge = format!(r#"{{"candidatesTokenCount":{max},"thoughtsTokenCount":{max}}}"#);
        assert_eq!(counts(&huge), (None, Some(max)));
    }
}
