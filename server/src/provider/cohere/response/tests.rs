//! Tests of the decoder.

use bytes::Bytes;
use proptest::prelude::*;
use tollgate_api::v1::{Annotation, annotation::Kind as Note};

use super::*;
use crate::call::Event as Told;

const START: &str = r#"{"id":"i1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#;
const END: &str = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":12,"output_tokens":7},"tokens":{"input_tokens":507,"output_tokens":10},"cached_tokens":448}}}"#;

fn stream(events: &[&str]) -> String {
    let mut text = String::new();
    for json in events {
        let kind = json.split("\"type\":\"").nth(1).and_then(|rest| rest.split('"').next());
        text.push_str(&format!("event: {}\ndata: {json}\n\n", kind.unwrap_or_default()));
    }
    text + "data: [DONE]\n\n"
}

/// Runs a body through the decoder in pieces of so many bytes.
fn run(body: &[u8], piece: usize) -> Result<Vec<Item>, (Error, Vec<Item>)> {
    let (mut decoder, mut frames, mut out) =
        (Decoder::new("mine", "command"), Splitter::default(), VecDeque::new());
    let mut read = || {
        for chunk in body.chunks(piece.max(1)) {
            let blocks: Vec<_> =
                crate::provider::follow::Frames::push(&mut frames, Bytes::copy_from_slice(chunk))?.collect();
            for block in blocks {
                decoder.block(&block, &mut out)?;
                if decoder.is_complete() {
                    return Ok(());
                }
            }
        }
        if let Some(block) = frames.finish() {
            decoder.block(&block, &mut out)?;
        }
        if decoder.is_complete() { Ok(()) } else { decoder.end(&mut out) }
    };
    match read() {
        Ok(()) => Ok(out.into()),
        Err(error) => {
            decoder.broken(&mut out);
            Err((error, out.into()))
        }
    }
}

/// Tells items in short.
fn short(items: &[Item]) -> Vec<String> {
    let part = |part: &Option<Part>| match part.as_ref().and_then(|part| part.kind.as_ref()) {
        Some(PartKind::ToolCall(call)) => format!("call {} {}", call.id, call.name),
        Some(PartKind::Thought(_)) => "thought".to_owned(),
        Some(PartKind::Text(_)) => "text".to_owned(),
        Some(PartKind::Extension(extension)) => format!("extension {}", extension.r#type),
        _ => "other".to_owned(),
    };
    let tell = |item: &Item| match item {
        Item::Event(Told::Start(_)) => "start".to_owned(),
        Item::Event(Told::PartStart(start)) => part(&start.initial),
        Item::Event(Told::Text(delta)) => format!("+{}", delta.text),
        Item::Event(Told::Thought(delta)) => format!("~{}", delta.text),
        Item::Event(Told::ToolCall(delta)) => format!("({})", delta.input),
        Item::Event(Told::Logprobs(delta)) => format!("p{}", delta.logprobs[0].logprob),
        Item::Event(Told::PartEnd(end)) => {
            let token = end.continuity.as_ref().map(|one| String::from_utf8_lossy(&one.token).into_owned());
            format!("end {} {}", token.unwrap_or_default(), end.annotations.len())
        }
        Item::Event(Told::ChoiceEnd(end)) => {
            format!("{:?} {}", end.finish_reason(), end.upstream_finish_reason)
        }
        Item::Event(Told::Usage(usage)) => format!("usage {:?} {}", usage.input_tokens, usage.r#final),
        Item::Event(Told::End(end)) => format!("end {}", end.upstream_response_id),
        _ => "?".to_owned(),
    };
    items.iter().map(tell).collect()
}

fn told(events: &[&str]) -> Vec<String> {
    short(&run(stream(events).as_bytes(), 4096).map_err(|(error, _)| error.message).unwrap())
}

fn notes(items: &[Item]) -> Vec<Annotation> {
    let ends = items.iter().filter_map(|item| match item {
        Item::Event(Told::PartEnd(end)) => Some(end.annotations.clone()),
        _ => None,
    });
    ends.flatten().collect()
}

#[test]
fn co_citations_and_co_thinking_are_told_in_order() {
    let events = [
        START,
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"hm"}}}}"#,
        r#"{"type":"content-end","index":0}"#,
        r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"Ruby"}}},"logprobs":{"token_ids":[1],"text":"Ruby","logprobs":[-0.5]}}"#,
        r#"{"type":"content-end","index":1}"#,
        r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":4,"text":"Ruby","sources":[{"type":"tool","id":"f_1:0","tool_output":{"content":"Ruby"}},{"type":"document","id":"doc:0","document":{"title":"facts"}}],"type":"TEXT_CONTENT"}}}}"#,
        r#"{"type":"citation-end","index":0}"#,
        END,
    ];
    let items = run(stream(&events).as_bytes(), 4096).map_err(|(error, _)| error.message).unwrap();
    assert_eq!(
        short(&items),
        [
            "start",
            "thought",
            "~hm",
            "end thinking 0",
            "text",
            "+Ruby",
            "p-0.5",
            "end  2",
            "Stop COMPLETE",
            "usage Some(507) true",
            "end i1"
        ]
    );
    let notes = notes(&items);
    assert_eq!((notes[0].start_index, notes[0].end_index), (Some(0), Some(4)));
    let Some(Note::Document(cited)) = &notes[1].kind else { panic!() };
    assert_eq!(
        (cited.document_id.as_str(), cited.title.as_str(), cited.quote.as_str()),
        ("doc:0", "facts", "Ruby")
    );
}

