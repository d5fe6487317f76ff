//! Changes of the table in `normal` that are more than the name or the value of a member.

use serde_json::{Value, json};

use super::place::visit;

pub fn drop_nothings(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(drop_nothings);
            members.retain(|_, value| !value.is_null() && *value != "" && *value != json!([]));
        }
        Value::Array(items) => {
            items.retain_mut(|item| {
                let before = item.clone();
                drop_nothings(item);
                *item == before || *item != json!({})
            });
        }
        _ => {}
    }
}

pub fn chat_message(message: &mut Value) {
    let Some(members) = message.as_object_mut() else { return };
    match members.get("role").and_then(Value::as_str) {
        Some("tool") => drop(members.remove("name")),
        Some("developer") => drop(members.insert("role".to_owned(), json!("system"))),
        _ => {}
    }
}

pub fn chat_tool(tool: &mut Value) {
    if tool["function"].is_null() && tool["name"].is_string() && tool["type"].is_null() {
        *tool = json!({"function": tool.take()});
    }
}

pub fn image_url(part: &mut Value) {
    if part["type"] == "image_url" && part["image_url"].is_string() {
        part["image_url"] = json!({"url": part["image_url"].take()});
    }
}

pub fn flat_tool(tool: &mut Value) {
    if let Some(Value::Object(function)) = tool.as_object_mut().and_then(|tool| tool.remove("function")) {
        function.into_iter().for_each(|(name, value)| tool[name] = value);
    }
}

pub fn effort_alone(body: &mut Value) {
    if body.pointer("/output_config/effort").is_some() && body["thinking"] == json!({"type": "adaptive"}) {
        body.as_object_mut().unwrap().remove("thinking");
    }
    // Looking is no setting.
    if body["thinking"].is_null() {
        body.as_object_mut().unwrap().remove("thinking");
    }
}

pub fn one_stop(body: &mut Value) {
    if let Some(stop) = body.get_mut("stop").filter(|stop| stop.is_string()) {
        *stop = json!([stop.take()]);
    }
}

pub fn chat_choice(choice: &mut Value) {
    if choice == "any" {
        *choice = json!("required");
    }
    if let Some(name) = choice["name"].as_str() {
        *choice = json!({"type": "function", "function": {"name": name}});
    }
}

/// Makes the input a list of items, whose messages hold lists of parts, and instructions its first.
pub fn responses_input(body: &mut Value) {
    let Some(members) = body.as_object_mut() else { return };
    let mut items = Vec::new();
    if let Some(instructions) = members.remove("instructions") {
        items.push(json!({"role": "system", "content": instructions}));
    }
    match members.remove("input") {
        Some(Value::Array(list)) => items.extend(list),
        Some(text) => items.push(json!({"role": "user", "content": text})),
        None => {}
    }
    for item in &mut items {
        if item["role"] == "developer" {
            item["role"] = json!("system");
        }
        let kind = if item["role"] == "assistant" { "output_text" } else { "input_text" };
        if item["content"].is_string() {
            item["content"] = json!([{"type": kind, "text": item["content"].take()}]);
        }
    }
    // Neighbouring messages of the model are one turn of the contract's.
    let mut joined: Vec<Value> = Vec::new();
    for item in items {
        let is_said = |item: &Value| item["role"] == "assistant" && item["content"].is_array();
        match joined.last_mut().filter(|last| is_said(last) && is_said(&item)) {
            Some(last) => {
                let more = item["content"].as_array().cloned().unwrap_or_default();
                last["content"].as_array_mut().unwrap().extend(more);
            }
            None => joined.push(item),
        }
    }
    members.insert("input".to_owned(), Value::Array(joined));
}

pub fn drop_encrypted(body: &mut Value) {
    let Some(include) = body.get_mut("include").and_then(Value::as_array_mut) else { return };
    include.retain(|what| what != "reasoning.encrypted_content");
    if include.is_empty() {
        body.as_object_mut().unwrap().remove("include");
    }
}

pub fn output_format(body: &mut Value) {
    let format = body.as_object_mut().and_then(|members| members.remove("output_format"));
    if let Some(format) = format {
        body["output_config"]["format"] = format;
    }
}

