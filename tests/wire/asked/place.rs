//! Places in a JSON value, such as `messages[].content[].source`, and the differences of two values.

use serde_json::Value;

/// Calls `f` with every value at the place. `[]` stands for each item of a list, `*` for each member of an object; an
/// empty place is the value itself.
pub fn visit(value: &mut Value, place: &str, f: &mut dyn FnMut(&mut Value)) {
    if place.is_empty() {
        return f(value);
    }
    let (step, rest) = place.split_once('.').unwrap_or((place, ""));
    let (name, each) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    let mut go = |value: &mut Value| match value {
        Value::Array(items) if each => items.iter_mut().for_each(|item| visit(item, rest, f)),
        _ if each => {}
        other => visit(other, rest, f),
    };
    match value {
        Value::Object(members) if name == "*" => members.values_mut().for_each(go),
        Value::Object(members) => {
            if let Some(member) = members.get_mut(name) {
                go(member);
            }
        }
        _ => {}
    }
}

/// Lists where two values differ, at most `most` places.
pub fn differences(want: &Value, got: &Value, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    add(String::new(), Some(want), Some(got), &mut found);
    found.truncate(most);
    found
}

fn add(place: String, want: Option<&Value>, got: Option<&Value>, found: &mut Vec<String>) {
    match (want, got) {
        (Some(Value::Object(want)), Some(Value::Object(got))) => {
            for name in want.keys().chain(got.keys().filter(|name| !want.contains_key(*name))) {
                add(format!("{place}.{name}"), want.get(name), got.get(name), found);
            }
        }
        (Some(Value::Array(want)), Some(Value::Array(got))) => {
            for at in 0..want.len().max(got.len()) {
                add(format!("{place}[{at}]"), want.get(at), got.get(at), found);
            }
        }
        (Some(Value::Number(want)), Some(Value::Number(got))) if want.as_f64() == got.as_f64() => {}
        _ if want == got => {}
        _ => {
            let shown = |value: Option<&Value>| {
                value.map_or("nothing".to_owned(), |value| value.to_string().chars().take(90).collect())
            };
            found.push(format!(
                "`{}`: SDK {}, gateway {}",
                place.trim_start_matches('.'),
                shown(want),
                shown(got)
            ));
        }
    }
}
