//! A small instance of a JSON schema, so that callers who ask for one get what their code can parse.

use serde_json::{Map, Value, json};

const MAX_DEPTH: u32 = 32;
const MAX_NODES: u32 = 10_000;
const MAX_ITEMS: u64 = 1000;
const MAX_TEXT: usize = 100_000;

/// Makes a minimal instance: required members only, the fewest items, `text` where a string is free. Schemas that
/// are too deep or too large get null where the bound is reached.
pub(super) fn instance(schema: &Value, text: &str) -> Value {
    Maker { root: schema, text, nodes: 0 }.make(schema, 0)
}

struct Maker<'a> {
    root: &'a Value,
    text: &'a str,
    nodes: u32,
}

impl Maker<'_> {
    fn make(&mut self, schema: &Value, depth: u32) -> Value {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Value::Null;
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(value) = schema["enum"].as_array().and_then(|values| values.first()) {
            return value.clone();
        }
        let root = self.root;
        let reference = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        if let Some(target) = reference.and_then(|pointer| root.pointer(pointer)) {
            return self.make(target, depth + 1);
        }
        for name in ["anyOf", "oneOf"] {
            let options = schema[name].as_array();
            // Null is the easy way out of an optional field; anything else shows more.
            let option =
                options.and_then(|list| list.iter().find(|one| one["type"] != "null").or(list.first()));
            if let Some(option) = option {
                return self.make(option, depth + 1);
            }
        }
        if let Some(all) = schema["allOf"].as_array() {
            return self.all_of(schema, all, depth);
        }
        self.of_type(schema, depth)
    }

    fn all_of(&mut self, schema: &Value, all: &[Value], depth: u32) -> Value {
        let mut members = Map::new();
        for one in all {
            match self.make(one, depth + 1) {
                Value::Object(object) => members.extend(object),
                other if members.is_empty() && all.len() == 1 => return other,
                _ => {}
            }
        }
        if schema["properties"].is_object()
            && let Value::Object(object) = self.object(schema, depth)
        {
            members.extend(object);
        }
        Value::Object(members)
    }

    fn of_type(&mut self, schema: &Value, depth: u32) -> Value {
        let kind = match &schema["type"] {
            Value::String(kind) => kind.as_str(),
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
            }
            _ if schema["properties"].is_object() => "object",
            _ if schema["items"].is_object() => "array",
            _ => "string",
        };
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => integer(schema),
            "number" => number(schema),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(self.string(schema)),
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let mut members = Map::new();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let value = self.make(&schema["properties"][name], depth + 1);
            members.insert(name.to_owned(), value);
        }
        Value::Object(members)
    }

    fn array(&mut self, schema: &Value, depth: u32) -> Value {
        if let Some(each) = schema["prefixItems"].as_array() {
            return each.iter().map(|item| self.make(item, depth + 1)).collect();
        }
        let count = schema["minItems"].as_u64().unwrap_or(0).min(MAX_ITEMS);
        (0..count).map(|_| self.make(&schema["items"], depth + 1)).collect()
    }

    fn string(&self, schema: &Value) -> String {
        let example = match schema["format"].as_str() {
            Some("date-time") => Some("2026-01-01T00:00:00Z"),
            Some("date") => Some("2026-01-01"),
            Some("time") => Some("00:00:00Z"),
            Some("email") => Some("echo@example.com"),
            Some("uri" | "url") => Some("https://example.com/"),
            Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
            Some("ipv4") => Some("127.0.0.1"),
            _ => None,
        };
        if let Some(example) = example {
            return example.to_owned();
        }
        let length = |name: &str| schema[name].as_u64().and_then(|length| usize::try_from(length).ok());
        let most = length("maxLength").unwrap_or(MAX_TEXT).min(MAX_TEXT);
        let mut text: String = self.text.chars().take(most).collect();
        let least = length("minLength").unwrap_or(0).min(most);
        text.extend(std::iter::repeat_n('.', least.saturating_sub(text.chars().count())));
        text
    }
}

fn integer(schema: &Value) -> Value {
    let least = schema["minimum"].as_i64();
    let above = schema["exclusiveMinimum"].as_i64().map(|bound| bound.saturating_add(1));
    let most = schema["maximum"].as_i64();
    let below = schema["exclusiveMaximum"].as_i64().map(|bound| bound.saturating_sub(1));
    let least = least.max(above).unwrap_or(i64::MIN);
    let most = most.unwrap_or(i64::MAX).min(below.unwrap_or(i64::MAX)).max(least);
    json!(0.clamp(least, most))
}

fn number(schema: &Value) -> Value {
    let bound = |name: &str| schema[name].as_f64();
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|bound| bound + 0.5));
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|bound| bound - 0.5));
    json!(0.0_f64.max(least.unwrap_or(f64::MIN)).min(most.unwrap_or(f64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typical_structured_output_is_satisfied() {
        let schema = json!({
            "type": "object",
            "$defs": { "Step": { "type": "object", "required": ["n", "text"], "properties": {
                "n": { "type": "integer", "minimum": 1 }, "text": { "type": "string" } } } },
            "properties": {
                "steps": { "type": "array", "items": { "$ref": "#/$defs/Step" }, "minItems": 1 },
                "kind": { "enum": ["a", "b"] },
                "maybe": { "anyOf": [{ "type": "null" }, { "type": "number" }] },
                "sure": { "type": ["boolean", "null"] },
                "left_out": { "type": "string" },
            },
            "required": ["steps", "kind", "maybe", "sure"],
        });
        let expected =
            json!({ "steps": [{ "n": 1, "text": "hi" }], "kind": "a", "maybe": 0.0, "sure": true });
        assert_eq!(instance(&schema, "hi"), expected);
    }

    #[test]
    fn bounds_of_strings_and_numbers_are_kept() {
        assert_eq!(instance(&json!({ "type": "string", "maxLength": 2 }), "abc"), json!("ab"));
        assert_eq!(instance(&json!({ "type": "string", "minLength": 5 }), "abc"), json!("abc.."));
        assert_eq!(
            instance(&json!({ "type": "integer", "exclusiveMinimum": 4, "maximum": 9 }), ""),
            json!(5)
        );
        assert_eq!(instance(&json!({ "type": "integer", "maximum": -3 }), ""), json!(-3));
    }

    #[test]
    fn a_schema_without_end_ends() {
        let endless = json!({ "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#" } } });
        assert!(instance(&endless, "").is_object());
        let wide = json!({ "type": "array", "minItems": 900, "items": { "$ref": "#" } });
        assert!(instance(&wide, "").is_array());
    }
}
