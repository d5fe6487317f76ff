//! OpenAI's Responses.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Call, Choice, Counts, Expected, Finish, count_at, list_at, text_at};

/// Items that a caller may have to run itself, by how it is set up, and that are no tool calls of the contract.
const CALLERS_OWN: [&str; 6] = [
    "apply_patch_call",
    "local_shell_call",
    "shell_call",
    "tool_search_call",
    "computer_call",
    "mcp_approval_request",
];

/// Reads a response or its events.
pub fn answer(messages: &[Value], streamed: bool) -> Expected {
    let mut expected = Expected::default();
    let mut choice = Choice::default();
    let (mut items, mut deltas) = (Vec::new(), BTreeMap::<i64, String>::new());
    let mut last = None;
    for message in messages {
        let kind = text_at(message, "/type");
        if !streamed {
            last = Some(message);
            continue;
        }
        match kind {
            "error" => expected.failed = true,
            "response.output_text.delta" => {
                let index = message["output_index"].as_i64().unwrap_or(0);
                deltas.entry(index).or_default().push_str(text_at(message, "/delta"));
            }
            "response.output_item.done" => items.push((message["output_index"].as_i64(), &message["item"])),
            "response.completed" | "response.incomplete" | "response.failed" => {
                last = Some(&message["response"])
            }
            _ => {}
        }
    }
    let Some(response) = last else {
        return Expected { failed: true, ..expected };
    };
    if items.is_empty() {
        items.extend(list_at(response, "/output").map(|item| (None, item)));
    }
    for (index, item) in items {
        let before = choice.text.len();
        add_item(&mut choice, item);
        // What was streamed is what was said, if the end does not carry on from it.
        if let Some(told) = index
            .and_then(|index| deltas.get(&index))
            .filter(|told| !choice.text[before..].starts_with(*told))
        {
            choice.text.truncate(before);
            choice.text.push_str(told);
        }
    }
    let status = text_at(response, "/status");
    // An answer in the background is none yet.
    expected.failed |= !matches!(status, "completed" | "incomplete") || !response["error"].is_null();
    choice.finish = match (status, text_at(response, "/incomplete_details/reason")) {
        ("incomplete", "max_output_tokens") => Finish::Length,
        ("incomplete", "content_filter") => Finish::ContentFilter,
        ("incomplete", _) => Finish::Unknown,
        _ if list_at(response, "/output").any(|item| CALLERS_OWN.contains(&text_at(item, "/type"))) => {
            Finish::Unknown
        }
        _ if !choice.calls.is_empty() => Finish::ToolCalls,
        _ => Finish::Stop,
    };
    expected.choices.insert(0, choice);
    expected.usage = counts(&response["usage"]);
    expected
}

fn add_item(choice: &mut Choice, item: &Value) {
    match text_at(item, "/type") {
        "message" => {
            for part in list_at(item, "/content") {
                match text_at(part, "/type") {
                    "refusal" => choice.refusal.push_str(text_at(part, "/refusal")),
                    _ => choice.text.push_str(text_at(part, "/text")),
                }
            }
        }
        "reasoning" => {
            for part in list_at(item, "/summary").chain(list_at(item, "/content")) {
                choice.thoughts.push_str(text_at(part, "/text"));
            }
        }
        "function_call" => choice.calls.push(call(item, "/arguments")),
        "custom_tool_call" => choice.calls.push(call(item, "/input")),
        _ => {}
    }
}

fn call(item: &Value, input: &str) -> Call {
    Call { name: text_at(item, "/name").to_owned(), input: text_at(item, input).to_owned() }
}

fn counts(usage: &Value) -> Counts {
    let (input, output) = (count_at(usage, "/input_tokens"), count_at(usage, "/output_tokens"));
    Counts {
        input,
        output,
        cache_read: count_at(usage, "/input_tokens_details/cached_tokens"),
        cache_write: count_at(usage, "/input_tokens_details/cache_write_tokens"),
        reasoning: count_at(usage, "/output_tokens_details/reasoning_tokens"),
    }
}
