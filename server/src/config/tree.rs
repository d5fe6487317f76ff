//! YAML text to a tree of nodes that know their place in the file, and `${NAME}` in its scalars.

use std::{borrow::Cow, collections::HashMap};

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::problem::{Place, Problem};

/// Nodes that aliases (`*name`) may add, so that a small file cannot grow into a large tree.
const MAX_ALIASED_NODES: usize = 100_000;

/// A YAML node. There is no `Debug`: scalars may be secrets.
#[derive(Clone)]
pub(super) struct Node {
    /// Number of the node in its file; the copies that aliases make share it.
    pub(super) id: u32,
    /// Where it starts.
    pub(super) place: Place,
    /// What it is.
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// Text, a number, a boolean: what the field makes of it.
    Scalar {
        /// The text, after substitution.
        text: String,
        /// The text as it stands in the file, if that differs.
        written: Option<String>,
    },
    /// A list, each item with its number in the file.
    List(Vec<(usize, Node)>),
    /// A mapping in the file's order; keys are scalars and unique.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Returns the text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the entry of that name, if this is a mapping that has one.
    pub(super) fn entry(&self, name: &str) -> Option<&(Node, Node)> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.text() == Some(name))
    }

    /// Returns the names of a mapping's entries.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let entries = if let Value::Map(entries) = &self.value { entries.as_slice() } else { &[] };
        entries.iter().filter_map(|(key, _)| key.text())
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(|(_, item)| item.count()).sum(),
            Value::Map(entries) => entries.iter().map(|(_, value)| 1 + value.count()).sum(),
        }
    }
}

/// Parses a file of one document, which must be a mapping. What can be left out is left out and told as a problem.
pub(super) fn parse(yaml: &str, problems: &mut Vec<Problem>) -> Node {
    let masked = mask(yaml);
    let mut builder = Builder::new(&masked);
    let root = builder.document();
    problems.append(&mut builder.problems);
    match root {
        Ok(root) => root,
        Err(problem) => {
            problems.push(problem);
            Node { id: 0, place: Place { line: 1, column: 1 }, value: Value::Null }
        }
    }
}

struct Builder<'y> {
    events: Parser<'y, granit_parser::StrInput<'y>>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    next_id: u32,
    problems: Vec<Problem>,
}

impl<'y> Builder<'y> {
    fn new(yaml: &'y str) -> Self {
        let events = Parser::new_from_str(yaml);
        Self { events, anchors: HashMap::new(), aliased: 0, next_id: 0, problems: Vec::new() }
    }

    fn next(&mut self) -> Result<(Event<'y>, Place), Problem> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, place(&span.start))),
            Some(Err(error)) => {
                Err(Problem::at(place(error.marker()), format!("not YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Place::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let empty = Node { id: 0, place: Place { line: 1, column: 1 }, value: Value::Null };
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root.unwrap_or(empty)),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Problem::at(place, "a second document; a configuration is one document"));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, place)?),
            }
        }
    }

    fn node(&mut self, event: Event<'y>, place: Place) -> Result<Node, Problem> {
        self.next_id += 1;
        let id = self.next_id;
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), place);
                (scalar(&text, style), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), place);
                (Value::List(self.items()?), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), place);
                (Value::Map(self.entries()?), anchor)
            }
            _ => return Err(Problem::at(place, "not YAML: a value is missing")),
        };
        let node = Node { id, place, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, Problem> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Problem::at(place, "the alias points into itself"));
        };
        self.aliased += node.count();
        if self.aliased > MAX_ALIASED_NODES {
            return Err(Problem::at(place, "aliases make the configuration too large"));
        }
        Ok(node.clone())
    }

    fn items(&mut self) -> Result<Vec<(usize, Node)>, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(items);
            }
            let item = self.node(event, place)?;
            items.push((items.len(), item));
        }
    }

    fn entries(&mut self) -> Result<Vec<(Node, Node)>, Problem> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, place)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at)?;
            let Some(name) = key.text() else {
                self.problems.push(Problem::at(place, "a key must be plain text"));
                continue;
            };
            if name == "<<" {
                merged.push(value);
            } else if let Some(first) = seen.insert(name.to_owned(), place) {
                let message =
                    format!("the key `{}` stands here twice; first in line {}", shown(name), first.line);
                self.problems.push(Problem::at(place, message));
            } else {
                entries.push((key, value));
            }
        }
        for node in merged {
            self.merge(node, &mut entries, &mut seen);
        }
        Ok(entries)
    }

    /// Adds what `<<: *base` brings and the mapping does not say itself.
    fn merge(&mut self, from: Node, entries: &mut Vec<(Node, Node)>, seen: &mut HashMap<String, Place>) {
        let place = from.place;
        match from.value {
            Value::Map(more) => {
                for (key, value) in more {
                    let name = key.text().unwrap_or_default().to_owned();
                    if let std::collections::hash_map::Entry::Vacant(free) = seen.entry(name) {
                        free.insert(key.place);
                        entries.push((key, value));
                    }
                }
            }
            Value::List(items) => items.into_iter().for_each(|(_, item)| self.merge(item, entries, seen)),
            _ => self.problems.push(Problem::at(place, "`<<` takes a mapping or a list of mappings")),
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, place: Place) {
        if tag.is_some() {
            self.problems.push(Problem::at(place, "YAML tags (`!name`) mean nothing here; leave it out"));
        }
    }
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let is_null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if is_null { Value::Null } else { Value::Scalar { text: unmask(text), written: None } }
}

