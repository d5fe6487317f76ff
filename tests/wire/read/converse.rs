//! Bedrock's Converse, whole and as frames.

use serde_json::Value;

use super::{Call, Choice, Counts, Expected, Finish, count_at, list_at, text_at};

/// Reads an answer or its frames.
pub fn answer(messages: &[Value], streamed: bool) -> Expected {
    let mut expected = Expected::default();
    let mut choice = Choice::default();
    let mut ended = !streamed;
    // The caller's calls by the index of their block; others are run by the provider.
    let mut calls: Vec<(i64, usize)> = Vec::new();
    for message in messages {
        expected.failed |= message.get("exception").is_some();
        list_at(message, "/output/message/content").for_each(|block| add_block(&mut choice, block));
        if let Some(start) =
            message.pointer("/contentBlockStart/start/toolUse").filter(|tool| is_callers(tool))
        {
            let index = count_at(message, "/contentBlockStart/contentBlockIndex").unwrap_or(0);
            calls.push((index, choice.calls.len()));
            choice.calls.push(Call { name: text_at(start, "/name").to_owned(), input: String::new() });
        }
        if let Some(delta) = message.pointer("/contentBlockDelta/delta") {
            let index = count_at(message, "/contentBlockDelta/contentBlockIndex").unwrap_or(0);
            choice.text.push_str(text_at(delta, "/text"));
            choice.thoughts.push_str(text_at(delta, "/reasoningContent/text"));
            if let Some((_, call)) = calls.iter().find(|(block, _)| *block == index) {
                choice.calls[*call].input.push_str(text_at(delta, "/toolUse/input"));
            }
        }
        for place in ["/stopReason", "/messageStop/stopReason"] {
            if let Some(reason) = message.pointer(place).and_then(Value::as_str) {
                reason.clone_into(&mut choice.raw_finish);
                ended = true;
            }
        }
        for usage in ["/usage", "/metadata/usage"].iter().filter_map(|place| message.pointer(place)) {
            expected.usage = counts(usage);
        }
    }
    expected.failed |= !ended;
    choice.finish = finish(&choice.raw_finish);
    expected.choices.insert(0, choice);
    expected
}

fn is_callers(tool: &Value) -> bool {
    tool["type"] != "server_tool_use"
}

fn add_block(choice: &mut Choice, block: &Value) {
    choice.text.push_str(text_at(block, "/text"));
    list_at(block, "/citationsContent/content").for_each(|part| choice.text.push_str(text_at(part, "/text")));
    choice.thoughts.push_str(text_at(block, "/reasoningContent/reasoningText/text"));
    if let Some(tool) = block.get("toolUse").filter(|tool| is_callers(tool)) {
        choice.calls.push(Call { name: text_at(tool, "/name").to_owned(), input: tool["input"].to_string() });
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "guardrail_intervened" | "content_filtered" => Finish::ContentFilter,
        "model_context_window_exceeded" => Finish::ContextLength,
        _ => Finish::Unknown,
    }
}

/// What was read from or written to a cache is not among `inputTokens`.
fn counts(usage: &Value) -> Counts {
    let (read, written) =
        (count_at(usage, "/cacheReadInputTokens"), count_at(usage, "/cacheWriteInputTokens"));
    Counts {
        input: count_at(usage, "/inputTokens").map(|input| input + read.unwrap_or(0) + written.unwrap_or(0)),
        output: count_at(usage, "/outputTokens"),
        cache_read: read,
        cache_write: written,
        reasoning: None,
    }
}
