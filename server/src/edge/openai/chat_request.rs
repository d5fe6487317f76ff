//! The shallow scan of a chat request: everything we must know or refuse, in one pass and without copying the prompt.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::edge::rest::fields::{self, Field, Kind, Scan, Special, check_depth};
use crate::edge::rest::node::{Key, Node, first_byte};
use crate::{
    call::{Asked, Dialect, Raw},
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
    let mut messages = Messages::default();
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
        },
        model: scan.span("model").unwrap_or_default(),
        stream_options: scan.span("stream_options").filter(|_| streamed),
    })
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

/// Walks through `messages`: roles and the kinds of contents are checked, contents are skipped.
#[derive(Default)]
struct Messages {
    count: usize,
    bytes: usize,
    error: Option<Error>,
    /// Whether the walk is at `messages` itself or inside of an element.
    inside: bool,
}

impl Special for Messages {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(&mut *self)
    }

    fn refusal(&mut self) -> Error {
        if let Some(error) = self.error.take() {
            return error;
        }
        if self.inside {
            return refuse(format!("messages[{}]", self.count), "must be an object");
        }
        refuse("messages".to_owned(), "must be a non-empty array of messages")
    }
}

impl<'de> DeserializeSeed<'de> for &mut Messages {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Messages {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.inside = true;
        while elements.next_element_seed(Message(&mut *self))?.is_some() {
            self.count += 1;
        }
        self.inside = false;
        if self.count == 0 { Err(de::Error::custom("empty")) } else { Ok(()) }
    }
}

struct Message<'m>(&'m mut Messages);

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(messages) = self;
        let (mut role, mut content) = (None, None);
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let value = map.next_value::<&'de RawValue>()?;
            messages.bytes += value.get().len();
            let slot = match &*key {
                "role" => &mut role,
                "content" => &mut content,
                _ => {
                    messages.keep(check_depth("messages", value))?;
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                let path = format!("messages[{}].{key}", messages.count);
                messages.keep(Err(refuse(path, "stands there twice")))?;
            }
        }
        messages.keep(check_message(messages.count, role, content))
    }
}

impl Messages {
    /// Keeps our own error while the parser's carries the news up.
    fn keep<E: de::Error>(&mut self, checked: Result<(), Error>) -> Result<(), E> {
        checked.map_err(|error| {
            self.error = Some(error);
            E::custom("refused")
        })
    }
}

fn check_message(at: usize, role: Option<&RawValue>, content: Option<&RawValue>) -> Result<(), Error> {
    // Paths are only written if something is wrong: checking a good message must cost nothing.
    let Some(role) = role.filter(|role| role.get() != "null") else {
        return Err(refuse(format!("messages[{at}].role"), "is required"));
    };
    let plain = role.get().trim_matches('"');
    let known = first_byte(role) == b'"'
        && (ROLES.contains(&plain)
            || serde_json::from_str::<String>(role.get()).is_ok_and(|role| ROLES.contains(&role.as_str())));
    if !known {
        return Err(refuse(format!("messages[{at}].role"), &format!("must be one of {}", ROLES.join(", "))));
    }
    match content.map(|content| (first_byte(content), content)) {
        None | Some((b'"' | b'n', _)) => Ok(()),
        Some((b'[', content)) => check_depth("messages", content),
        Some(_) => Err(refuse(format!("messages[{at}].content"), "must be a string, an array or null")),
    }
}

fn refuse(path: String, must: &str) -> Error {
    let message = format!("`{path}` {must}");
    Error::invalid(path, message)
}

#[cfg(test)]
#[path = "chat_request_tests.rs"]
mod tests;