/// Private characters that stand for the braces of `${NAME}` while YAML is parsed.
const MASKS: [char; 2] = ['\u{f8f0}', '\u{f8f1}'];

/// Hides the braces of `${NAME}` and `${NAME:-default}` from the parser, which would take them for a mapping's in
/// `{ api_key: ${NAME} }`. Places stay: one character for one.
fn mask(yaml: &str) -> Cow<'_, str> {
    if !yaml.contains("${") || yaml.contains(MASKS) {
        return yaml.into();
    }
    let mut masked = String::with_capacity(yaml.len() + 64);
    let mut rest = yaml;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start + 1);
        masked.push_str(before);
        rest = after;
        let Some(end) = rest.find(['}', '\n']).filter(|end| rest.as_bytes()[*end] == b'}') else { continue };
        masked.push(MASKS[0]);
        masked.push_str(&rest[1..end]);
        masked.push(MASKS[1]);
        rest = &rest[end + 1..];
    }
    masked.push_str(rest);
    masked.into()
}

fn unmask(text: &str) -> String {
    text.replace(MASKS[0], "{").replace(MASKS[1], "}")
}

/// Cuts a text for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).take(60).collect()
}

/// Replaces `${NAME}` and `${NAME:-default}` in every scalar below this node; keys stay as they are. Because it works
/// on parsed scalars, a value can never become YAML. Scalars that cannot be replaced are returned by id.
pub(super) fn substitute(
    node: &mut Node,
    env: &dyn Fn(&str) -> Option<String>,
    failed: &mut Vec<(u32, Place, String)>,
) {
    match &mut node.value {
        Value::Null => {}
        Value::Scalar { text, written } => {
            if !text.contains("${") {
                return;
            }
            match expand(text, env) {
                Ok(expanded) => *written = Some(std::mem::replace(text, expanded)),
                Err(message) => failed.push((node.id, node.place, message)),
            }
        }
        Value::List(items) => items.iter_mut().for_each(|(_, item)| substitute(item, env, failed)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| substitute(value, env, failed)),
    }
}

/// Expands one text. `$${` stands for a literal `${`.
fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        let reference = &reference[2..];
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = reference;
            continue;
        }
        expanded.push_str(before);
        let Some((inside, after)) = reference.split_once('}') else {
            return Err("`${` without its `}`; write `$${` for a literal `${`".to_owned());
        };
        expanded.push_str(&look_up(inside, env)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn look_up(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts_well || !name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_') {
        return Err(format!("`{}` is not the name of an environment variable", shown(name)));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable `{name}` is not set; set it, or write ${{{name}:-}} to allow it to be empty"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "YAML" => Some("a: [b, {c: d}]\nadmin_key: x".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_defaults_and_literals_are_told_apart() {
        let expand = |text| expand(text, &env);
        assert_eq!(expand("Bearer ${SET}!").unwrap(), "Bearer value!");
        assert_eq!(expand("${UNSET:-a-b}${EMPTY:-c}${EMPTY}").unwrap(), "a-bc");
        assert_eq!(expand("${UNSET:-}").unwrap(), "");
        assert_eq!(expand("$${SET} $5 $").unwrap(), "${SET} $5 $");
        assert!(expand("${UNSET}").unwrap_err().contains("write ${UNSET:-} to allow it to be empty"));
        assert!(expand("${SET").is_err());
        assert!(expand("${1x}").is_err());
    }

    #[test]
    fn a_value_from_the_environment_stays_one_scalar() {
        let mut problems = Vec::new();
        let mut root = parse("name: ${YAML}", &mut problems);
        substitute(&mut root, &env, &mut Vec::new());
        assert_eq!(root.names().count(), 1);
        assert_eq!(root.entry("name").unwrap().1.text(), env("YAML").as_deref());
    }

    #[test]
    fn a_variable_needs_no_quotes_in_a_flow_mapping() {
        let mut problems = Vec::new();
        let mut root = parse("{ a: ${SET}, b: [${UNSET:-x}, y], c: $${SET} }", &mut problems);
        substitute(&mut root, &env, &mut Vec::new());
        assert!(problems.is_empty());
        assert_eq!(root.entry("a").unwrap().1.text(), Some("value"));
        assert_eq!(root.entry("c").unwrap().1.text(), Some("${SET}"));
        assert_eq!(root.entry("c").unwrap().0.place.column, 35);
    }

    #[test]
    fn merge_keys_bring_what_the_mapping_does_not_say() {
        let mut problems = Vec::new();
        let root = parse("base: &b { x: 1, y: 2 }\nthis: { <<: *b, x: 3 }", &mut problems);
        assert!(problems.is_empty());
        let this = &root.entry("this").unwrap().1;
        assert_eq!(this.entry("x").unwrap().1.text(), Some("3"));
        assert_eq!(this.entry("y").unwrap().1.text(), Some("2"));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = vec![format!("*a{}", level - 1); 9].join(", ");
            yaml += &format!("a{level}: &a{level} [{inner}]\n");
        }
        let mut problems = Vec::new();
        parse(&yaml, &mut problems);
        assert!(problems[0].to_string().contains("too large"), "{}", problems[0]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(yaml in "[ -~\n]{0,200}") {
            let mut problems = Vec::new();
            let mut root = parse(&yaml, &mut problems);
            substitute(&mut root, &env, &mut Vec::new());
        }
    }
}
