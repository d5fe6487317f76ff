//! What clients of each dialect enforce, beyond what a reading of the answer shows.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    framing::{Event, Framing, events},
    read::{list_at, text_at},
};

/// OpenAI's chat: one id, one role, tool calls that are named once and numbered in order, `[DONE]`.
pub fn chat(framing: Framing, body: &[u8]) -> Result<(), String> {
    if framing == Framing::Whole {
        return whole(body, "chat.completion");
    }
    let (mut ids, mut roles, mut calls) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for chunk in chunks(body)? {
        ids.insert(text_at(&chunk, "/id").to_owned());
        for choice in list_at(&chunk, "/choices") {
            let index = choice["index"].as_i64().ok_or("a choice without an index")?;
            if choice["delta"]["role"].is_string() && !roles.insert(index) {
                return Err("a role twice".to_owned());
            }
            for call in list_at(choice, "/delta/tool_calls") {
                let number = call["index"].as_i64().ok_or("a tool call without an index")?;
                let first = calls.insert((index, number));
                let named = call["id"].is_string() && call["function"]["name"].is_string()
                    || call["custom"]["name"].is_string();
                if first && !named {
                    return Err("a tool call that starts without id and name".to_owned());
                }
                if !first && (call["id"].is_string() || call["function"]["name"].is_string()) {
                    return Err("a tool call that is named twice".to_owned());
                }
                if number > 0 && !calls.contains(&(index, number - 1)) {
                    return Err("tool calls that are not numbered in order".to_owned());
                }
            }
            let finish = &choice["finish_reason"];
            let known = ["stop", "length", "tool_calls", "content_filter", "function_call"];
            if finish.as_str().is_some_and(|finish| !known.contains(&finish)) {
                return Err(format!("a finish reason {finish}"));
            }
        }
    }
    if ids.len() == 1 { Ok(()) } else { Err(format!("{} ids in one stream", ids.len())) }
}

/// Legacy completions.
pub fn completions(framing: Framing, body: &[u8]) -> Result<(), String> {
    if framing == Framing::Whole {
        return whole(body, "text_completion");
    }
    chunks(body).map(drop)
}

fn whole(body: &[u8], object: &str) -> Result<(), String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if body["object"] != object || !body["created"].is_i64() || !body["id"].is_string() {
        return Err(format!("no {object}: object {}, created {}", body["object"], body["created"]));
    }
    Ok(())
}

/// The chunks of an OpenAI stream, which must be alone on their lines and end in `[DONE]`.
fn chunks(body: &[u8]) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    let mut done = false;
    for event in events(body).into_iter().filter(|event| !event.data.is_empty()) {
        if done {
            return Err("an event after [DONE]".to_owned());
        }
        if !event.name.is_empty() {
            return Err("an event with a name".to_owned());
        }
        done = event.data == "[DONE]";
        if !done {
            found.push(parsed(&event)?);
        }
    }
    if done { Ok(found) } else { Err("no [DONE]".to_owned()) }
}

fn parsed(event: &Event) -> Result<Value, String> {
    serde_json::from_str(&event.data).map_err(|error| format!("{error} in {}", event.data))
}

/// Anthropic: `message_start`, then each block opened, filled and closed in turn, then its end.
pub fn messages(framing: Framing, body: &[u8]) -> Result<(), String> {
    if framing == Framing::Whole {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let is_message =
            body["type"] == "message" && body["role"] == "assistant" && body["content"].is_array();
        return if is_message { Ok(()) } else { Err("no message".to_owned()) };
    }
    let (mut started, mut stopped, mut ended, mut open, mut next) = (false, false, false, None, 0);
    for event in events(body).into_iter().filter(|event| !event.data.is_empty()) {
        let data = parsed(&event)?;
        let kind = text_at(&data, "/type");
        if event.name != kind {
            return Err(format!("event {:?} holds a {kind}", event.name));
        }
        let index = data["index"].as_i64();
        match kind {
            "ping" => {}
            "message_start" if !started => {
                started = true;
                if !data["message"]["usage"]["input_tokens"].is_i64() {
                    return Err("message_start without input_tokens".to_owned());
                }
            }
            "content_block_start" if started && open.is_none() && index == Some(next) && !ended => {
                open = index;
                next += 1;
            }
            "content_block_delta" if open.is_some() && open == index => {}
            "content_block_stop" if open.is_some() && open == index => open = None,
            "message_delta" if started && open.is_none() => ended = true,
            "message_stop" if ended && !stopped => stopped = true,
            _ => return Err(format!("{kind} {index:?} out of its place")),
        }
    }
    if stopped { Ok(()) } else { Err("no message_stop".to_owned()) }
}

/// Responses: opens with `response.created`, counts its events, opens and closes each item and part, and ends.
pub fn responses(framing: Framing, body: &[u8]) -> Result<(), String> {
    if framing == Framing::Whole {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let is_response = body["object"] == "response" && body["output"].is_array() && body["id"].is_string();
        return if is_response { Ok(()) } else { Err("no response".to_owned()) };
    }
    let (mut number, mut items, mut ended) = (-1, BTreeSet::new(), false);
    for (position, event) in events(body).into_iter().filter(|event| !event.data.is_empty()).enumerate() {
        let data = parsed(&event)?;
        let kind = text_at(&data, "/type").to_owned();
        if ended || event.name != kind {
            return Err(format!("{kind} after the end, or under the name {:?}", event.name));
        }
        if (position == 0) != (kind == "response.created") {
            return Err(format!("event {position} is {kind}"));
        }
        let told = data["sequence_number"].as_i64().ok_or("no sequence_number")?;
        if told <= number {
            return Err(format!("sequence_number {told} after {number}"));
        }
        number = told;
        let index = data["output_index"].as_i64();
        let in_place = match kind.as_str() {
            "response.output_item.added" => index.is_some_and(|index| items.insert(index)),
            "response.output_item.done" => index.is_some_and(|index| items.remove(&index)),
            _ => index.is_none_or(|index| items.contains(&index)),
        };
        if !in_place {
            return Err(format!("{kind} of item {index:?} out of its place"));
        }
        ended = matches!(kind.as_str(), "response.completed" | "response.incomplete" | "response.failed");
    }
    if ended && items.is_empty() { Ok(()) } else { Err("no terminal event, or an item left open".to_owned()) }
}
