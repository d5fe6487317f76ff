//! The scan and the typed view of an embeddings request.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tollgate_api::v1::{EmbedInput, EmbedRequest, ProviderOptions, TokenIds, embed_input};

use crate::{
    call::{Asked, Dialect, Raw, Unread},
    edge::{
        MAX_END_USER, cut,
        rest::{
            fields::{self, Field, Kind, Special},
            node::{Node, first_byte},
        },
    },
    error::{Error, Reason},
};

/// Most inputs of one call.
const MAX_INPUTS: usize = 2048;
/// Longest vector that can be asked for.
const MAX_DIMENSIONS: i32 = 65_536;
/// Bytes of text that a token id stands for, for estimates.
const BYTES_PER_TOKEN: usize = 4;

const FIELDS: &[Field] = &[
    Field { name: "model", kind: Kind::Model },
    Field { name: "input", kind: Kind::Special },
    Field { name: "encoding_format", kind: Kind::OneOf(&["float", "base64"]) },
    Field { name: "dimensions", kind: Kind::Integer(1, MAX_DIMENSIONS as i64) },
    Field { name: "user", kind: Kind::Text },
];

/// What the scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) asked: Asked,
    /// Whether vectors are wanted as base64 of little-endian floats.
    pub(super) base64: bool,
    model: Range<usize>,
}

/// Checks a request and reads what the rooms need of it.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of the field.
pub(super) fn scan(body: &[u8]) -> Result<Scanned, Error> {
    let mut input = Input::default();
    let scan = fields::scan(body, FIELDS, &mut input)?;
    let text = |name| scan.get(name).map(|node: Node<'_>| node.text()).transpose();
    Ok(Scanned {
        asked: Asked {
            model: text("model")?.unwrap_or_default(),
            input_bytes: input.bytes,
            end_user_id: cut(text("user")?.unwrap_or_default(), MAX_END_USER),
            needs: crate::call::Needs::default(),
            ..Asked::default()
        },
        base64: text("encoding_format")?.as_deref() == Some("base64"),
        model: scan.span("model").unwrap_or_default(),
    })
}

impl Scanned {
    /// Makes the raw view of the body that was scanned.
    pub(super) fn into_raw(self, body: Bytes) -> Raw {
        Raw {
            dialect: Dialect::OpenAiEmbeddings,
            body,
            model: self.model,
            stream_options: None,
            headers: HeaderMap::new(),
        }
    }
}

/// Makes the typed view of a body that the scan has accepted.
///
/// # Errors
/// `INVALID_REQUEST` with the JSON path of what does not fit the contract.
pub(in crate::edge::openai) fn parse(body: &[u8], unread: &Unread) -> Result<EmbedRequest, Error> {
    let raw = serde_json::from_slice(body)
        .map_err(|_| Error::new(Reason::InvalidRequest, "the body is not valid JSON"))?;
    let mut body = Node::root(raw, unread).object()?;
    // How vectors are written to this caller is our matter, not the provider's.
    body.take("encoding_format");
    Ok(EmbedRequest {
        model: body.need("model")?.text()?,
        inputs: inputs(&body.need("input")?)?,
        dimensions: body.take("dimensions").map(|node| node.small_integer(1, MAX_DIMENSIONS)).transpose()?,
        end_user_id: body.text_or_empty("user")?,
        provider_options: body
            .rest()
            .map(|body_json| ProviderOptions { body_json, ..Default::default() })
            .into_iter()
            .collect(),
        ..Default::default()
    })
}

fn inputs(node: &Node<'_>) -> Result<Vec<EmbedInput>, Error> {
    if node.is_string() {
        return Ok(vec![text(node)?]);
    }
    let elements = node.elements()?;
    match elements.first() {
        None => Err(node.refuse("must not be empty")),
        Some(first) if first.is_string() => elements.iter().map(text).collect(),
        Some(first) if first.is_array() => elements.iter().map(tokens).collect(),
        Some(_) => Ok(vec![tokens(node)?]),
    }
}

fn text(node: &Node<'_>) -> Result<EmbedInput, Error> {
    Ok(EmbedInput { kind: Some(embed_input::Kind::Text(node.text()?)) })
}

fn tokens(node: &Node<'_>) -> Result<EmbedInput, Error> {
    let ids = serde_json::from_str(node.json()).map_err(|_| node.refuse(TOKEN_IDS))?;
    Ok(EmbedInput { kind: Some(embed_input::Kind::TokenIds(TokenIds { ids })) })
}

const TOKEN_IDS: &str = "must be an array of token ids, integers from 0 to 2147483647";

/// Walks through `input`: a string, strings, token ids, or arrays of token ids.
#[derive(Default)]
struct Input {
    count: usize,
    bytes: usize,
    kind: Option<Element>,
    error: Option<Error>,
}

#[derive(Clone, Copy, PartialEq)]
enum Element {
    Text,
    Token,
    Tokens,
}

impl Special for Input {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(&mut *self)
    }

    fn refusal(&mut self) -> Error {
        self.error.take().unwrap_or_else(|| {
            Error::invalid("input", "`input` must be a string, an array of strings, or arrays of token ids")
        })
    }
}

impl<'de> DeserializeSeed<'de> for &mut Input {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Input {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an input")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.bytes = text.len();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            let checked = self.element(element);
            self.keep(checked)?;
            self.count += 1;
        }
        self.keep(if self.count == 0 { Err(refuse("input".to_owned(), "must not be empty")) } else { Ok(()) })
    }
}

impl Input {
    /// Keeps our own error while the parser's carries the news up.
    fn keep<E: de::Error>(&mut self, checked: Result<(), Error>) -> Result<(), E> {
        checked.map_err(|error| {
            self.error = Some(error);
            E::custom("refused")
        })
    }

