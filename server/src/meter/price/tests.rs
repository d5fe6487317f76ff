//! Tests of prices: exact amounts on rows of the shipped catalog.

use proptest::prelude::*;

use super::*;
use crate::call::Rates;

fn target(vendor: &str, model: &str, rates: Option<Rates>) -> Target {
    Target {
        name: format!("{vendor}/{model}").into(),
        provider: vendor.into(),
        model: model.into(),
        vendor: vendor.into(),
        rates,
    }
}

fn usage(input: i64, output: i64) -> v1::Usage {
    let mut usage =
        v1::Usage { input_tokens: Some(input), output_tokens: Some(output), ..v1::Usage::default() };
    usage.set_source(Source::Provider);
    usage
}

fn nanos(vendor: &str, model: &str, usage: &v1::Usage) -> Option<i64> {
    Catalog::embedded().cost(&target(vendor, model, None), "", usage).map(|cost| cost.amount_nanos)
}

fn audio(tokens: i64, cache_read_tokens: i64) -> v1::ModalityTokens {
    v1::ModalityTokens { modality: "audio".to_owned(), tokens, cache_read_tokens }
}

#[test]
fn the_catalog_parses_and_no_price_is_negative() {
    let table = Table::parse(EMBEDDED).unwrap();
    assert!(!table.version.is_empty());
    let mut rows = 0;
    for facts in table.models.values().flat_map(HashMap::values) {
        rows += 1;
        for prices in std::iter::once(&facts.prices).chain(facts.tiers.iter().map(|tier| &tier.prices)) {
            let every = [prices.input, prices.output, prices.cache_read, prices.cache_write];
            let more = [prices.input_audio, prices.output_audio, prices.input_image, prices.cache_write_1h];
            assert!(every.iter().chain(&more).flatten().all(|rate| *rate >= 0), "{facts:?}");
        }
    }
    assert!(rows > 1_000, "{rows}");
}

#[test]
fn a_token_of_a_cheap_model_is_exact() {
    assert_eq!(nanos("openai", "gpt-4o-mini", &usage(1, 0)), Some(150));
    assert_eq!(nanos("openai", "gpt-4o-mini", &usage(1_000, 500)), Some(150_000 + 300_000));
    assert_eq!(nanos("openai", "text-embedding-3-small", &usage(1, 0)), Some(20));
    let version = Catalog::embedded().cost(&target("openai", "gpt-4o", None), "", &usage(1, 1)).unwrap();
    assert_eq!(version.price_version, Catalog::embedded().version());
    assert_eq!(version.currency_code, "USD");
    assert!(!version.estimated);
}

#[test]
fn cached_tokens_are_part_of_the_input_and_paid_once() {
    let mut cached = usage(1_000, 0);
    cached.cache_read_input_tokens = Some(600);
    assert_eq!(nanos("openai", "gpt-4o-mini", &cached), Some(400 * 150 + 600 * 75));
    let mut written = usage(1_000, 0);
    written.cache_read_input_tokens = Some(100);
    written.cache_write_input_tokens = Some(300);
    written.cache_write_by_ttl.insert("1h".to_owned(), 200);
    let expected = 600 * 3_000 + 100 * 300 + 100 * 3_750 + 200 * 6_000;
    assert_eq!(nanos("anthropic", "claude-sonnet-4-5", &written), Some(expected));
}

#[test]
fn audio_tokens_have_their_own_price_cached_ones_too() {
    let mut spoken = usage(1_000, 100);
    spoken.cache_read_input_tokens = Some(300);
    spoken.input_by_modality = vec![audio(400, 100)];
    spoken.output_by_modality = vec![audio(80, 0)];
    // gemini-2.5-flash: 300 text, 1000 audio, 30 cached text, 100 cached audio, 2500 output.
    let expected = 400 * 300 + 300 * 1_000 + 200 * 30 + 100 * 100 + 100 * 2_500;
    assert_eq!(nanos("gemini", "gemini-2.5-flash", &spoken), Some(expected));
    spoken.cache_read_input_tokens = None;
    spoken.input_by_modality = vec![audio(400, 0)];
    let expected = 600 * 2_500 + 400 * 32_000 + 20 * 10_000 + 80 * 64_000;
    assert_eq!(nanos("openai", "gpt-audio", &spoken), Some(expected));
}

#[test]
fn a_long_prompt_is_priced_as_a_whole_by_its_tier() {
    assert_eq!(nanos("gemini", "gemini-2.5-pro", &usage(200_000, 1)), Some(200_000 * 1_250 + 10_000));
    assert_eq!(nanos("gemini", "gemini-2.5-pro", &usage(200_001, 1)), Some(200_001 * 2_500 + 15_000));
}

