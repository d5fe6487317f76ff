//! The shallow scan of a Responses request: what we must know or refuse, and what its answer tells again.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::value::RawValue;

use crate::{
    call::{Asked, Dialect, Needs, Raw},
    edge::{
        MAX_END_USER, MAX_TOKENS, cut,
        rest::{
            fields::{self, Field, Kind, NothingSpecial, Scan},
            needs,
            node::Node,
        },
    },
    error::Error,
};

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// Every key of `CreateResponse` that we check. Others pass untouched: new ones must work on their first day.
const FIELDS: &[Field] = &[
    field("model", Kind::Model),
    field("input", Kind::TextOrArray),
    field("instructions", Kind::Text),
    field("stream", Kind::Flag),
    field("stream_options", Kind::Object),
    field("max_output_tokens", Kind::Integer(1, MAX_TOKENS)),
    field("max_tool_calls", Kind::Integer(1, MAX_TOKENS)),
    field("temperature", Kind::Number(0.0, 2.0)),
    field("top_p", Kind::Number(0.0, 1.0)),
    field("top_logprobs", Kind::Integer(0, 20)),
    field("tools", Kind::Tools),
    field("tool_choice", Kind::TextOrObject),
    field("parallel_tool_calls", Kind::Flag),
    field("text", Kind::Object),
    field("reasoning", Kind::Object),
    field("include", Kind::Texts),
    field("truncation", Kind::Text),
    field("store", Kind::Flag),
    field("background", Kind::Flag),
    field("previous_response_id", Kind::Text),
    field("conversation", Kind::TextOrObject),
    field("prompt", Kind::Object),
    field("metadata", Kind::TextMap(16)),
    field("service_tier", Kind::Text),
    field("user", Kind::Text),
    field("safety_identifier", Kind::Text),
    field("prompt_cache_key", Kind::Text),
    field("prompt_cache_retention", Kind::Text),
    field("prompt_cache_options", Kind::Object),
];

/// Keys whose values the model reads as a part of the prompt.
const PROMPT: [&str; 4] = ["input", "instructions", "tools", "text"];

/// What an answer repeats of its request, with what it says where the request is silent.
const REPEATED: [(&str, &str); 15] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
];

/// What an answer repeats of its request: names and values, as they were sent.
#[derive(Clone, Debug, Default)]
pub(in crate::edge::openai) struct Repeated(pub(super) Vec<(&'static str, Box<RawValue>)>);

/// What the scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) asked: Asked,
    pub(super) repeated: Repeated,
    model: Range<usize>,
}

/// Checks a request and reads what the rooms need of it.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of the field.
pub(super) fn scan(body: &[u8]) -> Result<Scanned, Error> {
    let scan = fields::scan(body, FIELDS, &mut NothingSpecial)?;
    let text = |name| scan.get(name).map(|node: Node<'_>| node.text()).transpose();
    let end_user = text("safety_identifier")?.or(text("user")?).unwrap_or_default();
    let prompt = PROMPT.iter().filter_map(|name| scan.span(name));
    Ok(Scanned {
        asked: Asked {
            model: text("model")?.unwrap_or_default(),
            streamed: scan.get("stream").is_some_and(|node| node.json() == "true"),
            // Every answer of this dialect tells it.
            usage_wanted: true,
            max_output_tokens: scan
                .get("max_output_tokens")
                .map(|node| node.integer(1, MAX_TOKENS))
                .transpose()?,
            choice_count: 1,
            input_bytes: prompt.map(|span| span.len()).sum(),
            end_user_id: cut(end_user, MAX_END_USER),
            needs: needs_of(&scan)?,
        },
        repeated: Repeated::of(&scan),
        model: scan.span("model").unwrap_or_default(),
    })
}

/// Returns what the request needs of a model.
fn needs_of(scan: &Scan<'_>) -> Result<Needs, Error> {
    let mut needs = Needs::default();
    if let Some(input) = scan.get("input") {
        needs::add_media(input.json(), &mut needs);
    }
    needs::add_asked(scan, &["tools"], &["text"], &mut needs);
    if let Some(reasoning) = scan.get("reasoning") {
        needs::add_effort(reasoning.object()?.text("effort")?.as_deref(), &mut needs);
    }
    Ok(needs)
}

impl Repeated {
    fn of(scan: &Scan<'_>) -> Self {
        let told = REPEATED.iter().filter_map(|(name, silent)| {
            let json = scan.get(name).map_or(*silent, |node| node.json());
            Some((*name, RawValue::from_string(json.to_owned()).ok()?))
        });
        Self(told.collect())
    }
}

impl Scanned {
    /// Makes the raw view of the body that was scanned.
    pub(super) fn into_raw(self, body: Bytes) -> Raw {
        Raw {
            dialect: Dialect::OpenAiResponses,
            body,
            model: self.model,
            stream_options: None,
            headers: HeaderMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_scanned_and_its_answer_knows_what_to_repeat() {
        let body = br#"{"model":"gpt","input":"hello","stream":true,"max_output_tokens":9,"user":"u",
            "temperature":0.50,"brand_new":{"deep":1}}"#;
        let scanned = scan(body).unwrap();
        assert_eq!(scanned.asked.model, "gpt");
        assert!(scanned.asked.streamed && scanned.asked.usage_wanted);
        assert_eq!(scanned.asked.max_output_tokens, Some(9));
        assert_eq!(scanned.asked.input_bytes, 7);
        assert_eq!(scanned.asked.end_user_id, "u");
        let repeated: Vec<_> = scanned.repeated.0.iter().map(|(name, value)| (*name, value.get())).collect();
        assert!(repeated.contains(&("temperature", "0.50")) && repeated.contains(&("top_p", "1.0")));
        assert_eq!(&body[scanned.model.clone()], br#""gpt""#);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (body, field) in [
            (r#"{"input":"x"}"#, "model"),
            (r#"{"model":"m","input":5}"#, "input"),
            (r#"{"model":"m","max_output_tokens":0}"#, "max_output_tokens"),
            (r#"{"model":"m","metadata":{"a":1}}"#, "metadata.a"),
            (r#"{"model":"m","tools":[{"type":1}]}"#, "tools[0].type"),
        ] {
            assert_eq!(scan(body.as_bytes()).unwrap_err().facts().field.as_deref(), Some(field), "{body}");
        }
    }
}
