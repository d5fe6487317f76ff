//! Tests of the express lane: what is patched, and what is seen.

use ::http::HeaderMap;
use bytes::Bytes;
use proptest::prelude::*;
use tollgate_api::v1::FinishReason;

use super::*;
use crate::{
    call::Dialect,
    provider::{express::Express, follow::Lane as _, sse::Splitter},
};

fn raw(body: &'static str) -> Raw {
    let at = body.find("\"alias\"").unwrap();
    Raw {
        dialect: Dialect::AnthropicMessages,
        body: Bytes::from_static(body.as_bytes()),
        model: at..at + "\"alias\"".len(),
        stream_options: None,
        headers: HeaderMap::new(),
    }
}

fn sent(body: &'static str, form: Form) -> String {
    let pieces = request(&raw(body), "claude-x", form).unwrap();
    String::from_utf8(pieces.whole().unwrap().concat()).unwrap()
}

#[test]
fn only_the_model_is_patched() {
    let body = r#"{ "max_tokens":1,  "model" : "alias" ,"new_thing":[1.0]}"#;
    assert_eq!(sent(body, Form::Own), body.replace("alias", "claude-x"));
    assert_eq!(sent(body, Form::Count), body.replace("alias", "claude-x"));
}

#[test]
fn an_vertex_form_has_a_version_in_place_of_the_model() {
    for (body, expected) in [
        (
            r#"{ "max_tokens":1,  "model" : "alias" ,"n":[1.0]}"#,
            r#"{ "max_tokens":1,  "anthropic_version":"vertex-2023-10-16" ,"n":[1.0]}"#,
        ),
        (r#"{"model":"alias"}"#, r#"{"anthropic_version":"vertex-2023-10-16"}"#),
        (
            r#"{"model":"alias" , "anthropic_version": "x","a":1}"#,
            r#"{ "anthropic_version": "vertex-2023-10-16","a":1}"#,
        ),
        (r#"{"anthropic_version":"x" , "model":"alias"}"#, r#"{"anthropic_version":"vertex-2023-10-16" }"#),
    ] {
        assert_eq!(sent(body, Form::Vertex), expected);
    }
}

#[test]
fn an_bedrock_form_has_neither_model_nor_stream_but_version_and_betas() {
    let mut raw = raw(r#"{ "model":"alias","stream": true,"n":[1.0, 2],"messages":[ {"role":"user"} ]}"#);
    for line in ["a-1, b-2", "c-3"] {
        raw.headers.append("anthropic-beta", ::http::HeaderValue::from_static(line));
    }
    let body = String::from_utf8(invocation(&raw).unwrap().whole().unwrap().concat()).unwrap();
    let expected = r#"{"n":[1.0, 2],"messages":[ {"role":"user"} ],"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["a-1","b-2","c-3"]}"#;
    assert_eq!(body, expected);
}

#[test]
fn spans_that_do_not_fit_are_a_mistake_of_ours() {
    let mut raw = raw(r#"{"model":"alias"}"#);
    raw.model = 0..99;
    assert!(request(&raw, "claude-x", Form::Vertex).is_err());
}

const STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-x\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hé\"}   }\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{}}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":25}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

/// Watches a body that comes in pieces of so many bytes. Returns the bytes, what was seen in all, and the outcome.
fn watched(body: &[u8], step: usize) -> (Vec<u8>, Seen, Result<(), Error>) {
    let (mut lane, mut frames) = (Express(Watch::default()), Splitter::default());
    let mut out = std::collections::VecDeque::new();
    let mut all = || -> Result<(), Error> {
        for piece in body.chunks(step) {
            for block in frames.push(Bytes::copy_from_slice(piece)).unwrap() {
                lane.block(&block, &mut out)?;
            }
        }
        if let Some(block) = frames.finish() {
            lane.block(&block, &mut out)?;
        }
        if lane.is_complete() { Ok(()) } else { lane.end(&mut out) }
    };
    let result = all();
    let (mut bytes, mut sum) = (Vec::new(), Seen::default());
    for item in out {
        let Item::Raw(raw, seen) = item else { panic!("not raw") };
        bytes.extend_from_slice(&raw);
        sum = Seen {
            content_events: sum.content_events + seen.content_events,
            output_tokens: sum.output_tokens + seen.output_tokens,
            usage: seen.usage.or(sum.usage),
            finish_reason: seen.finish_reason.or(sum.finish_reason),
            response_id: seen.response_id.or(sum.response_id),
            model: seen.model.or(sum.model),
            last: seen.last,
            progress: seen.progress,
        };
    }
    (bytes, sum, result)
}

#[test]
fn a_stream_passes_untouched_and_is_seen() {
    let (bytes, seen, result) = watched(STREAM.as_bytes(), usize::MAX);
    result.unwrap();
    assert_eq!(bytes, STREAM.as_bytes());
    assert_eq!((seen.response_id.as_deref(), seen.model.as_deref()), (Some("msg_1"), Some("claude-x")));
    assert_eq!((seen.content_events, seen.output_tokens, seen.last), (2, 1, true));
    assert_eq!(seen.finish_reason, Some(FinishReason::ToolCalls));
    let usage = seen.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(15), Some(25)));
}

#[test]
fn a_start_and_a_ping_are_no_content_and_a_ping_is_no_progress() {
    let events: Vec<&str> = STREAM.split_inclusive("\n\n").collect();
    let mut lane = Express(Watch::default());
    let mut see = |event: &'static str| {
        let mut out = std::collections::VecDeque::new();
        let mut frames = Splitter::default();
        for block in frames.push(Bytes::from_static(event.as_bytes())).unwrap() {
            lane.block(&block, &mut out).unwrap();
        }
        let Some(Item::Raw(_, seen)) = out.pop_front() else { panic!() };
        (seen.content_events, seen.progress)
    };
    assert_eq!(see(events[0]), (0, true));
    assert_eq!(see(events[1]), (0, true));
    assert_eq!(see(events[2]), (0, false));
    assert_eq!(see(events[3]), (1, true));
}

