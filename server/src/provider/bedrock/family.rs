//! Which maker's model is asked, as far as Converse leaves differences between them.

/// A family of models that take the same extras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's.
    Claude,
    /// Amazon's, of the first generation and of the second, which reasons.
    Nova {
        /// It takes `reasoningConfig`.
        reasons: bool,
    },
    /// OpenAI's open models, and what takes the same extras.
    OpenAi,
    /// Qwen and DeepSeek: they take `reasoning_config`.
    Qwen,
    /// Cohere's.
    Cohere,
    /// Mistral's.
    Mistral,
    /// Anything else.
    Other,
    /// A profile or an endpoint whose ARN does not tell; its owner is believed.
    Unknown,
}

/// How an answer is made to match a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schemas {
    /// By `outputConfig`.
    Native,
    /// By a tool that must be called.
    Tool,
    /// Not at all.
    None,
}

const NATIVE_SCHEMAS: [&str; 18] = [
    "claude-haiku-4-5",
    "claude-sonnet-4-5",
    "claude-sonnet-4-6",
    "claude-opus-4-5",
    "claude-opus-4-6",
    "qwen3",
    "deepseek.v3",
    "gemma-3-12b",
    "gemma-3-27b",
    "minimax-m2",
    "magistral-small",
    "ministral-3",
    "mistral-large-3",
    "voxtral",
    "kimi-k2",
    "nemotron-nano",
    "gpt-oss",
    "openai.gpt-",
];

/// Prefixes by which an inference profile names the regions that it spreads over.
const REGIONS: [&str; 9] = ["us.", "us-gov.", "eu.", "apac.", "global.", "jp.", "au.", "ca.", "sa."];

/// Returns the id without the prefix of an inference profile.
pub(super) fn base_id(model: &str) -> &str {
    REGIONS.iter().find_map(|prefix| model.strip_prefix(prefix)).unwrap_or(model)
}

impl Family {
    /// Tells the family by the model's id, which may have a region's prefix or be an ARN.
    pub(super) fn of(model: &str) -> Self {
        let has = |word: &str| model.contains(word);
        match () {
            () if has("anthropic.") || has("claude") => Self::Claude,
            () if has("nova-2") => Self::Nova { reasons: true },
            () if has("amazon.nova") => Self::Nova { reasons: false },
            () if has("openai.") => Self::OpenAi,
            () if has("qwen.") || has("deepseek.") => Self::Qwen,
            () if has("cohere.") => Self::Cohere,
            () if has("mistral.") => Self::Mistral,
            () if model.starts_with("arn:") => Self::Unknown,
            () => Self::Other,
        }
    }

    /// Tells how the model is made to answer by a schema.
    pub(super) fn schemas(self, model: &str) -> Schemas {
        if NATIVE_SCHEMAS.iter().any(|name| model.contains(name)) {
            return Schemas::Native;
        }
        match self {
            Self::Claude | Self::Nova { .. } | Self::Mistral => Schemas::Tool,
            _ => Schemas::None,
        }
    }

    /// Tells whether prompts are cached at cache points.
    pub(super) fn caches(self) -> bool {
        matches!(self, Self::Claude | Self::Nova { .. } | Self::Unknown)
    }

    /// Tells whether tools may be followed by a cache point.
    pub(super) fn caches_tools(self) -> bool {
        matches!(self, Self::Claude | Self::Unknown)
    }

    /// Returns where a sampling parameter that Converse does not have goes among the model's own fields.
    pub(super) fn own_name(self, parameter: &str) -> Option<&'static str> {
        Some(match (self, parameter) {
            (Self::Claude | Self::Mistral, "top_k") => "top_k",
            (Self::Nova { .. }, "top_k") => "topK",
            (Self::Cohere, "top_k") => "k",
            (Self::Cohere | Self::OpenAi, "frequency_penalty") => "frequency_penalty",
            (Self::Cohere | Self::OpenAi, "presence_penalty") => "presence_penalty",
            (Self::Cohere | Self::OpenAi, "seed") => "seed",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_tells_the_family_with_or_without_a_prefix() {
        for (model, family) in [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0",
                Family::Claude,
            ),
            ("amazon.nova-lite-v1:0", Family::Nova { reasons: false }),
            ("us.amazon.nova-2-lite-v1:0", Family::Nova { reasons: true }),
            ("openai.gpt-oss-120b-1:0", Family::OpenAi),
            ("us.deepseek.r1-v1:0", Family::Qwen),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/mi1dadi0g15f", Family::Unknown),
            ("meta.llama3-2-1b-instruct-v1:0", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }

    #[test]
    fn the_base_model_stands_behind_the_prefix_of_a_profile() {
        assert_eq!(
            base_id("us.anthropic.claude-sonnet-4-20250514-v1:0"),
            "anthropic.claude-sonnet-4-20250514-v1:0"
        );
        assert_eq!(base_id("anthropic.claude-v2"), "anthropic.claude-v2");
    }

    #[test]
    fn schemas_go_the_nearest_way() {
        for (model, way) in [
            ("google.gemma-3-27b-it", Schemas::Native),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Schemas::Native),
            ("anthropic.claude-3-haiku-20240307-v1:0", Schemas::Tool),
            ("us.amazon.nova-pro-v1:0", Schemas::Tool),
            ("meta.llama3-2-1b-instruct-v1:0", Schemas::None),
        ] {
            assert_eq!(Family::of(model).schemas(model), way, "{model}");
        }
    }
}
