//! The blocks of an answer, as whole answers and the events of streams write them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tollgate_api::v1::{
    Annotation, Continuity, Extension, FinishReason, Media, Part, Thought, ToolCall, ToolResult, annotation,
    media, part, tool_call,
};

use super::FAMILY;
use crate::edge::continuity;

/// Marks the token of the part before it, which has no place of its own in this dialect. Callers send it back as the
/// encrypted thought that it looks like, and `blocks` puts it where it belongs.
pub(super) const OF_PART: &str = "part.";

/// A block, or the beginning of one.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Block<'a> {
    Known(Known<'a>),
    /// What the contract does not model, as Anthropic wrote it.
    Raw(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Known<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Citation<'a>>,
    },
    Thinking {
        thinking: &'a str,
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: Box<RawValue>,
    },
    ServerToolUse {
        id: &'a str,
        name: &'a str,
        input: Box<RawValue>,
    },
    McpToolResult {
        tool_use_id: &'a str,
        is_error: bool,
        content: Vec<Block<'a>>,
    },
    Image {
        source: Source<'a>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: &'a str, data: String },
    Url { url: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Citation<'a> {
    Known(KnownCitation<'a>),
    Raw(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum KnownCitation<'a> {
    WebSearchResultLocation {
        cited_text: &'a str,
        encrypted_index: &'a str,
        title: Option<&'a str>,
        url: &'a str,
    },
    CharLocation {
        cited_text: &'a str,
        document_index: i64,
        document_title: Option<&'a str>,
        start_char_index: i32,
        end_char_index: i32,
    },
}

impl<'a> Block<'a> {
    /// Shows a part whole; none if the dialect has no place for it.
    pub(super) fn of(part: &'a Part) -> Option<Self> {
        let known = match part.kind.as_ref()? {
            part::Kind::Text(text) | part::Kind::Refusal(text) => Known::Text {
                // Anthropic refuses empty texts in what callers send back.
                text: Some(text.as_str()).filter(|text| !text.is_empty())?,
                citations: citations(&part.annotations).collect(),
            },
            part::Kind::Thought(thought) => Self::thought(thought, part.continuity.as_ref())?,
            part::Kind::ToolCall(call) => Known::call(call, input(call)),
            part::Kind::ToolResult(result) => Known::result(result),
            part::Kind::Media(media) => Known::media(media)?,
            part::Kind::Extension(extension) => return Self::extension(extension),
        };
        Some(Self::Known(known))
    }

    fn thought(thought: &'a Thought, token: Option<&Continuity>) -> Option<Known<'a>> {
        if !thought.redacted.is_empty() {
            return Some(Known::redacted(&thought.redacted, token));
        }
        if thought.text.is_empty() && token.is_none() {
            return None;
        }
        Some(Known::Thinking { thinking: &thought.text, signature: token.map(signature).unwrap_or_default() })
    }

    /// Shows what Anthropic wrote and we do not model. Clients fail at blocks of kinds that they do not know.
    pub(super) fn extension(extension: &'a Extension) -> Option<Self> {
        let kind = extension.r#type.as_str();
        let is_theirs = extension.provider == FAMILY
            || kind.ends_with("_tool_result")
            || ["server_tool_use", "mcp_tool_use", "container_upload", "compaction"].contains(&kind);
        let json = Some(extension.json.as_str()).filter(|json| is_theirs && json.starts_with('{'))?;
        serde_json::from_str(json).ok().map(Self::Raw)
    }
}

impl<'a> Known<'a> {
    /// Shows a call with this input.
    pub(super) fn call(call: &'a ToolCall, input: Box<RawValue>) -> Self {
        let (id, name) = (call.id.as_str(), call.name.as_str());
        if call.executed_upstream {
            return Self::ServerToolUse { id, name, input };
        }
        Self::ToolUse { id, name, input }
    }

    /// Shows an encrypted thought of the provider that its token names.
    pub(super) fn redacted(redacted: &[u8], token: Option<&Continuity>) -> Self {
        let provider = token.map_or(FAMILY, |token| token.provider.as_str());
        let token = Continuity { provider: provider.to_owned(), token: redacted.to_vec().into() };
        Self::RedactedThinking { data: signature(&token) }
    }

    /// Shows what a tool gave back that the provider ran: in the one form whose content is plain blocks.
    pub(super) fn result(result: &'a ToolResult) -> Self {
        Self::McpToolResult {
            tool_use_id: &result.tool_call_id,
            is_error: result.is_error,
            content: result.parts.iter().filter_map(Block::of).collect(),
        }
    }

    /// Shows an image as callers would send it, and a sound as what is said in it.
    pub(super) fn media(media: &'a Media) -> Option<Self> {
        if !media.transcript.is_empty() {
            return Some(Self::Text { text: &media.transcript, citations: Vec::new() });
        }
        let source = match media.source.as_ref()? {
            media::Source::Data(data) if media.mime_type.starts_with("image/") => {
                Source::Base64 { media_type: &media.mime_type, data: STANDARD.encode(data) }
            }
            media::Source::Uri(url) => Source::Url { url },
            media::Source::Data(_) | media::Source::FileId(_) => return None,
        };
        Some(Self::Image { source })
    }
}

/// Returns the block that carries the token of a part that is no thought.
pub(super) fn token_of_part(token: &Continuity) -> Block<'static> {
    let provider = format!("{OF_PART}{}", token.provider);
    let data = continuity::encode(&Continuity { provider, token: token.token.clone() });
    Block::Known(Known::RedactedThinking { data })
}

/// Writes a token: Anthropic's own as it is, others with our mark.
pub(super) fn signature(token: &Continuity) -> String {
    match std::str::from_utf8(&token.token) {
        Ok(own) if token.provider == FAMILY => own.to_owned(),
        _ => continuity::encode(token),
    }
}

/// Shows citations; those of kinds that this dialect does not know are left out.
pub(super) fn citations(annotations: &[Annotation]) -> impl Iterator<Item = Citation<'_>> {
    annotations.iter().filter_map(|annotation| {
        Some(match annotation.kind.as_ref()? {
            annotation::Kind::Uri(uri) => Citation::Known(KnownCitation::WebSearchResultLocation {
                cited_text: "",
                encrypted_index: "",
                title: told(&uri.title),
                url: &uri.uri,
            }),
            annotation::Kind::Document(document) => Citation::Known(KnownCitation::CharLocation {
                cited_text: &document.quote,
                document_index: document.document_id.parse().unwrap_or(0),
                document_title: told(&document.title),
                start_char_index: annotation.start_index.unwrap_or(0),
                end_char_index: annotation.end_index.unwrap_or(0),
            }),
            annotation::Kind::Extension(extension) if extension.r#type.ends_with("_location") => {
                Citation::Raw(serde_json::from_str(&extension.json).ok()?)
            }
            annotation::Kind::Extension(_) => return None,
        })
    })
}

fn told(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Returns the input of a whole call: always an object, whatever the model wrote.
fn input(call: &ToolCall) -> Box<RawValue> {
    let text = match &call.input {
        Some(tool_call::Input::ArgumentsJson(json)) => match serde_json::from_str::<&RawValue>(json) {
            Ok(object) if object.get().starts_with('{') => return object.to_owned(),
            _ if json.trim().is_empty() => return nothing(),
            _ => json,
        },
        Some(tool_call::Input::Text(text)) => text,
        None => return nothing(),
    };
    to_raw_value(&serde_json::json!({ "input": text })).unwrap_or_else(|_| nothing())
}

/// Returns the input that a call begins with.
pub(super) fn nothing() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// Returns the `stop_reason`: one of the seven that clients know.
pub(super) fn stop_reason(reason: FinishReason, stop_sequence: &str, refused: bool) -> &'static str {
    match reason {
        FinishReason::Length => "max_tokens",
        FinishReason::ContextLength => "model_context_window_exceeded",
        FinishReason::ToolCalls => "tool_use",
        // A declined answer must not look like a complete one.
        FinishReason::ContentFilter | FinishReason::Refusal => "refusal",
        FinishReason::Paused => "pause_turn",
        FinishReason::Stop | FinishReason::Other | FinishReason::Unspecified => {
            match (refused, stop_sequence.is_empty()) {
                (true, _) => "refusal",
                (false, false) => "stop_sequence",
                (false, true) => "end_turn",
            }
        }
    }
}
