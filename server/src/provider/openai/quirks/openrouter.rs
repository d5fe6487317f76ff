//! What OpenRouter tells beside the answer: who answered, how it reasoned, what it costs.

use super::*;
use crate::{
    call::{PROVIDERS_OWN_PRICE, Seen},
    provider::openai::express::whole_chat,
};

const COSTS: &str = r#""usage":{"prompt_tokens":149,"completion_tokens":140,"total_tokens":289,"cost":0.00002696,"is_byok":false,"cost_details":{"upstream_inference_cost":null,"upstream_inference_prompt_cost":0.00000596}}"#;

fn usage(items: impl IntoIterator<Item = Item>) -> v1::Usage {
    items
        .into_iter()
        .find_map(|item| match item {
            Item::Event(Event::Usage(usage)) => Some(*usage),
            Item::Raw(_, Seen { usage, .. }) => usage.map(|usage| *usage),
            _ => None,
        })
        .unwrap()
}

#[test]
fn or_cost_is_the_price_of_the_call_in_both_lanes() {
    let body = format!(
        r#"{{"choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"stop"}}],{COSTS}}}"#
    );
    let typed = Decoder::new("mine", &ChatInput::default()).whole(body.as_bytes()).unwrap();
    let express = whole_chat(body.into()).unwrap();
    for usage in [usage(typed), usage([express])] {
        let cost = usage.cost.unwrap();
        assert_eq!((cost.amount_nanos, cost.currency_code.as_str()), (26_960, "USD"));
        assert_eq!(cost.price_version, PROVIDERS_OWN_PRICE, "no list of ours made it");
    }
    // Without its details nobody knows whose money it is.
    let bare = r#"{"choices":[{"index":0,"message":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":3}}"#;
    assert!(
        usage(Decoder::new("mine", &ChatInput::default()).whole(bare.as_bytes()).unwrap()).cost.is_none()
    );
}

#[test]
fn or_provider_and_its_own_finish_reason_are_kept() {
    let told = stream(
        "openrouter",
        &[
            r#"{"provider":"Google","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null,"native_finish_reason":null}]}"#,
            r#"{"provider":"Google","choices":[{"index":0,"delta":{"content":""},"finish_reason":"length","native_finish_reason":"MAX_TOKENS"}]}"#,
            r#"{"provider":"Google","choices":[{"index":0,"delta":{"content":""},"finish_reason":null,"native_finish_reason":null}]}"#,
        ],
    );
    assert_eq!((told.text.as_str(), told.finish), ("a", "LENGTH"));
    assert_eq!(told.extensions, [r#"provider "Google""#, r#"native_finish_reason "MAX_TOKENS""#]);
}

#[test]
fn or_reasoning_details_are_one_thought_and_go_back_as_they_came() {
    let text = r#"{"type":"reasoning.text","text":"hm","format":"anthropic-claude-v1","index":0}"#;
    let signature = r#"{"type":"reasoning.text","signature":"s==","format":"anthropic-claude-v1","index":0}"#;
    let told = deltas(
        "openrouter",
        &[
            &format!(r#"{{"content":"","reasoning":"hm","reasoning_details":[{text}]}}"#),
            &format!(r#"{{"content":"","reasoning":null,"reasoning_details":[{signature}]}}"#),
            r#"{"content":"4","reasoning":null,"reasoning_details":[]}"#,
        ],
    );
    assert_eq!((told.thought.as_str(), told.text.as_str()), ("hm", "4"));
    assert_eq!(told.tokens_in_thought, [format!("[{text},{signature}]")]);
    let thought = Part {
        kind: Some(part::Kind::Thought(Thought { text: "hm".into(), ..Thought::default() })),
        continuity: Some(v1::Continuity {
            provider: "mine".into(),
            token: told.tokens_in_thought[0].clone().into_bytes().into(),
        }),
        ..Part::default()
    };
    let message = Message { role: Role::Assistant.into(), parts: vec![thought], name: String::new() };
    let input = ChatInput { messages: vec![message], ..ChatInput::default() };
    let body = built("openrouter", input, false).unwrap().body;
    assert!(body.contains(&format!(r#""reasoning_details":[{text},{signature}]"#)), "{body}");
}

#[test]
fn or_reasoning_details_that_are_encrypted_are_a_thought_without_words() {
    let secret = r#"{"data":"gAAAAAB","format":"openai-responses-v1","id":"rs_0","index":0,"type":"reasoning.encrypted"}"#;
    let body = format!(
        r#"{{"choices":[{{"finish_reason":"length","index":0,"message":{{"content":"","reasoning":null,"reasoning_details":[{secret}]}}}}]}}"#
    );
    let told = whole("openrouter", &body);
    assert_eq!((told.thought.as_str(), told.finish), ("", "LENGTH"));
    assert_eq!(told.tokens_in_thought, [format!("[{secret}]")]);
}
