//! What an answer carries beside its words: signatures, citations, log probabilities, the model's name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{list_at, text_at};
use crate::family::Family;

/// Notes of an answer.
#[derive(Debug, Default)]
pub struct Notes {
    /// Opaque state to send back, in order.
    pub signatures: Vec<String>,
    /// Addresses that are cited, in order.
    pub cited: Vec<String>,
    /// Tokens with log probabilities.
    pub logprobs: usize,
    /// The model that answered, or nothing.
    pub model: String,
}

/// Reads the notes of an answer.
pub fn of(family: Family, messages: &[Value]) -> Notes {
    let mut notes = Notes { signatures: signatures(family, messages), ..Notes::default() };
    for message in messages {
        cited(message, &mut notes.cited);
        for choice in list_at(message, "/choices").filter(|_| family == Family::Chat) {
            notes.logprobs += list_at(choice, "/logprobs/content").count();
        }
        let places: &[&str] = match family {
            Family::Gemini => &["/modelVersion"],
            _ => &["/model", "/message/model", "/response/model"],
        };
        let told = places.iter().map(|place| text_at(message, place)).find(|model| !model.is_empty());
        if let Some(model) = told.filter(|_| notes.model.is_empty()) {
            model.trim_start_matches("models/").clone_into(&mut notes.model);
        }
    }
    notes
}

fn cited(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| cited(item, found)),
        Value::Object(members) => {
            if matches!(text_at(value, "/type"), "url_citation" | "web_search_result_location") {
                let url = [text_at(value, "/url"), text_at(value, "/url_citation/url")].concat();
                if !url.is_empty() && !found.contains(&url) {
                    found.push(url);
                }
            }
            members.values().for_each(|member| cited(member, found));
        }
        _ => {}
    }
}

/// Signatures of an answer, or of the turns of the model in a request.
pub fn signatures(family: Family, messages: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    // Anthropic's come in pieces, by the block.
    let mut pieces = BTreeMap::<i64, String>::new();
    for message in messages {
        match family {
            Family::Messages if message["type"] == "content_block_delta" => {
                let index = message["index"].as_i64().unwrap_or(0);
                pieces.entry(index).or_default().push_str(text_at(message, "/delta/signature"));
            }
            Family::Messages if message["type"] == "content_block_start" => {
                let index = message["index"].as_i64().unwrap_or(0);
                let block = &message["content_block"];
                let told = [text_at(block, "/signature"), text_at(block, "/data")].concat();
                pieces.entry(index).or_default().push_str(&told);
            }
            // Of an item that is only begun, the state is not the last word.
            Family::Responses if message["type"] == "response.output_item.done" => {
                found.push(text_at(message, "/item/encrypted_content").to_owned());
            }
            Family::Responses if !text_at(message, "/type").is_empty() => {}
            Family::Messages => collect(message, &["signature", "data"], &mut found),
            Family::Responses => collect(message, &["encrypted_content"], &mut found),
            Family::Gemini => collect(message, &["thoughtSignature"], &mut found),
            Family::Converse => collect(message, &["signature", "redactedContent"], &mut found),
            _ => {}
        }
    }
    found.extend(pieces.into_values());
    let mut kept = Vec::<String>::new();
    for signature in found.into_iter().filter(|signature| !signature.is_empty()) {
        if !kept.contains(&signature) {
            kept.push(signature);
        }
    }
    kept
}

fn collect(value: &Value, names: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, names, found)),
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    // A picture's data is none.
                    Some(text)
                        if names.contains(&name.as_str())
                            && (name != "data" || value["type"] == "redacted_thinking") =>
                    {
                        found.push(text.to_owned());
                    }
                    _ => collect(member, names, found),
                }
            }
        }
        _ => {}
    }
}
