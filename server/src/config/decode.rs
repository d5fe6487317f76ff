//! Tree to typed sections with serde, reporting every mistake instead of the first.
//!
//! serde stops at the first error. So each error names its node; the node is reported and taken out of the tree (an
//! unknown key that is nearly a known one is renamed instead), and the rest is read again until nothing is wrong.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, IntoDeserializer as _, Unexpected, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use super::{
    problem::{Problem, nearest, with_suggestion},
    tree::{Node, Value, shown},
};

/// Reading again costs as much as reading; after this many mistakes the rest is left for the next check.
const MAX_PROBLEMS: usize = 200;

/// Reads the tree. What is wrong is taken out of it and told; the rest is what is returned.
pub(super) fn read<T: for<'de> Deserialize<'de> + Default>(
    root: &mut Node,
    failed: Vec<(u32, super::Place, String)>,
    problems: &mut Vec<Problem>,
) -> T {
    let mut broken = BTreeSet::new();
    for (id, place, message) in failed {
        let path = path_of(root, id);
        problems.push(Problem { place, path, message });
        broken.extend(remove(root, id));
    }
    for _ in 0..MAX_PROBLEMS {
        match T::deserialize(&*root) {
            Ok(value) => return value,
            Err(error) => repair(root, error, &mut broken, problems),
        }
    }
    T::default()
}

/// Reports an error and takes its cause out of the tree. `broken` are the mappings that lack something because of it:
/// what is missing in them was there and is already reported.
fn repair(root: &mut Node, error: Error, broken: &mut BTreeSet<u32>, problems: &mut Vec<Problem>) {
    let Some((id, place)) = error.node else { return };
    let mut report = |message: String| {
        problems.push(Problem { place, path: path_of(root, id), message });
    };
    match &error.what {
        What::Missing(_) if broken.contains(&id) => {}
        What::Missing(field) => report(format!("`{field}` is missing")),
        What::Unknown { word, valid } => {
            report(with_suggestion("unknown key".to_owned(), word, valid.iter().copied()));
            if let Some(near) = nearest(word, valid.iter().copied())
                && rename(root, id, near)
            {
                return;
            }
        }
        What::Says(message) => report(message.clone()),
    }
    if id == root.id {
        root.value = Value::Null;
    }
    broken.extend(remove(root, id));
}

/// Takes a node out, as a value or as a key with its value. Returns the nodes it was taken out of.
fn remove(node: &mut Node, id: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    match &mut node.value {
        Value::Null | Value::Scalar { .. } => {}
        Value::List(items) => {
            items.retain(|(_, item)| item.id != id);
            items.iter_mut().for_each(|(_, item)| parents.extend(remove(item, id)));
        }
        Value::Map(entries) => {
            let before = entries.len();
            entries.retain(|(key, value)| key.id != id && value.id != id);
            if entries.len() < before {
                parents.push(node.id);
            }
            entries.iter_mut().for_each(|(_, value)| parents.extend(remove(value, id)));
        }
    }
    parents
}

/// Gives a key another name unless its mapping has that already.
fn rename(node: &mut Node, id: u32, to: &str) -> bool {
    match &mut node.value {
        Value::Null | Value::Scalar { .. } => false,
        Value::List(items) => items.iter_mut().any(|(_, item)| rename(item, id, to)),
        Value::Map(entries) => {
            let Some(at) = entries.iter().position(|(key, _)| key.id == id) else {
                return entries.iter_mut().any(|(_, value)| rename(value, id, to));
            };
            let free = !entries.iter().any(|(key, _)| key.text() == Some(to));
            if free {
                entries[at].0.value = Value::Scalar { text: to.to_owned(), written: None };
            }
            free
        }
    }
}

/// Returns the path of a node, as `models.chat.targets[0].provider`.
pub(super) fn path_of(root: &Node, id: u32) -> String {
    let mut path = String::new();
    find(root, id, &mut path);
    path
}

fn find(node: &Node, id: u32, path: &mut String) -> bool {
    if node.id == id {
        return true;
    }
    let length = path.len();
    let mut found = |step: &str, hit: bool, inner: &Node| -> bool {
        path.push_str(step);
        let found = hit || find(inner, id, path);
        if !found {
            path.truncate(length);
        }
        found
    };
    match &node.value {
        Value::Null | Value::Scalar { .. } => false,
        Value::List(items) => items.iter().any(|(number, item)| found(&format!("[{number}]"), false, item)),
        Value::Map(entries) => entries.iter().any(|(key, value)| {
            let step = step(key.text().unwrap_or_default(), length == 0);
            found(&step, key.id == id, value)
        }),
    }
}

