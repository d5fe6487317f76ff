//! What a target's request does not carry as it was asked for: the caller is told by a warning, or a refusal, that names
//! this field. What a table does not list is carried.

/// A feature, the field that is named, and the targets of which it is.
pub(super) type Told = (&'static str, &'static str, &'static [&'static str]);

/// Lists what is told to callers of a dialect.
pub(super) fn of(caller: &str) -> impl Iterator<Item = &'static Told> {
    let list = match caller {
        "chat" => CHAT,
        "responses" => RESPONSES,
        "messages" => MESSAGES,
        "completions" => COMPLETIONS,
        _ => GRPC,
    };
    list.iter()
}

/// Every target: the contract itself, or the caller's own dialect alone, has it.
const ALL: [&str; 8] =
    ["openai", "openai-responses", "anthropic", "gemini", "bedrock", "cohere", "mistral", "compatible"];

const CHAT: &[Told] = &[
    (
        "bias",
        "input.sampling.logit_bias",
        &["openai-responses", "anthropic", "gemini", "bedrock", "cohere", "mistral"],
    ),
    ("cache key", "input.prompt_cache.key", &["anthropic", "gemini"]),
    ("cache key", "input.prompt_cache", &["bedrock", "cohere"]),
    (
        "cache mark",
        "input.messages[0].parts[0].cache_breakpoint",
        &["openai", "openai-responses", "gemini", "cohere", "mistral", "compatible"],
    ),
    (
        "cache mark of a tool",
        "input.tools[0].cache_breakpoint",
        &["openai", "openai-responses", "gemini", "cohere", "mistral", "compatible"],
    ),
    ("custom tool", "input.tools[0].custom", &["anthropic", "bedrock"]),
    ("custom tool", "input.tools[0]", &["gemini", "cohere"]),
    ("effort", "input.reasoning.effort", &["cohere"]),
    ("file id", "input.messages[0].parts[0].media", &["bedrock", "cohere"]),
    ("file id", "input.messages[0].parts[0].media.file_id", &["gemini"]),
    ("frequency penalty", "input.sampling.frequency_penalty", &["openai-responses", "anthropic", "bedrock"]),
    ("image by address", "input.messages[0].parts[0].media", &["bedrock"]),
    ("image detail", "input.messages[0].parts[0].media.detail", &["anthropic", "gemini", "bedrock"]),
    ("json mode", "input.output_format.json_object", &["anthropic", "bedrock"]),
    ("logprobs", "input.logprobs", &["anthropic", "bedrock", "mistral"]),
    ("metadata", "input.metadata", &["anthropic", "gemini", "cohere"]),
    ("n", "input.choice_count", &["openai-responses", "anthropic", "bedrock", "cohere"]),
    ("name", "input.messages[0].name", &["openai-responses", "anthropic", "gemini", "bedrock"]),
    ("name", "input.messages.name", &["cohere", "mistral"]),
    ("no effort", "input.reasoning.effort", &["gemini"]),
    ("no parallel calls", "input.parallel_tool_calls", &["gemini", "cohere"]),
    ("pdf bytes", "input.messages[0].parts[0].media", &["cohere"]),
    ("prediction", "input.prediction", &["openai-responses", "anthropic", "gemini", "bedrock", "cohere"]),
    ("presence penalty", "input.sampling.presence_penalty", &["openai-responses", "anthropic", "bedrock"]),
    ("seed", "input.sampling.seed", &["openai-responses", "anthropic", "bedrock"]),
    ("service tier", "input.service_tier", &["anthropic", "cohere", "mistral"]),
    ("sound", "input.messages[0].parts[0].media", &["anthropic", "cohere"]),
    ("spoken answer", "input.output_modalities", &["openai-responses", "bedrock"]),
    ("spoken answer", "input.audio", &["anthropic", "cohere", "mistral"]),
    (
        "spoken answer sent back",
        "input.messages[1].parts[0]",
        &["openai-responses", "anthropic", "bedrock", "cohere"],
    ),
    ("spoken answer sent back", "input.messages[1].parts[0].media.file_id", &["gemini"]),
    ("stop", "input.stop", &["openai-responses"]),
    ("store", "input.store", &["anthropic", "gemini", "bedrock", "cohere", "mistral"]),
    (
        "thought sent back",
        "input.messages[1].parts[0]",
        &["openai", "openai-responses", "anthropic", "gemini", "bedrock", "cohere"],
    ),
    (
        "thought's details sent back",
        "input.messages[1].parts[0]",
        &["openai", "openai-responses", "anthropic", "gemini", "bedrock", "cohere"],
    ),
    ("unknown member of a part", "messages[0].content[0].brand_new", &ALL),
    ("unknown member of a tool", "tools[0].function.brand_new", &ALL),
    (
        "unknown part",
        "input.messages[0].parts[1]",
        &["openai-responses", "anthropic", "gemini", "bedrock", "cohere"],
    ),
    ("upstream tool", "input.tools[0]", &["cohere"]),
    ("user", "input.end_user_id", &["gemini", "bedrock", "cohere", "mistral"]),
    ("verbosity", "input.verbosity", &["anthropic", "gemini", "bedrock", "cohere", "mistral"]),
    (
        "video by address",
        "input.messages[0].parts[0].media",
        &["openai", "openai-responses", "anthropic", "bedrock", "cohere"],
    ),
];

