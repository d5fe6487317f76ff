//! Google's `generateContent` as a gRPC caller asks it.

use serde_json::{Map, Value, json};
use tollgate_api::v1::{
    ChatInput, JsonObjectFormat, JsonSchemaFormat, LogprobOptions, Message, OutputFormat, Part,
    ReasoningOptions, Role, Sampling, Tool, ToolChoice, media::Source, output_format, part::Kind,
    tool_choice::Mode,
};

use super::{
    changes::camel_case,
    words::{self, Rest},
};
use crate::read::{list_at, text_at};

/// Translates a request. Its members are those of the wire in their one spelling.
pub fn input(request: &Value, model: String, provider: &str) -> Result<ChatInput, String> {
    let mut request = request.clone();
    camel_case(&mut request);
    let mut body = Rest::of(&request);
    let mut messages = Vec::new();
    let instructions = body.take(&["systemInstruction"]);
    let parts: Vec<Part> =
        parts_of(&instructions).iter().map(|part| words::text(text_at(part, "/text"))).collect();
    if !parts.is_empty() {
        messages.push(words::message(Role::System, parts));
    }
    turns(&body.take(&["contents"]), provider, &mut messages)?;
    let mut config = Rest::of(&body.take(&["generationConfig"]));
    let sampling = Sampling {
        temperature: config.number(&["temperature"]),
        top_p: config.number(&["topP"]),
        top_k: config.integer(&["topK"]).and_then(|count| i32::try_from(count).ok()),
        frequency_penalty: config.number(&["frequencyPenalty"]),
        presence_penalty: config.number(&["presencePenalty"]),
        seed: config.integer(&["seed"]),
        ..Sampling::default()
    };
    let small = |count: Option<i64>| count.and_then(|count| i32::try_from(count).ok());
    let logprobs = config.take(&["responseLogprobs"]).as_bool().filter(|asked| *asked);
    let top = small(config.integer(&["logprobs"]));
    let mut input = ChatInput {
        model,
        messages,
        tools: tools(&mut body),
        tool_choice: choice(&mut body),
        sampling: (sampling != Sampling::default()).then_some(sampling),
        output_format: format(&mut config),
        reasoning: reasoning(&mut config),
        max_output_tokens: config.integer(&["maxOutputTokens"]),
        stop: config.texts(&["stopSequences"]),
        choice_count: small(config.integer(&["candidateCount"])),
        output_modalities: config
            .texts(&["responseModalities"])
            .iter()
            .map(|word| word.to_lowercase())
            .collect(),
        logprobs: logprobs.map(|_| LogprobOptions { top }),
        ..ChatInput::default()
    };
    if !config.0.is_empty() {
        body.0.insert("generationConfig".to_owned(), Value::Object(config.0));
    }
    input.provider_options = words::options(provider, body.0);
    Ok(input)
}

fn parts_of(content: &Value) -> Vec<Value> {
    match &content["parts"] {
        Value::Array(parts) => parts.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        _ => content.as_str().map(|text| json!({"text": text})).into_iter().collect(),
    }
}

