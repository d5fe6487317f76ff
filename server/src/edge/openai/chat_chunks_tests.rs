//! Golden tests of chunks.

use serde_json::{Value, json};
use tollgate_api::v1::{
    FinishReason, LogprobDelta, MediaDelta, Part, RefusalDelta, StreamEnd, TextDelta, ThoughtDelta,
    TokenLogprob, ToolCall, ToolCallDelta,
};

use super::*;

fn text(choice: i32, text: &str) -> Event {
    Event::Text(TextDelta { text: text.to_owned(), choice, part: 0 })
}

fn choice_end(choice: i32, reason: FinishReason) -> Event {
    Event::ChoiceEnd(Box::new(ChoiceEnd { choice, finish_reason: reason.into(), ..Default::default() }))
}

fn start() -> Event {
    Event::Start(Box::new(StreamStart {
        model: "m-1".to_owned(),
        create_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        system_fingerprint: "fp".to_owned(),
        ..Default::default()
    }))
}

fn usage() -> Event {
    Event::Usage(Box::new(v1::Usage {
        input_tokens: Some(3),
        output_tokens: Some(2),
        cache_read_input_tokens: Some(1),
        r#final: true,
        ..Default::default()
    }))
}

fn end() -> Event {
    Event::End(Box::new(StreamEnd { service_tier: "flex".to_owned(), ..Default::default() }))
}

fn part_start(part: i32, kind: part::Kind) -> Event {
    let initial = Some(Part { kind: Some(kind), ..Default::default() });
    Event::PartStart(Box::new(PartStart { choice: 0, part, initial }))
}

fn call(id: &str, input: tool_call::Input, executed_upstream: bool) -> part::Kind {
    let name = format!("f{id}");
    part::Kind::ToolCall(ToolCall { id: id.to_owned(), name, input: Some(input), executed_upstream })
}

fn more(part: i32, input: &str) -> Event {
    Event::ToolCall(ToolCallDelta { input: input.to_owned(), choice: 0, part })
}

fn frames(usage_wanted: bool, events: Vec<Event>) -> Vec<String> {
    let mut chunks = Chunks::new(Uuid::nil(), usage_wanted);
    let bytes: Vec<u8> = events.into_iter().flat_map(|event| chunks.event(event).to_vec()).collect();
    let text = String::from_utf8(bytes).unwrap();
    let frames: Vec<_> =
        text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap()).collect();
    frames.into_iter().map(str::to_owned).collect()
}

fn deltas(events: Vec<Event>) -> Vec<Value> {
    let parsed =
        frames(false, events).into_iter().map(|frame| serde_json::from_str::<Value>(&frame).unwrap());
    parsed.map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
}