const RESPONSES: &[Told] = &[
    ("cache key", "input.prompt_cache.key", &["anthropic", "gemini"]),
    ("cache key", "input.prompt_cache", &["bedrock", "cohere"]),
    ("custom tool", "input.tools[0].custom", &["anthropic", "bedrock"]),
    ("custom tool", "input.tools[0]", &["gemini", "cohere"]),
    ("effort", "input.reasoning.effort", &["cohere"]),
    ("image detail", "input.messages[0].parts[0].media.detail", &["anthropic", "gemini", "bedrock"]),
    ("image id", "input.messages[0].parts[0].media", &["bedrock", "cohere"]),
    ("image id", "input.messages[0].parts[0].media.file_id", &["gemini"]),
    ("include", "include[0]", &ALL),
    ("logprobs", "input.logprobs", &["anthropic", "bedrock", "mistral"]),
    (
        "max tool calls",
        "max_tool_calls",
        &["openai", "anthropic", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    ("metadata", "input.metadata", &["anthropic", "gemini", "cohere"]),
    ("pdf by address", "input.messages[0].parts[0].media", &["bedrock", "cohere", "openai"]),
    (
        "reasoning sent back",
        "input.messages[1].parts[0]",
        &["openai", "anthropic", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    (
        "result with an image",
        "input.messages[2].parts[0].tool_result.parts[0]",
        &["openai", "cohere", "mistral", "compatible"],
    ),
    ("service tier", "input.service_tier", &["anthropic", "cohere", "mistral"]),
    (
        "summary",
        "input.reasoning.summary",
        &["openai", "anthropic", "bedrock", "cohere", "mistral", "compatible"],
    ),
    (
        "truncation",
        "truncation",
        &["openai", "anthropic", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    (
        "unknown item",
        "input.messages[1].parts[0]",
        &["openai", "anthropic", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    ("unknown member of an item", "input[0].brand_new", &ALL),
    ("unknown member of reasoning", "reasoning.brand_new", &ALL),
    (
        "unknown part",
        "input.messages[0].parts[1]",
        &["openai", "anthropic", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    ("upstream tool", "input.tools[0]", &["cohere"]),
    ("verbosity", "input.verbosity", &["anthropic", "gemini", "bedrock", "cohere", "mistral"]),
];

const MESSAGES: &[Told] = &[
    (
        "cache mark",
        "input.messages[0].parts[0].cache_breakpoint",
        &["openai", "openai-responses", "gemini", "cohere", "mistral", "compatible"],
    ),
    (
        "caller of a call",
        "input.messages[1].parts[0]",
        &["openai", "openai-responses", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    (
        "document citations",
        "messages[0].content[0].citations",
        &["openai", "openai-responses", "anthropic", "gemini", "bedrock", "mistral", "compatible"],
    ),
    ("document citations", "input.messages[0].parts[0].media", &["cohere"]),
    ("document context", "input.messages[0].parts[1].media", &["cohere"]),
    ("document title", "input.messages[0].parts[0].media", &["cohere"]),
    ("document title", "input.messages[0].parts[0].media.filename", &["gemini"]),
    ("effort", "input.reasoning.effort", &["anthropic", "cohere"]),
    (
        "failed result",
        "input.messages[2].parts[0].tool_result.is_error",
        &["openai", "openai-responses", "cohere", "mistral", "compatible"],
    ),
    ("image by address", "input.messages[0].parts[0].media", &["bedrock"]),
    (
        "mcp servers",
        "mcp_servers",
        &["openai", "openai-responses", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    ("no parallel calls", "input.parallel_tool_calls", &["gemini", "cohere"]),
    (
        "redacted thinking",
        "input.messages[1].parts[0]",
        &["openai", "openai-responses", "gemini", "cohere", "mistral", "compatible"],
    ),
    (
        "result with an image",
        "input.messages[2].parts[0].tool_result.parts[0]",
        &["openai", "cohere", "mistral", "compatible"],
    ),
    (
        "service tier",
        "service_tier",
        &["openai", "openai-responses", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    (
        "thinking budget",
        "input.reasoning.budget_tokens",
        &["openai", "openai-responses", "mistral", "compatible"],
    ),
    (
        "thinking disabled",
        "input.reasoning.budget_tokens",
        &["openai", "openai-responses", "mistral", "compatible"],
    ),
    (
        "thinking sent back",
        "input.messages[1].parts[0]",
        &["openai", "openai-responses", "gemini", "cohere", "mistral", "compatible"],
    ),
    ("top_k", "input.sampling.top_k", &["openai", "openai-responses", "mistral"]),
    (
        "unknown block",
        "input.messages[0].parts[1]",
        &["openai", "openai-responses", "gemini", "bedrock", "cohere", "mistral", "compatible"],
    ),
    ("unknown member of a tool", "tools[0].defer_loading", &ALL),
    ("upstream tool", "input.tools[0]", &["cohere"]),
    ("user", "input.end_user_id", &["gemini", "bedrock", "cohere", "mistral"]),
];

const COMPLETIONS: &[Told] = &[
    (
        "bias",
        "input.sampling.logit_bias",
        &["openai-responses", "anthropic", "gemini", "bedrock", "cohere", "mistral"],
    ),
    ("logprobs", "input.logprobs", &["anthropic", "bedrock", "mistral"]),
    ("n", "input.choice_count", &["openai-responses", "anthropic", "bedrock", "cohere"]),
    ("stop", "input.stop", &["openai-responses"]),
    ("user", "input.end_user_id", &["gemini", "bedrock", "cohere", "mistral"]),
];

const GRPC: &[Told] = &[
    ("another's extension", "input.messages[0].parts[1]", &ALL),
    ("another's token", "input.messages[1].parts[0]", &ALL),
    ("budget", "input.reasoning.budget_tokens", &["openai", "openai-responses", "mistral", "compatible"]),
    (
        "budget of none",
        "input.reasoning.budget_tokens",
        &["openai", "openai-responses", "mistral", "compatible"],
    ),
    ("cache mode", "input.prompt_cache.ttl", &["anthropic"]),
    ("cache mode", "input.prompt_cache", &["bedrock", "cohere"]),
    ("cache mode", "input.prompt_cache.mode", &["gemini", "mistral"]),
    ("grammar", "input.output_format.grammar", &ALL),
    (
        "message cache mark",
        "input.messages[0].parts[0].cache_breakpoint",
        &["openai", "openai-responses", "gemini", "cohere", "mistral", "compatible"],
    ),
    (
        "min_p",
        "input.sampling.min_p",
        &["openai", "openai-responses", "anthropic", "gemini", "bedrock", "cohere", "mistral"],
    ),
    (
        "repetition penalty",
        "input.sampling.repetition_penalty",
        &["openai", "openai-responses", "anthropic", "gemini", "bedrock", "cohere", "mistral"],
    ),
    ("store", "input.store", &["anthropic", "gemini", "bedrock", "cohere", "mistral"]),
    (
        "tool cache mark",
        "input.tools[0].cache_breakpoint",
        &["openai", "openai-responses", "gemini", "cohere", "mistral", "compatible"],
    ),
    ("top_k", "input.sampling.top_k", &["openai", "openai-responses", "mistral"]),
    ("verbosity", "input.verbosity", &["anthropic", "gemini", "bedrock", "cohere", "mistral"]),
];