#[test]
fn a_service_tier_has_its_own_rates_and_long_prompts_theirs() {
    let by = |service: &str, input: i64| {
        let mut usage = usage(input, 0);
        service.clone_into(&mut usage.service_tier);
        nanos("openai", "gpt-5.4", &usage)
    };
    assert_eq!(by("", 1_000), Some(1_000 * 2_500));
    assert_eq!(by("default", 1_000), Some(1_000 * 2_500), "an unknown tier is the standard one");
    assert_eq!(by("flex", 1_000), Some(1_000 * 1_250));
    assert_eq!(by("priority", 1_000), Some(1_000 * 5_000));
    assert_eq!(by("flex", 300_000), Some(300_000 * 2_500));
    // Nobody says what `priority` costs beyond 272 k, so the standard long rate holds.
    assert_eq!(by("priority", 300_000), Some(300_000 * 5_000));
}

#[test]
fn what_is_billed_by_the_piece_is_added_and_flagged_if_its_price_is_unknown() {
    let with = |mut usage: v1::Usage, name: &str, count: i64| {
        usage.billable_units.insert(name.to_owned(), count);
        usage
    };
    let searched = with(usage(1_000, 0), "web_search_requests", 2);
    assert_eq!(nanos("anthropic", "claude-sonnet-4-5", &searched), Some(3_000_000 + 2 * 10_000_000));
    assert_eq!(
        nanos("cohere", "rerank-v3.5", &with(v1::Usage::default(), "search_units", 3)),
        Some(6_000_000)
    );
    assert_eq!(nanos("openai", "tts-1", &with(v1::Usage::default(), "characters", 1_000)), Some(15_000_000));
    assert_eq!(nanos("openai", "whisper-1", &with(v1::Usage::default(), "seconds", 9)), Some(900_000));
    let odd = with(usage(1_000, 0), "images", 1);
    let (catalog, mini) = (Catalog::embedded(), target("openai", "gpt-4o-mini", None));
    assert_eq!(nanos("openai", "gpt-4o-mini", &odd), Some(150_000));
    assert!(catalog.is_partly_unpriced(&mini, "", &odd));
    assert!(!catalog.is_partly_unpriced(&mini, "", &with(usage(1, 1), "something_free", 1)));
    assert!(!catalog.is_partly_unpriced(&mini, "", &with(usage(1, 1), "billed_input_tokens", 1)));
    for name in ["advisor_message_input_tokens", "advisor_message_output_tokens", "sources"] {
        assert!(catalog.is_partly_unpriced(&mini, "", &with(usage(1, 1), name, 1)), "{name}");
    }
    assert_eq!(nanos("openai", "tts-1", &v1::Usage::default()), None, "nothing was counted");
}

#[test]
fn billed_tokens_are_paid_for_and_not_those_that_were_counted() {
    let mut usage = usage(500, 20);
    usage
        .billable_units
        .extend([("billed_input_tokens".to_owned(), 5), ("billed_output_tokens".to_owned(), 2)]);
    assert_eq!(nanos("cohere", "command-r-08-2024", &usage), Some(5 * 150 + 2 * 600));
}

#[test]
fn the_providers_own_price_wins_over_the_catalog_and_the_configuration_over_both() {
    let catalog = Catalog::embedded();
    let mut usage = usage(1, 1);
    usage.cost = Some(v1::Cost {
        amount_nanos: 77,
        price_version: PROVIDERS_OWN_PRICE.to_owned(),
        ..v1::Cost::default()
    });
    let cost = |rates| catalog.cost(&target("openrouter", "x/y", rates), "", &usage).unwrap().amount_nanos;
    assert_eq!(cost(None), 77);
    assert_eq!(cost(Some(Rates { input: 1_000_000, output: 0, cache_read: None, cache_write: None })), 1);
}

#[test]
fn an_unknown_price_is_none_and_echo_is_zero() {
    assert_eq!(nanos("openai", "no-such-model", &usage(1, 1)), None);
    assert_eq!(nanos("nobody", "gpt-4o-mini", &usage(1, 1)), None);
    assert_eq!(nanos("openai", "gpt-4o-mini", &v1::Usage::default()), None, "nothing was counted");
    assert!(Catalog::default().cost(&target("openai", "gpt-4o-mini", None), "", &usage(1, 1)).is_none());
    let cost = Catalog::default().cost(&target("echo", "echo", None), "", &usage(5, 5)).unwrap();
    assert_eq!((cost.amount_nanos, &*cost.price_version), (0, "echo"));
}

