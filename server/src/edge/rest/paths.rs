//! Where a field of the contract stands in a caller's own dialect, for the warnings of its calls.

use std::borrow::Cow;

/// Names of the contract and of a dialect, where they differ.
type Names = &'static [(&'static str, &'static str)];

/// What Chat Completions and legacy Completions call it.
const CHAT: Names = &[
    ("max_output_tokens", "max_completion_tokens"),
    ("choice_count", "n"),
    ("end_user_id", "user"),
    ("output_format", "response_format"),
    ("output_modalities", "modalities"),
    ("reasoning.effort", "reasoning_effort"),
    ("prompt_cache.key", "prompt_cache_key"),
    ("prompt_cache", "prompt_cache_options"),
    ("tool_choice.tool_names", "tool_choice"),
];
/// What Responses calls it.
const RESPONSES: Names = &[
    ("end_user_id", "user"),
    ("output_format", "text.format"),
    ("verbosity", "text.verbosity"),
    ("prompt_cache.key", "prompt_cache_key"),
    ("prompt_cache", "prompt_cache_options"),
    ("logprobs", "top_logprobs"),
    ("tool_choice.tool_names", "tool_choice"),
];
/// Tells whether callers of that path speak Anthropic's dialect.
pub(in crate::edge) fn is_anthropic(path: &str) -> bool {
    path.contains("/messages")
}

/// What Anthropic Messages calls it.
const MESSAGES: Names = &[
    ("max_output_tokens", "max_tokens"),
    ("stop", "stop_sequences"),
    ("end_user_id", "metadata.user_id"),
    ("output_format", "output_config.format"),
    ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
    ("reasoning.effort", "output_config.effort"),
    ("reasoning.budget_tokens", "thinking.budget_tokens"),
    ("reasoning.summary", "thinking.display"),
    ("reasoning", "thinking"),
    ("tool_choice.tool_names", "tool_choice"),
];

/// Returns the field as callers of that request path know it. Content keeps the contract's path: its messages and
/// parts need not be counted as the caller's are.
pub(super) fn of_caller<'a>(field: &'a str, request_path: &str) -> Cow<'a, str> {
    let Some(field) = field.strip_prefix("input.").filter(|field| !field.starts_with("messages")) else {
        return field.into();
    };
    let field = field.strip_prefix("sampling.").unwrap_or(field);
    let names = match request_path {
        path if is_anthropic(path) => MESSAGES,
        path if path.contains("/responses") => RESPONSES,
        _ => CHAT,
    };
    let known = names.iter().find_map(|(ours, theirs)| {
        let rest = field.strip_prefix(ours)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then(|| format!("{theirs}{rest}"))
    });
    known.map_or(Cow::Borrowed(field), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_read_their_own_names() {
        for (field, path, shown) in [
            ("input.sampling.top_k", "/v1/messages", "top_k"),
            ("input.stop", "/v1/messages", "stop_sequences"),
            ("input.reasoning.effort", "/v1/messages", "output_config.effort"),
            ("input.reasoning.effort", "/v1/chat/completions", "reasoning_effort"),
            ("input.reasoning.effort", "/v1/responses", "reasoning.effort"),
            ("input.choice_count", "/v1/completions", "n"),
            ("input.output_format.json_schema", "/v1/responses", "text.format.json_schema"),
            ("input.tools[0].custom", "/v1/messages", "tools[0].custom"),
            ("input.messages[1].parts[0]", "/v1/messages", "input.messages[1].parts[0]"),
            ("tools[0].defer_loading", "/v1/messages", "tools[0].defer_loading"),
            ("dimensions", "/v1/embeddings", "dimensions"),
        ] {
            assert_eq!(of_caller(field, path), shown, "{field} at {path}");
        }
    }
}
