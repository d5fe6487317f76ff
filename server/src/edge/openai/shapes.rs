//! The pieces that whole answers and chunks have in common, as OpenAI writes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{self, FinishReason, ModalityTokens, TokenLogprob, annotation};

/// What OpenAI sends for a probability of zero, which JSON cannot hold as a logarithm.
const LEAST_LOGPROB: f64 = -9999.0;

/// Returns the `finish_reason`: one of the five that clients know.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::ContextLength => "length",
        FinishReason::ToolCalls => "tool_calls",
        // A declined answer must not look like a complete one.
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        FinishReason::Stop | FinishReason::Paused | FinishReason::Other | FinishReason::Unspecified => "stop",
    }
}

/// What the provider itself said, where `finish_reason` could not.
#[derive(Serialize)]
pub(super) struct Aside<'a> {
    upstream_finish_reason: &'a str,
}

impl<'a> Aside<'a> {
    pub(super) fn of(mapped: &str, upstream: &'a str) -> Option<Self> {
        (!upstream.is_empty() && upstream != mapped).then_some(Self { upstream_finish_reason: upstream })
    }
}

#[derive(Serialize)]
pub(super) struct Logprobs<'a> {
    content: Vec<Logprob<'a>>,
    refusal: (),
}

#[derive(Serialize)]
pub(super) struct Logprob<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Option<&'a [u8]>,
    top_logprobs: Vec<TopLogprob<'a>>,
}

#[derive(Serialize)]
struct TopLogprob<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Option<&'a [u8]>,
}

impl<'a> Logprobs<'a> {
    pub(super) fn of(tokens: &'a [TokenLogprob]) -> Option<Self> {
        let content: Vec<_> = tokens.iter().map(Logprob::of).collect();
        (!content.is_empty()).then_some(Self { content, refusal: () })
    }
}

impl<'a> Logprob<'a> {
    pub(super) fn of(token: &'a TokenLogprob) -> Self {
        let top = token.top.iter().map(|top| TopLogprob {
            token: &top.token,
            logprob: finite(top.logprob),
            bytes: told(&top.token_bytes),
        });
        Self {
            token: &token.token,
            logprob: finite(token.logprob),
            bytes: told(&token.token_bytes),
            top_logprobs: top.collect(),
        }
    }
}

pub(super) fn finite(logprob: f64) -> f64 {
    if logprob.is_finite() { logprob } else { LEAST_LOGPROB }
}

fn told(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

/// Usage in OpenAI's words; details only where they are known.
#[derive(Serialize)]
pub(super) struct Usage {
    prompt_tokens: i64,
    completion_tokens: i64,
    total_tokens: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, PartialEq, Serialize)]
struct PromptDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<i64>,
}

#[derive(Default, PartialEq, Serialize)]
struct CompletionDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_prediction_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_prediction_tokens: Option<i64>,
}

impl Usage {
    pub(super) fn of(usage: &v1::Usage) -> Self {
        let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
        let prompt = PromptDetails {
            cached_tokens: usage.cache_read_input_tokens,
            cache_write_tokens: usage.cache_write_input_tokens,
            audio_tokens: modality(&usage.input_by_modality, "audio"),
            text_tokens: modality(&usage.input_by_modality, "text"),
            image_tokens: modality(&usage.input_by_modality, "image"),
        };
        let completion = CompletionDetails {
            reasoning_tokens: usage.reasoning_output_tokens,
            audio_tokens: modality(&usage.output_by_modality, "audio"),
            text_tokens: modality(&usage.output_by_modality, "text"),
            accepted_prediction_tokens: usage.accepted_prediction_tokens,
            rejected_prediction_tokens: usage.rejected_prediction_tokens,
        };
        Self {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
            prompt_tokens_details: (prompt != PromptDetails::default()).then_some(prompt),
            completion_tokens_details: (completion != CompletionDetails::default()).then_some(completion),
        }
    }
}

fn modality(parts: &[ModalityTokens], name: &str) -> Option<i64> {
    parts.iter().find(|part| part.modality == name).map(|part| part.tokens)
}

/// A note on the answer; of an extension the provider's own JSON.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Annotation<'a> {
    Web { r#type: &'static str, url_citation: UrlCitation<'a> },
    Theirs(Box<RawValue>),
}

#[derive(Serialize)]
pub(super) struct UrlCitation<'a> {
    url: &'a str,
    title: &'a str,
    start_index: i32,
    end_index: i32,
}

impl<'a> Annotation<'a> {
    pub(super) fn of(note: &'a v1::Annotation) -> Option<Self> {
        match note.kind.as_ref()? {
            annotation::Kind::Uri(source) => Some(Self::Web {
                r#type: "url_citation",
                url_citation: UrlCitation {
                    url: &source.uri,
                    title: &source.title,
                    start_index: note.start_index.unwrap_or(0),
                    end_index: note.end_index.unwrap_or(0),
                },
            }),
            annotation::Kind::Extension(extension) => {
                RawValue::from_string(extension.json.clone()).ok().map(Self::Theirs)
            }
            annotation::Kind::Document(_) => None,
        }
    }
}

/// A sound of an answer, or a piece of one.
#[derive(Serialize)]
pub(super) struct Audio {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) id: String,
    pub(super) data: String,
    pub(super) transcript: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<i64>,
}

/// An image of an answer, as compatible vendors send it.
#[derive(Serialize)]
pub(super) struct Image {
    r#type: &'static str,
    image_url: ImageUrl,
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

impl Image {
    pub(super) fn of(media: &v1::Media) -> Option<Self> {
        let url = match media.source.as_ref()? {
            v1::media::Source::Data(data) => {
                format!("data:{};base64,{}", media.mime_type, STANDARD.encode(data))
            }
            v1::media::Source::Uri(uri) => uri.clone(),
            v1::media::Source::FileId(_) => return None,
        };
        Some(Self { r#type: "image_url", image_url: ImageUrl { url } })
    }
}