#[test]
fn configured_rates_hold_and_round_half_up() {
    let rates = Rates { input: 500_000, output: 1, cache_read: Some(0), cache_write: None };
    let price = |usage: &v1::Usage| {
        let cost = Catalog::embedded().cost(&target("openai", "gpt-4o", Some(rates)), "", usage).unwrap();
        assert_eq!(cost.price_version, "config");
        cost.amount_nanos
    };
    assert_eq!(price(&usage(1, 0)), 1, "half a nano rounds up");
    assert_eq!(price(&usage(0, 499_999)), 0);
    assert_eq!(price(&usage(2, 0)), 1);
    let mut cached = usage(10, 0);
    cached.cache_read_input_tokens = Some(10);
    assert_eq!(price(&cached), 0);
}

#[test]
fn the_upstreams_word_and_dated_names_find_a_price() {
    let catalog = Catalog::embedded();
    let deployment = target("azure", "my-deployment", None);
    assert!(catalog.cost(&deployment, "", &usage(1, 1)).is_none());
    assert_eq!(catalog.cost(&deployment, "gpt-4o-mini", &usage(1, 0)).unwrap().amount_nanos, 150);
    assert_eq!(nanos("openai", "gpt-4o-mini-2031-01-31", &usage(1, 0)), Some(150));
    assert_eq!(nanos("anthropic", "claude-sonnet-4-5-20310131", &usage(1, 0)), Some(3_000));
}

#[test]
fn estimates_are_flagged_and_cache_hits_save() {
    let catalog = Catalog::embedded();
    let mini = target("openai", "gpt-4o-mini", None);
    let mut counted = usage(10, 0);
    counted.set_source(Source::Estimated);
    assert!(catalog.cost(&mini, "", &counted).unwrap().estimated);
    counted.set_source(Source::Cache);
    let cost = catalog.cost(&mini, "", &counted).unwrap();
    assert_eq!((cost.amount_nanos, cost.saved_nanos), (0, 1_500));
}

#[test]
fn facts_tell_sizes_and_abilities() {
    let catalog = Catalog::embedded();
    let facts = catalog.facts("openai", "gpt-4o-mini").unwrap();
    assert_eq!((facts.context_tokens, facts.max_output_tokens), (Some(128_000), Some(16_384)));
    assert_eq!((facts.input_rate(), facts.output_rate()), (Some(150_000_000), Some(600_000_000)));
    assert!(facts.capabilities.iter().any(|word| word == "tools"));
    assert_eq!(facts.operation, "chat");
    assert!(catalog.facts("openai", "").is_none());
}

proptest! {
    #[test]
    fn no_count_makes_it_panic_or_go_negative(
        input in any::<Option<i64>>(), output in any::<Option<i64>>(), read in any::<Option<i64>>(),
        write in any::<Option<i64>>(), part in any::<i64>(), part_read in any::<i64>(), reasoning in any::<Option<i64>>(),
    ) {
        let usage = v1::Usage {
            input_tokens: input, output_tokens: output, cache_read_input_tokens: read,
            cache_write_input_tokens: write, reasoning_output_tokens: reasoning,
            input_by_modality: vec![audio(part, part_read), audio(part, part_read)],
            output_by_modality: vec![audio(part, 0)],
            ..v1::Usage::default()
        };
        for (vendor, model) in [("gemini", "gemini-2.5-flash"), ("openai", "gpt-audio"), ("anthropic", "claude-sonnet-4-5")] {
            if let Some(amount) = nanos(vendor, model, &usage) {
                prop_assert!(amount >= 0);
            }
        }
    }
}

#[test]
fn what_a_vendor_bills_apart_from_the_counts_is_what_is_paid_for() {
    let rates = Rates { input: 2_500_000_000, output: 10_000_000_000, cache_read: None, cache_write: None };
    let mut usage = usage(1_431, 152);
    usage.cache_read_input_tokens = Some(1_392);
    usage.billable_units.insert("billed_input_tokens".to_owned(), 26);
    usage.billable_units.insert("billed_output_tokens".to_owned(), 147);
    let cost = Catalog::embedded().cost(&target("cohere", "command", Some(rates)), "", &usage).unwrap();
    assert_eq!(cost.amount_nanos, 26 * 2_500 + 147 * 10_000);
}

