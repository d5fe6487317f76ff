//! A place in a caller's JSON with its path, so that whatever is wrong there is named (`messages[2].content`).

use std::{borrow::Cow, collections::HashSet};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{call::Unread, error::Error};

/// Deepest nesting accepted below a top-level key; serde_json's own limit, which raw values bypass.
const MAX_DEPTH: usize = 126;

/// Longest part of a caller's own key that is shown in a path, in characters.
const MAX_SHOWN_KEY: usize = 64;

/// Callers forget padding as often as they write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A well-formed JSON value and where it stands.
#[derive(Clone, Debug)]
pub(in crate::edge) struct Node<'a> {
    path: Cow<'a, str>,
    raw: &'a RawValue,
    unread: Option<&'a Unread>,
}

/// A JSON object whose members are taken one by one; what is left at the end was not known.
pub(in crate::edge) struct Object<'a> {
    path: Cow<'a, str>,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    unread: Option<&'a Unread>,
}

/// An object key, borrowed unless it has escapes.
#[derive(Deserialize)]
pub(in crate::edge) struct Key<'a>(#[serde(borrow)] pub(in crate::edge) Cow<'a, str>);

impl<'a> Node<'a> {
    /// Names a value.
    pub(in crate::edge) fn new(path: impl Into<Cow<'a, str>>, raw: &'a RawValue) -> Self {
        Self { path: path.into(), raw, unread: None }
    }

    /// Wraps a whole body; below it, what `Object::end` finds is noted.
    pub(in crate::edge) fn root(raw: &'a RawValue, unread: &'a Unread) -> Self {
        Self { unread: Some(unread), ..Self::new("", raw) }
    }

