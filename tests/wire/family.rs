//! Which wire family an exchange is of. An exchange that no family claims is a failure, never skipped.

/// What an exchange's request asks for, and in which wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// OpenAI's chat completions, and every compatible vendor's.
    Chat,
    /// OpenAI's legacy completions.
    Completions,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's messages, at Anthropic, on Azure or on Vertex.
    Messages,
    /// Google's `generateContent`, at AI Studio or on Vertex.
    Gemini,
    /// Bedrock's Converse.
    Converse,
    /// Cohere's chat, version 2.
    Cohere,
    /// Vectors, in any vendor's wire.
    Embeddings,
    /// A count of a prompt's tokens, in any vendor's wire.
    Count,
    /// An endpoint of ours whose body passes through, such as `/v1/moderations`.
    PassThrough,
    /// A wire of a vendor that is not modelled, reached below `/providers/{provider}/`.
    Native,
}

/// Dialects that are passed through whatever their path is.
const NATIVE: [&str; 6] = [
    "ollama-native",
    "cohere-chat-v1",
    "gemini-interactions",
    "watsonx-generate",
    "tgi-native",
    "bedrock-guardrail",
];

/// Ends of paths, and the family that they belong to. The first that fits counts.
const ENDS: [(&str, Family); 24] = [
    ("/chat/completions", Family::Chat),
    ("/completions", Family::Completions),
    ("/embeddings", Family::Embeddings),
    ("/embed", Family::Embeddings),
    (":batchEmbedContents", Family::Embeddings),
    (":embedContent", Family::Embeddings),
    ("/messages/count_tokens", Family::Count),
    ("/responses/input_tokens", Family::Count),
    ("/count-tokens", Family::Count),
    (":countTokens", Family::Count),
    ("/messages", Family::Messages),
    (":rawPredict", Family::Messages),
    (":streamRawPredict", Family::Messages),
    ("/responses/compact", Family::PassThrough),
    ("/responses", Family::Responses),
    (":generateContent", Family::Gemini),
    (":streamGenerateContent", Family::Gemini),
    (":predict", Family::Embeddings),
    ("/converse", Family::Converse),
    ("/converse-stream", Family::Converse),
    ("/v2/chat", Family::Cohere),
    ("/rerank", Family::PassThrough),
    ("/moderations", Family::PassThrough),
    ("/invoke-with-response-stream", Family::Native),
];

impl Family {
    /// Finds the family of a request by its dialect and path.
    pub fn of(dialect: &str, path: &str) -> Option<Self> {
        if NATIVE.contains(&dialect) {
            return Some(Self::Native);
        }
        let path = path.split('?').next().unwrap_or_default();
        if dialect == "writer-chat" && path.ends_with("/v1/chat") {
            return Some(Self::Chat);
        }
        if path.ends_with("/invoke") {
            // Bedrock's embedding models have no other way; its chat models have Converse.
            return Some(if path.contains("embed") { Self::Embeddings } else { Self::Native });
        }
        if path.contains("/responses/resp_") {
            return Some(Self::Responses);
        }
        if path.contains("/v1/images/") || path.contains("/v1/audio/") {
            return Some(Self::PassThrough);
        }
        ENDS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, family)| *family)
    }

    /// Its name, for configured providers and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Gemini => "gemini",
            Self::Converse => "converse",
            Self::Cohere => "cohere",
            Self::Embeddings => "embeddings",
            Self::Count => "count",
            Self::PassThrough => "pass-through",
            Self::Native => "native",
        }
    }
}
