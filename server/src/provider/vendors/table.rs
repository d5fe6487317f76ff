//! The rows: every vendor that speaks OpenAI's dialect, and what is different about it. Another one is another row.
//!
//! Addresses are those of the vendors' own documentation; an empty one differs by account or machine and must be
//! configured.

use super::{Documents, Embeddings, Forms, ResponsesApi, Vendor};

/// OpenAI itself, and whatever is configured with `dialect: openai`.
pub const OPENAI: Vendor = Vendor {
    name: "openai",
    base_url: "https://api.openai.com/v1",
    key_env: "OPENAI_API_KEY",
    paths: &[],
    native: true,
    express: true,
    stream_options: true,
    ends_bare: false,
    max_tokens: "max_completion_tokens",
    end_user: "safety_identifier",
    seed: "seed",
    required: "required",
    open_sampling: false,
    refuses: &[],
    documents: Documents::File,
    thinking_parts: false,
    think_tags: false,
    prefix: false,
    embeddings: Embeddings {
        floats: "base64",
        forms: Forms::None,
        dimensions: "dimensions",
        input_type: false,
    },
    completions: true,
    responses: Some(ResponsesApi { counts: true, encrypted_reasoning: true }),
};

/// A server of the dialect of which nothing else is known.
pub const COMPATIBLE: Vendor = Vendor {
    name: "compatible",
    base_url: "",
    key_env: "",
    native: false,
    max_tokens: "max_tokens",
    end_user: "user",
    open_sampling: true,
    embeddings: Embeddings { floats: "float", ..OPENAI.embeddings },
    responses: None,
    ..OPENAI
};

/// A Responses API that counts no tokens and keeps its reasoning to itself.
const RESPONSES: Option<ResponsesApi> = Some(ResponsesApi { counts: false, encrypted_reasoning: false });
/// A Responses API that gives out the state of its reasoning.
const RESPONSES_WITH_STATE: Option<ResponsesApi> =
    Some(ResponsesApi { counts: false, encrypted_reasoning: true });

const fn vendor(name: &'static str, base_url: &'static str, key_env: &'static str) -> Vendor {
    Vendor { name, base_url, key_env, ..COMPATIBLE }
}

/// A server that runs open models as they come, with their thoughts between tags unless it is told to part them.
const fn server(name: &'static str, base_url: &'static str) -> Vendor {
    Vendor { name, base_url, think_tags: true, ..COMPATIBLE }
}

