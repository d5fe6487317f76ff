//! Bedrock's Converse as a gRPC caller asks it.

use serde_json::{Map, Value};
use tollgate_api::v1::{
    CacheBreakpoint, ChatInput, JsonSchemaFormat, OutputFormat, Part, Role, Sampling, Thought, Tool,
    ToolChoice, media::Source, output_format, part::Kind, tool_choice::Mode,
};

use super::words::{self, Rest};
use crate::read::{list_at, text_at};

/// Formats of media whose type is not `<kind>/<format>`.
const TYPES: [(&str, &str); 6] = [
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("mov", "video/quicktime"),
    ("mkv", "video/x-matroska"),
    ("mp3", "audio/mpeg"),
];

/// Translates a request.
pub fn input(request: &Value, model: String, provider: &str) -> Result<ChatInput, String> {
    let mut body = Rest::of(request);
    body.take(&["modelId"]);
    let mut messages = Vec::new();
    let system = parts(&body.take(&["system"]), Role::System, provider);
    if !system.is_empty() {
        messages.push(words::message(Role::System, system));
    }
    for message in body.take(&["messages"]).as_array().into_iter().flatten() {
        let role = if message["role"] == "assistant" { Role::Assistant } else { Role::User };
        words::add_turn(&mut messages, role, parts(&message["content"], role, provider));
    }
    let mut config = Rest::of(&body.take(&["inferenceConfig"]));
    let sampling = Sampling {
        temperature: config.number(&["temperature"]),
        top_p: config.number(&["topP"]),
        ..Sampling::default()
    };
    let (tools, tool_choice) = tools(&mut body);
    Ok(ChatInput {
        model,
        messages,
        tools,
        tool_choice,
        sampling: (sampling != Sampling::default()).then_some(sampling),
        output_format: format(&mut body),
        max_output_tokens: config.integer(&["maxTokens"]),
        stop: config.texts(&["stopSequences"]),
        service_tier: text_at(&body.take(&["serviceTier"]), "/type").to_owned(),
        provider_options: words::options(provider, body.0),
        ..ChatInput::default()
    })
}

fn parts(blocks: &Value, role: Role, provider: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for block in blocks.as_array().into_iter().flatten() {
        match (block.get("cachePoint"), parts.last_mut()) {
            (Some(point), Some(last)) => {
                last.cache_breakpoint = Some(CacheBreakpoint { ttl: text_at(point, "/ttl").to_owned() });
            }
            _ => parts.push(part(block, role, provider)),
        }
    }
    parts
}

fn part(block: &Value, role: Role, provider: &str) -> Part {
    let Some((kind, held)) = block.as_object().and_then(|members| members.iter().next()) else {
        return words::extension(provider, block);
    };
    match kind.as_str() {
        "text" => words::text(held.as_str().unwrap_or_default()),
        "toolUse" if role == Role::Assistant => {
            words::call(text_at(held, "/toolUseId"), text_at(held, "/name"), held["input"].to_string())
        }
        "toolResult" => {
            let inner = list_at(held, "/content").map(|block| part(block, role, provider)).collect();
            words::result(text_at(held, "/toolUseId"), inner, held["status"] == "error")
        }
        "reasoningContent" => reasoning(held, provider),
        "image" | "document" | "video" | "audio" => {
            media(kind, held).unwrap_or_else(|| words::extension(provider, block))
        }
        _ => words::extension(provider, block),
    }
}

fn reasoning(held: &Value, provider: &str) -> Part {
    let text = text_at(held, "/reasoningText/text").to_owned();
    if let Some(redacted) = held["redactedContent"].as_str() {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let bytes = BASE64_STANDARD.decode(redacted).unwrap_or_default();
        let thought = Thought { redacted: bytes.clone().into(), ..Thought::default() };
        return words::signed(words::part(Kind::Thought(thought)), provider, &bytes);
    }
    let thought = words::part(Kind::Thought(Thought { text, ..Thought::default() }));
    words::signed(thought, provider, text_at(held, "/reasoningText/signature").as_bytes())
}

/// A medium, if it has nothing that the contract does not model.
fn media(kind: &str, held: &Value) -> Option<Part> {
    let known = ["format", "name", "source"];
    if text_at(held, "/format").contains('/')
        || held.as_object()?.keys().any(|name| !known.contains(&name.as_str()))
    {
        return None;
    }
    let format = text_at(held, "/format");
    let listed = TYPES.iter().find(|(name, _)| *name == format);
    let mime = listed.map_or_else(|| format!("{kind}/{format}"), |(_, mime)| (*mime).to_owned());
    let name = match text_at(held, "/name") {
        "" => String::new(),
        name => format!("{name}.{format}"),
    };
    let source = &held["source"];
    match (source["bytes"].as_str(), source.pointer("/s3Location/uri").and_then(Value::as_str)) {
        (Some(bytes), _) => Some(words::data(&mime, bytes, &name)),
        (_, Some(uri)) if source["s3Location"]["bucketOwner"].is_null() => {
            Some(words::media(&mime, Source::Uri(uri.to_owned()), &name))
        }
        _ => None,
    }
}

fn tools(body: &mut Rest) -> (Vec<Tool>, Option<ToolChoice>) {
    let config = body.take(&["toolConfig"]);
    let mut tools: Vec<Tool> = Vec::new();
    for tool in list_at(&config, "/tools") {
        let spec = &tool["toolSpec"];
        if let (Some(point), Some(last)) = (tool.get("cachePoint"), tools.last_mut()) {
            last.cache_breakpoint = Some(CacheBreakpoint { ttl: text_at(point, "/ttl").to_owned() });
        } else if spec.is_object() {
            let (name, description) = (text_at(spec, "/name"), text_at(spec, "/description"));
            let schema = spec.pointer("/inputSchema/json");
            tools.push(words::function(name, description, schema, spec["strict"].as_bool()));
        } else {
            tools.push(words::upstream(text_at(tool, "/systemTool/name"), &Value::Object(Map::new())));
        }
    }
    let asked = config["toolChoice"].as_object().and_then(|choice| choice.iter().next());
    let choice = asked.map(|(mode, held)| match mode.as_str() {
        "any" => words::choice(Mode::Required, Vec::new()),
        "tool" => words::choice(Mode::Required, vec![text_at(held, "/name").to_owned()]),
        _ => words::choice(Mode::Auto, Vec::new()),
    });
    (tools, choice)
}

fn format(body: &mut Rest) -> Option<OutputFormat> {
    let config = body.take(&["outputConfig"]);
    let schema = config.pointer("/textFormat/structure/jsonSchema")?;
    let kind = output_format::Kind::JsonSchema(JsonSchemaFormat {
        name: text_at(schema, "/name").to_owned(),
        description: text_at(schema, "/description").to_owned(),
        schema_json: text_at(schema, "/schema").to_owned(),
        strict: None,
    });
    Some(OutputFormat { kind: Some(kind) })
}
