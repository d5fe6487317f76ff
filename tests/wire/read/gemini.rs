//! Google's `generateContent`, whole, as events, or as one array.

use serde_json::{Map, Value};

use super::{Call, Choice, Counts, Expected, Finish, count_at, list_at, text_at};

/// Reads an answer or its pieces, which have one shape.
pub fn answer(messages: &[Value]) -> Expected {
    let mut expected = Expected::default();
    let mut open: Option<(Call, Value)> = None;
    let mut blocked = false;
    for message in messages {
        expected.failed |= !message["error"].is_null();
        blocked |= message.pointer("/promptFeedback/blockReason").is_some();
        for candidate in list_at(message, "/candidates") {
            let index = candidate["index"].as_i64().unwrap_or(0);
            let choice = expected.choices.entry(index).or_default();
            list_at(candidate, "/content/parts").for_each(|part| add_part(choice, &mut open, part));
            let reason = text_at(candidate, "/finishReason");
            if !reason.is_empty() && reason != "FINISH_REASON_UNSPECIFIED" {
                reason.clone_into(&mut choice.raw_finish);
            }
        }
        if let Some(usage) = message.get("usageMetadata") {
            expected.usage = counts(usage, expected.usage);
        }
    }
    for choice in expected.choices.values_mut() {
        choice.finish = finish(choice);
        // A stream that never says why it ended was cut.
        choice.failed |= choice.raw_finish.is_empty() && messages.len() > 1;
    }
    // The prompt was refused: no candidate, and no words.
    if expected.choices.is_empty() && blocked {
        expected.failed = true;
    }
    expected
}

fn add_part(choice: &mut Choice, open: &mut Option<(Call, Value)>, part: &Value) {
    let text = text_at(part, "/text");
    if part["thought"] == true {
        choice.thoughts.push_str(text)
    } else {
        choice.text.push_str(text)
    }
    let Some(call) = part.get("functionCall") else { return };
    let name = text_at(call, "/name");
    let fragments = call["partialArgs"].as_array();
    if open.is_none() && fragments.is_none() && call["willContinue"] != true {
        let input = call.get("args").map_or_else(String::new, Value::to_string);
        choice.calls.push(Call { name: name.to_owned(), input });
        return;
    }
    // Arguments in fragments, each for a place of the object.
    let (whole, arguments) = open.get_or_insert_with(|| {
        (Call { name: name.to_owned(), ..Call::default() }, Value::Object(Map::new()))
    });
    for fragment in fragments.into_iter().flatten() {
        put(arguments, fragment);
    }
    if call["willContinue"] != true {
        let input = arguments.to_string();
        choice.calls.push(Call { name: std::mem::take(&mut whole.name), input });
        *open = None;
    }
}

/// Puts a fragment of an argument to its place, such as `$.location` or `$.list[0].name`.
fn put(arguments: &mut Value, fragment: &Value) {
    let path = text_at(fragment, "/jsonPath").trim_start_matches('$').replace('[', ".").replace(']', "");
    let mut place = arguments;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let step = step.trim_matches(['\'', '"']);
        place = match step.parse::<usize>() {
            Ok(index) => {
                if !place.is_array() {
                    *place = Value::Array(Vec::new());
                }
                let list = place.as_array_mut().unwrap();
                while list.len() <= index {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            Err(_) => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                place.as_object_mut().unwrap().entry(step).or_insert(Value::Null)
            }
        };
    }
    if let Some(text) = fragment["stringValue"].as_str() {
        let before = place.as_str().unwrap_or_default().to_owned();
        *place = Value::String(before + text);
    } else if let Some(value) = ["numberValue", "boolValue"].iter().find_map(|key| fragment.get(*key)) {
        *place = value.clone();
    }
}

fn finish(choice: &Choice) -> Finish {
    match choice.raw_finish.as_str() {
        "STOP" if !choice.calls.is_empty() => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT" => Finish::ContentFilter,
        _ => Finish::Unknown,
    }
}

/// What tools put into the prompt is input, and thoughts are output. Metadata is cumulative.
fn counts(usage: &Value, before: Counts) -> Counts {
    let told = |pointer: &str| count_at(usage, pointer);
    let sum = |a: Option<i64>, b: Option<i64>| a.map_or(b, |a| Some(a + b.unwrap_or(0)));
    Counts {
        input: sum(told("/promptTokenCount"), told("/toolUsePromptTokenCount")).or(before.input),
        output: sum(told("/candidatesTokenCount"), told("/thoughtsTokenCount")).or(before.output),
        cache_read: told("/cachedContentTokenCount").or(before.cache_read),
        cache_write: None,
        reasoning: told("/thoughtsTokenCount").or(before.reasoning),
    }
}