    /// Returns the JSON text of the value, as it came.
    pub(in crate::edge) fn json(&self) -> &'a str {
        self.raw.get()
    }

    /// Makes the error that this value is not what it must be ("must be a string").
    pub(in crate::edge) fn refuse(&self, must: &str) -> Error {
        Error::invalid(self.path.as_ref(), format!("`{}` {must}", self.path))
    }

    /// Tells which kind of value it is by its first byte: `"`, `{`, `[`, `t`, `f`, `n`, `-` or a digit.
    pub(in crate::edge) fn first_byte(&self) -> u8 {
        first_byte(self.raw)
    }

    pub(in crate::edge) fn is_string(&self) -> bool {
        self.first_byte() == b'"'
    }

    pub(in crate::edge) fn is_object(&self) -> bool {
        self.first_byte() == b'{'
    }

    pub(in crate::edge) fn is_array(&self) -> bool {
        self.first_byte() == b'['
    }

    /// Reads a string.
    pub(in crate::edge) fn text(&self) -> Result<String, Error> {
        serde_json::from_str(self.json()).map_err(|_| self.refuse("must be a string"))
    }

    /// Reads a string of base64.
    pub(in crate::edge) fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.base64(&self.text()?)
    }

    /// Reads a part of this string as base64.
    pub(in crate::edge) fn base64(&self, text: &str) -> Result<Vec<u8>, Error> {
        BASE64.decode(text).map_err(|_| self.refuse("is not valid base64"))
    }

    /// Reads a boolean.
    pub(in crate::edge) fn flag(&self) -> Result<bool, Error> {
        serde_json::from_str(self.json()).map_err(|_| self.refuse("must be true or false"))
    }

    /// Reads an integer of a range, exactly.
    pub(in crate::edge) fn integer(&self, min: i64, max: i64) -> Result<i64, Error> {
        let number: Option<i64> = self.json().parse().ok();
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.refuse(&format!("must be an integer from {min} to {max}")))
    }

    /// Reads an integer of a range that fits 32 bits.
    pub(in crate::edge) fn small_integer(&self, min: i32, max: i32) -> Result<i32, Error> {
        let number = self.integer(min.into(), max.into())?;
        i32::try_from(number).map_err(|_| self.refuse("is out of range"))
    }

    /// Reads a finite number of a range.
    pub(in crate::edge) fn number(&self, min: f64, max: f64) -> Result<f64, Error> {
        let is_number = matches!(self.first_byte(), b'-' | b'0'..=b'9');
        let number: Option<f64> = if is_number { self.json().parse().ok() } else { None };
        number
            .filter(|number| number.is_finite() && (min..=max).contains(number))
            .ok_or_else(|| self.refuse(&format!("must be a number from {min} to {max}")))
    }

    /// Reads the elements of an array.
    pub(in crate::edge) fn elements(&self) -> Result<Vec<Self>, Error> {
        if !self.is_array() {
            return Err(self.refuse("must be an array"));
        }
        let elements: Vec<&'a RawValue> =
            serde_json::from_str(self.json()).map_err(|_| self.refuse("must be an array"))?;
        let unread = self.unread;
        let named = elements.into_iter().enumerate();
        Ok(named.map(|(at, raw)| Self { path: format!("{}[{at}]", self.path).into(), raw, unread }).collect())
    }

    /// Reads an array of strings.
    pub(in crate::edge) fn texts(&self) -> Result<Vec<String>, Error> {
        self.elements()?.iter().map(Self::text).collect()
    }

    /// Reads the members of an object. No key may stand there twice.
    pub(in crate::edge) fn object(&self) -> Result<Object<'a>, Error> {
        if !self.is_object() {
            return Err(self.refuse("must be an object"));
        }
        let members = serde_json::from_str(self.json());
        let Members { members, repeated } = members.map_err(|_| self.refuse("must be an object"))?;
        let object = Object { path: self.path.clone(), members, unread: self.unread };
        match repeated {
            None => Ok(object),
            // Parsers disagree on which one holds, so what was checked might not be what is used.
            Some(key) => {
                let path = object.path_of(&shown(&key));
                let message = format!("`{path}` stands there twice");
                Err(Error::invalid(path, message))
            }
        }
    }

    /// Checks that the value is nested no deeper than parsers take.
    pub(in crate::edge) fn check_depth(&self) -> Result<(), Error> {
        // Nearly every value opens too few brackets to be deep, and those are found much faster than depth is.
        let opened = memchr::memchr2_iter(b'{', b'[', self.json().as_bytes()).take(MAX_DEPTH + 1).count();
        if opened <= MAX_DEPTH || depth(self.json()) <= MAX_DEPTH {
            return Ok(());
        }
        Err(self.refuse(&format!("is nested deeper than {MAX_DEPTH} levels")))
    }
}

impl<'a> Object<'a> {
    /// Takes a member out; null is absent.
    pub(in crate::edge) fn take(&mut self, key: &str) -> Option<Node<'a>> {
        let at = self.members.iter().position(|(name, _)| name == key)?;
        let (_, raw) = self.members.remove(at);
        if raw.get() == "null" {
            return None;
        }
        Some(Node { path: self.path_of(key).into(), raw, unread: self.unread })
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a member out that must be there.
    pub(in crate::edge) fn need(&mut self, key: &str) -> Result<Node<'a>, Error> {
        self.take(key).ok_or_else(|| {
            let path = self.path_of(key);
            let message = format!("`{path}` is required");
            Error::invalid(path, message)
        })
    }

    /// Takes an optional string.
    pub(in crate::edge) fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        self.take(key).map(|node| node.text()).transpose()
    }

    /// Takes an optional string; absent is empty.
    pub(in crate::edge) fn text_or_empty(&mut self, key: &str) -> Result<String, Error> {
        Ok(self.text(key)?.unwrap_or_default())
    }

    /// Takes an optional boolean.
    pub(in crate::edge) fn flag(&mut self, key: &str) -> Result<Option<bool>, Error> {
        self.take(key).map(|node| node.flag()).transpose()
    }

    /// Writes what nobody took as a JSON object, values as they came; absent if nothing is left.
    pub(in crate::edge) fn rest(self) -> Option<String> {
        if self.members.is_empty() {
            return None;
        }
        let mut json = String::from("{");
        for (at, (key, raw)) in self.members.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            json.push_str(&serde_json::to_string(key).ok()?);
            json.push(':');
            json.push_str(raw.get());
        }
        json.push('}');
        Some(json)
    }

    /// Notes what nobody took, so that the caller is told of it. Members that ask for nothing, and `known` ones, which
    /// answers have and callers send back, are passed over.
    pub(in crate::edge) fn end(self, known: &[&str]) {
        let Some(unread) = self.unread else { return };
        let asks = |raw: &RawValue| !matches!(raw.get(), "null" | "[]" | "{}" | "\"\"");
        for (key, _) in self.members.iter().filter(|(key, raw)| asks(raw) && !known.contains(&&**key)) {
            unread.note(self.path_of(&shown(key)));
        }
    }

    /// Returns what nobody took, with its keys.
    pub(in crate::edge) fn into_members(self) -> impl Iterator<Item = (String, Node<'a>)> {
        let (path, unread) = (self.path, self.unread);
        self.members.into_iter().map(move |(key, raw)| {
            let node = Node { path: format!("{path}.{}", shown(&key)).into(), raw, unread };
            (key.into_owned(), node)
        })
    }
}

