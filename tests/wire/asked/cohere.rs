//! Cohere's chat, version 2, as a gRPC caller asks it.

use serde_json::Value;
use tollgate_api::v1::{
    ChatInput, JsonObjectFormat, JsonSchemaFormat, LogprobOptions, Media, OutputFormat, Part,
    ReasoningOptions, Role, Sampling, Thought, media::Source, output_format, part::Kind, tool_choice::Mode,
};

use super::words::{self, Rest};
use crate::read::{list_at, text_at};

/// Translates a request.
pub fn input(request: &Value, model: String, provider: &str) -> Result<ChatInput, String> {
    let mut body = Rest::of(request);
    body.take(&["model"]);
    body.take(&["stream"]);
    let messages = body.take(&["messages"]);
    let messages = messages.as_array().into_iter().flatten().map(|message| {
        let (role, parts) = match text_at(message, "/role") {
            "system" => (Role::System, content(message, provider)),
            "assistant" => (Role::Assistant, said(message, provider)),
            "tool" => {
                let result =
                    words::result(text_at(message, "/tool_call_id"), content(message, provider), false);
                (Role::Tool, vec![result])
            }
            _ => (Role::User, content(message, provider)),
        };
        words::message(role, parts)
    });
    let sampling = Sampling {
        temperature: body.number(&["temperature"]),
        top_p: body.number(&["p"]),
        top_k: body.integer(&["k"]).and_then(|count| i32::try_from(count).ok()),
        seed: body.integer(&["seed"]),
        frequency_penalty: body.number(&["frequency_penalty"]),
        presence_penalty: body.number(&["presence_penalty"]),
        ..Sampling::default()
    };
    let strict = body.take(&["strict_tools"]).as_bool();
    let tools = body.take(&["tools"]);
    let tools = tools.as_array().into_iter().flatten().map(|tool| {
        let function = &tool["function"];
        let (name, description) = (text_at(function, "/name"), text_at(function, "/description"));
        words::function(name, description, function.get("parameters"), strict)
    });
    let mode = match body.text(&["tool_choice"]).as_str() {
        "REQUIRED" => Some(Mode::Required),
        "NONE" => Some(Mode::None),
        _ => None,
    };
    Ok(ChatInput {
        model,
        messages: messages.collect(),
        tools: tools.collect(),
        tool_choice: mode.map(|mode| words::choice(mode, Vec::new())),
        sampling: (sampling != Sampling::default()).then_some(sampling),
        output_format: format(&mut body),
        reasoning: reasoning(&mut body),
        max_output_tokens: body.integer(&["max_tokens"]),
        stop: body.texts(&["stop_sequences"]),
        logprobs: body
            .take(&["logprobs"])
            .as_bool()
            .filter(|asked| *asked)
            .map(|_| LogprobOptions::default()),
        provider_options: words::options(provider, body.0),
        ..ChatInput::default()
    })
}

fn content(message: &Value, provider: &str) -> Vec<Part> {
    match &message["content"] {
        Value::String(text) => vec![words::text(text)],
        other => other.as_array().into_iter().flatten().map(|item| part(item, provider)).collect(),
    }
}

/// The parts of an assistant's turn: what it planned, said and called.
fn said(message: &Value, provider: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    if let Some(plan) = message["tool_plan"].as_str() {
        parts.push(thought(plan, "tool_plan", provider));
    }
    parts.extend(content(message, provider));
    parts.extend(list_at(message, "/tool_calls").map(|call| {
        let arguments = text_at(call, "/function/arguments").to_owned();
        words::call(text_at(call, "/id"), text_at(call, "/function/name"), arguments)
    }));
    parts
}

fn thought(text: &str, token: &str, provider: &str) -> Part {
    let thought = Thought { text: text.to_owned(), ..Thought::default() };
    words::signed(words::part(Kind::Thought(thought)), provider, token.as_bytes())
}

fn part(item: &Value, provider: &str) -> Part {
    match text_at(item, "/type") {
        "text" => words::text(text_at(item, "/text")),
        "thinking" => thought(text_at(item, "/thinking"), "thinking", provider),
        "image_url" => words::part(Kind::Media(Box::new(Media {
            source: Some(Source::Uri(text_at(item, "/image_url/url").to_owned())),
            detail: text_at(item, "/image_url/detail").to_owned(),
            ..Media::default()
        }))),
        _ => words::extension(provider, item),
    }
}

fn format(body: &mut Rest) -> Option<OutputFormat> {
    let format = body.take(&["response_format"]);
    if format["type"] != "json_object" {
        return None;
    }
    let schema = format.get("json_schema").or(format.get("schema"));
    let kind = schema.map_or(output_format::Kind::JsonObject(JsonObjectFormat {}), |schema| {
        output_format::Kind::JsonSchema(JsonSchemaFormat {
            schema_json: schema.to_string(),
            ..JsonSchemaFormat::default()
        })
    });
    Some(OutputFormat { kind: Some(kind) })
}

fn reasoning(body: &mut Rest) -> Option<ReasoningOptions> {
    let thinking = body.0.get("thinking")?.clone();
    let budget = thinking["token_budget"].as_i64();
    let disabled = thinking["type"] == "disabled";
    if budget.is_none() && !disabled {
        // The contract has no word for thinking without a measure.
        return None;
    }
    body.take(&["thinking"]);
    let effort = if disabled { "none" } else { "" };
    Some(ReasoningOptions { effort: effort.to_owned(), budget_tokens: budget, summary: String::new() })
}
