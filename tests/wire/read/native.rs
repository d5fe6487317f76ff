//! What passes through: nothing of it is read but how much was used, where the vendor tells it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Expected, count_at, text_at};

/// Where input and output counts stand, by wire.
const PLACES: [(&str, &str); 13] = [
    // Ollama.
    ("/prompt_eval_count", "/eval_count"),
    // Cohere, version 1: what the model saw, else what is billed.
    ("/meta/tokens/input_tokens", "/meta/tokens/output_tokens"),
    ("/response/meta/tokens/input_tokens", "/response/meta/tokens/output_tokens"),
    ("/meta/billed_units/input_tokens", "/meta/billed_units/output_tokens"),
    ("/response/meta/billed_units/input_tokens", "/response/meta/billed_units/output_tokens"),
    // watsonx.
    ("/results/0/input_token_count", "/results/0/generated_token_count"),
    // Gemini's interactions.
    ("/usage/total_input_tokens", "/usage/total_output_tokens"),
    ("/interaction/usage/total_input_tokens", "/interaction/usage/total_output_tokens"),
    // Models of Bedrock, by maker.
    ("/usage/inputTokens", "/usage/outputTokens"),
    ("/usage/input_tokens", "/usage/output_tokens"),
    ("/usage/prompt_tokens", "/usage/completion_tokens"),
    ("/prompt_token_count", "/generation_token_count"),
    ("/inputTextTokenCount", "/results/0/tokenCount"),
];

/// Bedrock's own counts of a stream, where the maker's JSON has none. In answers that have both, Bedrock's headers agree
/// with the maker.
const METRICS: (&str, &str) = (
    "/amazon-bedrock-invocationMetrics/inputTokenCount",
    "/amazon-bedrock-invocationMetrics/outputTokenCount",
);

/// Reads the last counts of a body or its pieces.
pub fn answer(messages: &[Value]) -> Expected {
    let mut expected = Expected::default();
    for message in messages {
        // Bedrock's frames hold the maker's own JSON.
        let inner = BASE64_STANDARD.decode(text_at(message, "/chunk/bytes")).unwrap_or_default();
        let inner: Option<Value> = serde_json::from_slice(&inner).ok();
        let message = inner.as_ref().unwrap_or(message);
        // Claude's own counts hold: Bedrock's metrics leave its thoughts out.
        let known = expected.usage.output.is_some();
        for (input, output) in PLACES.into_iter().filter(|(input, _)| !known || !input.contains("Metrics")) {
            let (input, output) = (count_at(message, input), count_at(message, output));
            if input.is_some() || output.is_some() {
                // watsonx tells it once, and 0 from then on.
                expected.usage.input = input.filter(|count| *count > 0).or(expected.usage.input).or(input);
                expected.usage.output = output.or(expected.usage.output);
                break;
            }
        }
        expected.usage.input = expected.usage.input.or(count_at(message, METRICS.0));
        expected.usage.output = expected.usage.output.or(count_at(message, METRICS.1));
        expected.search_units =
            count_at(message, "/meta/billed_units/search_units").or(expected.search_units);
        add_aside(&mut expected, message);
    }
    expected
}

/// Adds what is counted beside: Claude's cached input, Gemini's thoughts and what its tools put into the prompt.
fn add_aside(expected: &mut Expected, message: &Value) {
    let usage = ["/usage", "/interaction/usage"].iter().find_map(|place| message.pointer(place));
    let sum = |names: [&str; 2]| names.iter().filter_map(|name| count_at(usage?, name)).sum::<i64>();
    let input = sum(["/cache_read_input_tokens", "/cache_creation_input_tokens"])
        + sum(["/total_tool_use_tokens", ""]);
    let output = sum(["/total_thought_tokens", ""]);
    expected.usage.input = expected.usage.input.map(|count| count + input);
    expected.usage.output = expected.usage.output.map(|count| count + output);
}

/// Adds what only the head tells.
pub fn add_headers(expected: &mut Expected, header: impl Fn(&str) -> Option<i64>) {
    let either = |names: [&str; 2]| names.into_iter().find_map(&header);
    let usage = &mut expected.usage;
    usage.input = usage.input.or_else(|| either(["x-amzn-bedrock-input-token-count", "x-prompt-tokens"]));
    usage.output =
        usage.output.or_else(|| either(["x-amzn-bedrock-output-token-count", "x-generated-tokens"]));
}