/// Every vendor of the dialect.
pub const VENDORS: &[Vendor] = &[
    OPENAI,
    COMPATIBLE,
    // Servers that people run themselves.
    Vendor { embeddings: OPENAI.embeddings, ..server("vllm", "") },
    server("sglang", ""),
    // Before 2.2 it said nothing after the finish reason.
    Vendor { ends_bare: true, ..server("tgi", "") },
    server("llamacpp", "http://127.0.0.1:8080/v1"),
    server("lmstudio", "http://127.0.0.1:1234/v1"),
    server("ollama", "http://127.0.0.1:11434/v1"),
    server("gpustack", ""),
    vendor("litellm", "", ""),
    // Clouds.
    // The account is a part of the address: https://api.cloudflare.com/client/v4/accounts/{account}/ai/v1
    vendor("cloudflare", "", ""),
    // The workspace is a part of the address: https://{workspace}/serving-endpoints
    vendor("databricks", "", ""),
    Vendor { open_sampling: false, ..vendor("dashscope", DASHSCOPE, "DASHSCOPE_API_KEY") },
    // Gemini's own dialect is `gemini`; this is its door for OpenAI's, which refuses what it does not know.
    Vendor {
        open_sampling: false,
        refuses: &["logit_bias", "metadata", "prompt_cache", "service_tier", "store", "verbosity"],
        ..vendor("gemini-openai", "https://generativelanguage.googleapis.com/v1beta/openai", "")
    },
    Vendor { open_sampling: false, ..vendor("github", "https://models.github.ai/inference", "") },
    // The region is a part of the address.
    vendor("heroku", "https://us.inference.heroku.com/v1", "INFERENCE_KEY"),
    // The account is a part of the address: https://{account}.snowflakecomputing.com/api/v2/cortex/v1
    Vendor { max_tokens: "max_completion_tokens", ..vendor("snowflake", "", "") },
    vendor("scaleway", "https://api.scaleway.ai/v1", "SCW_SECRET_KEY"),
    vendor("ovhcloud", "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", "OVH_AI_ENDPOINTS_ACCESS_TOKEN"),
    // Vendors of models and of other people's models.
    vendor("ai21", "https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    vendor("baseten", "https://inference.baseten.co/v1", "BASETEN_API_KEY"),
    Vendor {
        open_sampling: false,
        refuses: &["frequency_penalty", "logit_bias", "presence_penalty"],
        ..vendor("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY")
    },
    vendor("crusoe", "https://api.inference.crusoecloud.com/v1", "CRUSOE_API_KEY"),
    vendor("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    Vendor {
        open_sampling: false,
        completions: false,
        responses: RESPONSES,
        ..vendor("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY")
    },
    vendor("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    // It answers 400 to `logprobs`, `logit_bias`, names of speakers and more than one choice.
    Vendor {
        open_sampling: false,
        refuses: &["choice_count", "logit_bias", "logprobs", "message_name"],
        completions: false,
        responses: RESPONSES,
        ..vendor("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY")
    },
    Vendor { completions: false, ..vendor("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN") },
    vendor("hyperbolic", "https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    vendor("lambda", "https://api.lambda.ai/v1", "LAMBDA_API_KEY"),
    vendor("minimax", "https://api.minimax.io/v1", "MINIMAX_API_KEY"),
    MISTRAL,
    Vendor { open_sampling: false, ..vendor("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY") },
    vendor("nebius", "https://api.studio.nebius.com/v1", "NEBIUS_API_KEY"),
    vendor("novita", "https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
    vendor("nscale", "https://inference.api.nscale.com/v1", "NSCALE_SERVICE_TOKEN"),
    vendor("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    Vendor {
        responses: RESPONSES_WITH_STATE,
        ..vendor("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY")
    },
    PERPLEXITY,
    vendor("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    vendor("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    vendor("vercel", "https://ai-gateway.vercel.sh/v1", "AI_GATEWAY_API_KEY"),
    VOYAGE,
    // Its chats are at `chat`, not at `chat/completions`.
    Vendor {
        paths: &[("chat/completions", "chat")],
        open_sampling: false,
        ..vendor("writer", "https://api.writer.com/v1", "WRITER_API_KEY")
    },
    Vendor {
        open_sampling: false,
        max_tokens: "max_completion_tokens",
        responses: RESPONSES_WITH_STATE,
        ..vendor("xai", "https://api.x.ai/v1", "XAI_API_KEY")
    },
    vendor("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
];

const DASHSCOPE: &str = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1";

/// Mistral has names of its own, refuses what it does not know, and gives and takes thoughts as parts.
const MISTRAL: Vendor = Vendor {
    express: false,
    stream_options: false,
    end_user: "",
    seed: "random_seed",
    required: "any",
    open_sampling: false,
    refuses: &[
        "audio",
        "logit_bias",
        "logprobs",
        "message_name",
        "output_modalities",
        "prompt_cache_options",
        "service_tier",
        "store",
        "verbosity",
    ],
    documents: Documents::DocumentUrl,
    thinking_parts: true,
    prefix: true,
    embeddings: Embeddings {
        floats: "float",
        forms: Forms::OutputDtype,
        dimensions: "output_dimension",
        input_type: false,
    },
    completions: false,
    ..vendor("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY")
};

/// Perplexity's chats lie at the root, its embeddings under `v1` and are never floats. Its reasoning models think
/// between tags.
const PERPLEXITY: Vendor = Vendor {
    paths: &[("embeddings", "v1/embeddings"), ("responses", "v1/responses")],
    open_sampling: false,
    documents: Documents::FileUrl,
    think_tags: true,
    embeddings: Embeddings { floats: "base64_int8", forms: Forms::EncodingFormat, ..COMPATIBLE.embeddings },
    completions: false,
    ..vendor("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY")
};

/// Voyage embeds and reranks only.
const VOYAGE: Vendor = Vendor {
    express: false,
    end_user: "",
    embeddings: Embeddings {
        floats: "base64",
        forms: Forms::OutputDtype,
        dimensions: "output_dimension",
        input_type: true,
    },
    ..vendor("voyage", "https://api.voyageai.com/v1", "VOYAGE_API_KEY")
};