/// Cuts a key that the caller chose to a length that fits a message.
pub(in crate::edge) fn shown(key: &str) -> String {
    key.chars().take(MAX_SHOWN_KEY).collect()
}

/// Returns the first byte of a value, which tells its kind.
pub(in crate::edge) fn first_byte(raw: &RawValue) -> u8 {
    raw.get().as_bytes().first().copied().unwrap_or(b'n')
}

struct Members<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    repeated: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a>(std::marker::PhantomData<&'a ()>);

        impl<'de: 'a, 'a> de::Visitor<'de> for Visitor<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::new();
                let mut seen = HashSet::new();
                let mut repeated = None;
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    if !seen.insert(key.clone()) {
                        repeated = Some(key.clone());
                    }
                    members.push((key, map.next_value::<&'de RawValue>()?));
                }
                Ok(Members { members, repeated })
            }
        }

        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// Counts the nesting of well-formed JSON without recursion.
fn depth(json: &str) -> usize {
    let bytes = json.as_bytes();
    let (mut at, mut depth, mut deepest) = (0_usize, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(bytes, at),
            _ => {}
        }
    }
    deepest
}

/// Returns the position after the string whose inside starts at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1; // what the backslash escapes
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> Node<'_> {
        Node::new("x", serde_json::from_str(json).unwrap())
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings_only() {
        assert_eq!(depth(r#"{"a":[1,{"b":"]]]\"[[["}]}"#), 3);
        assert_eq!(depth(r#""[[[""#), 0);
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(node(&deep).check_depth().is_err());
        assert!(node(&deep[1..253]).check_depth().is_ok());
    }

    #[test]
    fn integers_are_exact_and_bounded() {
        assert_eq!(node("9007199254740993").integer(0, i64::MAX).unwrap(), 9_007_199_254_740_993);
        for bad in ["1.0", "1e2", "-1", "9223372036854775808", "\"1\"", "true"] {
            assert_eq!(
                node(bad).integer(0, i64::MAX).unwrap_err().facts().field.as_deref(),
                Some("x"),
                "{bad}"
            );
        }
    }

    #[test]
    fn numbers_are_finite_and_bounded() {
        assert_eq!(node("1e-1").number(0.0, 2.0).unwrap(), 0.1);
        for bad in ["1e999", "-0.1", "\"1\"", "null", "2.1"] {
            assert!(node(bad).number(0.0, 2.0).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_nobody_took_keeps_its_text() {
        let given = node(r#"{"a":1,"b": {"z":1,"a":1e400}}"#);
        let mut object = given.object().unwrap();
        assert!(object.take("a").is_some());
        assert_eq!(object.rest().as_deref(), Some(r#"{"b":{"z":1,"a":1e400}}"#));
    }

    #[test]
    fn a_repeated_key_is_refused() {
        let error = node(r#"{"a":1,"\u0061":2}"#).object().err().unwrap();
        assert_eq!(error.facts().field.as_deref(), Some("x.a"));
    }
}
