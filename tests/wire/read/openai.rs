//! OpenAI's chat completions and legacy completions, and what compatible vendors make of them.

use serde_json::Value;

use super::{Call, Choice, Expected, Finish, count_at, list_at, text_at};

/// Reads a completion or its chunks.
pub fn answer(messages: &[Value], streamed: bool) -> Expected {
    let mut expected = Expected::default();
    for message in messages {
        expected.failed |= !message["error"].is_null();
        for (position, choice) in list_at(message, "/choices").enumerate() {
            let index = choice["index"].as_i64().unwrap_or(i64::try_from(position).unwrap());
            let said = &choice[if streamed { "delta" } else { "message" }];
            expected.choices.entry(index).or_default().add(choice, said);
        }
        add_usage(&mut expected, message);
    }
    // `[DONE]` after a role frame alone is no answer.
    let says_nothing = |choice: &Choice| *choice == Choice::default();
    expected.failed |= streamed && expected.choices.values().all(says_nothing);
    for choice in expected.choices.values_mut() {
        // OpenRouter repeats its reasoning in details, unless there is nothing to repeat.
        let details = std::mem::take(&mut choice.details);
        if choice.thoughts.is_empty() {
            choice.thoughts = details;
        }
        choice.finish = finish(choice);
    }
    expected
}

fn finish(choice: &Choice) -> Finish {
    match choice.raw_finish.to_ascii_lowercase().as_str() {
        "length" | "max_tokens" | "model_length" | "max_output_tokens" => Finish::Length,
        "tool_calls" | "tool_call" | "function_call" | "tool_use" => Finish::ToolCalls,
        "content_filter" | "content_filtered" | "safety" | "guardrail" | "sensitive" => Finish::ContentFilter,
        "stop" | "eos" | "end_turn" | "eos_token" | "stop_sequence" | "" if !choice.calls.is_empty() => {
            Finish::ToolCalls
        }
        "stop" | "eos" | "end_turn" | "eos_token" | "stop_sequence" => Finish::Stop,
        _ => Finish::Unknown,
    }
}

fn add_usage(expected: &mut Expected, message: &Value) {
    let places = ["/usage", "/x_groq/usage"];
    let Some(usage) = places
        .iter()
        .find_map(|place| message.pointer(place).filter(|usage| count_at(usage, "/prompt_tokens").is_some()))
    else {
        return;
    };
    let (input, output) = (count_at(usage, "/prompt_tokens"), count_at(usage, "/completion_tokens"));
    let reasoning = count_at(usage, "/completion_tokens_details/reasoning_tokens")
        .or(count_at(usage, "/reasoning_tokens"));
    // Some count reasoning outside the completion; the total tells.
    let outside = reasoning.unwrap_or(0) > 0
        && count_at(usage, "/total_tokens")
            == Some(input.unwrap_or(0) + output.unwrap_or(0) + reasoning.unwrap_or(0));
    let output = if outside { output.map(|output| output + reasoning.unwrap_or(0)) } else { output };
    // Mistral counts sound beside the prompt; the total tells.
    let spoken = count_at(usage, "/prompt_audio_seconds").unwrap_or(0) > 0;
    let input = if spoken {
        count_at(usage, "/total_tokens").map(|total| total - output.unwrap_or(0))
    } else {
        input
    };
    let counts = &mut expected.usage;
    counts.input = input.or(counts.input);
    counts.output = output.or(counts.output);
    let cached = count_at(usage, "/prompt_tokens_details/cached_tokens")
        .or(count_at(usage, "/prompt_cache_hit_tokens"));
    counts.cache_read = cached.or(counts.cache_read);
    counts.reasoning = reasoning.or(counts.reasoning);
    counts.cache_write = count_at(usage, "/prompt_tokens_details/cache_write_tokens").or(counts.cache_write);
}

impl Choice {
    fn add(&mut self, choice: &Value, said: &Value) {
        self.failed |= !choice["error"].is_null();
        if said.is_null() {
            // Legacy completions. Together repeats its deltas there.
            self.text.push_str(text_at(choice, "/text"));
        }
        match &said["content"] {
            Value::String(text) => self.text.push_str(text),
            // Cloudflare answers a JSON schema with the object itself.
            Value::Object(object) => self.text.push_str(&Value::Object(object.clone()).to_string()),
            Value::Array(parts) => parts.iter().for_each(|part| self.add_part(part)),
            _ => {}
        }
        let reasoning = ["reasoning_content", "reasoning"].iter().find_map(|key| said[*key].as_str());
        self.thoughts.push_str(reasoning.unwrap_or_default());
        for detail in list_at(said, "/reasoning_details") {
            self.details.push_str(text_at(detail, "/text"));
            self.details.push_str(text_at(detail, "/summary"));
        }
        self.refusal.push_str(text_at(said, "/refusal"));
        for call in list_at(said, "/tool_calls") {
            self.add_call(call);
        }
        // Snowflake sends an empty one with every answer.
        let function = &said["function_call"];
        if function.get("name").is_some_and(|name| name != "") || function["arguments"].is_string() {
            if self.calls.is_empty() {
                self.calls.push(Call::default());
            }
            self.calls[0].name.push_str(text_at(function, "/name"));
            self.calls[0].input.push_str(text_at(function, "/arguments"));
            if self.calls[0].name.is_empty() {
                self.calls.clear();
            }
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            finish.clone_into(&mut self.raw_finish);
        }
    }

    fn add_part(&mut self, part: &Value) {
        match text_at(part, "/type") {
            "text" => self.text.push_str(text_at(part, "/text")),
            // Mistral's thoughts, Databricks' summaries.
            "thinking" => {
                self.thoughts.push_str(text_at(part, "/thinking"));
                list_at(part, "/thinking").for_each(|inner| self.thoughts.push_str(text_at(inner, "/text")));
            }
            "reasoning" => {
                list_at(part, "/summary").for_each(|inner| self.thoughts.push_str(text_at(inner, "/text")));
            }
            _ => {}
        }
    }

    fn add_call(&mut self, call: &Value) {
        let function = if call["function"].is_object() { &call["function"] } else { &call["custom"] };
        let name = text_at(function, "/name");
        let input = match (&function["arguments"], &function["input"]) {
            (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
            (Value::Null, _) => String::new(),
            (other, _) => other.to_string(),
        };
        // A fragment belongs to the call of its index; one with a name and no index starts a new call.
        let at = match call["index"].as_u64() {
            Some(index) => usize::try_from(index).unwrap(),
            None if name.is_empty() => self.calls.len().saturating_sub(1),
            None => self.calls.len(),
        };
        while self.calls.len() <= at {
            self.calls.push(Call::default());
        }
        if self.calls[at].name.is_empty() {
            self.calls[at].name.push_str(name);
        }
        self.calls[at].input.push_str(&input);
    }
}