#[test]
fn events_of_unknown_kinds_pass() {
    let odd = "event: moon\ndata: {\"type\":\"moon\",\"message\":\"full\",\"delta\":7}\n\n";
    let (bytes, seen, result) = watched(format!("{odd}{STREAM}").as_bytes(), usize::MAX);
    result.unwrap();
    assert_eq!((bytes.len(), seen.last), (odd.len() + STREAM.len(), true));
}

#[test]
fn an_error_and_a_missing_end_are_failures() {
    let cut = &STREAM[..STREAM.find("event: message_stop").unwrap()];
    assert_eq!(watched(cut.as_bytes(), usize::MAX).2.unwrap_err().kind, Kind::Unavailable);
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let (bytes, _, result) = watched(format!("{cut}{error}").as_bytes(), usize::MAX);
    assert_eq!((bytes.len(), result.unwrap_err().kind), (cut.len(), Kind::Unavailable));
    for nothing in ["", "<html>", "data: {\"type\":\"message_stop\"}\n\n", "data: nothing\n\n"] {
        assert_eq!(
            watched(nothing.as_bytes(), usize::MAX).2.unwrap_err().kind,
            Kind::BadResponse,
            "{nothing}"
        );
    }
}

#[test]
fn a_whole_answer_passes_untouched_and_is_seen() {
    let body = r#" {"id":"msg_1","model":"claude-x","content":[{"type":"text","text":"hi"}],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":1}}"#;
    let Item::Raw(bytes, seen) = whole(Bytes::from_static(body.as_bytes())).unwrap() else { panic!() };
    assert_eq!(bytes, body);
    assert_eq!(
        (seen.finish_reason, seen.response_id.as_deref()),
        (Some(FinishReason::Length), Some("msg_1"))
    );
    assert_eq!(seen.usage.unwrap().input_tokens, Some(3));
    let error = br#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#;
    assert_eq!(whole(Bytes::from_static(error)).unwrap_err().kind, Kind::RateLimited { retry_after: None });
}

#[test]
fn a_count_passes_untouched_if_it_is_one() {
    assert!(matches!(count(Bytes::from_static(b"{\"input_tokens\":7}")), Ok(Item::Raw(..))));
    for body in [&b"{}"[..], b"", b"[]"] {
        assert_eq!(count(Bytes::from_static(body)).unwrap_err().kind, Kind::BadResponse);
    }
}

proptest! {
    #[test]
    fn slices_never_change_what_passes_and_is_seen(step in 1usize..300) {
        let (bytes, seen, result) = watched(STREAM.as_bytes(), step);
        prop_assert!(result.is_ok());
        prop_assert_eq!(bytes, STREAM.as_bytes());
        prop_assert_eq!((seen.content_events, seen.output_tokens), (2, 1));
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..40) {
        let (passed, _, _) = watched(&bytes, step);
        prop_assert!(bytes.starts_with(&passed) || passed.ends_with(b"\n\n"));
    }
}
