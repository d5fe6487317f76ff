//! What the known keys of a request body must look like: one table per endpoint, one pass over the bytes.

use std::ops::Range;

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::node::{Key, Node, first_byte, shown};
use crate::error::Error;

/// Longest model name a caller may send, in bytes.
const MAX_MODEL_BYTES: usize = 256;

/// A known key and what it must hold. Unless it is `Required`, null is the same as absent.
pub(in crate::edge) struct Field {
    pub(in crate::edge) name: &'static str,
    pub(in crate::edge) kind: Kind,
}

/// What a known key must hold.
#[derive(Clone, Copy)]
pub(in crate::edge) enum Kind {
    /// The alias: a non-empty string of at most 256 bytes. Required.
    Model,
    /// A value that the endpoint's own reader walks through while the bytes are scanned. Required.
    Special,
    /// Anything.
    Any,
    /// A string.
    Text,
    /// A boolean.
    Flag,
    /// An integer of this range.
    Integer(i64, i64),
    /// A finite number of this range.
    Number(f64, f64),
    /// An object.
    Object,
    /// An object of strings with at most this many members.
    TextMap(usize),
    /// An object of numbers of this range.
    NumberMap(f64, f64),
    /// An object whose `type` is a string.
    Typed,
    /// An array of objects.
    Objects,
    /// An array of objects whose `type`, if there is one, is a string.
    Tools,
    /// A string or an object.
    TextOrObject,
    /// An array of strings.
    Texts,
    /// A string or an array of at most this many strings.
    TextOrTexts(usize),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A string or an array of anything.
    TextOrArray,
}

/// The values of the known keys, in the order of the table.
pub(in crate::edge) struct Scan<'a> {
    body: &'a str,
    fields: &'static [Field],
    values: Vec<Option<&'a RawValue>>,
}

/// Reads the one value that is walked through instead of skipped (`messages`, `input`).
pub(in crate::edge) trait Special {
    /// Walks through the value.
    ///
    /// # Errors
    /// The parser's; the reader keeps its own better one for `refusal`.
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error>;

    /// Returns why the value cannot be accepted, with its path, or what it should have been.
    fn refusal(&mut self) -> Error;
}

/// The reader of an endpoint that has no such value.
pub(in crate::edge) struct NothingSpecial;

impl Special for NothingSpecial {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<de::IgnoredAny>().map(drop)
    }

    fn refusal(&mut self) -> Error {
        Error::new(crate::error::Reason::InvalidRequest, "the body is not what this path takes")
    }
}

/// Reads the known keys of a body in one pass.
///
/// # Errors
/// `INVALID_REQUEST` naming the field, or the line and column where the JSON breaks.
pub(in crate::edge) fn scan<'a>(
    body: &'a [u8],
    fields: &'static [Field],
    special: &mut impl Special,
) -> Result<Scan<'a>, Error> {
    let text = simdutf8::compat::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Error::new(crate::error::Reason::InvalidRequest, format!("the body is not UTF-8 at byte {at}"))
    })?;
    let mut state =
        State { fields, values: vec![None; fields.len()], special, place: Place::Top, error: None };
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = (&mut state).deserialize(&mut parser).and_then(|()| parser.end());
    if let Err(error) = parsed {
        return Err(state.explain(&error));
    }
    let scan = Scan { body: text, fields, values: state.values };
    scan.check(matches!(state.place, Place::Done))?;
    Ok(scan)
}

enum Place {
    Top,
    Special,
    Done,
}

struct State<'a, 's, S> {
    fields: &'static [Field],
    values: Vec<Option<&'a RawValue>>,
    special: &'s mut S,
    place: Place,
    error: Option<Error>,
}

impl<S: Special> State<'_, '_, S> {
    /// Says what is wrong without a word of the caller's content.
    fn explain(&mut self, error: &serde_json::Error) -> Error {
        if let Some(error) = self.error.take() {
            return error;
        }
        let invalid = |message: String| Error::new(crate::error::Reason::InvalidRequest, message);
        if error.is_data() {
            return match self.place {
                Place::Special => self.special.refusal(),
                _ => invalid("the body must be a JSON object".to_owned()),
            };
        }
        let what = if error.is_eof() { "ends too early" } else { "is not valid JSON" };
        invalid(format!("the body {what}, at line {} column {}", error.line(), error.column()))
    }
}

impl<'de: 'a, 'a, S: Special> DeserializeSeed<'de> for &mut State<'a, '_, S> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de: 'a, 'a, S: Special> Visitor<'de> for &mut State<'a, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let Some(at) = self.fields.iter().position(|field| field.name == key) else {
                let unknown = map.next_value::<&'de RawValue>()?;
                self.keep(check_depth(&shown(&key), unknown))?;
                continue;
            };
            let name = self.fields[at].name;
            let special = matches!(self.fields[at].kind, Kind::Special);
            if self.values[at].is_some() || (special && matches!(self.place, Place::Done)) {
                self.keep(Err(Error::invalid(name, format!("`{name}` stands there twice"))))?;
            }
            if special {
                self.place = Place::Special;
                self.special.read(&mut map)?;
                self.place = Place::Done;
                continue;
            }
            let value = map.next_value::<&'de RawValue>()?;
            self.keep(check_depth(name, value))?;
            self.values[at] = Some(value);
        }
        Ok(())
    }
}

