//! What the typed lane loses of a request of its callers' own dialect, each with its reason: a known debt, counted and
//! printed by a run. Callers of these dialects take the express lane, which loses nothing.

use serde_json::Value;

use super::place::visit;
use crate::family::Family::{self, Chat, Messages, Responses};

/// Wires, place, what is taken out there (true if there was something), and what it is.
type Loss = (&'static [Family], &'static str, fn(&mut Value) -> bool, &'static str);

/// Every known loss.
static LOSSES: &[Loss] = &[
    (&[Messages, Responses], "tools[]", |tool| member(tool, "defer_loading"), "tools that are loaded later"),
    (
        &[Messages],
        "messages[].content[]",
        |part| member(part, "citations"),
        "asking for citations of a document",
    ),
    (&[Responses], "tools[].function", name_alone, "functions in the shape of chat completions"),
    (&[Responses], "input[]", |item| member(item, "namespace"), "namespaces of tools"),
    (&[Responses], "input[]", |item| member(item, "phase"), "phases of a turn"),
    (
        &[Responses],
        "reasoning",
        |it| member(it, "context") | member(it, "mode"),
        "how reasoning is carried on",
    ),
    (&[Responses], "", includes, "members that an answer is to include"),
    (&[Responses], "", unsealed, "reasoning without its state"),
    (&[Chat], "messages[]", thoughts, "thoughts without a state of the contract's"),
    (
        &[Chat],
        "messages[].content[]",
        |part| member(part, "cache_control"),
        "cache breakpoints of OpenRouter",
    ),
    (&[Chat], "tools[]", |tool| member(tool, "cache_control"), "cache breakpoints of OpenRouter"),
    (
        &[Chat],
        "tools[]",
        |tool| member(tool, "eager_input_streaming"),
        "streaming of arguments, by OpenRouter",
    ),
    (&[Chat], "messages[]", foreign_parts, "parts that OpenAI does not have"),
    (&[Chat], "messages[]", pictures_of_tools, "pictures in the result of a tool"),
];

/// Takes out what the typed lane loses; returns what it was.
pub fn take(family: Family, body: &mut Value) -> Vec<&'static str> {
    let mut taken = Vec::new();
    for (families, place, take, what) in LOSSES {
        let mut found = false;
        if families.contains(&family) {
            visit(body, place, &mut |value| found |= take(value));
        }
        if found {
            taken.push(*what);
        }
    }
    taken
}

fn member(value: &mut Value, name: &str) -> bool {
    value.as_object_mut().is_some_and(|members| members.remove(name).is_some())
}

fn retain(holder: &mut Value, list: &str, keep: impl Fn(&Value) -> bool) -> bool {
    let Some(items) = holder.get_mut(list).and_then(Value::as_array_mut) else { return false };
    let before = items.len();
    items.retain(keep);
    items.len() < before
}

fn name_alone(function: &mut Value) -> bool {
    ["description", "parameters", "strict"].iter().fold(false, |found, name| member(function, name) | found)
}

/// The state of reasoning is asked for by the gateway itself.
fn includes(body: &mut Value) -> bool {
    let own = ["reasoning.encrypted_content", "message.output_text.logprobs"];
    retain(body, "include", |what| what.as_str().is_some_and(|what| own.contains(&what)))
}

fn unsealed(body: &mut Value) -> bool {
    retain(body, "input", |item| item["type"] != "reasoning" || item["encrypted_content"].is_string())
}

fn thoughts(message: &mut Value) -> bool {
    ["reasoning", "reasoning_content", "reasoning_details"]
        .iter()
        .fold(false, |found, name| member(message, name) | found)
}

fn foreign_parts(message: &mut Value) -> bool {
    const FOREIGN: [&str; 4] = ["thinking", "document_url", "video_url", "file_url"];
    retain(message, "content", |part| part["type"].as_str().is_none_or(|kind| !FOREIGN.contains(&kind)))
}

fn pictures_of_tools(message: &mut Value) -> bool {
    message["role"] == "tool" && retain(message, "content", |part| part["type"] != "image_url")
}
