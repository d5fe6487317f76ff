//! Tests of the decoder of answers.

use tollgate_api::v1::{FinishReason, part, tool_call::Input};

use super::*;

/// Writes events in short: `t0.0:text`, `+0.1 tool c1 f`, `-0.1`, `end0 STOP`.
fn short(items: impl IntoIterator<Item = Item>) -> Vec<String> {
    items
        .into_iter()
        .map(|item| match item {
            Item::Event(Event::Start(start)) => format!("start {}", start.model),
            Item::Event(Event::Text(d)) => format!("text{}.{} {}", d.choice, d.part, d.text),
            Item::Event(Event::Thought(d)) => format!("thought{}.{} {}", d.choice, d.part, d.text),
            Item::Event(Event::Refusal(d)) => format!("refusal{}.{} {}", d.choice, d.part, d.text),
            Item::Event(Event::ToolCall(d)) => format!("input{}.{} {}", d.choice, d.part, d.input),
            Item::Event(Event::PartStart(start)) => {
                let kind = match start.initial.unwrap().kind.unwrap() {
                    part::Kind::ToolCall(call) => {
                        let custom = matches!(call.input, Some(Input::Text(_)));
                        format!("{} {} {}", if custom { "custom" } else { "tool" }, call.id, call.name)
                    }
                    part::Kind::Thought(_) => "thought".to_owned(),
                    part::Kind::Text(_) => "text".to_owned(),
                    part::Kind::Refusal(_) => "refusal".to_owned(),
                    other => format!("{other:?}"),
                };
                format!("+{}.{} {kind}", start.choice, start.part)
            }
            Item::Event(Event::PartEnd(end)) => format!("-{}.{}", end.choice, end.part),
            Item::Event(Event::ChoiceEnd(end)) => {
                let reason = end.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_");
                format!("end{} {reason}", end.choice)
            }
            Item::Event(Event::Usage(usage)) => {
                format!("usage {:?} {:?} {}", usage.input_tokens, usage.output_tokens, usage.r#final)
            }
            Item::Event(Event::End(end)) => format!("end {}", end.upstream_response_id),
            other => format!("{other:?}"),
        })
        .collect()
}

fn stream(chunks: &[&str]) -> Vec<String> {
    let mut decoder = Decoder::new("mine", &ChatInput::default());
    let mut out = VecDeque::new();
    for chunk in chunks {
        decoder.feed(chunk.as_bytes(), &mut out).unwrap();
    }
    decoder.finish(&mut out);
    short(out)
}

fn whole(body: &str) -> Vec<String> {
    short(Decoder::new("mine", &ChatInput::default()).whole(body.as_bytes()).unwrap())
}

/// Wraps deltas of choice 0 into chunks.
fn deltas(deltas: &[&str]) -> Vec<String> {
    let chunks: Vec<String> =
        deltas.iter().map(|delta| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#)).collect();
    stream(&chunks.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_plain_stream_is_start_text_end_usage_end() {
    let events = stream(&[
        r#"{"id":"","model":"","choices":[],"prompt_filter_results":[{"x":1}]}"#,
        r#"{"id":"c1","model":"m1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
    ]);
    assert_eq!(
        events,
        ["start m1", "text0.0 hi", "-0.0", "end0 STOP", "usage Some(3) Some(2) true", "end c1"]
    );
}

#[test]
fn thoughts_come_before_text_as_a_part_of_their_own_and_once() {
    let events = deltas(&[
        r#"{"reasoning":"h","reasoning_content":"h"}"#,
        r#"{"reasoning_content":"m","content":null}"#,
        r#"{"content":"yes","reasoning_content":null}"#,
    ]);
    assert_eq!(
        events[1..],
        [
            "+0.0 thought",
            "thought0.0 h",
            "thought0.0 m",
            "-0.0",
            "+0.1 text",
            "text0.1 yes",
            "-0.1",
            "end0 OTHER",
            "end "
        ]
    );
}

#[test]
fn tool_calls_stream_one_after_the_other() {
    let events = deltas(&[
        r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"","function":{"name":null,"arguments":"{\"a\":"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"c2","function":{"name":"g","arguments":{"b":2}}}]}"#,
    ]);
    assert_eq!(
        events[1..],
        [
            "+0.0 tool c1 f",
            "input0.0 {\"a\":",
            "input0.0 1}",
            "-0.0",
            "+0.1 tool c2 g",
            "input0.1 {\"b\":2}",
            "-0.1",
            "end0 TOOL_CALLS",
            "end "
        ]
    );
}

#[test]
fn parallel_tool_stream_fragments_are_put_in_order() {
    let events = deltas(&[
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}},{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]}"#,
        r#"{"tool_calls":[{"index":1,"function":{"arguments":"}"}},{"index":0,"function":{"arguments":"}"}}]}"#,
    ]);
    assert_eq!(
        events[1..8],
        ["+0.0 tool a f", "input0.0 {", "input0.0 }", "-0.0", "+0.1 tool b g", "input0.1 {}", "-0.1"]
    );
}

