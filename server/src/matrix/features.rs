//! A feature, by what it is known again in a target's request, and what callers of legacy Completions and of gRPC can ask
//! for.

/// One thing to ask for.
pub(super) struct Feature {
    pub(super) name: &'static str,
    /// Members of the request, in the caller's dialect; they replace those of the base.
    pub(super) members: &'static str,
    /// Texts of which one is in the request of a target that carries it; after `!` it is one that must not be there.
    pub(super) marks: &'static [&'static str],
}

pub(super) const fn ask(
    name: &'static str,
    members: &'static str,
    marks: &'static [&'static str],
) -> Feature {
    Feature { name, members, marks }
}

/// Puts members over those of a base.
pub(super) fn merged(base: &str, members: &str) -> String {
    let parsed = |text: &str| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let mut body = parsed(base);
    body.extend(parsed(members));
    serde_json::Value::Object(body).to_string()
}

pub(super) const COMPLETIONS: &[Feature] = &[
    ask("prompt", r#"{"prompt":"MARK"}"#, &["MARK"]),
    ask("logprobs", r#"{"logprobs":3}"#, &["ogprobs"]),
    ask("stop", r#"{"stop":"MARK"}"#, &["MARK"]),
    ask("n", r#"{"n":2}"#, &[r#""n":2"#, r#""candidateCount":2"#]),
    ask("bias", r#"{"logit_bias":{"4242":1}}"#, &["4242"]),
    ask("user", r#"{"user":"MARK"}"#, &["MARK"]),
    ask("max tokens", r#"{"max_tokens":4242}"#, &["4242"]),
    ask("unknown member", r#"{"brand_new":"MARK"}"#, &["MARK"]),
];

pub(super) const GRPC: &[Feature] = &[
    ask("top_k", r#"{"sampling":{"topK":4242}}"#, &["4242"]),
    ask("min_p", r#"{"sampling":{"minP":0.25}}"#, &["0.25"]),
    ask("repetition penalty", r#"{"sampling":{"repetitionPenalty":0.25}}"#, &["0.25"]),
    ask("grammar", r#"{"outputFormat":{"grammar":{"syntax":"lark","definition":"MARK"}}}"#, &["MARK"]),
    ask("budget", r#"{"reasoning":{"budgetTokens":4242},"maxOutputTokens":9000}"#, &["4242"]),
    ask(
        "budget of none",
        r#"{"reasoning":{"budgetTokens":0}}"#,
        &[r#""none""#, r#""disabled""#, r#""thinkingBudget":0"#, r#""thinkingBudget":128"#],
    ),
    ask("no summary", r#"{"reasoning":{"effort":"low","summary":"none"}}"#, &["omitted", "!summar"]),
    ask("cache mode", r#"{"promptCache":{"mode":"explicit","ttl":"1h"}}"#, &["explicit", "1h"]),
    ask(
        "message cache mark",
        r#"{"messages":[{"role":"ROLE_USER","parts":[{"text":"hi","cacheBreakpoint":{"ttl":"1h"}}]}]}"#,
        &["1h"],
    ),
    ask(
        "tool cache mark",
        r#"{"tools":[{"function":{"name":"f"},"cacheBreakpoint":{"ttl":"1h"}}]}"#,
        &["1h"],
    ),
    ask(
        "another's extension",
        r#"{"messages":[{"role":"ROLE_USER","parts":[{"text":"hi"},{"extension":{"provider":"another","type":"t","json":"{\"a\":\"MARK\"}"}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "another's token",
        r#"{"messages":[{"role":"ROLE_USER","parts":[{"text":"hi"}]},{"role":"ROLE_ASSISTANT","parts":[{"text":"yes","continuity":{"provider":"another","token":"TUFSSw=="}}]},{"role":"ROLE_USER","parts":[{"text":"go"}]}]}"#,
        &["TUFSSw=="],
    ),
    ask(
        "own extension",
        r#"{"messages":[{"role":"ROLE_USER","parts":[{"text":"hi"},{"extension":{"provider":"mine","type":"t","json":"{\"a\":\"MARK\"}"}}]}]}"#,
        &["MARK"],
    ),
    ask(
        "own options",
        r#"{"providerOptions":[{"provider":"mine","bodyJson":"{\"a\":\"MARK\"}"}]}"#,
        &["MARK"],
    ),
    ask("verbosity", r#"{"verbosity":"low"}"#, &[r#""verbosity":"low""#]),
    ask("store", r#"{"store":true}"#, &[r#""store":true"#]),
];
