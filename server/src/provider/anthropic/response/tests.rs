//! Tests of the decoder of answers.

use bytes::Bytes;
use proptest::prelude::*;
use tollgate_api::v1::part;

use super::*;
use crate::call::Event as Told;

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"usage":{"input_tokens":10,"output_tokens":1}}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

/// Decodes a body that comes in pieces of so many bytes.
fn run(body: &[u8], step: usize) -> (Vec<Item>, Result<(), Error>) {
    let (mut decoder, mut frames, mut out) = (Decoder::new("mine"), Splitter::default(), VecDeque::new());
    let mut all = || -> Result<(), Error> {
        for piece in body.chunks(step) {
            for block in frames.push(Bytes::copy_from_slice(piece)).unwrap() {
                decoder.block(&block, &mut out)?;
            }
        }
        if let Some(block) = frames.finish() {
            decoder.block(&block, &mut out)?;
        }
        if decoder.is_complete() { Ok(()) } else { decoder.end(&mut out) }
    };
    let result = all();
    (out.into(), result)
}

fn body(events: &[&str]) -> String {
    events.iter().map(|data| format!("event: any\ndata: {data}\n\n")).collect()
}

/// Writes events in short: `text hi`, `+0 tool id name`, `-0 signature`, `choice STOP word`.
fn short(items: Vec<Item>) -> Vec<String> {
    let told = items.into_iter().map(|item| match item {
        Item::Event(Told::Start(start)) => format!("start {}", start.model),
        Item::Event(Told::Text(d)) => format!("text {}", d.text),
        Item::Event(Told::Thought(d)) => format!("thought {}", d.text),
        Item::Event(Told::ToolCall(d)) => format!("input {}", d.input),
        Item::Event(Told::PartStart(start)) => {
            let kind = match start.initial.unwrap().kind.unwrap() {
                part::Kind::ToolCall(call) if call.executed_upstream => {
                    format!("ran {} {}", call.id, call.name)
                }
                part::Kind::ToolCall(call) => format!("tool {} {}", call.id, call.name),
                part::Kind::Thought(thought) if !thought.redacted.is_empty() => "redacted".to_owned(),
                part::Kind::Thought(_) => "thought".to_owned(),
                part::Kind::Text(_) => "text".to_owned(),
                part::Kind::Extension(extension) => format!("{} {}", extension.provider, extension.json),
                other => format!("{other:?}"),
            };
            format!("+{} {kind}", start.part)
        }
        Item::Event(Told::PartEnd(end)) => {
            let token = end.continuity.map(|continuity| continuity.token).unwrap_or_default();
            let notes = end.annotations.len();
            format!("-{} {}{}", end.part, std::str::from_utf8(&token).unwrap(), "*".repeat(notes))
        }
        Item::Event(Told::ChoiceEnd(end)) => {
            let reason = end.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_");
            format!("choice {reason} {}{}", end.upstream_finish_reason, end.stop_sequence)
        }
        Item::Event(Told::Usage(usage)) => {
            format!("usage {:?} {:?}", usage.input_tokens, usage.output_tokens)
        }
        Item::Event(Told::End(end)) => {
            let kept: Vec<&str> = end.extensions.iter().map(|one| one.r#type.as_str()).collect();
            format!("end {} {} {}", end.upstream_response_id, end.service_tier, kept.join(","))
        }
        other => format!("{other:?}"),
    });
    told.collect()
}

/// Tells what stands between the start and the end of a stream of these events.
fn between(events: &[&str]) -> Vec<String> {
    let all: Vec<&str> = [START].iter().chain(events).chain([&STOP]).copied().collect();
    let (items, result) = run(body(&all).as_bytes(), usize::MAX);
    result.unwrap();
    let told = short(items);
    assert_eq!(told.first().map(String::as_str), Some("start claude-x"));
    let end = told.iter().position(|one| one.starts_with("choice")).unwrap();
    told[1..end].to_vec()
}

/// Makes the events of one block.
fn block(begun: &str, deltas: &[&str]) -> Vec<String> {
    let mut events = vec![format!(r#"{{"type":"content_block_start","index":0,"content_block":{begun}}}"#)];
    events.extend(
        deltas.iter().map(|delta| format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#)),
    );
    events.push(r#"{"type":"content_block_stop","index":0}"#.to_owned());
    events
}

fn blocks(blocks: &[Vec<String>]) -> Vec<String> {
    let events: Vec<&str> = blocks.iter().flatten().map(String::as_str).collect();
    between(&events)
}

#[test]
fn an_ping_events_and_an_json_padding_say_nothing() {
    let text = block(r#"{"type":"text","text":""}"#, &[r#"{"type":"text_delta","text":"hi"}      "#]);
    let mut events: Vec<&str> = text.iter().map(String::as_str).collect();
    events.insert(1, r#"{"type":"ping"     }"#);
    events.insert(2, r#"{"type":"moon_phase","phase":3}"#);
    assert_eq!(between(&events), ["text hi", "-0 "]);
}

#[test]
fn an_stop_sequence_and_an_container_are_told_at_the_end() {
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END",
        "container":{"id":"c"}},"usage":{"output_tokens":7,"service_tier":"standard","inference_geo":"us"},
        "context_management":{"applied_edits":[1]}}"#
        .replace('\n', "");
    let (items, result) = run(body(&[START, &delta, STOP]).as_bytes(), 3);
    result.unwrap();
    assert_eq!(
        short(items),
        [
            "start claude-x",
            "choice STOP stop_sequenceEND",
            "usage Some(10) Some(7)",
            "end msg_1 standard container,usage.inference_geo,context_management"
        ]
    );
}

#[test]
fn every_stop_reason_has_its_meaning() {
    for (word, reason) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("pause_turn", FinishReason::Paused),
        ("compaction", FinishReason::Paused),
        ("refusal", FinishReason::Refusal),
        ("model_context_window_exceeded", FinishReason::ContextLength),
        ("moonrise", FinishReason::Other),
    ] {
        assert_eq!(finish_reason(word), reason, "{word}");
    }
}

#[test]
fn an_refusal_has_no_content_and_its_details_are_kept() {
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"category":"cyber"}},"usage":{}}"#;
    let (items, result) = run(body(&[START, delta, STOP]).as_bytes(), usize::MAX);
    result.unwrap();
    let told = short(items);
    assert_eq!(told[1], "choice REFUSAL refusal");
    assert_eq!(told.last().unwrap(), "end msg_1  stop_details");
}

#[test]
fn an_thinking_signature_is_the_token_of_its_thought() {
    let thought = block(
        r#"{"type":"thinking","thinking":"","signature":""}"#,
        &[
            r#"{"type":"thinking_delta","thinking":"hm"}"#,
            r#"{"type":"signature_delta","signature":"sig"}"#,
            r#"{"type":"signature_delta","signature":"ned"}"#,
        ],
    );
    let text = block(r#"{"type":"text","text":""}"#, &[r#"{"type":"text_delta","text":"yes"}"#]);
    assert_eq!(
        blocks(&[thought, text]),
        ["+0 thought", "thought hm", "-0 signed", "+1 text", "text yes", "-1 "]
    );
}

#[test]
fn an_thinking_empty_is_a_thought_all_the_same() {
    let thought = block(r#"{"type":"thinking","thinking":"","signature":"signed"}"#, &[]);
    assert_eq!(blocks(&[thought]), ["+0 thought", "-0 signed"]);
}

#[test]
fn an_redacted_thinking_is_kept_with_its_owner() {
    assert_eq!(
        blocks(&[block(r#"{"type":"redacted_thinking","data":"b64=="}"#, &[])]),
        ["+0 redacted", "-0 b64=="]
    );
}

#[test]
fn an_tool_empty_partial_is_an_empty_object() {
    let begun = r#"{"type":"tool_use","id":"t1","name":"f","input":{}}"#;
    for deltas in [&[][..], &[r#"{"type":"input_json_delta","partial_json":""}"#][..]] {
        assert_eq!(blocks(&[block(begun, deltas)]), ["+0 tool t1 f", "input {}", "-0 "]);
    }
}

#[test]
fn an_parallel_tools_are_parts_of_their_own() {
    let first = block(
        r#"{"type":"tool_use","id":"t1","name":"f","input":{}}"#,
        &[
            r#"{"type":"input_json_delta","partial_json":""}"#,
            r#"{"type":"input_json_delta","partial_json":"{\"a\":"}"#,
            r#"{"type":"input_json_delta","partial_json":"1}"}"#,
        ],
    );
    let second =
        block(r#"{"type":"tool_use","id":"t2","name":"g","input":{"b":2},"caller":{"type":"direct"}}"#, &[]);
    assert_eq!(
        blocks(&[first, second]),
        ["+0 tool t1 f", "input {\"a\":", "input 1}", "-0 ", "+1 tool t2 g", "input {\"b\":2}", "-1 "]
    );
}

#[test]
fn a_call_by_a_program_remembers_its_caller() {
    let caller = r#"{"type":"code_execution_20260120","tool_id":"srvtoolu_1"}"#;
    let begun = format!(r#"{{"type":"tool_use","id":"t1","name":"f","input":{{}},"caller":{caller}}}"#);
    assert_eq!(blocks(&[block(&begun, &[])])[2], format!("-0 {caller}"));
}

#[test]
fn an_server_tools_stand_in_their_places() {
    let call = block(
        r#"{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}"#,
        &[r#"{"type":"input_json_delta","partial_json":"{\"query\":\"x\"}"}"#],
    );
    let result = r#"{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"encrypted_content":"E"}]}"#;
    let text = block(r#"{"type":"text","text":"so"}"#, &[]);
    assert_eq!(
        blocks(&[call, block(result, &[]), text]),
        [
            "+0 ran srvtoolu_1 web_search",
            "input {\"query\":\"x\"}",
            "-0 ",
            &format!("+1 mine {result}"),
            "-1 ",
            "+2 text",
            "text so",
            "-2 "
        ]
    );
}

#[test]
fn blocks_of_unknown_kinds_are_gathered_whole() {
    let mcp = block(
        r#"{"type":"mcp_tool_use","id":"m1","name":"f","server_name":"s","input":{}}"#,
        &[
            r#"{"type":"input_json_delta","partial_json":"{\"a\""}"#,
            r#"{"type":"input_json_delta","partial_json":":1}"}"#,
        ],
    );
    let compaction = block(
        r#"{"type":"compaction","content":null}"#,
        &[r#"{"type":"compaction_delta","content":"so "}"#, r#"{"type":"compaction_delta","content":"far"}"#],
    );
    assert_eq!(
        blocks(&[mcp, compaction]),
        [
            r#"+0 mine {"type":"mcp_tool_use","id":"m1","name":"f","server_name":"s","input":{"a":1}}"#,
            "-0 ",
            r#"+1 mine {"type":"compaction","content":"so far"}"#,
            "-1 "
        ]
    );
}

#[test]
fn an_citations_belong_to_the_block_that_they_cut() {
    let cited = block(
        r#"{"type":"text","text":"","citations":[]}"#,
        &[
            r#"{"type":"citations_delta","citation":{"type":"char_location","cited_text":"x","document_index":0}}"#,
            r#"{"type":"text_delta","text":"a"}"#,
        ],
    );
    let plain = block(r#"{"type":"text","text":""}"#, &[r#"{"type":"text_delta","text":"b"}"#]);
    assert_eq!(blocks(&[cited, plain]), ["text a", "-0 *", "+1 text", "text b", "-1 "]);
}

#[test]
fn deltas_without_their_block_are_told_where_they_can_be() {
    let delta = |delta: &str| format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
    let text = delta(r#"{"type":"text_delta","text":"a"}"#);
    let input = delta(r#"{"type":"input_json_delta","partial_json":"{}"}"#);
    let odd = delta("7");
    assert_eq!(between(&[&text, &input, &odd]), ["text a", "-0 "], "the end closes it");
}

#[test]
fn a_whole_answer_is_told_as_a_stream_is() {
    let body = br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
        {"type":"thinking","thinking":"hm","signature":"signed"},
        {"type":"text","text":"hi","citations":[{"type":"page_location","cited_text":"x"}]},
        {"type":"tool_use","id":"t1","name":"f","input":{"a":1}}],
        "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":7}}"#;
    assert_eq!(
        short(Decoder::new("mine").whole(body).unwrap()),
        [
            "start claude-x",
            "+0 thought",
            "thought hm",
            "-0 signed",
            "+1 text",
            "text hi",
            "-1 *",
            "+2 tool t1 f",
            "input {\"a\":1}",
            "-2 ",
            "choice TOOL_CALLS tool_use",
            "usage Some(10) Some(7)",
            "end msg_1  "
        ]
    );
}

#[test]
fn an_empty_content_is_an_answer() {
    let body =
        br#"{"id":"m","type":"message","content":[],"stop_reason":"end_turn","usage":{"output_tokens":2}}"#;
    let told = short(Decoder::new("mine").whole(body).unwrap());
    assert_eq!(told, ["start ", "choice STOP end_turn", "usage None Some(2)", "end m  "]);
}

#[test]
fn what_is_no_answer_is_said() {
    let kind = |body: &[u8]| Decoder::new("mine").whole(body).unwrap_err().kind;
    for body in [&b""[..], b"<html>", b"{", b"[]", b"7", b"{}"] {
        assert_eq!(kind(body), Kind::BadResponse, "{body:?}");
    }
    let overloaded = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert_eq!(kind(overloaded), Kind::Unavailable);
}

#[test]
fn a_stream_that_breaks_off_behind_its_stop_reason_tells_how_the_answer_ended() {
    let told = |content: &[&str]| {
        let mut decoder = Decoder::new("mine");
        let mut out = VecDeque::new();
        let delta =
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#;
        for event in [&[START], content, &[delta]].concat() {
            decoder.feed(event.as_bytes(), &mut out).unwrap();
        }
        decoder.broken(&mut out);
        short(out.into()).join(", ")
    };
    let text = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"hi"}}"#;
    assert!(told(&[text]).contains("text hi, -0 , choice STOP"), "{}", told(&[text]));
    assert!(!told(&[]).contains("choice"), "without content another target may still serve");
}

#[test]
fn the_output_that_only_the_start_counted_is_not_told_as_the_answers() {
    let output = |more: &[&str]| {
        let (items, result) = run(body(&[&[START], more, &[STOP]].concat()).as_bytes(), 50);
        result.unwrap();
        items.into_iter().find_map(|item| match item {
            Item::Event(Told::Usage(usage)) => Some((usage.input_tokens, usage.output_tokens)),
            _ => None,
        })
    };
    let bare = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    assert_eq!(output(&[bare]), Some((Some(10), None)));
    let with = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#;
    assert_eq!(output(&[with]), Some((Some(10), Some(9))));
}

#[test]
fn a_stream_without_its_end_is_cut_short() {
    let text = block(r#"{"type":"text","text":"hi"}"#, &[]);
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#;
    let events = [START, &text[0], &text[1], delta];
    let (_, result) = run(body(&events).as_bytes(), usize::MAX);
    assert_eq!(result.unwrap_err().kind, Kind::Unavailable);
    for (no_stream, kind) in [
        ("", Kind::BadResponse),
        ("<html>busy</html>\n", Kind::BadResponse),
        (": ping\n\n", Kind::BadResponse),
        ("data: {\"type\":\"message_stop\"}\n\n", Kind::BadResponse),
        (
            "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"}}\n",
            Kind::RateLimited { retry_after: None },
        ),
    ] {
        assert_eq!(run(no_stream.as_bytes(), usize::MAX).1.unwrap_err().kind, kind, "{no_stream}");
    }
}

#[test]
fn an_error_shape_in_a_stream_fails_it_after_what_was_told() {
    for (kind, expected) in [
        ("overloaded_error", Kind::Unavailable),
        ("api_error", Kind::Unavailable),
        ("rate_limit_error", Kind::RateLimited { retry_after: None }),
        ("timeout_error", Kind::Timeout),
        ("authentication_error", Kind::Denied),
        ("permission_error", Kind::Denied),
        ("billing_error", Kind::Denied),
        ("invalid_request_error", Kind::Invalid),
        ("not_found_error", Kind::Invalid),
        ("request_too_large", Kind::Invalid),
    ] {
        let error = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"no"}}}}"#);
        let (items, result) = run(body(&[START, &error]).as_bytes(), usize::MAX);
        assert_eq!(short(items), ["start claude-x"]);
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.upstream_type.as_str()), (expected, kind));
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_slices_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..40) {
        let _ = run(&bytes, step);
    }

    #[test]
    fn slices_never_change_the_events(step in 1usize..200) {
        let tool = block(
            r#"{"type":"tool_use","id":"t1","name":"f","input":{}}"#,
            &[r#"{"type":"input_json_delta","partial_json":"{\"é\":1}"}"#],
        );
        let events: Vec<&str> = [START].into_iter().chain(tool.iter().map(String::as_str)).chain([STOP]).collect();
        let body = body(&events);
        prop_assert_eq!(short(run(body.as_bytes(), step).0), short(run(body.as_bytes(), usize::MAX).0));
    }

    #[test]
    fn events_in_any_order_never_panic(order in proptest::collection::vec(0usize..9, 0..30)) {
        let tool = block(
            r#"{"type":"tool_use","id":"t1","name":"f","input":[]}"#,
            &[r#"{"type":"input_json_delta","partial_json":"{"}"#],
        );
        let other = block(r#"{"type":"moon"}"#, &[r#"{"type":"signature_delta","signature":"s"}"#]);
        let mut all: Vec<&str> = vec![START, STOP, r#"{"type":"message_delta","delta":[],"usage":7}"#];
        all.extend(tool.iter().chain(&other).map(String::as_str));
        let events: Vec<&str> = order.into_iter().map(|at| all[at]).collect();
        let _ = run(body(&events).as_bytes(), usize::MAX);
    }
}