    fn element(&mut self, raw: &RawValue) -> Result<(), Error> {
        let path = || format!("input[{}]", self.count);
        let json = raw.get();
        let kind = match first_byte(raw) {
            b'"' => Element::Text,
            b'[' => Element::Tokens,
            b'0'..=b'9' if json.parse::<i32>().is_ok() => Element::Token,
            b'-' | b'0'..=b'9' => return Err(refuse(path(), "must be a token id from 0 to 2147483647")),
            _ => return Err(refuse(path(), "must be a string, a token id or an array of token ids")),
        };
        if *self.kind.get_or_insert(kind) != kind {
            return Err(refuse(path(), "must be of the same kind as the elements before it"));
        }
        if kind != Element::Token && self.count >= MAX_INPUTS {
            return Err(refuse("input".to_owned(), &format!("must have at most {MAX_INPUTS} elements")));
        }
        self.bytes += match kind {
            Element::Text => json.len().saturating_sub(2),
            Element::Token => BYTES_PER_TOKEN,
            Element::Tokens => {
                let ids: Vec<u32> = serde_json::from_str(json).map_err(|_| refuse(path(), TOKEN_IDS))?;
                if ids.is_empty() || ids.iter().any(|id| i32::try_from(*id).is_err()) {
                    return Err(refuse(path(), TOKEN_IDS));
                }
                ids.len().saturating_mul(BYTES_PER_TOKEN)
            }
        };
        Ok(())
    }
}

fn refuse(path: String, must: &str) -> Error {
    let message = format!("`{path}` {must}");
    Error::invalid(path, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(input: &str, more: &str) -> String {
        format!(r#"{{"model":"e", "input":{input}{more}}}"#)
    }

    fn field(input: &str, more: &str) -> Option<String> {
        scan(body(input, more).as_bytes()).unwrap_err().facts().field.clone()
    }

    #[test]
    fn every_form_of_input_is_read_and_parsed() {
        let kinds = |input: &str| {
            let body = body(input, "");
            let scanned = scan(body.as_bytes()).unwrap();
            let inputs = parse(body.as_bytes(), &Unread::default()).unwrap().inputs;
            (
                scanned.asked.input_bytes,
                inputs.into_iter().map(|input| input.kind.unwrap()).collect::<Vec<_>>(),
            )
        };
        let text = |text: &str| embed_input::Kind::Text(text.to_owned());
        let ids = |ids: &[i32]| embed_input::Kind::TokenIds(TokenIds { ids: ids.to_vec() });
        assert_eq!(kinds(r#""hallo""#), (5, vec![text("hallo")]));
        assert_eq!(kinds(r#"["a", "bc"]"#), (3, vec![text("a"), text("bc")]));
        assert_eq!(kinds("[1, 2, 3]"), (12, vec![ids(&[1, 2, 3])]));
        assert_eq!(kinds("[[1, 2], [3]]"), (12, vec![ids(&[1, 2]), ids(&[3])]));
    }

    #[test]
    fn each_bad_input_is_named() {
        for (input, path) in [
            ("[]", "input"),
            ("null", "input"),
            ("{}", "input"),
            ("7", "input"),
            (r#"["a",1]"#, "input[1]"),
            ("[1,-1]", "input[1]"),
            ("[1,2147483648]", "input[1]"),
            ("[1.5]", "input[0]"),
            ("[[1],[]]", "input[1]"),
            ("[[1],[2,-3]]", "input[1]"),
            ("[[[1]]]", "input[0]"),
            ("[null]", "input[0]"),
        ] {
            assert_eq!(field(input, "").as_deref(), Some(path), "{input}");
        }
        let many = format!("[{}\"x\"]", "\"x\",".repeat(2048));
        assert_eq!(field(&many, "").as_deref(), Some("input"));
        for (more, path) in [
            (r#","encoding_format":"int8""#, "encoding_format"),
            (r#","encoding_format":1"#, "encoding_format"),
            (r#","dimensions":0"#, "dimensions"),
            (r#","dimensions":65537"#, "dimensions"),
            (r#","user":1"#, "user"),
            (r#","input":"again""#, "input"),
            (r#","model":"again""#, "model"),
        ] {
            assert_eq!(field("\"x\"", more).as_deref(), Some(path), "{more}");
        }
        assert_eq!(scan(br#"{"model":"e"}"#).unwrap_err().facts().field.as_deref(), Some("input"));
    }

    #[test]
    fn the_format_is_ours_and_the_unknown_is_kept() {
        let body =
            body("\"x\"", r#","encoding_format":"base64","dimensions":8,"user":"u","x":{"b":1,"a":2}"#);
        let scanned = scan(body.as_bytes()).unwrap();
        assert!(scanned.base64);
        assert_eq!(&body[scanned.model.clone()], "\"e\"");
        assert_eq!(scanned.asked.end_user_id, "u");
        let request = parse(body.as_bytes(), &Unread::default()).unwrap();
        assert_eq!(request.dimensions, Some(8));
        assert_eq!(request.provider_options[0].body_json, r#"{"x":{"b":1,"a":2}}"#);
    }

    proptest! {
        #[test]
        fn what_the_scan_accepts_the_typed_view_accepts_too(
            input in r#"[\[\]",0-9a\-]{0,24}"#,
            more in r#"(,"dimensions":[0-9]{1,6}|,"user":"[a-z]"){0,1}(,"x":\[\]){0,1}"#,
        ) {
            let body = body(&input, &more);
            if let Ok(scanned) = scan(body.as_bytes()) {
                let request = parse(body.as_bytes(), &Unread::default()).unwrap();
                prop_assert!(!request.inputs.is_empty());
                prop_assert_eq!(&body[scanned.model.clone()], "\"e\"");
            }
        }
    }
}