/// Calls of older models have no ids: their results follow in order, by name.
fn turns(contents: &Value, provider: &str, messages: &mut Vec<Message>) -> Result<(), String> {
    let contents: Vec<Value> = match contents {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let (mut made, mut open) = (0, Vec::<(String, String)>::new());
    for content in &contents {
        let role = if content["role"] == "model" { Role::Assistant } else { Role::User };
        let mut parts = Vec::new();
        for part in parts_of(content) {
            if let Some(call) = part.get("functionCall") {
                made += 1;
                let told = text_at(call, "/id");
                let id = if told.is_empty() { format!("made_{made}") } else { told.to_owned() };
                let name = text_at(call, "/name").to_owned();
                let arguments = call.get("args").map_or_else(String::new, Value::to_string);
                parts.push(signed(words::call(&id, &name, arguments), &part, provider));
                open.push((id, name));
            } else if let Some(answer) = part.get("functionResponse") {
                let (id, name) = (text_at(answer, "/id"), text_at(answer, "/name"));
                let at = open.iter().position(|(call, of)| call == id || (id.is_empty() && of == name));
                let at = at.ok_or("a result without its call")?;
                parts.push(words::result(&open.remove(at).0, result(answer), false));
            } else {
                parts.push(signed(plain(&part, provider), &part, provider));
            }
        }
        words::add_turn(messages, role, parts);
    }
    Ok(())
}

fn signed(mut written: Part, part: &Value, provider: &str) -> Part {
    match text_at(part, "/thoughtSignature") {
        "" => written,
        _ if written.continuity.is_some() => written,
        token if part["thought"] == true => {
            if let Some(Kind::Text(text)) = written.kind {
                let thought = tollgate_api::v1::Thought { text, ..Default::default() };
                written.kind = Some(Kind::Thought(thought));
            }
            words::signed(written, provider, token.as_bytes())
        }
        token => words::signed(written, provider, token.as_bytes()),
    }
}

fn plain(part: &Value, provider: &str) -> Part {
    if part.get("executableCode").or(part.get("codeExecutionResult")).is_some() {
        return ran(part, provider);
    }
    let names = part.as_object().map_or(0, |members| {
        members.keys().filter(|name| !["thoughtSignature", "thought"].contains(&name.as_str())).count()
    });
    let (inline, file) = (&part["inlineData"], &part["fileData"]);
    match () {
        () if names != 1 => words::extension(provider, part),
        () if part["text"].is_string() => words::text(text_at(part, "/text")),
        () if inline["displayName"].is_null() && inline.is_object() => {
            words::data(text_at(inline, "/mimeType"), text_at(inline, "/data"), "")
        }
        () if file.is_object() => {
            words::media(text_at(file, "/mimeType"), Source::Uri(text_at(file, "/fileUri").to_owned()), "")
        }
        () => words::extension(provider, part),
    }
}

/// What Google ran itself comes back as the token that it was given out with.
fn ran(part: &Value, provider: &str) -> Part {
    let mut call = words::call("ran", "code_execution", "{}".to_owned());
    if let Some(Kind::ToolCall(call)) = &mut call.kind {
        call.executed_upstream = true;
    }
    words::signed(call, provider, part.to_string().as_bytes())
}

fn result(answer: &Value) -> Vec<Part> {
    let mut parts = vec![words::text(&answer["response"].to_string())];
    parts.extend(list_at(answer, "/parts").map(|part| plain(part, "")));
    parts
}

fn tools(body: &mut Rest) -> Vec<Tool> {
    let list = match body.take(&["tools"]) {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let mut tools = Vec::new();
    for (name, config) in list.iter().filter_map(Value::as_object).flatten() {
        if name == "functionDeclarations" {
            for declared in config.as_array().into_iter().flatten() {
                let schema = declared.get("parametersJsonSchema").or(declared.get("parameters"));
                let (name, description) = (text_at(declared, "/name"), text_at(declared, "/description"));
                tools.push(words::function(name, description, schema, None));
            }
        } else {
            tools.push(words::upstream(name, config));
        }
    }
    tools
}

fn choice(body: &mut Rest) -> Option<ToolChoice> {
    let mut config = body.take(&["toolConfig"]);
    let calling = config.as_object_mut()?.remove("functionCallingConfig");
    if config != json!({}) {
        body.0.insert("toolConfig".to_owned(), config);
    }
    let mut calling = Rest::of(&calling?);
    let names = calling.texts(&["allowedFunctionNames"]);
    match calling.text(&["mode"]).as_str() {
        "ANY" => Some(words::choice(Mode::Required, names)),
        "NONE" => Some(words::choice(Mode::None, names)),
        _ => Some(words::choice(Mode::Auto, names)),
    }
}

fn format(config: &mut Rest) -> Option<OutputFormat> {
    let schema = config.take(&["responseJsonSchema", "responseSchema"]);
    if config.0.get("responseMimeType").is_some_and(|mime| mime != "application/json") {
        return None;
    }
    let mime = config.text(&["responseMimeType"]);
    let kind = match schema {
        Value::Null if mime.is_empty() => return None,
        Value::Null => output_format::Kind::JsonObject(JsonObjectFormat {}),
        schema => output_format::Kind::JsonSchema(JsonSchemaFormat {
            schema_json: schema.to_string(),
            ..JsonSchemaFormat::default()
        }),
    };
    Some(OutputFormat { kind: Some(kind) })
}

/// The contract knows levels and budgets; whether thoughts are shown alone is the provider's own option.
fn reasoning(config: &mut Rest) -> Option<ReasoningOptions> {
    let mut thinking = Rest::of(&config.take(&["thinkingConfig"]));
    let budget = thinking.integer(&["thinkingBudget"]).filter(|budget| *budget >= 0);
    let effort = thinking.text(&["thinkingLevel"]).to_lowercase();
    let shown = thinking.take(&["includeThoughts"]).as_bool();
    let summary = match shown {
        Some(true) => "auto",
        Some(false) => "none",
        None => "",
    };
    if !thinking.0.is_empty() {
        let rest: Map<String, Value> = thinking.0;
        config.0.insert("thinkingConfig".to_owned(), Value::Object(rest));
    }
    let asked = ReasoningOptions { effort, budget_tokens: budget, summary: summary.to_owned() };
    (asked != ReasoningOptions::default()).then_some(asked)
}
