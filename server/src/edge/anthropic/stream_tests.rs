//! Golden tests of event streams, and the order of events whatever a provider tells.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_api::v1::{
    Annotation, DocumentCitation, Extension, Media, MediaDelta, RefusalDelta, StreamStart, TextDelta,
    Thought, ThoughtDelta, ToolCallDelta, annotation, media,
};

use super::*;
use crate::error::Reason;

fn text(part: i32, text: &str) -> Event {
    Event::Text(TextDelta { text: text.to_owned(), choice: 0, part })
}

fn thought(part: i32, text: &str) -> Event {
    Event::Thought(ThoughtDelta { text: text.to_owned(), choice: 0, part })
}

fn part_start(part: i32, kind: part::Kind) -> Event {
    let initial = Some(Part { kind: Some(kind), ..Default::default() });
    Event::PartStart(Box::new(PartStart { choice: 0, part, initial }))
}

fn part_end(part: i32, token: Option<(&str, &'static [u8])>) -> Event {
    let continuity = token.map(|(provider, token)| Continuity {
        provider: provider.to_owned(),
        token: Bytes::from_static(token),
    });
    Event::PartEnd(Box::new(PartEnd { choice: 0, part, continuity, annotations: Vec::new() }))
}

fn call(part: i32, input: tool_call::Input, executed_upstream: bool) -> Event {
    let (id, name) = ("c1".to_owned(), "f".to_owned());
    part_start(part, part::Kind::ToolCall(ToolCall { id, name, input: Some(input), executed_upstream }))
}

fn json_call(part: i32) -> Event {
    call(part, tool_call::Input::ArgumentsJson(String::new()), false)
}

fn more(part: i32, input: &str) -> Event {
    Event::ToolCall(ToolCallDelta { input: input.to_owned(), choice: 0, part })
}

fn ended(reason: FinishReason) -> Vec<Event> {
    let end = ChoiceEnd { finish_reason: reason.into(), ..Default::default() };
    let usage = Used {
        input_tokens: Some(10),
        output_tokens: Some(4),
        cache_read_input_tokens: Some(8),
        r#final: true,
        ..Default::default()
    };
    vec![Event::ChoiceEnd(Box::new(end)), Event::Usage(Box::new(usage)), Event::End(Box::default())]
}

/// Writes a stream and reads its frames; the name of each is checked against its type.
fn frames(events: impl IntoIterator<Item = Event>) -> Vec<Value> {
    let mut stream = Messages::new(Uuid::nil(), 5);
    let start = StreamStart { model: "m-1".to_owned(), ..Default::default() };
    let events = std::iter::once(Event::Start(Box::new(start))).chain(events);
    let bytes: Vec<u8> = events.flat_map(|event| stream.event(event).to_vec()).collect();
    let text = String::from_utf8(bytes).unwrap();
    let frames = text.split_terminator("\n\n").map(|frame| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    });
    frames.collect()
}

/// The blocks of a finished stream: how each begins, and its deltas.
fn blocks(events: Vec<Event>) -> Vec<(Value, Vec<Value>)> {
    let mut blocks: Vec<(Value, Vec<Value>)> = Vec::new();
    for frame in frames(events.into_iter().chain(ended(FinishReason::Stop))) {
        match frame["type"].as_str().unwrap() {
            "content_block_start" => blocks.push((frame["content_block"].clone(), Vec::new())),
            "content_block_delta" => blocks.last_mut().unwrap().1.push(frame["delta"].clone()),
            _ => {}
        }
    }
    blocks
}

