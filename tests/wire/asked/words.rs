//! Pieces that the translators of recorded requests share.

use crate::read::count_at;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use tollgate_api::v1::{
    self, Continuity, Extension, FunctionTool, Media, Message, Part, ProviderOptions, Role, Tool, ToolCall,
    ToolChoice, ToolResult, media::Source, part::Kind, tool, tool_call::Input, tool_choice::Mode,
};

/// A part of one kind.
pub fn part(kind: Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

pub fn text(words: &str) -> Part {
    part(Kind::Text(words.to_owned()))
}

/// What has no kind of the contract goes as it is.
pub fn extension(provider: &str, value: &Value) -> Part {
    let kind = value.as_object().and_then(|members| members.keys().next()).cloned().unwrap_or_default();
    part(Kind::Extension(Extension { provider: provider.to_owned(), r#type: kind, json: value.to_string() }))
}

pub fn signed(mut part: Part, provider: &str, token: &[u8]) -> Part {
    part.continuity = Some(Continuity { provider: provider.to_owned(), token: token.to_vec().into() });
    part
}

pub fn data(mime_type: &str, base64: &str, filename: &str) -> Part {
    // Google's SDKs use the alphabet for addresses.
    let plain = base64.replace('-', "+").replace('_', "/");
    let bytes = BASE64_STANDARD.decode(plain).unwrap_or_default();
    media(mime_type, Source::Data(bytes.into()), filename)
}

pub fn media(mime_type: &str, source: Source, filename: &str) -> Part {
    part(Kind::Media(Box::new(Media {
        mime_type: mime_type.to_owned(),
        source: Some(source),
        filename: filename.to_owned(),
        ..Media::default()
    })))
}

pub fn call(id: &str, name: &str, arguments: String) -> Part {
    part(Kind::ToolCall(ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        input: Some(Input::ArgumentsJson(arguments)),
        executed_upstream: false,
    }))
}

pub fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Part {
    part(Kind::ToolResult(Box::new(ToolResult { tool_call_id: id.to_owned(), parts, is_error })))
}

pub fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, name: String::new() }
}

/// Results of tools, which some wires put into the user's turn, become messages of their own role.
pub fn add_turn(messages: &mut Vec<Message>, role: Role, parts: Vec<Part>) {
    let first = messages.len();
    for part in parts {
        let is_result = matches!(part.kind, Some(Kind::ToolResult(_))) && role == Role::User;
        let role = if is_result { Role::Tool } else { role };
        match messages[first..].last_mut().filter(|last| last.role() == role) {
            Some(last) => last.parts.push(part),
            None => messages.push(message(role, vec![part])),
        }
    }
}

pub fn function(name: &str, description: &str, schema: Option<&Value>, strict: Option<bool>) -> Tool {
    Tool {
        kind: Some(tool::Kind::Function(FunctionTool {
            name: name.to_owned(),
            description: description.to_owned(),
            parameters_json_schema: schema.map_or_else(String::new, Value::to_string),
            strict,
        })),
        ..Tool::default()
    }
}

pub fn upstream(kind: &str, config: &Value) -> Tool {
    let config_json = if *config == json!({}) { String::new() } else { config.to_string() };
    Tool {
        kind: Some(tool::Kind::Upstream(v1::UpstreamTool { r#type: kind.to_owned(), config_json })),
        ..Tool::default()
    }
}

pub fn choice(mode: Mode, tool_names: Vec<String>) -> ToolChoice {
    ToolChoice { mode: mode.into(), tool_names }
}

/// What the contract does not model is asked for by the provider's own names.
pub fn options(provider: &str, rest: Map<String, Value>) -> Vec<ProviderOptions> {
    if rest.is_empty() {
        return Vec::new();
    }
    vec![ProviderOptions {
        provider: provider.to_owned(),
        body_json: Value::Object(rest).to_string(),
        ..ProviderOptions::default()
    }]
}

/// Takes members of an object one by one, so that what is left is known.
pub struct Rest(pub Map<String, Value>);

impl Rest {
    pub fn of(value: &Value) -> Self {
        Self(value.as_object().cloned().unwrap_or_default())
    }

    /// Takes the member of any of these names.
    pub fn take(&mut self, names: &[&str]) -> Value {
        names.iter().find_map(|name| self.0.remove(*name)).unwrap_or(Value::Null)
    }

    pub fn number(&mut self, names: &[&str]) -> Option<f64> {
        self.take(names).as_f64()
    }

    pub fn integer(&mut self, names: &[&str]) -> Option<i64> {
        count_at(&self.take(names), "")
    }

    pub fn text(&mut self, names: &[&str]) -> String {
        self.take(names).as_str().unwrap_or_default().to_owned()
    }

    pub fn texts(&mut self, names: &[&str]) -> Vec<String> {
        let list = self.take(names);
        list.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    }
}
