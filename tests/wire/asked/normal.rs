//! When two requests ask the same: everything that a recorded request and the gateway's may write differently, in one
//! table, each with its reason. What is not here must be equal, member by member.

use serde_json::{Map, Value, json};

use super::place::visit;
use crate::family::Family::{self, Chat, Cohere, Converse, Gemini, Messages, Responses};

/// What is done to both requests before they are compared.
enum Do {
    /// The member is not compared.
    Drop(&'static str),
    /// The member says with this value what its absence says.
    Absent(&'static str, fn(&Value) -> bool),
    /// The member has two names.
    Rename(&'static str, &'static str),
    /// The member's text stands for a list of one item: a member of that name, and of that type if the wire has types.
    Listed(&'static str, &'static str, &'static str),
    /// The member's text is JSON.
    Parsed(&'static str),
    /// Something of its own.
    With(fn(&mut Value)),
}

/// Wires, place, what is done there, and why.
type Rule = (&'static [Family], &'static str, Do, &'static str);

const ALL: &[Family] = &[Chat, Responses, Messages, Gemini, Converse, Cohere];

/// The table. Rules are applied from the first to the last.
static RULES: &[Rule] = &[
    (ALL, "", Do::Drop("model"), "stands for the exchange in a run"),
    (ALL, "", Do::Drop("stream"), "compared by what the caller gets"),
    (ALL, "", Do::Drop("stream_options"), "the gateway always asks for usage"),
    (ALL, "", Do::Drop("tollgate.lane"), "the mark by which a run asks for the typed lane"),
    (ALL, "", Do::With(drop_nothings), "null, an empty text and an empty list say what absence says"),
    // Chat completions.
    (&[Chat], "", Do::Rename("max_tokens", "max_completion_tokens"), "older name; by vendor"),
    (&[Chat], "", Do::Rename("functions", "tools"), "older name"),
    (&[Chat], "", Do::Rename("function_call", "tool_choice"), "older name"),
    (&[Chat], "", Do::Rename("user", "safety_identifier"), "older name"),
    (
        &[Chat],
        "messages[]",
        Do::With(chat_message),
        "a result is known by its call; instructions have two roles, by vendor",
    ),
    (&[Chat], "messages[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (&[Chat], "messages[].tool_calls[].function", Do::Parsed("arguments"), "arguments are JSON"),
    (&[Chat], "messages[].tool_calls[]", Do::Drop("index"), "the place in the list"),
    (&[Chat], "messages[]", Do::Absent("prefix", |prefix| prefix == false), "the default"),
    (&[Chat], "messages[].content[]", Do::With(image_url), "Mistral takes an address as it is"),
    (&[Chat], "tools[]", Do::Absent("type", |kind| kind == "function"), "the default"),
    (&[Chat], "tools[]", Do::With(chat_tool), "older tools have no wrapping"),
    (&[Chat], "", Do::With(one_stop), "one stop is a list of one"),
    (&[Chat], "tool_choice", Do::With(chat_choice), "older and other spellings of one named tool"),
    (
        &[Chat],
        "response_format.json_schema",
        Do::Absent("name", |name| name == "response"),
        "OpenAI wants a name",
    ),
    // Responses.
    (&[Responses], "", Do::With(responses_input), "instructions are the first message, a text is the user's"),
    (&[Responses], "", Do::Rename("user", "safety_identifier"), "older name"),
    (&[Responses], "", Do::Drop("store"), "the gateway keeps nothing at OpenAI unless it is asked to"),
    (&[Responses], "", Do::Absent("reasoning", |it| *it == json!({})), "nothing is asked"),
    (&[Responses], "", Do::With(drop_encrypted), "the gateway asks for the state that it hands on"),
    (
        &[Responses],
        "tools[]",
        Do::Absent("strict", |strict| strict == false),
        "the gateway says what it means",
    ),
    (
        &[Responses],
        "tools[]",
        Do::Absent("parameters", |schema| *schema == json!({"type": "object", "properties": {}})),
        "a function without any",
    ),
    (&[Responses], "input[]", Do::Drop("id"), "ids of a server that keeps nothing"),
    (&[Responses], "input[]", Do::Drop("status"), "what is sent back is complete"),
    (&[Responses], "input[]", Do::Absent("type", |kind| kind == "message"), "a message needs none"),
    (&[Responses], "input[]", Do::Parsed("arguments"), "arguments are JSON"),
    (&[Responses], "tools[]", Do::With(flat_tool), "a function as chat completions have it"),
    // Anthropic's messages.
    (&[Messages], "", Do::Listed("system", "text", "text"), "a text is a list of one"),
    (&[Messages], "messages[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (&[Messages], "messages[].content[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (
        &[Messages],
        "messages[].content[]",
        Do::Absent("is_error", |is_error| is_error == false),
        "the default",
    ),
    (&[Messages], "tools[]", Do::Absent("type", |kind| kind == "custom"), "the default"),
    (&[Messages], "", Do::With(output_format), "the older place of a schema"),
    (&[Messages], "", Do::With(effort_alone), "an effort makes newer models think by themselves"),
    (&[Messages], "", Do::Drop("anthropic_version"), "Vertex has it in the body, others in a header"),
    // Gemini.
    (&[Gemini], "", Do::With(camel_case), "Google takes each name in both spellings"),
    (&[Gemini], "", Do::With(gemini_lists), "one item stands for a list of one, functions for one group"),
    (&[Gemini], "systemInstruction", Do::Drop("role"), "instructions have none"),
    (
        &[Gemini],
        "tools[].functionDeclarations[]",
        Do::Rename("parameters", "parametersJsonSchema"),
        "older name",
    ),
    (&[Gemini], "generationConfig", Do::Rename("responseSchema", "responseJsonSchema"), "older name"),
    (&[Gemini], "generationConfig.thinkingConfig", Do::With(lower), "levels in capitals"),
    (&[Gemini], "toolConfig.functionCallingConfig", Do::With(lower), "modes in small letters"),
    (&[Gemini], "contents[].parts[]", Do::With(inner_ids), "ids that the recording does not have"),
    (&[Gemini], "contents[].parts[].inlineData", Do::With(plain_base64), "base64 has two alphabets"),
    (
        &[Gemini],
        "contents[].parts[].functionResponse.parts[].inlineData",
        Do::With(plain_base64),
        "base64 has two alphabets",
    ),
    (
        &[Gemini],
        "toolConfig.functionCallingConfig",
        Do::With(mode_of_names),
        "named tools that need not be called",
    ),
    (&[Gemini], "", Do::Absent("systemInstruction", |it| *it == json!({"parts": [{}]})), "an empty text"),
    (&[Gemini], "", Do::With(join_turns), "neighbouring turns of one speaker are one"),
    (&[Gemini], "", Do::Absent("contents", |turns| *turns == json!([])), "an empty text"),
    (&[Gemini], "", Do::Absent("generationConfig", |config| *config == json!({})), "nothing is configured"),
    // Converse.
    (&[Converse], "", Do::Absent("inferenceConfig", |config| *config == json!({})), "nothing is configured"),
    (
        &[Converse],
        "messages[].content[].toolResult",
        Do::Absent("status", |status| status == "success"),
        "the default",
    ),
    (&[Converse], "messages[]", Do::With(drop_blank), "Bedrock refuses blank texts"),
    (&[Converse], "toolConfig", Do::With(chosen_tools), "only the tool that must be called is shown"),
    (
        &[Converse],
        "toolConfig",
        Do::Absent("toolChoice", |choice| *choice == json!({"auto": {}})),
        "the default",
    ),
    (&[Converse], "", Do::Absent("toolConfig", |config| *config == json!({})), "no tools"),
    (
        &[Converse],
        "",
        Do::Drop("additionalModelResponseFieldPaths"),
        "the gateway asks which stop sequence was met",
    ),
    (&[Converse], "", Do::Drop("modelId"), "stands in the path"),
    // Cohere.
    (&[Cohere], "messages[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (&[Cohere], "messages[].tool_calls[].function", Do::Parsed("arguments"), "arguments are JSON"),
];

/// Brings a request into the form in which it is compared.
pub fn normal(family: Family, body: &Value) -> Value {
    let mut body = body.clone();
    for (families, place, action, _why) in RULES {
        if families.contains(&family) {
            visit(&mut body, place, &mut |value| apply(action, value));
        }
    }
    body
}

fn apply(action: &Do, value: &mut Value) {
    if let Do::With(change) = action {
        return change(value);
    }
    let Some(members) = value.as_object_mut() else { return };
    match action {
        Do::Drop(name) => drop(members.remove(*name)),
        Do::Absent(name, is_default) => {
            if members.get(*name).is_some_and(is_default) {
                members.remove(*name);
            }
        }
        Do::Rename(from, to) => {
            if let Some(value) = members.remove(*from) {
                members.insert((*to).to_owned(), value);
            }
        }
        Do::Listed(name, member, kind) => {
            if let Some(Value::String(text)) = members.get(*name) {
                let mut item = Map::from_iter([((*member).to_owned(), json!(text))]);
                if !kind.is_empty() {
                    item.insert("type".to_owned(), json!(kind));
                }
                members.insert((*name).to_owned(), json!([item]));
            }
        }
        Do::Parsed(name) => {
            let parsed = members.get(*name).and_then(Value::as_str);
            if let Some(parsed) = parsed.and_then(|text| serde_json::from_str(text).ok()) {
                members.insert((*name).to_owned(), parsed);
            }
        }
        Do::With(_) => {}
    }
}

fn drop_nothings(value: &mut Value) {
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

fn chat_message(message: &mut Value) {
    let Some(members) = message.as_object_mut() else { return };
    match members.get("role").and_then(Value::as_str) {
        Some("tool") => drop(members.remove("name")),
        Some("developer") => drop(members.insert("role".to_owned(), json!("system"))),
        _ => {}
    }
}

fn chat_tool(tool: &mut Value) {
    if tool["function"].is_null() && tool["name"].is_string() && tool["type"].is_null() {
        *tool = json!({"function": tool.take()});
    }
}

fn image_url(part: &mut Value) {
    if part["type"] == "image_url" && part["image_url"].is_string() {
        part["image_url"] = json!({"url": part["image_url"].take()});
    }
}

fn flat_tool(tool: &mut Value) {
    if let Some(Value::Object(function)) = tool.as_object_mut().and_then(|tool| tool.remove("function")) {
        function.into_iter().for_each(|(name, value)| tool[name] = value);
    }
}

fn effort_alone(body: &mut Value) {
    if body.pointer("/output_config/effort").is_some() && body["thinking"] == json!({"type": "adaptive"}) {
        body.as_object_mut().unwrap().remove("thinking");
    }
    // Looking is no setting.
    if body["thinking"].is_null() {
        body.as_object_mut().unwrap().remove("thinking");
    }
}

fn one_stop(body: &mut Value) {
    if let Some(stop) = body.get_mut("stop").filter(|stop| stop.is_string()) {
        *stop = json!([stop.take()]);
    }
}

fn chat_choice(choice: &mut Value) {
    if choice == "any" {
        *choice = json!("required");
    }
    if let Some(name) = choice["name"].as_str() {
        *choice = json!({"type": "function", "function": {"name": name}});
    }
}

/// Makes the input a list of items, whose messages hold lists of parts, and instructions its first.
fn responses_input(body: &mut Value) {
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

fn drop_encrypted(body: &mut Value) {
    let Some(include) = body.get_mut("include").and_then(Value::as_array_mut) else { return };
    include.retain(|what| what != "reasoning.encrypted_content");
    if include.is_empty() {
        body.as_object_mut().unwrap().remove("include");
    }
}

fn output_format(body: &mut Value) {
    let format = body.as_object_mut().and_then(|members| members.remove("output_format"));
    if let Some(format) = format {
        body["output_config"]["format"] = format;
    }
}

fn gemini_lists(body: &mut Value) {
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

fn lower(config: &mut Value) {
    for text in config.as_object_mut().into_iter().flat_map(|members| members.values_mut()) {
        if let Value::String(text) = text {
            *text = text.to_lowercase();
        }
    }
}

/// How ids begin that no model of Google's has made: a run's own, and an SDK's.
const MADE_IDS: [&str; 3] = ["made_", "pyd_ai_", "call_"];

/// Ids of calls that a run made itself, where the recorded model has none.
fn inner_ids(part: &mut Value) {
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

fn mode_of_names(config: &mut Value) {
    if config["mode"] == "validated" {
        config["mode"] = json!(if config.get("allowedFunctionNames").is_some() { "any" } else { "auto" });
    }
}

fn join_turns(body: &mut Value) {
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

fn drop_blank(message: &mut Value) {
    if let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) {
        blocks.retain(|block| block["text"].as_str().is_none_or(|text| !text.trim().is_empty()));
    }
}

fn chosen_tools(config: &mut Value) {
    let Some(name) = config.pointer("/toolChoice/tool/name").cloned() else { return };
    if let Some(tools) = config.get_mut("tools").and_then(Value::as_array_mut) {
        tools.retain(|tool| tool["toolSpec"]["name"].is_null() || tool["toolSpec"]["name"] == name);
    }
}

fn plain_base64(inline: &mut Value) {
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

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |joined, word| {
        let (head, tail) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        joined + &head.to_uppercase() + tail
    })
}

/// Google's older schemas write types in capitals.
fn plain_schema(value: &mut Value) {
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
