//! Cohere's chat, version 2.

use serde_json::Value;

use super::{Call, Choice, Counts, Expected, Finish, count_at, list_at, text_at};

/// Reads an answer or its events.
pub fn answer(messages: &[Value], streamed: bool) -> Expected {
    let mut expected = Expected::default();
    let mut choice = Choice::default();
    let mut ended = !streamed;
    for message in messages {
        let said = if streamed { &message["delta"]["message"] } else { &message["message"] };
        // A plan is what the model thinks before it calls.
        choice.thoughts.push_str(text_at(said, "/tool_plan"));
        match &said["content"] {
            Value::Array(blocks) => blocks.iter().for_each(|block| add_content(&mut choice, block)),
            block => add_content(&mut choice, block),
        }
        if said["tool_calls"].is_array() {
            list_at(said, "/tool_calls").for_each(|call| choice.calls.push(self::call(call)));
        } else if message["type"] == "tool-call-start" {
            choice.calls.push(call(&said["tool_calls"]));
        } else if let Some(last) = choice.calls.last_mut().filter(|_| message["type"] == "tool-call-delta") {
            last.input.push_str(text_at(said, "/tool_calls/function/arguments"));
        }
        ended |= message["type"] == "message-end";
        let end = if streamed { &message["delta"] } else { message };
        if let Some(reason) = end["finish_reason"].as_str() {
            reason.clone_into(&mut choice.raw_finish);
        }
        if end["usage"].is_object() {
            expected.usage = counts(&end["usage"]);
        }
    }
    expected.failed |= !ended || matches!(choice.raw_finish.as_str(), "ERROR" | "TIMEOUT");
    choice.finish = match choice.raw_finish.as_str() {
        "COMPLETE" | "STOP_SEQUENCE" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        _ => Finish::Unknown,
    };
    expected.choices.insert(0, choice);
    expected
}

fn add_content(choice: &mut Choice, block: &Value) {
    choice.text.push_str(text_at(block, "/text"));
    choice.thoughts.push_str(text_at(block, "/thinking"));
}

fn call(call: &Value) -> Call {
    Call {
        name: text_at(call, "/function/name").to_owned(),
        input: text_at(call, "/function/arguments").to_owned(),
    }
}

/// `tokens` are what the model saw; `billed_units` leave out what Cohere adds itself.
fn counts(usage: &Value) -> Counts {
    let told = |name: &str| {
        count_at(usage, &format!("/tokens/{name}")).or(count_at(usage, &format!("/billed_units/{name}")))
    };
    Counts {
        // Images are counted beside the text.
        input: told("input_tokens").map(|text| text + count_at(usage, "/tokens/image_tokens").unwrap_or(0)),
        output: told("output_tokens"),
        cache_read: count_at(usage, "/cached_tokens"),
        cache_write: None,
        reasoning: count_at(usage, "/tokens/reasoning_tokens"),
    }
}
