//! What an answer that passes through tells of its usage. Its shape shows whose words they are; each dialect's own
//! reader then counts them, so that a wire counts the same here and in its own lane.

mod flat;

use ::http::HeaderMap;
use tollgate_api::v1::{ModalityTokens, Usage, usage::Source};

use super::{
    anthropic, bedrock, cohere, gemini,
    json::{Count, Text, members::Members, read},
    openai,
};

/// Members that may hold the answer, or the last part of one that tells usage.
const INSIDE: [&str; 6] = ["message", "response", "interaction", "metadata", "delta", "x_groq"];
/// Bedrock's own count, under whatever the model's vendor tells.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// What the parts of one answer have told so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    usage: Usage,
    /// Anthropic tells each count when it changes.
    claude: anthropic::usage::Told,
}

impl Tally {
    /// Starts with what is known before the answer.
    pub(super) fn new(known: Usage) -> Self {
        Self { usage: known, ..Self::default() }
    }

    /// Returns the usage so far.
    pub(super) fn usage(&self) -> Usage {
        self.usage.clone()
    }

    /// Takes an answer or a part of one: a JSON object, or a list of them.
    pub(super) fn take(&mut self, json: &str) {
        for object in objects(json) {
            let members: Members<'_> = read(Some(object));
            if let Some(told) = self.of_answer(&members, object) {
                self.join(told);
            }
            let metrics = members.get(METRICS).and_then(|metrics| bedrock::usage::parse(metrics.get()));
            if let Some(told) = metrics.filter(|_| self.usage.output_tokens.is_none()) {
                self.join(told);
            }
        }
    }

    fn of_answer(&mut self, answer: &Members<'_>, json: &str) -> Option<Usage> {
        if let Some(told) = answer.get("usageMetadata") {
            return read::<gemini::usage::Told<'_>>(Some(told.get())).usage();
        }
        if let Some(told) = answer.get("usage").filter(|told| told.get().starts_with('{')) {
            return self.of_usage(told.get(), json);
        }
        if let Some(told) = answer.get("meta").and_then(|meta| serde_json::from_str(meta.get()).ok()) {
            return cohere::usage::of_chat(told);
        }
        let inside = INSIDE.iter().filter_map(|name| answer.get(name)).find_map(|inside| {
            let members: Members<'_> = serde_json::from_str(inside.get()).ok()?;
            self.of_answer(&members, inside.get())
        });
        inside.or_else(|| flat::usage(answer))
    }

    /// Reads a `usage`, whose names show who counts.
    fn of_usage(&mut self, usage: &str, answer: &str) -> Option<Usage> {
        let members: Members<'_> = read(Some(usage));
        let has = |names: &[&str]| names.iter().any(|name| members.get(name).is_some());
        if has(&["total_input_tokens", "total_output_tokens"]) {
            return Some(read::<Interaction<'_>>(Some(usage)).usage());
        }
        if has(&["inputTokens", "outputTokens"]) {
            return bedrock::usage::parse(usage);
        }
        if has(&["billed_units", "tokens"]) {
            return cohere::usage::of_chat(serde_json::from_str(usage).ok()?);
        }
        if has(&["prompt_tokens", "completion_tokens"]) {
            return openai::usage::parse(usage);
        }
        if has(&["input_tokens", "output_tokens"]) {
            // Anthropic tells no total, OpenAI's newer endpoints always do.
            if has(&["total_tokens", "input_tokens_details"]) {
                return openai::responses::usage_of(answer);
            }
            self.claude.take(usage);
            return self.claude.usage();
        }
        openai::usage::parse(usage).or_else(|| flat::units(&members))
    }

    /// Adds what was told later, which wins; but no count falls back to nothing: some tell each only once.
    fn join(&mut self, told: Usage) {
        let last = |told: Option<i64>, known: Option<i64>| told.filter(|count| *count > 0).or(known).or(told);
        let known = std::mem::take(&mut self.usage);
        self.usage = Usage {
            input_tokens: last(told.input_tokens, known.input_tokens),
            output_tokens: last(told.output_tokens, known.output_tokens),
            cache_read_input_tokens: last(told.cache_read_input_tokens, known.cache_read_input_tokens),
            cache_write_input_tokens: last(told.cache_write_input_tokens, known.cache_write_input_tokens),
            reasoning_output_tokens: last(told.reasoning_output_tokens, known.reasoning_output_tokens),
            ..told
        };
        for (name, count) in known.billable_units {
            self.usage.billable_units.entry(name).or_insert(count);
        }
    }
}

/// Returns the objects of a body: itself, or the items of a list.
fn objects(json: &str) -> Vec<&str> {
    if !json.trim_start().starts_with('[') {
        return vec![json];
    }
    let list: Vec<&serde_json::value::RawValue> = serde_json::from_str(json).unwrap_or_default();
    list.into_iter().map(serde_json::value::RawValue::get).collect()
}

/// The usage of Gemini's Interactions API, which counts thoughts and results of tools beside the rest.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Interaction<'a> {
    total_input_tokens: Count,
    total_output_tokens: Count,
    total_cached_tokens: Count,
    total_tool_use_tokens: Count,
    total_thought_tokens: Count,
    #[serde(borrow)]
    input_tokens_by_modality: Vec<Modality<'a>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Text<'a>,
    tokens: Count,
}

impl Interaction<'_> {
    fn usage(&self) -> Usage {
        let sum = |counts: [Count; 2]| counts.iter().filter_map(|count| count.0).reduce(i64::saturating_add);
        let by_modality = self.input_tokens_by_modality.iter().filter_map(|entry| {
            let modality = entry.modality.0.to_ascii_lowercase();
            Some(ModalityTokens { modality, tokens: entry.tokens.0?, cache_read_tokens: 0 })
        });
        let mut usage = Usage {
            input_tokens: sum([self.total_input_tokens, self.total_tool_use_tokens]),
            output_tokens: sum([self.total_output_tokens, self.total_thought_tokens]),
            cache_read_input_tokens: self.total_cached_tokens.0,
            reasoning_output_tokens: self.total_thought_tokens.0,
            input_by_modality: by_modality.collect(),
            r#final: true,
            ..Usage::default()
        };
        usage.set_source(Source::Provider);
        usage
    }
}

/// Reads what the head of an answer tells: Bedrock counts there, what is cached beside the rest, and so does TGI.
pub(super) fn of_head(headers: &HeaderMap) -> Usage {
    let count =
        |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok().filter(|count| *count >= 0);
    let bedrock = |name: &str| count(&format!("x-amzn-bedrock-{name}-token-count"));
    let (read, written) = (bedrock("cache-read-input"), bedrock("cache-write-input"));
    let cached = [read, written].into_iter().flatten().fold(0, i64::saturating_add);
    let mut usage = Usage {
        input_tokens: bedrock("input").map(|input| input.saturating_add(cached)).or(count("x-prompt-tokens")),
        output_tokens: bedrock("output").or(count("x-generated-tokens")),
        cache_read_input_tokens: read,
        cache_write_input_tokens: written,
        ..Usage::default()
    };
    usage.set_source(Source::Provider);
    usage
}

#[cfg(test)]
mod tests;
