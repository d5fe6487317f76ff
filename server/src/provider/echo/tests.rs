//! Tests of the echo provider.

use futures_util::StreamExt as _;
use uuid::Uuid;

use super::*;
use crate::call::Payload;

fn prompt(text: &str) -> ChatInput {
    let part = Part { kind: Some(part::Kind::Text(text.to_owned())), ..Part::default() };
    let message = Message { role: Role::User.into(), parts: vec![part], name: String::new() };
    ChatInput { messages: vec![message], ..ChatInput::default() }
}

fn outgoing<'a, T>(payload: &'a Payload<T>, model: &'a str) -> Outgoing<'a, T> {
    Outgoing {
        call_id: Uuid::nil(),
        provider: "echo",
        model,
        payload,
        streamed: true,
        usage_wanted: true,
        strict: false,
        traceparent: None,
        output_cap: None,
    }
}

async fn events(input: ChatInput, model: &str) -> Vec<Event> {
    let payload = Payload::typed(input);
    let answer = Echo.chat(outgoing(&payload, model)).await.unwrap();
    let items: Vec<_> = answer.items.collect().await;
    items
        .into_iter()
        .map(|item| if let Item::Event(event) = item.unwrap() { event } else { panic!() })
        .collect()
}

fn deltas(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| if let Event::Text(delta) = event { Some(delta.text.as_str()) } else { None })
        .collect()
}

fn end(events: &[Event]) -> &v1::ChoiceEnd {
    events.iter().find_map(|event| if let Event::ChoiceEnd(end) = event { Some(end) } else { None }).unwrap()
}

fn usage(events: &[Event]) -> (Option<i64>, Option<i64>) {
    let [.., Event::Usage(usage), Event::End(_)] = events else { panic!("usage, then end: {events:?}") };
    (usage.input_tokens, usage.output_tokens)
}

#[tokio::test]
async fn the_prompt_comes_back_word_by_word() {
    let events = events(prompt("hello  big\nworld "), "echo").await;
    assert!(matches!(events[0], Event::Start(_)));
    assert_eq!(deltas(&events), ["hello", "  big", "\nworld "]);
    assert_eq!(end(&events).finish_reason(), FinishReason::Stop);
    assert_eq!(usage(&events), (Some(3), Some(3)));
}

#[tokio::test]
async fn the_output_bound_and_stop_sequences_cut() {
    let cut = events(ChatInput { max_output_tokens: Some(2), ..prompt("a b c") }, "echo").await;
    assert_eq!((deltas(&cut).concat().as_str(), end(&cut).finish_reason()), ("a b", FinishReason::Length));
    let stopped = events(ChatInput { stop: vec!["c".into()], ..prompt("a b c d") }, "echo").await;
    assert_eq!((deltas(&stopped).concat().as_str(), end(&stopped).stop_sequence.as_str()), ("a b ", "c"));
}

#[tokio::test]
async fn an_empty_prompt_still_answers() {
    assert_eq!(deltas(&events(prompt(" "), "echo").await).concat(), NOTHING);
    assert_eq!(deltas(&events(ChatInput::default(), "echo").await).concat(), NOTHING);
}

#[tokio::test]
async fn each_choice_is_answered_and_billed() {
    let events = events(ChatInput { choice_count: Some(2), ..prompt("a b") }, "echo").await;
    assert_eq!(deltas(&events), ["a", " b", "a", " b"]);
    assert_eq!(usage(&events), (Some(2), Some(4)));
}

#[tokio::test(start_paused = true)]
async fn a_model_name_may_ask_for_a_delay() {
    let begun = tokio::time::Instant::now();
    events(prompt("a b c"), "echo-d50").await;
    assert_eq!(begun.elapsed(), Duration::from_millis(150));
    assert_eq!(delay("echo-d99999999"), Some(MAX_DELAY));
    assert_eq!(delay("echo"), None);
}

#[tokio::test]
async fn a_required_tool_is_called() {
    let function = v1::FunctionTool {
        name: "f".into(),
        parameters_json_schema: r#"{"type":"object","properties":{"q":{"type":"string"}},"required":["q"]}"#
            .into(),
        ..Default::default()
    };
    let tool = v1::Tool { kind: Some(tool::Kind::Function(function)), cache_breakpoint: None };
    let choice = v1::ToolChoice { mode: Mode::Required.into(), tool_names: Vec::new() };
    let input = ChatInput { tools: vec![tool], tool_choice: Some(choice), ..prompt("hi") };
    let events = events(input, "echo").await;
    assert!(
        events.iter().any(|event| matches!(event, Event::ToolCall(delta) if delta.input == r#"{"q":"hi"}"#))
    );
    assert_eq!(end(&events).finish_reason(), FinishReason::ToolCalls);
}

#[tokio::test]
async fn vectors_are_deterministic_and_of_length_one() {
    let input = |text: &str| v1::EmbedInput { kind: Some(embed_input::Kind::Text(text.to_owned())) };
    let inputs = vec![input("a b"), input("c"), input("a b")];
    let request = EmbedRequest { inputs, dimensions: Some(8), ..EmbedRequest::default() };
    let answer = embed(&request, "echo").unwrap();
    let dense = |index: usize| match &answer.embeddings[index].vector {
        Some(v1::embedding::Vector::Dense(vector)) => vector.values.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(dense(0), dense(2));
    assert_ne!(dense(0), dense(1));
    assert!((dense(0).iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-3);
    assert_eq!(answer.usage.unwrap().input_tokens, Some(5));
    assert!(embed(&EmbedRequest { dimensions: Some(0), ..EmbedRequest::default() }, "echo").is_err());
}
