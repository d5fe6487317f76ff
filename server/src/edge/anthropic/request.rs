//! The shallow scan of a request for a message or a count: everything we must know or refuse, in one pass.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use tollgate_api::v1::ChatInput;

use super::{options, parse};
use crate::{
    call::{Asked, Dialect, Need, Needs, Payload, Raw},
    edge::{
        MAX_END_USER, MAX_TOKENS, continuity, cut,
        rest::{
            conversation::Messages,
            fields::{self, Field, Kind, Scan},
            needs,
            node::Node,
        },
    },
    error::Error,
};

/// The roles; `system` may stand within a conversation.
const ROLES: [&str; 3] = ["user", "assistant", "system"];

/// Headers that go upstream with the body: they say how it is to be read.
const HEADERS: [&str; 2] = ["anthropic-beta", "anthropic-version"];

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// Every key of a request that we check. Others pass untouched: new ones must work on their first day.
const FIELDS: &[Field] = &[
    field("model", Kind::Model),
    field("messages", Kind::Special),
    // 0 fills the prompt cache without an answer.
    field("max_tokens", Kind::Integer(0, MAX_TOKENS)),
    field("stream", Kind::Flag),
    field("system", Kind::TextOrArray),
    field("tools", Kind::Tools),
    field("tool_choice", Kind::Typed),
    field("thinking", Kind::Typed),
    field("temperature", Kind::Number(0.0, 2.0)),
    field("top_p", Kind::Number(0.0, 1.0)),
    field("top_k", Kind::Integer(0, MAX_TOKENS)),
    field("stop_sequences", Kind::Texts),
    field("metadata", Kind::Object),
    field("service_tier", Kind::Text),
    field("output_config", Kind::Object),
    field("output_format", Kind::Typed),
];

/// Keys beside `messages` whose values the model reads as a part of the prompt.
const PROMPT: [&str; 4] = ["system", "tools", "output_config", "output_format"];

/// What the scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) asked: Asked,
    model: Range<usize>,
}

/// Checks a request and reads what the rooms need of it. A request for a count names no `max_tokens` and has no
/// stream.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of the field.
pub(super) fn scan(body: &[u8], counting: bool) -> Result<Scanned, Error> {
    let mut messages = Messages::of(&ROLES, true);
    let scan = fields::scan(body, FIELDS, &mut messages)?;
    let max_output_tokens = scan.get("max_tokens").map(|node| node.integer(0, MAX_TOKENS)).transpose()?;
    if max_output_tokens.is_none() && !counting {
        return Err(Error::invalid("max_tokens", "`max_tokens` is required"));
    }
    let beside: usize = PROMPT
        .iter()
        .filter(|name| scan.get(name).is_some())
        .filter_map(|name| scan.span(name))
        .map(|span| span.len())
        .sum();
    Ok(Scanned {
        asked: Asked {
            model: scan.get("model").map(|node| node.text()).transpose()?.unwrap_or_default(),
            streamed: !counting && scan.get("stream").is_some_and(|node| node.json() == "true"),
            usage_wanted: true,
            max_output_tokens,
            choice_count: 1,
            input_bytes: messages.bytes + beside,
            end_user_id: cut(user_id(&scan)?, MAX_END_USER),
            needs: needs_of(&scan, messages.needs),
        },
        model: scan.span("model").unwrap_or_default(),
    })
}

/// Returns what the request needs of a model, beside what its messages do.
fn needs_of(scan: &Scan<'_>, mut needs: Needs) -> Needs {
    needs::add_asked(scan, &["tools"], &["output_config", "output_format"], &mut needs);
    let thinks = |node: Node<'_>| needs::types(node.json()).any(|kind| kind != "disabled");
    if scan.get("thinking").is_some_and(thinks) {
        needs.add(Need::Reasoning);
    }
    needs
}

fn user_id(scan: &Scan<'_>) -> Result<String, Error> {
    let Some(metadata) = scan.get("metadata") else { return Ok(String::new()) };
    metadata.object()?.text_or_empty("user_id")
}

impl Scanned {
    /// Makes the request of the body that was scanned. One with tokens of ours takes the typed lane: Anthropic would
    /// refuse them, or they belong to another provider.
    ///
    /// # Errors
    /// `INVALID_REQUEST` if the typed view is needed at once and cannot be made.
    pub(super) fn into_payload(self, body: Bytes, headers: &HeaderMap) -> Result<Payload<ChatInput>, Error> {
        let headers: HeaderMap = headers
            .iter()
            .filter(|(name, _)| HEADERS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if continuity::is_in(&body) {
            let mut payload = Payload::parsed(&body, parse::parse)?;
            options::add_betas(payload.change()?, &headers);
            return Ok(payload);
        }
        let raw = Raw {
            dialect: Dialect::AnthropicMessages,
            body,
            model: self.model,
            stream_options: None,
            headers,
        };
        Ok(Payload::raw(raw, parse::parse))
    }
}
