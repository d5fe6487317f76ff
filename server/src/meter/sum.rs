//! Usage of several attempts as one: counts add up field by field, and what no part knows stays unknown.

use std::collections::HashMap;

use tollgate_api::v1::{self, Cost, ModalityTokens, Usage, usage::Source};

/// What several attempts are billed for.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// All of it; absent if nothing is billed.
    pub(super) usage: Option<Usage>,
    /// Of how many parts it is.
    pub(super) parts: usize,
    /// Whether a part, or something in it, has no known price.
    pub(super) unpriced: bool,
}

impl Sum {
    /// A bill of one part with a known price.
    pub(super) fn of(usage: Usage) -> Self {
        Self { usage: Some(usage), parts: 1, unpriced: false }
    }

    /// Adds what one attempt is billed for; `priced` says that all of it has a price.
    pub(super) fn add(&mut self, part: &Usage, priced: bool) {
        self.parts += 1;
        self.unpriced |= !priced;
        self.usage = Some(match self.usage.take() {
            None => part.clone(),
            Some(sum) => plus(sum, part),
        });
    }
}

/// Adds two usages. The later one tells the price list, which is that of the attempt that served.
pub(super) fn plus(sum: Usage, later: &Usage) -> Usage {
    let source = match (sum.source(), later.source()) {
        (one, other) if one == other => one,
        (Source::Estimated, _) | (_, Source::Estimated) => Source::Estimated,
        _ => Source::Unspecified,
    };
    Usage {
        input_tokens: tokens(sum.input_tokens, later.input_tokens),
        output_tokens: tokens(sum.output_tokens, later.output_tokens),
        cache_read_input_tokens: tokens(sum.cache_read_input_tokens, later.cache_read_input_tokens),
        cache_write_input_tokens: tokens(sum.cache_write_input_tokens, later.cache_write_input_tokens),
        reasoning_output_tokens: tokens(sum.reasoning_output_tokens, later.reasoning_output_tokens),
        input_by_modality: modalities(sum.input_by_modality, &later.input_by_modality),
        output_by_modality: modalities(sum.output_by_modality, &later.output_by_modality),
        accepted_prediction_tokens: tokens(sum.accepted_prediction_tokens, later.accepted_prediction_tokens),
        rejected_prediction_tokens: tokens(sum.rejected_prediction_tokens, later.rejected_prediction_tokens),
        billable_units: named(sum.billable_units, &later.billable_units),
        source: source.into(),
        r#final: sum.r#final || later.r#final,
        cost: cost(sum.cost, later.cost.as_ref()),
        cache_write_by_ttl: named(sum.cache_write_by_ttl, &later.cache_write_by_ttl),
        service_tier: if sum.service_tier == later.service_tier { sum.service_tier } else { String::new() },
    }
}

fn tokens(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (known, None) | (None, known) => known,
    }
}

fn named(mut sum: HashMap<String, i64>, later: &HashMap<String, i64>) -> HashMap<String, i64> {
    for (name, count) in later {
        let known = sum.entry(name.clone()).or_default();
        *known = known.saturating_add(*count);
    }
    sum
}

fn modalities(mut sum: Vec<ModalityTokens>, later: &[ModalityTokens]) -> Vec<ModalityTokens> {
    for part in later {
        match sum.iter_mut().find(|known| known.modality == part.modality) {
            Some(known) => {
                known.tokens = known.tokens.saturating_add(part.tokens);
                known.cache_read_tokens = known.cache_read_tokens.saturating_add(part.cache_read_tokens);
            }
            None => sum.push(part.clone()),
        }
    }
    sum
}

fn cost(sum: Option<Cost>, later: Option<&Cost>) -> Option<v1::Cost> {
    let (Some(sum), Some(later)) = (&sum, later) else { return sum.or_else(|| later.cloned()) };
    Some(Cost {
        amount_nanos: sum.amount_nanos.saturating_add(later.amount_nanos),
        saved_nanos: sum.saved_nanos.saturating_add(later.saved_nanos),
        estimated: sum.estimated || later.estimated,
        ..later.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: Option<i64>, output: Option<i64>, source: Source) -> Usage {
        Usage { input_tokens: input, output_tokens: output, source: source.into(), ..Usage::default() }
    }

    #[test]
    fn what_no_part_knows_stays_unknown_and_what_one_knows_counts() {
        let one = Usage {
            cache_read_input_tokens: Some(4),
            input_by_modality: vec![ModalityTokens {
                modality: "text".to_owned(),
                tokens: 7,
                cache_read_tokens: 4,
            }],
            billable_units: [("web_search_requests".to_owned(), 2)].into(),
            cache_write_by_ttl: [("5m".to_owned(), 1)].into(),
            ..usage(Some(7), None, Source::Provider)
        };
        let other = Usage {
            input_by_modality: vec![
                ModalityTokens { modality: "audio".to_owned(), tokens: 1, cache_read_tokens: 0 },
                ModalityTokens { modality: "text".to_owned(), tokens: 2, cache_read_tokens: 1 },
            ],
            billable_units: [("web_search_requests".to_owned(), 1), ("images".to_owned(), 1)].into(),
            cache_write_by_ttl: [("1h".to_owned(), 5)].into(),
            ..usage(Some(3), None, Source::Provider)
        };
        let sum = plus(one, &other);
        assert_eq!((sum.input_tokens, sum.output_tokens), (Some(10), None));
        assert_eq!((sum.cache_read_input_tokens, sum.cache_write_input_tokens), (Some(4), None));
        assert_eq!(sum.source(), Source::Provider);
        let text = &sum.input_by_modality[0];
        assert_eq!((text.tokens, text.cache_read_tokens, sum.input_by_modality.len()), (9, 5, 2));
        assert_eq!((sum.billable_units["web_search_requests"], sum.billable_units["images"]), (3, 1));
        assert_eq!((sum.cache_write_by_ttl["5m"], sum.cache_write_by_ttl["1h"]), (1, 5));
    }

    #[test]
    fn the_sum_is_the_providers_word_only_if_every_part_is() {
        for (one, other, both) in [
            (Source::Provider, Source::Provider, Source::Provider),
            (Source::Provider, Source::Estimated, Source::Estimated),
            (Source::Estimated, Source::Provider, Source::Estimated),
            (Source::Provider, Source::Cache, Source::Unspecified),
        ] {
            assert_eq!(plus(usage(None, None, one), &usage(None, None, other)).source(), both, "{one:?}");
        }
    }

    #[test]
    fn amounts_add_up_without_overflow_and_the_serving_price_list_is_named() {
        let cost = |nanos, version: &str, estimated| {
            let version = version.to_owned();
            Some(Cost { amount_nanos: nanos, price_version: version, estimated, ..Cost::default() })
        };
        let with = |cost| Usage { cost, ..Usage::default() };
        let sum = plus(with(cost(5, "old", true)), &with(cost(7, "new", false))).cost.unwrap();
        assert_eq!((sum.amount_nanos, &*sum.price_version, sum.estimated), (12, "new", true));
        let sum = plus(with(cost(i64::MAX, "v", false)), &with(cost(1, "v", false))).cost.unwrap();
        assert_eq!(sum.amount_nanos, i64::MAX);
        assert_eq!(plus(with(cost(5, "v", false)), &with(None)).cost.unwrap().amount_nanos, 5);
        assert_eq!(plus(with(None), &with(cost(5, "v", false))).cost.unwrap().amount_nanos, 5);
        assert!(plus(with(None), &with(None)).cost.is_none());
    }
}
