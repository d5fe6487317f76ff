//! Tests of the decoder: one per quirk of the recordings' index, then what any bytes may do.

use futures_util::StreamExt as _;
use proptest::prelude::*;
use tollgate_api::v1::{self, part};

use super::*;
use crate::{
    call::Event,
    provider::{
        aws::frames::testing::{event, message},
        follow::{Follow, Frames as _},
    },
};

const STOP: (&str, &str) = ("messageStop", r#"{"p":"ab","stopReason":"end_turn"}"#);
const METADATA: (&str, &str) = (
    "metadata",
    r#"{"metrics":{"latencyMs":9},"p":"abc","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#,
);

fn body(events: &[(&str, &str)]) -> Vec<u8> {
    events.iter().flat_map(|(name, payload)| event(name, payload)).collect()
}

/// Runs a stream through the decoder, in pieces of that size.
fn told(body: &[u8], piece: usize) -> (Vec<Item>, Option<Error>) {
    let (mut decoder, mut frames) = (Decoder::new("mine", None), Splitter::default());
    let mut out = VecDeque::new();
    for bytes in body.chunks(piece.max(1)) {
        for block in frames.push(Bytes::copy_from_slice(bytes)).unwrap() {
            if let Err(error) = decoder.block(&block, &mut out) {
                return (out.into(), Some(error));
            }
            if decoder.is_complete() {
                return (out.into(), None);
            }
        }
    }
    let ended = match frames.finish() {
        Some(block) => decoder.block(&block, &mut out),
        None => decoder.end(&mut out),
    };
    (out.into(), ended.err())
}

fn streamed(events: &[(&str, &str)]) -> Vec<Event> {
    let (items, error) = told(&body(events), 7);
    assert!(error.is_none(), "{error:?}");
    events_of(items)
}

fn whole(body: &str) -> Vec<Event> {
    events_of(Decoder::new("mine", None).whole(body.as_bytes()).unwrap())
}

fn events_of(items: Vec<Item>) -> Vec<Event> {
    let event = |item| match item {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    };
    items.into_iter().map(event).collect()
}

/// Says in short what an answer tells.
fn short(events: &[Event]) -> Vec<String> {
    let part = |part: &v1::Part| match part.kind.as_ref().unwrap() {
        part::Kind::Text(text) => format!("text part {text}"),
        part::Kind::Thought(thought) => format!("thought part {:?}", thought.redacted),
        part::Kind::ToolCall(call) => {
            format!("call {} {}{}", call.id, call.name, if call.executed_upstream { " upstream" } else { "" })
        }
        part::Kind::ToolResult(result) => format!("result {} {:?}", result.tool_call_id, result.is_error),
        part::Kind::Media(media) => format!("media {}", media.mime_type),
        part::Kind::Extension(extension) => format!("extension {}", extension.json),
        part::Kind::Refusal(text) => format!("refusal {text}"),
    };
    let say = |event: &Event| match event {
        Event::Start(_) => "start".to_owned(),
        Event::PartStart(start) => part(start.initial.as_ref().unwrap()),
        Event::Text(delta) => format!("text {}", delta.text),
        Event::Thought(delta) => format!("thought {}", delta.text),
        Event::ToolCall(delta) => format!("input {}", delta.input),
        Event::Media(delta) => format!("bytes {}", delta.data.len()),
        Event::PartEnd(end) => {
            let token = end.continuity.as_ref().map(|continuity| continuity.token.clone());
            format!("part end {:?} {}", token.unwrap_or_default(), end.annotations.len())
        }
        Event::ChoiceEnd(end) => format!("{:?}", end.finish_reason()),
        Event::Usage(usage) => format!("usage {:?} {:?}", usage.input_tokens, usage.output_tokens),
        Event::End(end) => {
            let names: Vec<&str> = end.extensions.iter().map(|one| one.r#type.as_str()).collect();
            format!("end {}", names.join(","))
        }
        other => format!("{other:?}"),
    };
    events.iter().map(say).collect()
}

#[test]
fn br_no_block_start_br_metadata_last_br_padding_a_plain_text_answer() {
    let events = streamed(&[
        ("messageStart", r#"{"p":"abcdefg","role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hel"},"p":"abcd"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":""},"p":"a"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"lo"},"p":"abcde"}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0,"p":"abc"}"#),
        STOP,
        METADATA,
    ]);
    assert_eq!(
        short(&events),
        ["start", "text Hel", "text lo", "part end b\"\" 0", "Stop", "usage Some(3) Some(2)", "end metrics"]
    );
}

#[test]
fn br_tool_fragments_br_parallel_tools_are_told_one_after_the_other() {
    let events = streamed(&[
        ("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"toolUse":{"name":"f","toolUseId":"t1"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"a\""}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":":1}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":1,"start":{"toolUse":{"name":"g","toolUseId":"t2"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":""}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
        METADATA,
    ]);
    assert_eq!(
        short(&events)[..9],
        [
            "start",
            "call t1 f",
            "input {\"a\"",
            "input :1}",
            "part end b\"\" 0",
            "call t2 g",
            "input {}",
            "part end b\"\" 0",
            "ToolCalls"
        ]
    );
}

#[test]
fn br_tool_input_object_of_a_whole_answer_is_written_as_it_came() {
    let events = whole(
        r#"{"output":{"message":{"role":"assistant","content":[
            {"toolUse":{"input":{"b":1.50,"a":[]},"name":"f","toolUseId":"t1","type":"tool_use"}},
            {"toolUse":{"input":{},"name":"g","toolUseId":"t2"}}]}},
            "stopReason":"tool_use","usage":{"inputTokens":1,"outputTokens":2},"serviceTier":{"type":"flex"}}"#,
    );
    assert_eq!(
        short(&events)[1..7],
        [
            "call t1 f",
            "input {\"b\":1.50,\"a\":[]}",
            "part end b\"\" 0",
            "call t2 g",
            "input {}",
            "part end b\"\" 0"
        ]
    );
    let Some(Event::End(end)) = events.last() else { panic!() };
    assert_eq!(end.service_tier, "flex");
}