#[test]
fn models_that_answer_by_the_responses_api_only_are_known() {
    for (vendor, model, only) in [
        ("openai", "o1-pro", true),
        ("openai", "gpt-5-codex", true),
        ("openai", "gpt-5-pro-2025-10-06", true),
        ("openai", "gpt-4o", false),
        ("openai", "text-embedding-3-small", false),
        ("openai", "unheard-of", false),
        ("nobody", "o1-pro", false),
    ] {
        assert_eq!(is_responses_only(vendor, model), only, "{vendor} {model}");
    }
}

#[test]
fn a_model_finds_its_price_by_every_form_of_its_name() {
    for (vendor, model, nanos_per_token) in [
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", Some(3_000)),
        // The list itself knows that some regions are dearer.
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", Some(3_300)),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", Some(3_000)),
        ("bedrock", "ca.amazon.nova-lite-v1:0", Some(60)),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Some(3_300),
        ),
        ("bedrock", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", Some(60)),
        ("bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2", None),
        ("vertex", "claude-sonnet-4-5@20250929", Some(3_000)),
        ("vertex", "publishers/google/models/gemini-2.5-pro", Some(1_250)),
        ("gemini", "models/gemini-2.5-pro", Some(1_250)),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", Some(300)),
        ("openai", "ft:gpt-2:acme::abc", None),
    ] {
        assert_eq!(nanos(vendor, model, &usage(1, 0)), nanos_per_token, "{vendor} {model}");
    }
}

#[test]
fn the_sums_of_vendors_bills_are_met() {
    // Claude on Vertex beyond 200 k: all at the long rates, writes by their lifetime.
    let mut long = usage(250_000, 1_000);
    long.cache_read_input_tokens = Some(100_000);
    long.cache_write_input_tokens = Some(30_000);
    long.cache_write_by_ttl.extend([("5m".to_owned(), 20_000), ("1h".to_owned(), 10_000)]);
    let expected = 120_000 * 6_000 + 100_000 * 600 + 20_000 * 7_500 + 10_000 * 12_000 + 1_000 * 22_500;
    assert_eq!(nanos("vertex", "claude-sonnet-4-5@20250929", &long), Some(expected));
    // Gemini beyond 200 k, half of it cached, by the priority tier.
    let mut priority = usage(300_000, 10);
    priority.cache_read_input_tokens = Some(150_000);
    priority.service_tier = "priority".to_owned();
    let expected = 150_000 * 4_500 + 150_000 * 450 + 10 * 27_000;
    assert_eq!(nanos("gemini", "gemini-2.5-pro", &priority), Some(expected));
    // Reasoning is output and paid once.
    let mut flex = usage(1_000, 2_000);
    flex.reasoning_output_tokens = Some(1_500);
    flex.cache_read_input_tokens = Some(400);
    flex.service_tier = "flex".to_owned();
    assert_eq!(nanos("openai", "gpt-5-mini-2025-08-07", &flex), Some(600 * 125 + 5_000 + 2_000 * 1_000));
    // An image: its own tokens in and out, the words of the prompt as words.
    let image = |tokens| v1::ModalityTokens { modality: "image".to_owned(), tokens, cache_read_tokens: 0 };
    let mut drawn = usage(60, 272);
    drawn.input_by_modality = vec![image(40)];
    drawn.output_by_modality = vec![image(272)];
    assert_eq!(nanos("openai", "gpt-image-1", &drawn), Some(20 * 5_000 + 40 * 10_000 + 272 * 40_000));
}

#[test]
fn the_most_that_a_call_may_cost_is_by_the_dearest_kind_of_token() {
    let catalog = Catalog::embedded();
    let most =
        |vendor: &str, model: &str, rates| catalog.at_most(&target(vendor, model, rates), &usage(100, 10));
    // Written to the cache for an hour.
    assert_eq!(most("anthropic", "claude-sonnet-4-5", None), Some(100 * 6_000 + 10 * 15_000));
    // Sound in, sound out.
    assert_eq!(most("openai", "gpt-audio", None), Some(100 * 32_000 + 10 * 64_000));
    // Images out; there is no other output.
    assert_eq!(most("openai", "gpt-image-1", None), Some(100 * 10_000 + 10 * 40_000));
    assert_eq!(most("openai", "gpt-4o-mini", None), Some(100 * 150 + 10 * 600));
    let rates = Rates { input: 1_000_000, output: 0, cache_read: None, cache_write: Some(2_000_000) };
    assert_eq!(most("openai", "x", Some(rates)), Some(200));
    assert_eq!(most("openai", "no-such-model", None), None);
}