#[test]
fn a_call_without_id_or_in_the_old_form_gets_one() {
    let old = whole(
        r#"{"choices":[{"message":{"content":null,"function_call":{"name":"f","arguments":"{}"}},"finish_reason":"function_call"}]}"#,
    );
    assert_eq!(old[1..], ["+0.0 tool call_0_0 f", "input0.0 {}", "-0.0", "end0 TOOL_CALLS", "end "]);
    let custom =
        deltas(&[r#"{"tool_calls":[{"id":"x","type":"custom","custom":{"name":"f","input":"free"}}]}"#]);
    assert_eq!(custom[1..3], ["+0.0 custom x f", "input0.0 free"]);
}

#[test]
fn choices_interleave_and_end_in_order() {
    let events = stream(&[
        r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"length"},{"index":1,"delta":{},"finish_reason":"stop"}]}"#,
    ]);
    assert_eq!(events[1..], ["text1.0 b", "text0.0 a", "-0.0", "end0 LENGTH", "-1.0", "end1 STOP", "end "]);
}

#[test]
fn a_whole_answer_has_the_same_events() {
    let body = r#"{"id":"c1","model":"m1","system_fingerprint":"fp","service_tier":"default","citations":["u"],
        "choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null,
        "annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":2}}]},
        "finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let items = Decoder::new("mine", &ChatInput::default()).whole(body.as_bytes()).unwrap();
    let Some(Item::Event(Event::PartEnd(part))) = items.get(2) else { panic!("{items:?}") };
    assert_eq!((part.annotations[0].start_index, part.annotations[0].end_index), (Some(0), Some(2)));
    let Some(Item::Event(Event::End(end))) = items.last() else { panic!("{items:?}") };
    assert_eq!(end.service_tier, "default");
    assert_eq!(
        (end.extensions[0].r#type.as_str(), end.extensions[0].json.as_str()),
        ("citations", r#"["u"]"#)
    );
    let events = short(items);
    assert_eq!(
        events,
        ["start m1", "text0.0 hi", "-0.0", "end0 STOP", "usage Some(3) Some(2) true", "end c1"]
    );
}

#[test]
fn wrong_shapes_are_failures_and_never_a_panic() {
    for body in [
        "",
        "<html>",
        "{}",
        "[]",
        "null",
        r#"{"choices":[]}"#,
        r#"{"choices":[{"index":999}]}"#,
        r#"{"choices":7}"#,
    ] {
        let decoder = Decoder::new("mine", &ChatInput::default());
        assert_eq!(decoder.whole(body.as_bytes()).unwrap_err().kind, Kind::BadResponse, "{body}");
    }
}

#[test]
fn a_failed_stream_still_tells_the_usage_it_knows() {
    let mut decoder = Decoder::new("mine", &ChatInput::default());
    let mut out = VecDeque::new();
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    decoder.feed(chunk.as_bytes(), &mut out).unwrap();
    decoder.broken(&mut out);
    assert_eq!(short(out).last().unwrap(), "usage Some(3) Some(1) false");
}

#[test]
fn a_stream_that_breaks_off_behind_its_finish_reason_tells_how_the_answer_ended() {
    let finished = |content: &str| {
        let mut decoder = Decoder::new("mine", &ChatInput::default());
        let mut out = VecDeque::new();
        let chunk = format!(
            r#"{{"choices":[{{"index":0,"delta":{{{content}}},"finish_reason":"stop"}},{{"index":1}}]}}"#
        );
        decoder.feed(chunk.as_bytes(), &mut out).unwrap();
        decoder.broken(&mut out);
        short(out)
    };
    assert_eq!(finished(r#""content":"a""#), ["start ", "text0.0 a", "-0.0", "end0 STOP"]);
    assert_eq!(finished(""), ["start "], "without content another target may still serve");
}

#[test]
fn vendors_words_for_the_end_are_mapped() {
    for (word, reason) in
        [("eos", FinishReason::Stop), ("tool_call", FinishReason::ToolCalls), ("odd", FinishReason::Other)]
    {
        assert_eq!(crate::provider::openai::tap::finish_reason(word), reason);
    }
}