#[test]
fn a_text_stream_is_exactly_this() {
    let events = [text(0, "Hel"), text(0, "lo\n\n")].into_iter().chain(ended(FinishReason::Stop));
    let start = json!({"type": "message_start", "message": {
        "id": "msg_00000000-0000-0000-0000-000000000000", "type": "message", "role": "assistant",
        "model": "m-1", "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 5, "output_tokens": 0}}});
    let delta = |text| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let expected = [
        start,
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        delta("Hel"),
        delta("lo\n\n"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"input_tokens": 2, "cache_read_input_tokens": 8, "output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(frames(events), expected);
}

#[test]
fn usage_that_is_told_before_the_content_stands_in_the_start() {
    let told = Used { input_tokens: Some(77), output_tokens: Some(1), ..Default::default() };
    let frames = frames([Event::Usage(Box::new(told)), text(0, "x")]);
    assert_eq!(frames[0]["message"]["usage"], json!({"input_tokens": 77, "output_tokens": 1}));
}

#[test]
fn a_thought_is_signed_before_its_block_ends_even_if_it_is_empty() {
    let empty = || part_start(0, part::Kind::Thought(Thought::default()));
    let begin = json!({"type": "thinking", "thinking": "", "signature": ""});
    let signed = |signature: &str| json!({"type": "signature_delta", "signature": signature});
    let told = blocks(vec![empty(), thought(0, "hm"), part_end(0, Some(("anthropic", b"EqQB")))]);
    let thinking = json!({"type": "thinking_delta", "thinking": "hm"});
    assert_eq!(told, [(begin.clone(), vec![thinking, signed("EqQB")])]);
    let told = blocks(vec![empty(), part_end(0, Some(("openai", b"x")))]);
    assert_eq!(told, [(begin, vec![signed("tollgate.openai.eA")])]);
    assert_eq!(blocks(vec![empty(), part_end(0, None), text(1, "a")]).len(), 1, "nothing is told of nothing");
}

#[test]
fn an_encrypted_thought_is_whole_and_names_its_provider_if_that_is_another() {
    let redacted = |bytes: &'static [u8]| {
        part_start(
            0,
            part::Kind::Thought(Thought { redacted: Bytes::from_static(bytes), ..Default::default() }),
        )
    };
    for (token, data) in [
        (None, "abc"),
        (Some(("anthropic", &b"abc"[..])), "abc"),
        (Some(("bedrock", &b"abc"[..])), "tollgate.bedrock.YWJj"),
    ] {
        let told = blocks(vec![redacted(b"abc"), part_end(0, token)]);
        assert_eq!(told, [(json!({"type": "redacted_thinking", "data": data}), vec![])]);
    }
}

#[test]
fn a_token_of_a_call_follows_it_in_a_block_that_comes_back() {
    let told = blocks(vec![json_call(0), more(0, "{}"), part_end(0, Some(("gemini", b"sig")))]);
    assert_eq!(told[0].0, json!({"type": "tool_use", "id": "c1", "name": "f", "input": {}}));
    assert_eq!(told[0].1, [json!({"type": "input_json_delta", "partial_json": "{}"})]);
    assert_eq!(told[1].0, json!({"type": "redacted_thinking", "data": "tollgate.part.gemini.c2ln"}));
}

#[test]
fn free_text_of_a_call_is_a_string_in_an_object_and_upstreams_calls_say_so() {
    let free = call(0, tool_call::Input::Text("a\"".to_owned()), true);
    let told = blocks(vec![free, more(0, "\nb"), part_end(0, None)]);
    assert_eq!(told[0].0["type"], "server_tool_use");
    let input: String = told[0].1.iter().map(|delta| delta["partial_json"].as_str().unwrap()).collect();
    assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), json!({"input": "a\"\nb"}));
}

#[test]
fn citations_come_before_the_end_of_their_text() {
    let cited = DocumentCitation { document_id: "1".into(), quote: "q".into(), ..Default::default() };
    let note = Annotation {
        kind: Some(annotation::Kind::Document(cited)),
        start_index: Some(2),
        end_index: Some(3),
    };
    let end = PartEnd { annotations: vec![note], ..Default::default() };
    let told = blocks(vec![text(0, "a"), Event::PartEnd(Box::new(end))]);
    let citation = json!({"type": "char_location", "cited_text": "q", "document_index": 1,
        "document_title": null, "start_char_index": 2, "end_char_index": 3});
    assert_eq!(told[0].1[1], json!({"type": "citations_delta", "citation": citation}));
}

#[test]
fn what_is_not_modelled_is_told_if_it_is_anthropics() {
    let extension = |provider: &str, kind: &str| {
        let json = format!(r#"{{"type":"{kind}","x": 1}}"#);
        let (provider, r#type) = (provider.to_owned(), kind.to_owned());
        part_start(0, part::Kind::Extension(Extension { provider, r#type, json }))
    };
    for (provider, kind, told) in [
        ("anthropic", "brand_new", 1),
        ("claude", "web_search_tool_result", 1),
        ("openai", "computer_call", 0),
    ] {
        assert_eq!(blocks(vec![extension(provider, kind), part_end(0, None)]).len(), told, "{kind}");
    }
}

#[test]
fn a_picture_is_whole_and_a_sound_is_what_is_said_in_it() {
    let media = |mime: &str, bytes: &'static [u8]| Media {
        mime_type: mime.to_owned(),
        source: Some(media::Source::Data(Bytes::from_static(bytes))),
        ..Default::default()
    };
    let said = MediaDelta { transcript: "hi".to_owned(), part: 1, ..Default::default() };
    let told = blocks(vec![
        part_start(0, part::Kind::Media(Box::new(media("image/png", b"png")))),
        part_end(0, None),
        part_start(1, part::Kind::Media(Box::new(media("audio/wav", b"RIFF")))),
        Event::Media(Box::new(said)),
        part_end(1, None),
    ]);
    let source = json!({"type": "base64", "media_type": "image/png", "data": "cG5n"});
    assert_eq!(told[0].0, json!({"type": "image", "source": source}));
    assert_eq!(told[1].1, [json!({"type": "text_delta", "text": "hi"})]);
}

#[test]
fn every_finish_reason_has_its_word_and_a_refusal_is_never_a_plain_end() {
    for (reason, word) in [
        (FinishReason::Stop, "end_turn"),
        (FinishReason::Length, "max_tokens"),
        (FinishReason::ToolCalls, "tool_use"),
        (FinishReason::ContentFilter, "refusal"),
        (FinishReason::Refusal, "refusal"),
        (FinishReason::ContextLength, "model_context_window_exceeded"),
        (FinishReason::Paused, "pause_turn"),
        (FinishReason::Other, "end_turn"),
    ] {
        let all = frames(ended(reason));
        assert_eq!(all[1]["delta"]["stop_reason"], word, "{reason:?}");
    }
    let no = Event::Refusal(RefusalDelta { text: "no".to_owned(), choice: 0, part: 0 });
    let all = frames(std::iter::once(no).chain(ended(FinishReason::Stop)));
    assert_eq!(all[all.len() - 2]["delta"]["stop_reason"], "refusal");
}

#[test]
fn a_failure_is_one_event_in_the_envelope() {
    let mut stream = Messages::new(Uuid::nil(), 0);
    let frame = stream.failed(&Error::new(Reason::StreamInterrupted, "cut\n\ndata: x"));
    let text = std::str::from_utf8(&frame).unwrap();
    assert_eq!(
        text,
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"cut\\n\\ndata: x\"}}\n\n"
    );
}

/// Any event of any part, in any order.
fn any_event() -> impl Strategy<Value = Event> {
    let part = 0..4_i32;
    prop_oneof![
        (part.clone(), "[a\"]{0,2}").prop_map(|(part, words)| text(part, &words)),
        (part.clone(), "[a\"]{0,2}").prop_map(|(part, words)| thought(part, &words)),
        (part.clone(), "[a\"]{0,2}").prop_map(|(part, words)| more(part, &words)),
        part.clone().prop_map(json_call),
        part.clone().prop_map(|part| part_start(part, part::Kind::Text("t".to_owned()))),
        part.clone().prop_map(|part| part_start(part, part::Kind::Thought(Thought::default()))),
        part.clone().prop_map(|part| part_end(part, Some(("gemini", b"s")))),
        part.prop_map(|part| part_end(part, None)),
    ]
}

proptest! {
    #[test]
    fn blocks_are_contiguous_and_closed_whatever_is_told(events in prop::collection::vec(any_event(), 0..24)) {
        let all = frames(events.into_iter().chain(ended(FinishReason::Stop)));
        let (mut next, mut open) = (0, false);
        for (at, frame) in all.iter().enumerate() {
            let index = frame["index"].as_u64();
            match frame["type"].as_str().unwrap() {
                "message_start" => prop_assert_eq!(at, 0),
                "content_block_start" => {
                    prop_assert!(!open && index == Some(next));
                    open = true;
                }
                "content_block_delta" => prop_assert!(open && index == Some(next)),
                "content_block_stop" => {
                    prop_assert!(open && index == Some(next));
                    (next, open) = (next + 1, false);
                }
                "message_delta" => prop_assert!(!open && at == all.len() - 2),
                "message_stop" => prop_assert_eq!(at, all.len() - 1),
                other => prop_assert!(false, "{}", other),
            }
        }
    }
}
