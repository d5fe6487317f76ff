//! Anthropic's messages.

use serde_json::Value;

use super::{Call, Choice, Counts, Expected, Finish, count_at, list_at, text_at};

/// Reads a message or its events.
pub fn answer(messages: &[Value], streamed: bool) -> Expected {
    let mut expected = Expected::default();
    let mut choice = Choice::default();
    let mut usage = Told::default();
    let mut ended = !streamed;
    // For each block of a stream, the call that it is.
    let mut calls: Vec<(i64, usize)> = Vec::new();
    for message in messages {
        match text_at(message, "/type") {
            "error" => expected.failed = true,
            "message" => {
                list_at(message, "/content").for_each(|block| add_block(&mut choice, block));
                text_at(message, "/stop_reason").clone_into(&mut choice.raw_finish);
                usage.add(&message["usage"]);
            }
            "message_start" => usage.add(&message["message"]["usage"]),
            "content_block_start" => {
                let block = &message["content_block"];
                if block["type"] == "tool_use" {
                    calls.push((message["index"].as_i64().unwrap_or(0), choice.calls.len()));
                }
                add_block(&mut choice, block);
            }
            "content_block_delta" => {
                let index = message["index"].as_i64().unwrap_or(0);
                let call = calls.iter().find(|(block, _)| *block == index).map(|(_, call)| *call);
                add_delta(&mut choice, call, &message["delta"]);
            }
            "message_delta" => {
                usage.add(&message["usage"]);
                let reason = text_at(message, "/delta/stop_reason");
                if !reason.is_empty() {
                    reason.clone_into(&mut choice.raw_finish);
                }
            }
            "message_stop" => ended = true,
            _ => {}
        }
    }
    expected.failed |= !ended;
    choice.finish = finish(&choice.raw_finish);
    expected.choices.insert(0, choice);
    expected.usage = usage.counts();
    expected
}

fn add_block(choice: &mut Choice, block: &Value) {
    match text_at(block, "/type") {
        "text" => choice.text.push_str(text_at(block, "/text")),
        "thinking" => choice.thoughts.push_str(text_at(block, "/thinking")),
        "tool_use" => choice.calls.push(Call {
            name: text_at(block, "/name").to_owned(),
            // A stream's block starts with an empty object, and its fragments follow.
            input: Some(&block["input"])
                .filter(|input| input.as_object().is_none_or(|input| !input.is_empty()))
                .map_or_else(String::new, Value::to_string),
        }),
        _ => {}
    }
}

fn add_delta(choice: &mut Choice, call: Option<usize>, delta: &Value) {
    match text_at(delta, "/type") {
        "text_delta" => choice.text.push_str(text_at(delta, "/text")),
        "thinking_delta" => choice.thoughts.push_str(text_at(delta, "/thinking")),
        "input_json_delta" => {
            if let Some(call) = call {
                choice.calls[call].input.push_str(text_at(delta, "/partial_json"));
            }
        }
        _ => {}
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Refusal,
        "pause_turn" => Finish::Paused,
        "model_context_window_exceeded" => Finish::ContextLength,
        _ => Finish::Unknown,
    }
}

/// Counts as Anthropic tells them: cumulative, the last word holds, and input without what was cached.
#[derive(Default)]
struct Told {
    input: Option<i64>,
    output: Option<i64>,
    read: Option<i64>,
    written: Option<i64>,
    thinking: Option<i64>,
    /// Input and output of compactions, which come on top.
    compacted: [i64; 2],
}

impl Told {
    fn add(&mut self, usage: &Value) {
        let last = |before: &mut Option<i64>, pointer: &str| *before = count_at(usage, pointer).or(*before);
        last(&mut self.input, "/input_tokens");
        last(&mut self.output, "/output_tokens");
        last(&mut self.read, "/cache_read_input_tokens");
        last(&mut self.written, "/cache_creation_input_tokens");
        last(&mut self.thinking, "/output_tokens_details/thinking_tokens");
        last(&mut self.thinking, "/output_tokens_details/reasoning_tokens");
        if usage["iterations"].is_array() {
            let compactions: Vec<&Value> =
                list_at(usage, "/iterations").filter(|iteration| iteration["type"] == "compaction").collect();
            let sum =
                |place: &str| compactions.iter().filter_map(|iteration| count_at(iteration, place)).sum();
            self.compacted = [sum("/input_tokens"), sum("/output_tokens")];
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            input: self
                .input
                .map(|input| input + self.read.unwrap_or(0) + self.written.unwrap_or(0) + self.compacted[0]),
            output: self.output.map(|output| output + self.compacted[1]),
            cache_read: self.read,
            cache_write: self.written,
            reasoning: self.thinking,
        }
    }
}
