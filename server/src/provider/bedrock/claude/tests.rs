//! Tests of the lane, on loopback and in any slicing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;
use crate::provider::{
    Kind,
    aws::frames::testing::{event, message},
    follow::Frames as _,
};

const START: &str = r#"{"type":"message_start","message":{"id":"m1","usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":1}}}"#;
const DELTA: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#;
const STOP: &str = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"outputTokenCount":5}}"#;

fn chunk(inner: &str) -> Vec<u8> {
    event("chunk", &format!(r#"{{"bytes":"{}","p":"abc"}}"#, STANDARD.encode(inner)))
}

/// Runs a stream through the lane, in pieces of that size.
fn told(body: &[u8], piece: usize) -> (String, Option<Box<v1::Usage>>, Option<Kind>) {
    let (mut lane, mut frames) = (Events::default(), Splitter::default());
    let mut out = VecDeque::new();
    let mut failed = None;
    for bytes in body.chunks(piece) {
        for block in frames.push(Bytes::copy_from_slice(bytes)).unwrap() {
            if failed.is_none() && !lane.is_complete() {
                failed = lane.block(&block, &mut out).err();
            }
        }
    }
    if failed.is_none() && !lane.is_complete() {
        failed = match frames.finish() {
            Some(block) => lane.block(&block, &mut out).err(),
            None => lane.end(&mut out).err(),
        };
    }
    let (mut text, mut usage) = (String::new(), None);
    for item in out {
        let Item::Raw(raw, seen) = item else { panic!("only bytes pass") };
        text.push_str(&String::from_utf8_lossy(&raw));
        usage = seen.usage.or(usage);
    }
    (text, usage, failed.map(|error| error.kind))
}

#[test]
fn each_chunk_is_the_event_it_holds() {
    let body = [chunk(START), chunk(DELTA), chunk(STOP)].concat();
    let (text, usage, failed) = told(&body, 11);
    let expected = [("message_start", START), ("message_delta", DELTA), ("message_stop", STOP)]
        .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"));
    assert_eq!((text, failed), (expected.concat(), None));
    let usage = usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(9)));
}

#[test]
fn no_end_or_an_exception_is_a_failure() {
    let exception = message(
        &[(":exception-type", "throttlingException"), (":message-type", "exception")],
        br#"{"message":"slow"}"#,
    );
    let begun = chunk(START);
    let limited = Kind::RateLimited { retry_after: None };
    assert_eq!(told(&[begun.clone(), exception].concat(), 9).2, Some(limited));
    assert_eq!(told(&begun, 9).2, Some(Kind::Unavailable));
    assert_eq!(told(&[begun, chunk(STOP)[..20].to_vec()].concat(), 9).2, Some(Kind::Unavailable));
}

#[test]
fn json_over_several_lines_stays_one_event() {
    let (name, raw) = framed(&Bytes::from_static(b"{\"type\":\r\n\"ping\"}"));
    assert_eq!(
        (name.as_str(), raw.as_ref()),
        ("ping", &b"event: ping\ndata: {\"type\":\ndata: \"ping\"}\n\n"[..])
    );
}

proptest! {
    #[test]
    fn slicing_changes_nothing_and_nothing_panics(
        inner in proptest::collection::vec("[{}\\[\\]\":a-z0-9, \n]{0,60}", 0..4),
        noise in proptest::collection::vec(any::<u8>(), 0..20),
        piece in 1_usize..40,
    ) {
        let inner: Vec<u8> = inner.iter().flat_map(|inner| chunk(inner)).collect();
        let bytes = [chunk(START), inner, noise].concat();
        prop_assert_eq!(told(&bytes, piece), told(&bytes, bytes.len()));
    }
}
