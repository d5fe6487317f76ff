//! Counts that stand among the other members of an answer, and things other than tokens that are billed.

use tollgate_api::v1::{Usage, usage::Source};

use crate::provider::{
    bedrock::usage::snake_case,
    json::{Count, members::Members, read},
};

/// Names of input counts: Ollama, Llama, watsonx, Titan, TGI, Vertex' embeddings.
const INPUT: [&str; 6] = [
    "prompt_eval_count",
    "prompt_token_count",
    "input_token_count",
    "inputTextTokenCount",
    "input_length",
    "token_count",
];
/// Names of output counts.
const OUTPUT: [&str; 6] = [
    "eval_count",
    "generation_token_count",
    "generated_token_count",
    "generated_tokens",
    "tokenCount",
    "totalOutputTextTokenCount",
];
/// Lists whose items have counts of their own, which add up.
const LISTS: [&str; 2] = ["results", "predictions"];
/// Members that have counts: TGI's, and those of Vertex' embeddings.
const INSIDE: [&str; 3] = ["details", "embeddings", "statistics"];
/// Other things that are billed, as vendors and the contract name them.
const UNITS: [&str; 5] = ["search_units", "images", "seconds", "characters", "classifications"];

/// Reads counts that stand among other members, there or in the lists and members that hold them.
pub(super) fn usage(answer: &Members<'_>) -> Option<Usage> {
    let [input, output] = counts(answer);
    if input.is_none() && output.is_none() {
        return units(answer);
    }
    let mut usage = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
    usage.set_source(Source::Provider);
    Some(usage)
}

fn counts(members: &Members<'_>) -> [Option<i64>; 2] {
    let first =
        |names: &[&str]| names.iter().find_map(|name| read::<Count>(Some(members.get(name)?.get())).0);
    let mut sum = [first(&INPUT).or_else(|| prefilled(members)), first(&OUTPUT)];
    let inside = INSIDE.iter().filter_map(|name| members.get(name)).map(|inside| read(Some(inside.get())));
    let lists = LISTS.iter().filter_map(|name| members.get(name));
    let items = lists.flat_map(|list| read::<Vec<Members<'_>>>(Some(list.get())));
    for inner in inside.chain(items) {
        for (sum, count) in sum.iter_mut().zip(counts(&inner)) {
            *sum = [*sum, count].into_iter().flatten().reduce(i64::saturating_add);
        }
    }
    sum
}

/// TGI lists the tokens of the prompt, if it was asked for them.
fn prefilled(details: &Members<'_>) -> Option<i64> {
    let list: Vec<serde::de::IgnoredAny> = serde_json::from_str(details.get("prefill")?.get()).ok()?;
    i64::try_from(list.len()).ok().filter(|count| *count > 0)
}

/// Reads what is billed that is no token: some vendors' units, and Bedrock's for guardrails (`topicPolicyUnits`).
pub(super) fn units(members: &Members<'_>) -> Option<Usage> {
    let mut usage = Usage::default();
    for (name, value) in members.iter().filter(|(name, _)| UNITS.contains(name) || name.ends_with("Units")) {
        if let Some(count) = whole(value).filter(|count| *count > 0) {
            usage.billable_units.insert(snake_case(name), count);
        }
    }
    usage.set_source(Source::Provider);
    (!usage.billable_units.is_empty()).then_some(usage)
}

/// A count; parts of a unit (seconds of sound) are rounded up, as they are billed.
fn whole(json: &str) -> Option<i64> {
    let part: f64 = json.parse().ok().filter(|part| (0.0..9e15).contains(part))?;
    #[expect(clippy::cast_possible_truncation, reason = "not negative, and below 2^53")]
    Some(part.ceil() as i64)
}
