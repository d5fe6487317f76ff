//! The pieces of answers and events as OpenAI writes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{self, annotation::Kind as Noted};

use super::output::{Content, Item, Kind};
use crate::edge::openai::{
    shapes::Logprob,
    tokens::{Extra, thought_token},
};

/// An annotation of a text, in JSON.
pub(super) type Note = Box<RawValue>;

/// An item of `output`.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shown<'a> {
    Ours(Ours<'a>),
    Theirs(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Ours<'a> {
    Message {
        id: &'a str,
        status: &'static str,
        role: &'static str,
        content: Vec<Piece<'a>>,
    },
    Reasoning {
        id: &'a str,
        summary: Vec<Piece<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Piece<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
    },
    FunctionCall {
        id: &'a str,
        status: &'static str,
        arguments: &'a str,
        call_id: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        extra_content: Option<Extra>,
    },
    CustomToolCall {
        id: &'a str,
        status: &'static str,
        call_id: &'a str,
        input: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        extra_content: Option<Extra>,
    },
    ImageGenerationCall {
        id: &'a str,
        status: &'static str,
        output_format: &'a str,
        result: String,
    },
}

/// A piece of a message or of a thought.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Piece<'a> {
    OutputText {
        annotations: &'a [Note],
        logprobs: Vec<Logprob<'a>>,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        extra_content: Option<Extra>,
    },
    Refusal {
        refusal: &'a str,
    },
    SummaryText {
        text: &'a str,
    },
    ReasoningText {
        text: &'a str,
    },
}

impl<'a> Piece<'a> {
    pub(super) fn of(content: &'a Content) -> Self {
        if content.refusal {
            return Self::Refusal { refusal: &content.text };
        }
        Self::OutputText {
            annotations: &content.notes,
            logprobs: content.logprobs.iter().map(Logprob::of).collect(),
            text: &content.text,
            extra_content: Extra::of(content.token.as_ref()),
        }
    }

    /// Shows a thought: a summary or the reasoning itself.
    pub(super) fn thought(text: &'a str, summarized: bool) -> Self {
        if summarized { Self::SummaryText { text } } else { Self::ReasoningText { text } }
    }
}

impl<'a> Shown<'a> {
    pub(super) fn of(item: &'a Item, status: &'static str) -> Self {
        let id = item.id.as_str();
        Self::Ours(match &item.kind {
            Kind::Theirs(json) => return Self::Theirs(json),
            Kind::Message(contents) => {
                let content = contents.iter().map(Piece::of).collect();
                Ours::Message { id, status, role: "assistant", content }
            }
            Kind::Reasoning { text, summarized, redacted, token } => {
                let said =
                    || (!text.is_empty()).then(|| Piece::thought(text, *summarized)).into_iter().collect();
                let (summary, content) =
                    if *summarized { (said(), Vec::new()) } else { (Vec::new(), said()) };
                let encrypted_content = thought_token(redacted, token.as_ref());
                Ours::Reasoning { id, summary, content, encrypted_content }
            }
            Kind::Call { call_id, name, input, custom, token } => {
                let extra_content = Extra::of(token.as_ref());
                if *custom {
                    Ours::CustomToolCall { id, status, call_id, input, name, extra_content }
                } else {
                    Ours::FunctionCall { id, status, arguments: input, call_id, name, extra_content }
                }
            }
            Kind::Image { mime_type, data } => Ours::ImageGenerationCall {
                id,
                status,
                output_format: mime_type.trim_start_matches("image/"),
                result: STANDARD.encode(data),
            },
        })
    }
}

/// Writes a note on a text; of an extension the provider's own JSON.
pub(super) fn annotation(note: &v1::Annotation) -> Option<Note> {
    #[derive(Serialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Told<'a> {
        UrlCitation { start_index: i32, end_index: i32, url: &'a str, title: &'a str },
        FileCitation { file_id: &'a str, filename: &'a str, index: i32 },
    }
    let told = match note.kind.as_ref()? {
        Noted::Uri(source) => Told::UrlCitation {
            start_index: note.start_index.unwrap_or(0),
            end_index: note.end_index.unwrap_or(0),
            url: &source.uri,
            title: &source.title,
        },
        Noted::Document(source) => Told::FileCitation {
            file_id: &source.document_id,
            filename: &source.title,
            index: note.start_index.unwrap_or(0),
        },
        Noted::Extension(extension) => return RawValue::from_string(extension.json.clone()).ok(),
    };
    serde_json::value::to_raw_value(&told).ok()
}

/// Usage in the words of this dialect, whose clients need both details.
#[derive(Serialize)]
pub(super) struct Usage {
    input_tokens: i64,
    input_tokens_details: InputDetails,
    output_tokens: i64,
    output_tokens_details: OutputDetails,
    total_tokens: i64,
}

#[derive(Serialize)]
struct InputDetails {
    cached_tokens: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<i64>,
}

#[derive(Serialize)]
struct OutputDetails {
    reasoning_tokens: i64,
}

impl Usage {
    pub(super) fn of(usage: &v1::Usage) -> Self {
        let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
        Self {
            input_tokens: input,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cache_read_input_tokens.unwrap_or(0),
                cache_write_tokens: usage.cache_write_input_tokens,
            },
            output_tokens: output,
            output_tokens_details: OutputDetails {
                reasoning_tokens: usage.reasoning_output_tokens.unwrap_or(0),
            },
            total_tokens: input.saturating_add(output),
        }
    }
}
