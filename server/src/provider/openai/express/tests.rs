//! Tests of the express lane.

use std::collections::VecDeque;

use ::http::HeaderMap;

use super::*;
use crate::{
    call::Dialect,
    provider::{express::Express, follow::Lane, sse::Splitter},
};

fn sent(body: &'static str, streamed: bool) -> String {
    capped(body, streamed, None)
}

fn capped(body: &'static str, streamed: bool, cap: Option<Cap>) -> String {
    let find = |text: &str| body.find(text).map(|at| at + text.len());
    let model = find("\"model\":").unwrap();
    let model = model..model + body[model..].find([',', '}']).unwrap();
    let options = find("\"stream_options\":").filter(|at| !body[*at..].starts_with("null"));
    let stream_options = options.map(|at| at..at + body[at..].find('}').unwrap() + 1);
    let raw = Raw {
        dialect: Dialect::OpenAiChat,
        body: body.into(),
        model,
        stream_options,
        headers: HeaderMap::new(),
    };
    String::from_utf8(request(&raw, "real\"x", streamed, cap).unwrap().join().to_vec()).unwrap()
}

#[test]
fn only_the_model_is_patched_in_a_whole_request() {
    assert_eq!(
        sent(r#" {"a" : 1.0,"model":"alias","b":2}"#, false),
        r#" {"a" : 1.0,"model":"real\"x","b":2}"#
    );
}

#[test]
fn usage_is_asked_for_in_streams_whatever_the_caller_says() {
    let asked = r#"{"include_usage":true}"#;
    for (body, expected) in [
        (r#"{"model":"m"}"#, format!(r#"{{"stream_options":{asked},"model":"real\"x"}}"#)),
        (
            r#"{"stream_options":null,"model":"m"}"#,
            format!(r#"{{"stream_options":{asked},"model":"real\"x"}}"#),
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":false,"x":1}}"#,
            r#"{"model":"real\"x","stream_options":{"include_usage":true,"x":1}}"#.to_owned(),
        ),
        (
            r#"{"stream_options":{ "include_usage":true },"model":"m"}"#,
            r#"{"stream_options":{ "include_usage":true },"model":"real\"x"}"#.to_owned(),
        ),
    ] {
        assert_eq!(sent(body, true), expected);
    }
}

#[test]
fn a_cap_is_added_or_takes_the_place_of_a_null() {
    let cap = Some(("max_tokens", 9));
    for (body, expected) in [
        (r#"{"model":"m"}"#, r#"{"max_tokens":9,"model":"real\"x"}"#),
        (r#"{"model":"m","max_tokens": null}"#, r#"{"model":"real\"x","max_tokens": 9}"#),
        (r#"{"max_tokens":null,"model":"m"}"#, r#"{"max_tokens":9,"model":"real\"x"}"#),
        // The same word within a text is none.
        (
            r#"{"model":"m","x":"\"max_tokens\""}"#,
            r#"{"max_tokens":9,"model":"real\"x","x":"\"max_tokens\""}"#,
        ),
    ] {
        assert_eq!(capped(body, false, cap), expected);
    }
    let both = r#"{"stream_options":{"include_usage":true},"max_tokens":9,"model":"real\"x"}"#;
    assert_eq!(capped(r#"{"model":"m"}"#, true, cap), both);
}

fn run(usage_wanted: bool, frames: &[&'static str]) -> (String, Vec<Seen>, Result<(), Error>) {
    let mut lane = Express(Watch::new(usage_wanted));
    let mut splitter = Splitter::default();
    let mut out = VecDeque::new();
    let mut all = || {
        for frame in frames {
            for block in splitter.push(Bytes::from_static(frame.as_bytes())).unwrap() {
                lane.block(&block, &mut out)?;
            }
        }
        if lane.is_complete() { Ok(()) } else { lane.end(&mut out) }
    };
    let result = all();
    let (mut text, mut seen) = (String::new(), Vec::new());
    for item in out {
        let Item::Raw(bytes, one) = item else { panic!("{item:?}") };
        text.push_str(std::str::from_utf8(&bytes).unwrap());
        seen.push(one);
    }
    (text, seen, result)
}

const ROLE: &str = "data: {\"id\":\"c1\",\"model\":\"m1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const TEXT: &str =
    "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_stream_passes_byte_for_byte_and_is_told_once() {
    let (text, seen, result) = run(true, &[ROLE, TEXT, STOP, USAGE, DONE]);
    result.unwrap();
    assert_eq!(text, [ROLE, TEXT, STOP, USAGE, DONE].concat());
    assert_eq!(seen.iter().map(|seen| seen.content_events).collect::<Vec<_>>(), [0, 1, 0, 0, 0]);
    assert_eq!(seen[0].response_id.as_deref(), Some("c1"));
    assert_eq!(seen[1].response_id, None);
    assert_eq!(seen[2].finish_reason, Some(v1::FinishReason::Stop));
    assert_eq!(seen[3].usage.as_ref().unwrap().input_tokens, Some(3));
    assert!(seen[4].last && !seen[3].last);
}

#[test]
fn the_usage_chunk_is_withheld_but_told_when_it_was_not_asked_for() {
    let (text, seen, result) = run(false, &[TEXT, STOP, USAGE, DONE]);
    result.unwrap();
    assert_eq!(text, [TEXT, STOP, DONE].concat());
    assert!(seen.iter().any(|seen| seen.usage.is_some()));
    let one_frame: &'static str = Box::leak([TEXT, STOP, USAGE, DONE].concat().into_boxed_str());
    let (text, seen, _) = run(false, &[one_frame]);
    assert_eq!(text, [TEXT, STOP, DONE].concat());
    assert!(seen.last().unwrap().last && seen.last().unwrap().usage.is_some());
}

#[test]
fn comments_are_no_progress() {
    let (_, seen, _) = run(true, &[": OPENROUTER PROCESSING\n\n", TEXT, DONE]);
    assert_eq!(seen.iter().map(|seen| seen.progress).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn an_end_without_done_needs_every_finish_reason_and_usage() {
    run(true, &[TEXT, STOP, USAGE]).2.unwrap();
    let with_usage = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3}}\n\n";
    run(true, &[TEXT, with_usage]).2.unwrap();
    for frames in [&[TEXT, STOP][..], &[USAGE, TEXT, STOP], &[TEXT, USAGE]] {
        assert_eq!(run(true, frames).2.unwrap_err().kind, Kind::Unavailable, "{frames:?}");
    }
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n";
    assert_eq!(run(true, &[TEXT, other, STOP]).2.unwrap_err().kind, Kind::Unavailable);
    run(true, &[TEXT, DONE]).2.unwrap();
}

#[test]
fn what_looks_like_an_end_but_is_none_fails() {
    for (frames, kind) in [
        (&[ROLE][..], Kind::Unavailable),
        (&[TEXT], Kind::Unavailable),
        (&[], Kind::BadResponse),
        (&[DONE], Kind::BadResponse),
        (&[ROLE, DONE], Kind::BadResponse),
        (&["<html>\n<body>\n\n"], Kind::BadResponse),
        (&["data: hello\n\n"], Kind::BadResponse),
        (
            &[TEXT, "event: error\ndata: {\"error\":{\"message\":\"x\",\"code\":429}}\n\n"],
            Kind::RateLimited { retry_after: None },
        ),
        (&[TEXT, "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n"], Kind::Unavailable),
    ] {
        assert_eq!(run(true, frames).2.unwrap_err().kind, kind, "{frames:?}");
    }
}

#[test]
fn what_came_before_an_error_in_the_same_frame_is_handed_on() {
    let frame: &'static str = Box::leak(format!("{TEXT}data: {{\"error\":\"x\"}}\n\n").into_boxed_str());
    let (text, _, result) = run(true, &[frame]);
    assert_eq!(text, TEXT);
    assert!(result.is_err());
}

#[test]
fn a_whole_answer_passes_untouched_and_must_be_one() {
    let body =
        "\n  {\"id\":\"c\",\"choices\":[{\"message\":{\"content\":\"four\"},\"finish_reason\":\"length\"}]}";
    let Item::Raw(raw, seen) = whole_chat(Bytes::from_static(body.as_bytes())).unwrap() else { panic!() };
    assert_eq!(raw, body);
    assert_eq!((seen.content_events, seen.last), (1, true));
    assert_eq!(seen.finish_reason, Some(v1::FinishReason::Length));
    for (body, kind) in [
        ("", Kind::BadResponse),
        ("<html>", Kind::BadResponse),
        ("{\"choices\":[", Kind::BadResponse),
        ("{\"choices\":null}", Kind::BadResponse),
        ("{\"choices\":[]}", Kind::BadResponse),
        ("[]", Kind::BadResponse),
        ("{\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}", Kind::ContextLength),
        ("{\"choices\":[{\"error\":{\"code\":502,\"message\":\"x\"}}]}", Kind::Unavailable),
    ] {
        assert_eq!(whole_chat(Bytes::from_static(body.as_bytes())).unwrap_err().kind, kind, "{body}");
    }
}
