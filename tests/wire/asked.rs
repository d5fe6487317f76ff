//! What a request asks, read from a vendor's own wire: the members that every dialect has, in one form. A recorded
//! request and the one that the gateway builds from it must ask the same.

use serde_json::Value;
use tollgate_api::v1::{self, part::Kind};

use crate::{
    family::Family,
    read::{list_at, text_at},
};

/// The common members of a request. What a recording has beyond them is not compared.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    pub system: Vec<String>,
    /// Role and text of each turn.
    pub turns: Vec<(String, String)>,
    pub max_tokens: Option<i64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub stop: Vec<String>,
}

impl Asked {
    /// Reads a request; none if it has turns that are not text alone, or is of another family.
    pub fn read(family: Family, body: &Value) -> Option<Self> {
        let (system, turns, options, names) = match family {
            Family::Gemini => (
                texts(body.get("systemInstruction").or(body.get("system_instruction")), "/parts")?,
                turns(body, "/contents", "/parts")?,
                body.get("generationConfig").or(body.get("generation_config")).unwrap_or(&Value::Null),
                ["maxOutputTokens", "topP", "stopSequences"],
            ),
            Family::Converse => (
                texts(Some(body).filter(|body| body["system"].is_array()), "/system")?,
                turns(body, "/messages", "/content")?,
                &body["inferenceConfig"],
                ["maxTokens", "topP", "stopSequences"],
            ),
            Family::Cohere => (
                Vec::new(),
                turns(body, "/messages", "/content")?,
                body,
                ["max_tokens", "p", "stop_sequences"],
            ),
            _ => return None,
        };
        let [max_tokens, top_p, stop] = names.map(|name| &options[name]);
        Some(Self {
            system,
            turns,
            max_tokens: max_tokens.as_i64(),
            temperature: options["temperature"].as_f64(),
            top_p: top_p.as_f64(),
            stop: stop
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|stop| Some(stop.as_str()?.to_owned()))
                .collect(),
        })
    }

    /// Asks the same of the gateway.
    pub fn input(&self, model: String) -> v1::ChatInput {
        let message = |role: v1::Role, text: &str| v1::Message {
            role: role.into(),
            parts: vec![v1::Part { kind: Some(Kind::Text(text.to_owned())), ..v1::Part::default() }],
            ..v1::Message::default()
        };
        let role = |word: &str| match word {
            "assistant" | "model" => v1::Role::Assistant,
            "system" => v1::Role::System,
            _ => v1::Role::User,
        };
        let system = self.system.iter().map(|text| message(v1::Role::System, text));
        let turns = self.turns.iter().map(|(word, text)| message(role(word), text));
        v1::ChatInput {
            model,
            messages: system.chain(turns).collect(),
            max_output_tokens: self.max_tokens,
            stop: self.stop.clone(),
            sampling: Some(v1::Sampling {
                temperature: self.temperature,
                top_p: self.top_p,
                ..v1::Sampling::default()
            }),
            ..v1::ChatInput::default()
        }
    }
}

/// The turns of a conversation, if each is one text.
fn turns(body: &Value, list: &str, parts: &str) -> Option<Vec<(String, String)>> {
    list_at(body, list)
        .map(|turn| {
            let text = match turn.pointer(parts) {
                Some(Value::String(text)) => text.clone(),
                _ => <[String; 1]>::try_from(texts(Some(turn), parts)?).ok()?.concat(),
            };
            let role = text_at(turn, "/role");
            Some((if role.is_empty() { "user" } else { role }.to_owned(), text))
        })
        .collect()
}

/// The texts of a list of parts, if they are nothing but text.
fn texts(holder: Option<&Value>, parts: &str) -> Option<Vec<String>> {
    let Some(holder) = holder else { return Some(Vec::new()) };
    let plain = |part: &Value| {
        let members = part.as_object()?.iter().filter(|(name, _)| *name != "type").count();
        Some(part["text"].as_str().filter(|text| members == 1 && !text.is_empty())?.to_owned())
    };
    list_at(holder, parts).map(plain).collect()
}