impl<S> State<'_, '_, S> {
    /// Keeps our own error while the parser's carries the news up.
    fn keep<E: de::Error>(&mut self, checked: Result<(), Error>) -> Result<(), E> {
        checked.map_err(|error| {
            self.error = Some(error);
            E::custom("refused")
        })
    }
}

/// Checks the nesting of a value; strings and numbers, which prompts mostly are, cost nothing.
pub(in crate::edge) fn check_depth(path: &str, raw: &RawValue) -> Result<(), Error> {
    match first_byte(raw) {
        b'{' | b'[' => Node::new(path, raw).check_depth(),
        _ => Ok(()),
    }
}

impl<'a> Scan<'a> {
    /// Returns the value of a known key; null is absent.
    pub(in crate::edge) fn get(&self, name: &'static str) -> Option<Node<'a>> {
        let at = self.fields.iter().position(|field| field.name == name)?;
        self.values[at].filter(|raw| raw.get() != "null").map(|raw| Node::new(name, raw))
    }

    /// Returns where the value of a known key stands in the body, null included.
    pub(in crate::edge) fn span(&self, name: &'static str) -> Option<Range<usize>> {
        let at = self.fields.iter().position(|field| field.name == name)?;
        let text = self.values[at]?.get();
        // The raw value is a slice of the body, so the distance of their addresses is its place.
        let start = (text.as_ptr() as usize).checked_sub(self.body.as_ptr() as usize)?;
        Some(start..start + text.len())
    }

    fn check(&self, special_seen: bool) -> Result<(), Error> {
        for (field, value) in self.fields.iter().zip(&self.values) {
            let node = value.filter(|raw| raw.get() != "null").map(|raw| Node::new(field.name, raw));
            match (field.kind, node) {
                (Kind::Special, _) if special_seen => {}
                (Kind::Model | Kind::Special, None) => {
                    return Err(Error::invalid(field.name, format!("`{}` is required", field.name)));
                }
                (_, None) => {}
                (kind, Some(node)) => kind.check(&node)?,
            }
        }
        Ok(())
    }
}

impl Kind {
    fn check(self, node: &Node<'_>) -> Result<(), Error> {
        match self {
            Self::Special | Self::Any => Ok(()),
            Self::Model => check_model(node),
            Self::Text => must(node.is_string(), node, "must be a string"),
            Self::Flag => node.flag().map(drop),
            Self::Integer(min, max) => node.integer(min, max).map(drop),
            Self::Number(min, max) => node.number(min, max).map(drop),
            Self::Object => must(node.is_object(), node, "must be an object"),
            Self::TextMap(most) => check_map(node, most, |value| value.text().map(drop)),
            Self::NumberMap(min, max) => {
                check_map(node, usize::MAX, |value| value.number(min, max).map(drop))
            }
            Self::Typed => check_typed(node),
            Self::Objects => node
                .elements()?
                .iter()
                .try_for_each(|element| must(element.is_object(), element, "must be an object")),
            Self::Tools => node.elements()?.iter().try_for_each(check_tool),
            Self::TextOrObject => {
                must(node.is_string() || node.is_object(), node, "must be a string or an object")
            }
            Self::TextOrArray => {
                must(node.is_string() || node.is_array(), node, "must be a string or an array")
            }
            Self::Texts => check_texts(node, usize::MAX),
            Self::TextOrTexts(_) if node.is_string() => Ok(()),
            Self::TextOrTexts(most) => check_texts(node, most),
            Self::OneOf(words) => {
                let known = node.is_string() && words.contains(&node.text()?.as_str());
                must(known, node, &format!("must be one of {}", words.join(", ")))
            }
        }
    }
}

fn must(holds: bool, node: &Node<'_>, what: &str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(node.refuse(what)) }
}

fn check_model(node: &Node<'_>) -> Result<(), Error> {
    let model = node.text()?;
    must(!model.is_empty(), node, "must not be empty")?;
    must(model.len() <= MAX_MODEL_BYTES, node, &format!("must have at most {MAX_MODEL_BYTES} bytes"))
}

fn check_texts(node: &Node<'_>, most: usize) -> Result<(), Error> {
    let texts = node.elements()?;
    must(texts.len() <= most, node, &format!("must have at most {most} elements"))?;
    texts.iter().try_for_each(|text| must(text.is_string(), text, "must be a string"))
}

fn check_map(
    node: &Node<'_>,
    most: usize,
    check: impl Fn(&Node<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let members: Vec<_> = node.object()?.into_members().collect();
    must(members.len() <= most, node, &format!("must have at most {most} members"))?;
    members.iter().try_for_each(|(_, value)| check(value))
}

fn check_typed(node: &Node<'_>) -> Result<(), Error> {
    let kind = node.object()?.need("type")?;
    must(kind.is_string(), &kind, "must be a string")
}

fn check_tool(node: &Node<'_>) -> Result<(), Error> {
    // Mistral's callers leave the type out; where it matters, its absence says `function`.
    let Some(kind) = node.object()?.take("type") else { return Ok(()) };
    must(kind.is_string(), &kind, "must be a string")
}