fn step(name: &str, first: bool) -> String {
    let plain =
        name.chars().all(|char| char.is_ascii_alphanumeric() || "_-".contains(char)) && !name.is_empty();
    let name = if plain { name.to_owned() } else { format!("\"{}\"", shown(name)) };
    if first { name } else { format!(".{name}") }
}

/// Why a node cannot be read, and which node.
#[derive(Debug)]
pub(super) struct Error {
    node: Option<(u32, super::Place)>,
    what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Says(String),
    Missing(&'static str),
    Unknown { word: String, valid: &'static [&'static str] },
}

impl Error {
    fn new(what: What) -> Self {
        Self { node: None, what }
    }

    /// Names the node, unless a node further in is known already.
    fn at(mut self, node: &Node) -> Self {
        if self.node.is_none() {
            self.node = Some((node.id, node.place));
            if let What::Says(message) = &mut self.what {
                *message = message.replace(FOUND, &found(node));
            }
        }
        self
    }
}

/// Stands for "what was found instead" until the node is known.
const FOUND: &str = "\u{0}";

fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Scalar { text, written: None } => format!("`{}`", shown(text)),
        Value::Scalar { written: Some(written), .. } => format!("the value of `{}`", shown(written)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

/// Tells what was expected. Text where a list or a mapping belongs may be a secret in the wrong place: not shown.
fn expected(expected: &dyn de::Expected) -> What {
    let expected = expected.to_string();
    What::Says(match expected.as_str() {
        "a sequence" => "expected a list, found something else".to_owned(),
        "a map" => "expected a mapping, found something else".to_owned(),
        structure if structure.starts_with("struct ") => {
            "expected a mapping, found something else".to_owned()
        }
        leaf => format!("expected {leaf}, found {FOUND}"),
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Says(message.to_string()))
    }
    fn invalid_type(_: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new(expected(wanted))
    }
    fn invalid_value(_: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new(expected(wanted))
    }
    fn unknown_field(word: &str, valid: &'static [&'static str]) -> Self {
        Self::new(What::Unknown { word: word.to_owned(), valid })
    }
    fn unknown_variant(word: &str, valid: &'static [&'static str]) -> Self {
        let message = format!("{FOUND} is not valid here");
        Self::new(What::Says(with_suggestion(message, word, valid.iter().copied())))
    }
    fn missing_field(field: &'static str) -> Self {
        Self::new(What::Missing(field))
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar { text, .. } => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        };
        value.map_err(|error| error.at(self))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some("true" | "True" | "TRUE") => visitor.visit_bool(true),
            Some("false" | "False" | "FALSE") => visitor.visit_bool(false),
            _ => Err(Error::new(expected(&"`true` or `false`")).at(self)),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text().and_then(|text| text.parse::<u32>().ok()) {
            Some(number) => visitor.visit_u32(number).map_err(|error: Error| error.at(self)),
            None => Err(Error::new(expected(&"a whole number")).at(self)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.value, Value::Null) {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.value, Value::Null) {
            return visitor.visit_seq(Items([].iter())); // `keys:` with every entry commented out
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.value, Value::Null) {
            let empty = Entries { rest: [].iter(), value: None };
            return visitor.visit_map(empty).map_err(|error| error.at(self));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if matches!(self.value, Value::List(_)) {
            return Err(Error::new(expected(&"a map")).at(self)); // serde would take fields by position
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        valid: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some(text) = self.text() else {
            return Err(Error::new(expected(&format!("one of {}", valid.join(", ")).as_str())).at(self));
        };
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        visitor.visit_enum(text).map_err(|error| error.at(self))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u64 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, (usize, Node)>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|(_, item)| seed.deserialize(item).map_err(|error| error.at(item))).transpose()
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, (Node, Node)>,
    value: Option<&'de Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key).map(Some).map_err(|error| error.at(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let value = self.value.take().ok_or_else(|| <Error as de::Error>::custom("a value is missing"))?;
        seed.deserialize(value).map_err(|error| error.at(value))
    }
}