#[test]
fn br_reasoning_text_comes_first_and_its_signature_is_the_token() {
    let events = streamed(&[
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"EuO="}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"a"}}"#),
        STOP,
        METADATA,
    ]);
    let expected = ["thought part b\"\"", "thought hm", "part end b\"EuO=\" 0", "text part ", "text a"];
    assert_eq!(short(&events)[1..6], expected);
    let unary = whole(
        r#"{"output":{"message":{"content":[{"reasoningContent":{"reasoningText":{"signature":"EuO=","text":"hm"}}},
            {"text":"a"}]}},"stopReason":"end_turn"}"#,
    );
    assert_eq!(short(&unary)[1..6], expected);
}

#[test]
fn an_redacted_thinking_is_kept_whole_and_unread() {
    let redacted = r#"{"reasoningContent":{"redactedContent":"RXVR"}}"#;
    let events =
        whole(&format!(r#"{{"output":{{"message":{{"content":[{redacted}]}}}},"stopReason":"end_turn"}}"#));
    assert_eq!(short(&events)[1..3], ["thought part b\"EuQ\"", "part end b\"EuQ\" 0"]);
    let delta = format!(r#"{{"contentBlockIndex":0,"delta":{redacted}}}"#);
    let events = streamed(&[("contentBlockDelta", &delta), STOP, METADATA]);
    assert_eq!(short(&events)[1..3], ["thought part b\"EuQ\"", "part end b\"EuQ\" 0"]);
}

#[test]
fn a_citation_before_its_words_belongs_to_them() {
    let citation = r#"{"location":{"documentChar":{"documentIndex":0,"end":7,"start":0}},"title":"facts"}"#;
    let delta = format!(r#"{{"contentBlockIndex":0,"delta":{{"citation":{citation}}}}}"#);
    let events = streamed(&[
        ("contentBlockDelta", &delta),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Ruby"}}"#),
        STOP,
        METADATA,
    ]);
    assert_eq!(short(&events)[1..3], ["text Ruby", "part end b\"\" 1"]);
    let unary = whole(&format!(
        r#"{{"output":{{"message":{{"content":[{{"citationsContent":{{"content":[{{"text":"Ruby"}}],"citations":[{citation}]}}}}]}}}}}}"#
    ));
    assert_eq!(short(&unary)[1..3], ["text Ruby", "part end b\"\" 1"]);
}

#[test]
fn tools_that_bedrock_runs_are_marked_and_their_results_told() {
    let events = streamed(&[
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"name":"run","toolUseId":"t","type":"server_tool_use"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":1,"start":{"toolResult":{"status":"success","toolUseId":"t","type":"run_result"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolResult":[{"json":{"exitCode":0}}]}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        STOP,
        METADATA,
    ]);
    assert_eq!(
        short(&events)[1..7],
        [
            "call t run upstream",
            "input {}",
            "part end b\"server_tool_use\" 0",
            "result t false",
            "part end b\"run_result\" 0",
            "Stop"
        ]
    );
}

#[test]
fn br_guardrail_interventions_are_told_with_their_trace() {
    let events = whole(
        r#"{"output":{"message":{"content":[{"text":"{ADDRESS}"}]}},"stopReason":"guardrail_intervened",
            "trace":{"guardrail":{"inputAssessment":{}}},"performanceConfig":{"latency":"optimized"}}"#,
    );
    assert_eq!(short(&events)[3..], ["ContentFilter", "end trace,performanceConfig"]);
}

#[test]
fn every_reason_is_known_and_the_vendors_word_is_kept() {
    for (word, reason) in [
        ("end_turn", "Stop"),
        ("stop_sequence", "Stop"),
        ("max_tokens", "Length"),
        ("content_filtered", "ContentFilter"),
        ("model_context_window_exceeded", "ContextLength"),
        ("malformed_tool_use", "Other"),
        ("", "Other"),
    ] {
        let stop =
            format!(r#"{{"stopReason":"{word}","additionalModelResponseFields":{{"stop_sequence":"END"}}}}"#);
        let events = streamed(&[("messageStop", &stop), METADATA]);
        assert_eq!(short(&events)[1], reason, "{word}");
        let Event::ChoiceEnd(end) = &events[1] else { panic!() };
        assert_eq!((end.upstream_finish_reason.as_str(), end.stop_sequence.as_str()), (word, "END"));
    }
}

#[test]
fn pictures_and_unknown_blocks_are_kept() {
    let events = whole(
        r#"{"output":{"message":{"content":[{"image":{"format":"png","source":{"bytes":"YWJj"}}},
            {"novelty":{"a":1}},{"text":7},7]}},"stopReason":"end_turn"}"#,
    );
    assert_eq!(
        short(&events)[1..6],
        [
            "media image/png",
            "bytes 3",
            "part end b\"\" 0",
            "extension {\"novelty\":{\"a\":1}}",
            "part end b\"\" 0"
        ]
    );
}

