//! What a request in JSON needs of a model, read without parsing what is in it.

use super::{fields::Scan, node::Node};
use crate::call::{Need, Needs};

/// Kinds of parts, and what they need.
const MEDIA: [(&str, Need); 10] = [
    ("image", Need::Vision),
    ("image_url", Need::Vision),
    ("input_image", Need::Vision),
    ("computer_screenshot", Need::Vision),
    ("audio", Need::Audio),
    ("input_audio", Need::Audio),
    ("document", Need::Documents),
    ("file", Need::Documents),
    ("input_file", Need::Documents),
    ("document_url", Need::Documents),
];

/// Adds what the pictures, sounds and documents in a prompt need. Text alone needs nothing and is not looked into.
pub(in crate::edge) fn add_media(content: &str, needs: &mut Needs) {
    if content.starts_with('"') {
        return;
    }
    for kind in types(content) {
        if let Some((_, need)) = MEDIA.iter().find(|(name, _)| *name == kind) {
            needs.add(*need);
        }
    }
}

/// Adds what these keys of a body need: tools that are offered, and an answer by a JSON schema.
pub(in crate::edge) fn add_asked(
    scan: &Scan<'_>,
    tools: &[&'static str],
    formats: &[&'static str],
    needs: &mut Needs,
) {
    let filled = |node: &Node<'_>| node.json().len() > "[]".len();
    if tools.iter().filter_map(|name| scan.get(name)).any(|node| filled(&node)) {
        needs.add(Need::Tools);
    }
    let by_schema = |node: &Node<'_>| types(node.json()).any(|kind| kind == "json_schema");
    if formats.iter().filter_map(|name| scan.get(name)).any(|node| by_schema(&node)) {
        needs.add(Need::JsonSchema);
    }
}

/// Adds reasoning, unless the effort is none.
pub(in crate::edge) fn add_effort(effort: Option<&str>, needs: &mut Needs) {
    if effort.is_some_and(|effort| !effort.is_empty() && effort != "none") {
        needs.add(Need::Reasoning);
    }
}

/// Finds the values of all members `type` of a JSON text, however deep. Within a text the quotes are escaped, so that
/// nothing a person wrote is found.
pub(in crate::edge) fn types(json: &str) -> impl Iterator<Item = &str> {
    const KEY: &str = r#""type""#;
    memchr::memmem::find_iter(json.as_bytes(), KEY).filter_map(|at| {
        let rest = json[at + KEY.len()..].trim_start().strip_prefix(':')?;
        rest.trim_start().strip_prefix('"')?.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(content: &str) -> Vec<&'static str> {
        let mut needs = Needs::default();
        add_media(content, &mut needs);
        needs.beyond(Needs::default()).map(Need::as_str).collect()
    }

    #[test]
    fn media_are_found_by_the_kind_of_their_part_and_never_in_a_text() {
        let table: &[(&str, &[&str])] = &[
            (r#""an \"image\" of type \"image\"""#, &[]),
            (r#"[{"type":"text","text":"{\"type\":\"image\"}"}]"#, &[]),
            (r#"[{"type":"text","text":"a"},{"image_url":{"url":"u"},"type" : "image_url"}]"#, &["vision"]),
            (r#"[{"type":"tool_result","content":[{"type":"image","source":{}}]}]"#, &["vision"]),
            (r#"[{"type":"input_audio"},{"type":"file"}]"#, &["audio", "documents"]),
            (r#"[{"type":"document","source":{"type":"base64"}}]"#, &["documents"]),
            (r#"[{"type":1},{"type":"new"},{"type"}]"#, &[]),
        ];
        for (content, expected) in table {
            assert_eq!(media(content), *expected, "{content}");
        }
    }
}