#[test]
fn a_text_stream_is_exactly_this() {
    let events =
        vec![start(), text(0, "Hel"), text(0, "lo\n\n"), choice_end(0, FinishReason::Stop), usage(), end()];
    let head = r#"{"id":"chatcmpl-00000000-0000-0000-0000-000000000000","object":"chat.completion.chunk","created":1700000000,"model":"m-1","system_fingerprint":"fp","choices":[{"index":0,"delta":"#;
    let expected = [
        format!(r#"{head}{{"role":"assistant","content":"Hel"}},"logprobs":null,"finish_reason":null}}]}}"#),
        format!(r#"{head}{{"content":"lo\n\n"}},"logprobs":null,"finish_reason":null}}]}}"#),
        format!(r#"{head}{{}},"logprobs":null,"finish_reason":"stop"}}]}}"#),
        "[DONE]".to_owned(),
    ];
    assert_eq!(frames(false, events), expected);
}

#[test]
fn usage_is_the_last_chunk_and_only_if_it_was_asked_for() {
    let events = || vec![start(), text(0, "x"), choice_end(0, FinishReason::Length), usage(), end()];
    let frames_of = frames(true, events());
    assert_eq!(frames_of.len(), 4);
    let chunk = |at: usize| serde_json::from_str::<Value>(&frames_of[at]).unwrap();
    assert_eq!(chunk(0)["usage"], Value::Null);
    assert!(chunk(0).as_object().unwrap().contains_key("usage"));
    assert_eq!(chunk(1)["choices"][0]["finish_reason"], "length");
    assert_eq!(chunk(2)["choices"], json!([]));
    assert_eq!(
        chunk(2)["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}})
    );
    assert_eq!(chunk(2)["service_tier"], "flex");
    assert_eq!(frames_of[3], "[DONE]");
    assert!(!frames(false, events()).concat().contains("usage"));
}

#[test]
fn the_role_is_told_once_per_choice_when_choices_interleave() {
    let events = vec![text(0, "a"), text(1, "b"), text(0, "c"), text(1, "d")];
    let roles: Vec<_> = deltas(events).iter().map(|delta| delta.get("role").is_some()).collect();
    assert_eq!(roles, [true, true, false, false]);
}

#[test]
fn a_call_tells_id_type_and_name_once_and_indexes_have_no_gaps() {
    use tool_call::Input::{ArgumentsJson, Text};
    let events = vec![
        part_start(0, call("1", ArgumentsJson(String::new()), false)),
        more(0, "{\"x\""),
        part_start(1, call("2", ArgumentsJson(String::new()), true)),
        more(1, "not for the caller"),
        part_start(2, call("3", Text(String::new()), false)),
        more(2, "free"),
        more(0, ":1}"),
    ];
    assert_eq!(
        deltas(events),
        [
            json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f1", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\""}}]}),
            json!({"tool_calls": [{"index": 1, "id": "3", "type": "custom", "custom": {"name": "f3", "input": ""}}]}),
            json!({"tool_calls": [{"index": 1, "custom": {"input": "free"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        ]
    );
}

#[test]
fn thoughts_refusals_and_first_texts_of_parts_have_their_own_members() {
    let events = vec![
        Event::Thought(ThoughtDelta { text: "hm".to_owned(), choice: 0, part: 0 }),
        part_start(1, part::Kind::Text(String::new())),
        part_start(2, part::Kind::Text("at once".to_owned())),
        Event::Refusal(RefusalDelta { text: "no".to_owned(), choice: 0, part: 3 }),
    ];
    assert_eq!(
        deltas(events),
        [
            json!({"role": "assistant", "reasoning_content": "hm"}),
            json!({"content": "at once"}),
            json!({"refusal": "no"})
        ]
    );
}

#[test]
fn finish_reasons_are_the_five_and_the_other_word_stands_aside() {
    for (reason, word) in [
        (FinishReason::Stop, "stop"),
        (FinishReason::Length, "length"),
        (FinishReason::ContextLength, "length"),
        (FinishReason::ToolCalls, "tool_calls"),
        (FinishReason::ContentFilter, "content_filter"),
        (FinishReason::Refusal, "content_filter"),
        (FinishReason::Paused, "stop"),
        (FinishReason::Other, "stop"),
    ] {
        assert_eq!(finish_reason(reason), word);
    }
    let ended = ChoiceEnd { upstream_finish_reason: "eos".to_owned(), ..Default::default() };
    let frames = frames(false, vec![Event::ChoiceEnd(Box::new(ended))]);
    assert!(frames[0].contains(r#""delta":{"role":"assistant","content":""}"#), "{frames:?}");
    assert!(frames[0].contains(r#""finish_reason":"stop","x_tollgate":{"upstream_finish_reason":"eos"}"#));
}

#[test]
fn logprobs_stand_beside_an_empty_delta_and_infinity_is_a_number() {
    let token = TokenLogprob { token: "a".to_owned(), logprob: f64::NEG_INFINITY, ..Default::default() };
    let logprobs = LogprobDelta { logprobs: vec![token], choice: 0, part: 0 };
    let frames = frames(false, vec![text(0, "a"), Event::Logprobs(logprobs.into())]);
    assert!(
        frames[1].contains(r#""delta":{},"logprobs":{"content":[{"token":"a","logprob":-9999.0,"bytes":null,"top_logprobs":[]}],"refusal":null}"#),
        "{frames:?}"
    );
}

#[test]
fn pieces_of_sound_decode_alone_and_joined() {
    let sound = |data: &'static [u8]| {
        Event::Media(Box::new(MediaDelta {
            data: Bytes::from_static(data),
            choice: 0,
            part: 0,
            transcript: String::new(),
        }))
    };
    let media = Media { mime_type: "audio/pcm16".to_owned(), ..Default::default() };
    let events = vec![
        part_start(0, part::Kind::Media(Box::new(media))),
        sound(b"abcd"),
        sound(b"ef"),
        sound(b"g"),
        Event::PartEnd(Box::default()),
    ];
    let pieces: Vec<_> =
        deltas(events).iter().map(|delta| delta["audio"]["data"].as_str().unwrap().to_owned()).collect();
    assert_eq!(pieces, ["", "YWJj", "ZGVm", "Zw=="]);
    assert_eq!(STANDARD.decode(pieces.concat()).unwrap(), b"abcdefg");
}

#[test]
fn a_broken_stream_tells_its_usage_only_if_asked_and_never_that_it_is_done() {
    for wanted in [true, false] {
        let mut chunks = Chunks::new(Uuid::nil(), wanted);
        chunks.event(text(0, "x"));
        chunks.event(usage());
        let last = String::from_utf8(chunks.failed(&Error::internal("cut")).to_vec()).unwrap();
        assert_eq!(last.contains(r#""choices":[],"usage":{"prompt_tokens":3"#), wanted, "{last}");
        assert!(!last.contains("[DONE]"));
    }
}