#[test]
fn a_schemas_tool_is_told_as_text() {
    let mut decoder = Decoder::new("mine", Some("structured_response"));
    let mut out = VecDeque::new();
    for (name, payload) in [
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"name":"structured_response","toolUseId":"t"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"a\":"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"1}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
        METADATA,
    ] {
        for block in Splitter::default().push(event(name, payload).into()).unwrap() {
            decoder.block(&block, &mut out).unwrap();
        }
    }
    assert_eq!(short(&events_of(out.into()))[1..5], ["text {\"a\":", "text 1}", "part end b\"\" 0", "Stop"]);
}

#[test]
fn an_exception_in_the_stream_is_classified_by_its_name() {
    for (name, kind) in [
        ("throttlingException", Kind::RateLimited { retry_after: None }),
        ("modelStreamErrorException", Kind::Unavailable),
        ("internalServerException", Kind::Unavailable),
        ("serviceUnavailableException", Kind::Unavailable),
        ("validationException", Kind::Invalid),
        ("modelTimeoutException", Kind::Timeout),
    ] {
        let headers = [(":message-type", "exception"), (":exception-type", name)];
        let mut bytes = body(&[("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#)]);
        bytes.extend(message(&headers, br#"{"message":"Too many tokens, please wait"}"#));
        let (items, error) = told(&bytes, 5);
        let error = error.unwrap();
        // The words of a length that does not fit stand in messages of limits, too.
        let told_kind = if name == "validationException" { Kind::ContextLength } else { kind };
        assert_eq!((error.kind, error.upstream_type.as_str()), (told_kind, name));
        assert_eq!(short(&events_of(items)), ["start", "text a"]);
    }
    let headers = [(":message-type", "error"), (":error-code", "internalFailure"), (":error-message", "oh")];
    let error = told(&message(&headers, b""), 9).1.unwrap();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Unavailable, "oh"));
}

#[test]
fn only_message_stop_and_metadata_make_an_answer_complete() {
    let text = ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#);
    let whole = body(&[text, STOP, METADATA]);
    for end in 0..whole.len() {
        let (_, error) = told(&whole[..end], 11);
        let kind = if end == 0 { Kind::BadResponse } else { Kind::Unavailable };
        assert_eq!(error.unwrap().kind, kind, "{end}");
    }
    assert_eq!(told(b"<html>no event stream</html>", 99).1.unwrap().kind, Kind::BadResponse);
    let unstopped = body(&[text, METADATA]);
    assert_eq!(told(&unstopped, 99).1.unwrap().kind, Kind::Unavailable);
}

#[test]
fn bodies_that_are_no_answer_are_bad_responses() {
    for body in ["", "<html>", "{", "[]", "{}", r#"{"message":"x"}"#] {
        assert_eq!(
            Decoder::new("mine", None).whole(body.as_bytes()).unwrap_err().kind,
            Kind::BadResponse,
            "{body}"
        );
    }
}

#[tokio::test]
async fn usage_of_a_broken_answer_is_not_made_up() {
    let cut = body(&[("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#)]);
    let items: Vec<_> =
        Follow::new(http_body_util::Full::new(Bytes::from(cut)), Decoder::new("mine", None)).collect().await;
    assert_eq!(items.len(), 3);
    assert_eq!(items[2].as_ref().unwrap_err().kind, Kind::Unavailable);
}

fn debug(told: &(Vec<Item>, Option<Error>)) -> String {
    format!("{:?} {:?}", told.0, told.1.as_ref().map(|error| (error.kind, &error.message)))
}

proptest! {
    #[test]
    fn slicing_changes_nothing_and_nothing_panics(
        payloads in proptest::collection::vec(
            (0_usize..8, "[{}\\[\\]\":a-z0-9, ]{0,60}"), 0..6),
        noise in proptest::collection::vec(any::<u8>(), 0..20),
        piece in 1_usize..40,
    ) {
        const KNOWN: [(&str, &str); 7] = [
            ("messageStart", "{}"),
            ("contentBlockStart", r#"{"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#),
            ("contentBlockDelta", r#"{"delta":{"toolUse":{"input":"{}"},"text":"é"}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":-1,"delta":{"reasoningContent":[]}}"#),
            ("contentBlockStop", "{}"),
            STOP,
            METADATA,
        ];
        let mut bytes: Vec<u8> = payloads
            .iter()
            .flat_map(|(known, payload)| match KNOWN.get(*known) {
                Some((name, payload)) => event(name, payload),
                None => event("contentBlockDelta", payload),
            })
            .collect();
        bytes.extend(noise);
        prop_assert_eq!(debug(&told(&bytes, piece)), debug(&told(&bytes, bytes.len())));
    }
}
