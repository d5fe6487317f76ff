//! A provider's token on its way to a chat caller and back, whole and in a stream.

use serde_json::{Value, json};
use tollgate_api::v1::{self, Continuity, Part, Thought, ToolCall, part, tool_call::Input};
use uuid::Uuid;

use crate::edge::openai::{chat_chunks::Chunks, chat_parse, chat_response};
use crate::{call::Event, edge::fold::Folder, edge::rest::sse::Encode};

fn token(token: &str) -> Option<Continuity> {
    Some(Continuity { provider: "claude".to_owned(), token: token.as_bytes().to_vec().into() })
}

/// Makes the events of an answer whose parts are whole at their start and get their tokens at their end.
fn events(parts: &[Part]) -> Vec<Event> {
    let mut events = vec![Event::Start(Box::default())];
    for (part, initial) in (0..).zip(parts) {
        let continuity = initial.continuity.clone();
        let initial = Some(Part { continuity: None, ..initial.clone() });
        events.push(Event::PartStart(Box::new(v1::PartStart { choice: 0, part, initial })));
        events.push(Event::PartEnd(Box::new(v1::PartEnd {
            choice: 0,
            part,
            continuity,
            annotations: Vec::new(),
        })));
    }
    let ended = v1::ChoiceEnd { finish_reason: v1::FinishReason::ToolCalls.into(), ..Default::default() };
    events.extend([Event::ChoiceEnd(Box::new(ended)), Event::End(Box::default())]);
    events
}

/// Appends a delta as OpenAI's SDKs do.
fn accumulate(into: &mut Value, delta: &Value) {
    match (into, delta) {
        (Value::Object(into), Value::Object(delta)) => {
            for (key, value) in delta {
                match into.get_mut(key).filter(|so_far| !so_far.is_null() && key != "index" && key != "type")
                {
                    Some(so_far) => accumulate(so_far, value),
                    None => drop(into.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Array(into), Value::Array(delta)) => {
            for value in delta {
                match into.iter_mut().find(|one| one["index"] == value["index"]) {
                    Some(one) => accumulate(one, value),
                    None => into.push(value.clone()),
                }
            }
        }
        (Value::String(into), Value::String(more)) => into.push_str(more),
        (into, delta) => *into = delta.clone(),
    }
}

fn parts() -> Vec<Part> {
    let of = |kind, continuity| Part { kind: Some(kind), continuity, ..Part::default() };
    let call = |id: &str, input| ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        input: Some(input),
        ..ToolCall::default()
    };
    let thought = |text: &str| Thought { text: text.to_owned(), ..Thought::default() };
    let hidden = Thought { redacted: b"\x01\x02".to_vec().into(), ..Thought::default() };
    vec![
        of(part::Kind::Thought(thought("first")), token("one")),
        of(part::Kind::Thought(hidden), token("\u{1}\u{2}")),
        of(part::Kind::Thought(thought("second")), token("two")),
        of(part::Kind::Text("so".to_owned()), token("three")),
        of(part::Kind::ToolCall(call("a", Input::ArgumentsJson("{}".to_owned()))), token("four")),
        of(part::Kind::ToolCall(call("b", Input::Text("free".to_owned()))), None),
    ]
}

fn sent_back(message: &Value) -> Vec<Part> {
    let body = json!({"model": "m", "messages": [message]});
    let body = serde_json::to_vec(&body).unwrap();
    assert!(crate::edge::continuity::is_in(&body));
    chat_parse::parse(&body, &crate::call::Unread::default()).unwrap().messages.remove(0).parts
}

#[test]
fn tokens_come_back_with_the_parts_that_they_are_of() {
    let mut folder = Folder::default();
    let mut chunks = Chunks::new(Uuid::nil(), false);
    let mut streamed = json!({});
    for event in events(&parts()) {
        let frames = String::from_utf8(chunks.event(event.clone()).to_vec()).unwrap();
        for data in frames.split("\n\n").filter_map(|frame| frame.strip_prefix("data: {")) {
            let chunk: Value = serde_json::from_str(&format!("{{{data}")).unwrap();
            accumulate(&mut streamed, &chunk["choices"][0]["delta"]);
        }
        folder.take(event).unwrap();
    }
    let whole = chat_response::write(&folder.finish().unwrap()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(sent_back(&whole["choices"][0]["message"]), parts());
    assert_eq!(sent_back(&streamed), parts());
}

#[test]
fn reasoning_of_others_and_cache_marks_are_understood() {
    let body = br#"{"model":"m","tools":[{"type":"function","function":{"name":"f"},"cache_control":{"type":"ephemeral"}}],
        "messages":[
        {"role":"system","content":"s","cache_control":{"type":"ephemeral","ttl":"1h"}},
        {"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"}]},
        {"role":"assistant","content":"c","reasoning_content":"hm","extra_content":{"google":{"thought_signature":"x"}},
            "reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"theirs"}]}]}"#;
    let input = chat_parse::parse(body, &crate::call::Unread::default()).unwrap();
    let ttl = |part: &Part| part.cache_breakpoint.as_ref().map(|mark| mark.ttl.clone());
    assert_eq!(input.tools[0].cache_breakpoint.as_ref().unwrap().ttl, "");
    assert_eq!(ttl(&input.messages[0].parts[0]), Some("1h".to_owned()));
    assert_eq!(input.messages[1].parts.iter().map(ttl).collect::<Vec<_>>(), [Some(String::new()), None]);
    let turn = &input.messages[2].parts;
    assert!(matches!(&turn[0].kind, Some(part::Kind::Thought(thought)) if thought.text == "hm"));
    let token =
        turn[0].continuity.as_ref().map(|token| (token.provider.as_str(), token.token.starts_with(b"[{")));
    assert_eq!((turn.len(), token, &turn[1].continuity), (2, Some(("openai", true)), &None));
}
