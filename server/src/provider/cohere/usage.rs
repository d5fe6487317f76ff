//! Cohere's two ways of counting: `tokens` are what the model read and wrote, `billed_units` what is paid for.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{ModalityTokens, Usage, usage::Source};

use crate::provider::json::Count;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    billed_units: Option<Units>,
    tokens: Option<Tokens>,
    cached_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
    /// Counted inside `output_tokens`.
    reasoning_tokens: Count,
    /// Counted beside `input_tokens`.
    image_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Units {
    input_tokens: Count,
    output_tokens: Count,
    image_tokens: Count,
    images: Count,
    search_units: Count,
    classifications: Count,
}

/// Reads the usage of a chat. None if it counts nothing.
pub(in crate::provider) fn of_chat(json: &RawValue) -> Option<Usage> {
    let told: Told = serde_json::from_str(json.get()).ok()?;
    let units = told.billed_units.unwrap_or_default();
    let tokens = told.tokens.unwrap_or_default();
    let image = tokens.image_tokens.0.filter(|tokens| *tokens > 0);
    let mut usage = Usage {
        input_tokens: sum(tokens.input_tokens.0.or(units.input_tokens.0), image),
        output_tokens: tokens.output_tokens.0.or(units.output_tokens.0),
        cache_read_input_tokens: told.cached_tokens.0,
        reasoning_output_tokens: tokens.reasoning_tokens.0,
        input_by_modality: by_modality(tokens.input_tokens.0, image),
        r#final: true,
        ..Usage::default()
    };
    bill(&mut usage, &units);
    for (name, count) in
        [("billed_input_tokens", units.input_tokens.0), ("billed_output_tokens", units.output_tokens.0)]
    {
        if let Some(count) = count {
            usage.billable_units.insert(name.to_owned(), count);
        }
    }
    usage.set_source(Source::Provider);
    let counts = usage.input_tokens.is_some() || usage.output_tokens.is_some();
    (counts || !usage.billable_units.is_empty()).then_some(usage)
}

/// Reads the usage of embeddings, which tell billed units only.
pub(super) fn of_embeddings(billed_units: &RawValue) -> Option<Usage> {
    let units: Units = serde_json::from_str(billed_units.get()).ok()?;
    let image = units.image_tokens.0.filter(|tokens| *tokens > 0);
    let mut usage = Usage {
        input_tokens: sum(units.input_tokens.0, image),
        input_by_modality: by_modality(units.input_tokens.0, image),
        r#final: true,
        ..Usage::default()
    };
    bill(&mut usage, &units);
    usage.set_source(Source::Provider);
    (usage.input_tokens.is_some() || !usage.billable_units.is_empty()).then_some(usage)
}

fn bill(usage: &mut Usage, units: &Units) {
    for (name, count) in [
        ("images", units.images.0),
        ("search_units", units.search_units.0),
        ("classifications", units.classifications.0),
    ] {
        if let Some(count) = count.filter(|count| *count > 0) {
            usage.billable_units.insert(name.to_owned(), count);
        }
    }
}

fn sum(tokens: Option<i64>, more: Option<i64>) -> Option<i64> {
    match (tokens, more) {
        (Some(tokens), Some(more)) => Some(tokens.saturating_add(more)),
        (tokens, more) => tokens.or(more),
    }
}

fn by_modality(text: Option<i64>, image: Option<i64>) -> Vec<ModalityTokens> {
    let Some(image) = image else { return Vec::new() };
    [("text", text), ("image", Some(image))]
        .into_iter()
        .filter_map(|(modality, tokens)| {
            Some(ModalityTokens { modality: modality.to_owned(), tokens: tokens?, cache_read_tokens: 0 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn co_usage_two_ways_of_counting_stand_beside_each_other() {
        let usage = of_chat(&raw(
            r#"{"billed_units":{"input_tokens":26,"output_tokens":147},
                "tokens":{"input_tokens":1431,"output_tokens":152,"reasoning_tokens":145},"cached_tokens":1392}"#,
        ))
        .unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(1431), Some(152)));
        assert_eq!((usage.cache_read_input_tokens, usage.reasoning_output_tokens), (Some(1392), Some(145)));
        let billed = |name| usage.billable_units.get(name).copied();
        assert_eq!(
            (billed("billed_input_tokens"), billed("billed_output_tokens"), billed("search_units")),
            (Some(26), Some(147), None)
        );
    }

    #[test]
    fn image_tokens_are_counted_beside_the_others_and_belong_to_the_input() {
        let usage = of_chat(&raw(
            r#"{"billed_units":{"input_tokens":267},"tokens":{"input_tokens":34,"image_tokens":259}}"#,
        ))
        .unwrap();
        assert_eq!(usage.input_tokens, Some(293));
        assert_eq!(usage.input_by_modality[1].tokens, 259);
    }

    #[test]
    fn embeddings_tell_billed_units_only() {
        let usage = of_embeddings(&raw(r#"{"input_tokens":7,"image_tokens":0,"images":2}"#)).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), None));
        assert_eq!(usage.billable_units["images"], 2);
        assert!(usage.input_by_modality.is_empty());
    }

    #[test]
    fn nothing_told_is_nothing_known() {
        for nothing in ["{}", "null", "7", r#"{"tokens":null}"#, r#"{"tokens":{"input_tokens":-1}}"#] {
            assert!(of_chat(&raw(nothing)).is_none(), "{nothing}");
            assert!(of_embeddings(&raw(nothing)).is_none(), "{nothing}");
        }
    }
}
