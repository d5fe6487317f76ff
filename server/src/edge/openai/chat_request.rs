//! The shallow scan of a chat request: everything we must know or refuse, in one pass and without copying the prompt.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;

use crate::edge::rest::conversation::Messages;
use crate::edge::rest::fields::{self, Field, Kind, Scan};
use crate::edge::rest::needs;
use crate::edge::rest::node::Node;
use crate::{
    call::{Asked, Dialect, Need, Needs, Raw},
    edge::{MAX_CHOICES, MAX_END_USER, MAX_TOKENS, cut},
    error::Error,
};

/// The six roles.
const ROLES: [&str; 6] = ["developer", "system", "user", "assistant", "tool", "function"];

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// Every key of `CreateChatCompletionRequest` that we check. Others pass untouched: new ones must work on their
/// first day.
const FIELDS: &[Field] = &[
    field("model", Kind::Model),
    field("messages", Kind::Special),
    field("stream", Kind::Flag),
    field("stream_options", Kind::Object),
    field("max_tokens", Kind::Integer(1, MAX_TOKENS)),
    field("max_completion_tokens", Kind::Integer(1, MAX_TOKENS)),
    field("n", Kind::Integer(1, MAX_CHOICES)),
    field("temperature", Kind::Number(0.0, 2.0)),
    field("top_p", Kind::Number(0.0, 1.0)),
    field("frequency_penalty", Kind::Number(-2.0, 2.0)),
    field("presence_penalty", Kind::Number(-2.0, 2.0)),
    field("seed", Kind::Integer(i64::MIN, i64::MAX)),
    field("logit_bias", Kind::NumberMap(-100.0, 100.0)),
    field("logprobs", Kind::Flag),
    field("top_logprobs", Kind::Integer(0, 20)),
    field("stop", Kind::TextOrTexts(4)),
    field("tools", Kind::Tools),
    field("tool_choice", Kind::TextOrObject),
    field("parallel_tool_calls", Kind::Flag),
    field("functions", Kind::Objects),
    field("function_call", Kind::TextOrObject),
    field("response_format", Kind::Typed),
    field("reasoning_effort", Kind::Text),
    field("verbosity", Kind::Text),
    field("modalities", Kind::Texts),
    field("audio", Kind::Object),
    field("prediction", Kind::Typed),
    field("service_tier", Kind::Text),
    field("store", Kind::Flag),
    field("metadata", Kind::TextMap(16)),
    field("user", Kind::Text),
    field("safety_identifier", Kind::Text),
    field("prompt_cache_key", Kind::Text),
    field("prompt_cache_retention", Kind::Text),
    field("prompt_cache_options", Kind::Object),
];

/// Keys beside `messages` whose values the model reads as a part of the prompt.
const PROMPT: [&str; 4] = ["tools", "functions", "response_format", "prediction"];

/// What the scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) asked: Asked,
    model: Range<usize>,
    stream_options: Option<Range<usize>>,
}

/// Checks a request and reads what the rooms need of it.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of the field.
pub(super) fn scan(body: &[u8]) -> Result<Scanned, Error> {
    let mut messages = Messages::of(&ROLES, false);
    let scan = fields::scan(body, FIELDS, &mut messages)?;
    let flag = |name| scan.get(name).is_some_and(|node: Node<'_>| node.json() == "true");
    let streamed = flag("stream");
    let usage_wanted = usage_wanted(&scan, streamed)?;
    let limits = (scan.get("max_tokens"), scan.get("max_completion_tokens"));
    let max_output_tokens = match limits {
        (Some(old), Some(_)) => {
            return Err(old.refuse("and `max_completion_tokens` exclude each other; send one of them"));
        }
        (Some(limit), None) | (None, Some(limit)) => Some(limit.integer(1, MAX_TOKENS)?),
        (None, None) => None,
    };
    let model = scan.get("model").map(|node| node.text()).transpose()?.unwrap_or_default();
    let end_user = scan.get("safety_identifier").or_else(|| scan.get("user"));
    let end_user_id = end_user.map(|node| node.text()).transpose()?.unwrap_or_default();
    let beside: usize = PROMPT
        .iter()
        .filter(|name| scan.get(name).is_some())
        .filter_map(|name| scan.span(name))
        .map(|span| span.len())
        .sum();
    Ok(Scanned {
        asked: Asked {
            model,
            streamed,
            usage_wanted,
            max_output_tokens,
            choice_count: scan.get("n").map(|node| node.integer(1, 128)).transpose()?.unwrap_or(1),
            input_bytes: messages.bytes + beside,
            end_user_id: cut(end_user_id, MAX_END_USER),
            needs: needs_of(&scan, messages.needs)?,
        },
        model: scan.span("model").unwrap_or_default(),
        stream_options: scan.span("stream_options").filter(|_| streamed),
    })
}

/// Returns what the request needs of a model, beside what its messages do.
fn needs_of(scan: &Scan<'_>, mut needs: Needs) -> Result<Needs, Error> {
    needs::add_asked(scan, &["tools", "functions"], &["response_format"], &mut needs);
    let effort = scan.get("reasoning_effort").map(|node| node.text()).transpose()?;
    needs::add_effort(effort.as_deref(), &mut needs);
    let modalities = scan.get("modalities").map(|node| node.texts()).transpose()?.unwrap_or_default();
    if scan.get("audio").is_some() || modalities.iter().any(|word| word == "audio") {
        needs.add(Need::Audio);
    }
    Ok(needs)
}

impl Scanned {
    /// Makes the raw view of the body that was scanned.
    pub(super) fn into_raw(self, body: Bytes) -> Raw {
        raw(Dialect::OpenAiChat, body, self.model, self.stream_options)
    }
}

/// Makes the raw view of a body with `stream_options`.
pub(super) fn raw(
    dialect: Dialect,
    body: Bytes,
    model: Range<usize>,
    stream_options: Option<Range<usize>>,
) -> Raw {
    let null = stream_options.clone().filter(|span| body.get(span.clone()) == Some(b"null"));
    Raw {
        dialect,
        // A provider that adds `stream_options` beside a null one would send the key twice.
        body: null.map_or_else(|| body.clone(), |span| without_null(&body, span)),
        model,
        stream_options,
        headers: HeaderMap::new(),
    }
}

/// Tells whether the caller wants to see usage in the stream.
///
/// # Errors
/// `INVALID_REQUEST` if it says how to stream what is no stream.
pub(super) fn usage_wanted(scan: &Scan<'_>, streamed: bool) -> Result<bool, Error> {
    match scan.get("stream_options") {
        None => Ok(false),
        Some(options) if !streamed => Err(options.refuse("is only allowed when `stream` is true")),
        Some(options) => stream_options(&options),
    }
}

/// Replaces a null by an empty object of the same length, so that other spans stay right.
fn without_null(body: &Bytes, span: Range<usize>) -> Bytes {
    let mut patched = body.to_vec();
    patched.splice(span, *b"{}  ");
    patched.into()
}

fn stream_options(options: &Node<'_>) -> Result<bool, Error> {
    let mut object = options.object()?;
    object.flag("include_obfuscation")?;
    Ok(object.flag("include_usage")?.unwrap_or(false))
}

#[cfg(test)]
#[path = "chat_request_tests.rs"]
mod tests;