#[test]
fn co_tool_plan_is_a_thought_and_co_null_args_are_an_object() {
    let events = [
        START,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will"}}}"#,
        r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"a","type":"function","function":{"name":"f","arguments":""}}}}}"#,
        r#"{"type":"tool-call-end","index":0}"#,
        r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"b","type":"function","function":{"name":"g","arguments":null}}}}}"#,
        r#"{"type":"tool-call-delta","index":1,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"x\""}}}}}"#,
        r#"{"type":"tool-call-delta","index":1,"delta":{"message":{"tool_calls":{"function":{"arguments":":1}"}}}}}"#,
        r#"{"type":"tool-call-end","index":1}"#,
        r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":null}}"#,
    ];
    assert_eq!(
        told(&events),
        [
            "start",
            "thought",
            "~I will",
            "end tool_plan 0",
            "call a f",
            "({})",
            "end  0",
            "call b g",
            "({\"x\")",
            "(:1})",
            "end  0",
            "ToolCalls TOOL_CALL",
            "end i1"
        ]
    );
}

#[test]
fn a_whole_answer_has_the_same_events() {
    let body = r#"{"id":"i","message":{"role":"assistant","tool_plan":"p","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"é yes"},{"type":"odd","x":1}],
        "tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":null}}],
        "citations":[{"start":2,"end":5,"text":"yes","sources":[],"type":"TEXT_CONTENT","content_index":1},{"start":0,"end":1,"text":"p","sources":[{"id":"d"}],"type":"PLAN"}]},
        "finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":3}}}"#;
    let items = Decoder::new("mine", "command").whole(body.as_bytes()).unwrap();
    assert_eq!(
        short(&items),
        [
            "start",
            "thought",
            "~p",
            "end tool_plan 1",
            "thought",
            "~hm",
            "end thinking 0",
            "text",
            "+é yes",
            "end  1",
            "extension odd",
            "end  0",
            "call a f",
            "({})",
            "end  0",
            "ToolCalls COMPLETE",
            "usage Some(3) true",
            "end i"
        ]
    );
    let Item::Event(Told::Start(start)) = &items[0] else { panic!() };
    assert_eq!(start.model, "command");
    assert!(matches!(&notes(&items)[1].kind, Some(Note::Extension(one)) if one.r#type == "citation"));
}

#[test]
fn co_finish_words_are_mapped_and_kept() {
    for (word, reason) in [
        ("COMPLETE", "Stop"),
        ("STOP_SEQUENCE", "Stop"),
        ("MAX_TOKENS", "Length"),
        ("ERROR_TOXIC", "ContentFilter"),
        ("ERROR_LIMIT", "ContextLength"),
        ("USER_CANCEL", "Other"),
    ] {
        let end = format!(r#"{{"type":"message-end","delta":{{"finish_reason":"{word}"}}}}"#);
        let last = told(&[START, &end]);
        assert_eq!(last[1], format!("{reason} {word}"));
    }
}

#[test]
fn what_broke_off_is_a_failure_that_tells_the_usage_it_knows() {
    let text = r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a"}}}}"#;
    for (word, kind) in [("ERROR", Kind::Unavailable), ("TIMEOUT", Kind::Timeout)] {
        let end = format!(
            r#"{{"type":"message-end","delta":{{"finish_reason":"{word}","error":"oh","usage":{{"tokens":{{"input_tokens":3}}}}}}}}"#
        );
        let (error, items) = run(stream(&[START, text, &end]).as_bytes(), 4096).unwrap_err();
        assert_eq!((error.kind, error.upstream_code.as_str()), (kind, word));
        assert!(error.message.contains("oh") && short(&items).last().unwrap() == "usage Some(3) false");
    }
    let (cut, _) = run(stream(&[START, text]).as_bytes(), 4096).unwrap_err();
    assert_eq!(cut.kind, Kind::Unavailable);
    let whole = r#"{"id":"i","message":{"content":[]},"finish_reason":"ERROR"}"#;
    assert_eq!(Decoder::new("m", "c").whole(whole.as_bytes()).unwrap_err().kind, Kind::Unavailable);
}

#[test]
fn errors_and_what_is_no_stream_are_told_apart() {
    let in_stream = r#"{"id":"x","message":"too many tokens: size limit exceeded"}"#;
    let (error, _) = run(format!("data: {in_stream}\n\n").as_bytes(), 4096).unwrap_err();
    assert!(error.message.contains("too many tokens"), "{}", error.message);
    for (body, kind) in [
        ("<html>", Kind::BadResponse),
        ("", Kind::BadResponse),
        ("data: [DONE]\n\n", Kind::Unavailable),
        ("data: {\n\n", Kind::BadResponse),
    ] {
        assert_eq!(run(body.as_bytes(), 4096).unwrap_err().0.kind, kind, "{body}");
    }
    let refused = Decoder::new("m", "c").whole(in_stream.as_bytes()).unwrap_err();
    assert!(refused.message.contains("too many tokens"));
    assert_eq!(Decoder::new("m", "c").whole(b"<html>").unwrap_err().kind, Kind::BadResponse);
}

fn any_event() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec![
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "citation-start",
        "message-end",
        "debug",
        "",
    ]);
    let message = prop::sample::select(vec![
        r#"{"content":{"text":"é"}}"#,
        r#"{"content":{"thinking":"h"}}"#,
        r#"{"content":[{"type":"odd"},7]}"#,
        r#"{"tool_plan":"p"}"#,
        r#"{"tool_calls":{"id":"a","function":{"name":"f","arguments":"{"}}}"#,
        r#"{"tool_calls":[null,{"function":7}]}"#,
        r#"{"citations":{"start":0,"end":-1,"sources":[{"id":1},7]}}"#,
        "null",
        "7",
    ]);
    (kind, message, 0..3_i32).prop_map(|(kind, message, index)| {
        let delta = format!(r#"{{"message":{message},"finish_reason":"COMPLETE","usage":{{"tokens":7}}}}"#);
        format!("data: {{\"type\":\"{kind}\",\"index\":{index},\"delta\":{delta}}}\n\n")
    })
}

proptest! {
    #[test]
    fn no_answer_makes_the_decoder_panic_and_slicing_changes_nothing(
        events in prop::collection::vec(any_event(), 0..8), noise in "[ -~\n\u{e9}]{0,24}", piece in 1..9_usize,
    ) {
        let body = events.concat() + &noise;
        let all = |result: Result<Vec<Item>, (Error, Vec<Item>)>| match result {
            Ok(items) => (None, short(&items)),
            Err((error, items)) => (Some(error.kind), short(&items)),
        };
        prop_assert_eq!(all(run(body.as_bytes(), piece)), all(run(body.as_bytes(), usize::MAX)));
        let _ = Decoder::new("m", "c").whole(body.as_bytes());
    }
}
