//! Arguments of a function call that come in pieces: values, each with the JSON path of its place.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::json::{Text, write};

/// What all values of one call may have together, in bytes; places count too.
const MAX_BYTES: usize = 1024 * 1024;
const PLACE_BYTES: usize = 16;
/// The most members of an object or list that may be told piece by piece, and the deepest place.
const MAX_ITEMS: usize = 4096;
const MAX_DEPTH: usize = 64;

/// The arguments as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Partial {
    root: Node,
    bytes: usize,
}

#[derive(Debug, Default)]
enum Node {
    #[default]
    Nothing,
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    /// A number, a bool or null, as it is written.
    Json(String),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Piece<'a> {
    #[serde(borrow)]
    json_path: Text<'a>,
    #[serde(borrow)]
    string_value: Option<Text<'a>>,
    #[serde(borrow)]
    number_value: Option<&'a RawValue>,
    #[serde(borrow)]
    bool_value: Option<&'a RawValue>,
}

enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl Partial {
    /// Takes a list of pieces. What has no place is left out, as is what is too much.
    pub(super) fn take(&mut self, json: &str) {
        let pieces: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
        for piece in pieces {
            let piece: Piece<'_> = serde_json::from_str(piece.get()).unwrap_or_default();
            let Some(steps) = steps(&piece.json_path.0) else { continue };
            let text = piece.string_value.as_ref().map_or("", |text| &*text.0);
            let scalar = piece.number_value.or(piece.bool_value).map_or("null", RawValue::get);
            let told = text.len().max(scalar.len()) + piece.json_path.0.len() + PLACE_BYTES * steps.len();
            if self.bytes + told > MAX_BYTES {
                continue;
            }
            self.bytes += told;
            let place = steps.iter().try_fold(&mut self.root, |node, step| node.at(step));
            match (place, piece.string_value.is_some()) {
                (Some(Node::Text(so_far)), true) => so_far.push_str(text),
                (Some(node), true) => *node = Node::Text(text.to_owned()),
                (Some(node), false) => *node = Node::Json(scalar.to_owned()),
                (None, _) => {}
            }
        }
    }

    /// Returns the arguments as one JSON object.
    pub(super) fn to_json(&self) -> String {
        let mut json = String::new();
        match &self.root {
            Node::Object(_) => self.root.write(&mut json),
            _ => json.push_str("{}"),
        }
        json
    }
}

impl Node {
    fn at(&mut self, step: &Step<'_>) -> Option<&mut Node> {
        match step {
            Step::Name(name) => {
                if !matches!(self, Node::Object(_)) {
                    *self = Node::Object(Vec::new());
                }
                let Node::Object(members) = self else { return None };
                // The last member mostly goes on.
                let known = members.iter().rposition(|(key, _)| key == name);
                if known.is_none() {
                    if members.len() >= MAX_ITEMS {
                        return None;
                    }
                    members.push(((*name).to_owned(), Node::Nothing));
                }
                let place = known.unwrap_or(members.len() - 1);
                Some(&mut members[place].1)
            }
            Step::Index(index) => {
                if !matches!(self, Node::List(_)) {
                    *self = Node::List(Vec::new());
                }
                let Node::List(items) = self else { return None };
                // Items come in order: a gap is no place.
                if *index > items.len() || *index >= MAX_ITEMS {
                    return None;
                }
                if *index == items.len() {
                    items.push(Node::Nothing);
                }
                Some(&mut items[*index])
            }
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Node::Nothing => out.push_str("null"),
            Node::Json(json) => out.push_str(json),
            Node::Text(text) => write::string(out, text),
            Node::List(items) => {
                let mut list = write::List::begin(out);
                items.iter().for_each(|item| item.write(list.item()));
                list.end();
            }
            Node::Object(members) => {
                let mut object = write::Object::begin(out);
                members.iter().for_each(|(name, node)| node.write(object.key(name)));
                object.end();
            }
        }
    }
}

/// Reads `$.name`, `$['name']`, `$.list[0].name`. None if it is nothing like that.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() && steps.len() < MAX_DEPTH {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            steps.push(Step::Name(&name[..end]));
            rest = &name[end..];
            continue;
        }
        let inner = rest.strip_prefix('[')?;
        let quote = inner.chars().next().filter(|first| matches!(first, '\'' | '"'));
        if let Some(quote) = quote {
            let (name, after) = inner[1..].split_once(quote)?;
            steps.push(Step::Name(name));
            rest = after.strip_prefix(']')?;
        } else {
            let (index, after) = inner.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        }
    }
    (rest.is_empty() && !steps.is_empty()).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(pieces: &[&str]) -> String {
        let mut partial = Partial::default();
        pieces.iter().for_each(|piece| partial.take(piece));
        partial.to_json()
    }

    #[test]
    fn ge_partial_args_are_joined_at_their_places() {
        let pieces = [
            r#"[{"jsonPath":"$.location","stringValue":"Bos","willContinue":true}]"#,
            r#"[{"jsonPath":"$.location","stringValue":"ton"},{"jsonPath":"$.days","numberValue":3}]"#,
            r#"[{"jsonPath":"$.list[0].on","boolValue":true},{"jsonPath":"$.list[1]['a.b']","nullValue":"NULL_VALUE"}]"#,
        ];
        let expected = r#"{"location":"Boston","days":3,"list":[{"on":true},{"a.b":null}]}"#;
        assert_eq!(built(&pieces), expected);
        assert_eq!(built(&[]), "{}");
    }

    #[test]
    fn odd_paths_and_floods_are_left_out() {
        for path in ["", "$", "x", "$.a[", "$.a[-1]", "$.a[7]", "$['a", "$x"] {
            let piece = format!(r#"[{{"jsonPath":"{path}","stringValue":"v"}}]"#);
            assert!(!built(&[&piece]).contains("\"v\""), "{path}");
        }
        let long = "y".repeat(MAX_BYTES);
        let piece = format!(r#"[{{"jsonPath":"$.a","stringValue":"{long}"}}]"#);
        assert_eq!(built(&[&piece, "7", r#"[1,{"jsonPath":"$.b","numberValue":1}]"#]), r#"{"b":1}"#);
    }
}