pub fn gemini_lists(body: &mut Value) {
    let list = |value: &mut Value| {
        if value.is_object() {
            *value = json!([value.take()]);
        }
    };
    for place in ["tools", "contents", "systemInstruction.parts"] {
        visit(body, place, &mut |value| list(value));
    }
    visit(body, "contents[].parts", &mut |value| list(value));
    visit(body, "contents[]", &mut |content| {
        if content["role"].is_null() {
            content["role"] = json!("user");
        }
    });
    let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) else { return };
    let mut functions = Vec::new();
    for tool in tools.iter_mut().filter_map(Value::as_object_mut) {
        if let Some(Value::Array(declared)) = tool.remove("functionDeclarations") {
            functions.extend(declared);
        }
    }
    let mut split = Vec::new();
    for (name, config) in tools.iter().filter_map(Value::as_object).flatten() {
        split.push(json!({name: config}));
    }
    if !functions.is_empty() {
        split.insert(0, json!({"functionDeclarations": functions}));
    }
    *tools = split;
}

pub fn lower(config: &mut Value) {
    for text in config.as_object_mut().into_iter().flat_map(|members| members.values_mut()) {
        if let Value::String(text) = text {
            *text = text.to_lowercase();
        }
    }
}

/// How ids begin that no model of Google's has made: a run's own, and an SDK's.
const MADE_IDS: [&str; 3] = ["made_", "pyd_ai_", "call_"];

/// Ids of calls that a run made itself, where the recorded model has none.
pub fn inner_ids(part: &mut Value) {
    for name in ["functionCall", "functionResponse"] {
        if let Some(members) = part.get_mut(name).and_then(Value::as_object_mut)
            && members
                .get("id")
                .and_then(Value::as_str)
                .is_some_and(|id| MADE_IDS.iter().any(|made| id.starts_with(made)))
        {
            members.remove("id");
        }
    }
}

pub fn mode_of_names(config: &mut Value) {
    if config["mode"] == "validated" {
        config["mode"] = json!(if config.get("allowedFunctionNames").is_some() { "any" } else { "auto" });
    }
}

pub fn join_turns(body: &mut Value) {
    let Some(turns) = body.get_mut("contents").and_then(Value::as_array_mut) else { return };
    let mut joined: Vec<Value> = Vec::new();
    for mut turn in std::mem::take(turns) {
        let parts = turn["parts"].as_array_mut().map(std::mem::take).unwrap_or_default();
        match joined.last_mut().filter(|last| last["role"] == turn["role"]) {
            Some(last) => last["parts"].as_array_mut().unwrap().extend(parts),
            None => joined.push(json!({"role": turn["role"], "parts": parts})),
        }
    }
    joined.retain(|turn| turn["parts"] != json!([]));
    *turns = joined;
}

pub fn drop_blank(message: &mut Value) {
    if let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) {
        blocks.retain(|block| block["text"].as_str().is_none_or(|text| !text.trim().is_empty()));
    }
}

pub fn chosen_tools(config: &mut Value) {
    let Some(name) = config.pointer("/toolChoice/tool/name").cloned() else { return };
    if let Some(tools) = config.get_mut("tools").and_then(Value::as_array_mut) {
        tools.retain(|tool| tool["toolSpec"]["name"].is_null() || tool["toolSpec"]["name"] == name);
    }
}

pub fn plain_base64(inline: &mut Value) {
    if let Some(Value::String(data)) = inline.get_mut("data") {
        *data = data.replace('-', "+").replace('_', "/").trim_end_matches('=').to_owned();
    }
}

/// Members of Gemini's wire whose inner names are the caller's own.
const OWN_NAMES: [&str; 6] =
    ["args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "input"];

/// Google takes each name in both spellings.
pub fn camel_case(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(camel_case),
        Value::Object(members) => {
            let old = std::mem::take(members);
            for (name, mut inner) in old {
                let name = camel(&name);
                if name == "parameters" || name == "responseSchema" {
                    plain_schema(&mut inner);
                } else if !OWN_NAMES.contains(&name.as_str()) {
                    camel_case(&mut inner);
                }
                members.insert(name, inner);
            }
        }
        _ => {}
    }
}

pub fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |joined, word| {
        let (head, tail) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        joined + &head.to_uppercase() + tail
    })
}

/// Google's older schemas write types in capitals.
pub fn plain_schema(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plain_schema),
        Value::Object(members) => {
            if let Some(Value::String(kind)) = members.get_mut("type") {
                *kind = kind.to_lowercase();
            }
            members.values_mut().for_each(plain_schema);
        }
        _ => {}
    }
}
