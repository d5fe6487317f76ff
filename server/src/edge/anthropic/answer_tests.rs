//! Golden tests of whole answers.

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_api::v1::{
    Choice, Continuity, Extension, FinishReason, Message as Told, Part, Thought, ToolCall, ToolResult,
    Usage as Used, tool_call,
};

use super::*;

fn written(parts: Vec<Part>, reason: FinishReason, stop_sequence: &str) -> Value {
    let message = Told { parts, ..Default::default() };
    let choice = Choice {
        message: Some(message),
        finish_reason: reason.into(),
        stop_sequence: stop_sequence.to_owned(),
        ..Default::default()
    };
    let usage = Used { input_tokens: Some(3), output_tokens: Some(2), ..Default::default() };
    let answer = CompleteResponse {
        id: "i".to_owned(),
        model: "m-1".to_owned(),
        choices: vec![choice],
        usage: Some(usage),
        service_tier: "priority".to_owned(),
        ..Default::default()
    };
    serde_json::from_slice(&write(&answer).unwrap()).unwrap()
}

fn part(kind: part::Kind) -> Part {
    Part { kind: Some(kind), ..Default::default() }
}

fn call(input: &str) -> Part {
    part(part::Kind::ToolCall(ToolCall {
        id: "c".to_owned(),
        name: "f".to_owned(),
        input: Some(tool_call::Input::ArgumentsJson(input.to_owned())),
        executed_upstream: false,
    }))
}

#[test]
fn a_whole_answer_is_exactly_this() {
    let answer = written(vec![part(part::Kind::Text("hi".to_owned()))], FinishReason::Stop, "");
    assert_eq!(
        answer,
        json!({"id": "msg_i", "type": "message", "role": "assistant", "model": "m-1",
            "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 3, "output_tokens": 2, "service_tier": "priority"}})
    );
}

#[test]
fn a_stop_sequence_is_named() {
    let answer = written(Vec::new(), FinishReason::Stop, "END");
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
    assert_eq!(answer["content"], json!([]));
}

#[test]
fn the_input_of_a_call_is_always_an_object() {
    for (input, told) in [
        (r#"{"b":1,"a":2.50}"#, r#"{"b":1,"a":2.50}"#),
        ("", "{}"),
        (" ", "{}"),
        (r#"{"cut":"#, r#"{"input":"{\"cut\":"}"#),
        ("[1]", r#"{"input":"[1]"}"#),
    ] {
        let answer = write(&CompleteResponse {
            choices: vec![Choice {
                message: Some(Told { parts: vec![call(input)], ..Default::default() }),
                ..Default::default()
            }],
            ..Default::default()
        });
        let text = String::from_utf8(answer.unwrap()).unwrap();
        assert!(text.contains(&format!(r#""name":"f","input":{told}}}"#)), "{text}");
    }
}

#[test]
fn tokens_stay_with_thoughts_and_follow_other_parts() {
    let token = |provider: &str| {
        Some(Continuity { provider: provider.to_owned(), token: Bytes::from_static(b"sig") })
    };
    let thought = Thought { text: "hm".to_owned(), ..Default::default() };
    let answer = written(
        vec![
            Part { continuity: token("anthropic"), ..part(part::Kind::Thought(thought)) },
            Part { continuity: token("gemini"), ..call("{}") },
        ],
        FinishReason::ToolCalls,
        "",
    );
    assert_eq!(
        answer["content"],
        json!([
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {}},
            {"type": "redacted_thinking", "data": "tollgate.part.gemini.c2ln"},
        ])
    );
}

#[test]
fn results_of_the_providers_own_tools_are_shown_and_foreign_extensions_are_not() {
    let result = ToolResult {
        tool_call_id: "c".to_owned(),
        parts: vec![part(part::Kind::Text("42".to_owned()))],
        is_error: false,
    };
    let foreign = Extension { provider: "x".into(), r#type: "y".into(), json: r#"{"type":"y"}"#.into() };
    let answer = written(
        vec![part(part::Kind::ToolResult(Box::new(result))), part(part::Kind::Extension(foreign))],
        FinishReason::Stop,
        "",
    );
    let content = json!([{"type": "text", "text": "42"}]);
    assert_eq!(
        answer["content"],
        json!([{"type": "mcp_tool_result", "tool_use_id": "c", "is_error": false, "content": content}])
    );
}
