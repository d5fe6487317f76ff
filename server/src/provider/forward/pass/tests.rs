//! Tests of what passes: bytes, usage, failures and ends, in any slicing.

use futures_util::StreamExt as _;
use proptest::prelude::*;

use super::*;
use crate::provider::{
    aws::frames::{
        self,
        testing::{event, message},
    },
    follow::Follow,
};

type Passed = (Vec<u8>, Usage, Option<Kind>);

/// Sends a body through in pieces of that size.
fn pass<F: Frames<Block: Unit> + 'static>(body: &[u8], piece: usize) -> Passed {
    let frames = body
        .chunks(piece)
        .map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::copy_from_slice(piece))));
    let frames: Vec<_> = frames.collect();
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let mut items = Follow::new(body, Pass::<F>::new(Usage::default()));
    let (mut bytes, mut usage, mut failed) = (Vec::new(), Usage::default(), None);
    futures_util::FutureExt::now_or_never(async {
        while let Some(item) = items.next().await {
            match item {
                Ok(Item::Raw(raw, seen)) => {
                    bytes.extend_from_slice(&raw);
                    usage = seen.usage.map_or(usage.clone(), |usage| *usage);
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => failed = Some(error.kind),
            }
        }
    })
    .unwrap();
    (bytes, usage, failed)
}

#[test]
fn an_error_within_a_piece_ends_it_there_as_if_it_had_come_alone() {
    let body = b"data: {\"a\":1}\n\ndata: {\"error\":{\"message\":\"m\"}}\n\ndata: {\"b\":1}\n\n";
    let expected = &body[..body.len() - 15];
    for piece in [1, body.len()] {
        let (bytes, _, failed) = pass::<sse::Splitter>(body, piece);
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert!(failed.is_some());
    }
}

fn chunk(inner: &str) -> Vec<u8> {
    use base64::Engine as _;
    let inner = base64::engine::general_purpose::STANDARD.encode(inner);
    event("chunk", &format!(r#"{{"bytes":"{inner}","p":"ab"}}"#))
}

#[test]
fn frames_of_aws_pass_untouched_and_are_counted() {
    let converse = [
        event("messageStart", r#"{"role":"assistant"}"#),
        event("messageStop", r#"{"stopReason":"end_turn"}"#),
        event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"cacheReadInputTokens":4}}"#),
    ]
    .concat();
    let invoke = [
        chunk(r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}"#),
        chunk(r#"{"type":"message_delta","usage":{"output_tokens":2}}"#),
        chunk(r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":7,"outputTokenCount":2}}"#),
    ]
    .concat();
    for (body, piece) in [(&converse, 1), (&converse, 50), (&invoke, 3), (&invoke, usize::MAX)] {
        let (bytes, usage, failed) = pass::<frames::Splitter>(body, piece);
        assert_eq!((&bytes, failed), (body, None));
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), Some(2)));
    }
}

#[test]
fn an_exception_or_half_a_message_is_a_failure() {
    let start = event("messageStart", "{}");
    let exception = message(
        &[(":exception-type", "throttlingException"), (":message-type", "exception")],
        br#"{"message":"slow"}"#,
    );
    let limited = Some(Kind::RateLimited { retry_after: None });
    let both = [start.clone(), exception.clone()].concat();
    let (bytes, _, failed) = pass::<frames::Splitter>(&both, 9);
    assert_eq!((&bytes, failed), (&both, limited), "the caller reads it too");
    let (bytes, _, failed) = pass::<frames::Splitter>(&exception, 9);
    assert_eq!((bytes.len(), failed), (0, limited), "at the begin its status tells");
    for cut in [start.len(), both.len() - 1] {
        let (bytes, _, failed) = pass::<frames::Splitter>(&both[..cut], 9);
        assert_eq!((&bytes, failed), (&start, Some(Kind::Unavailable)));
    }
}

#[test]
fn lines_are_whole_and_the_last_needs_no_end() {
    let body =
        "{\"done\":false}\n{\"done\":true,\n".replace(",\n", ",\"prompt_eval_count\":3,\"eval_count\":4}");
    let (bytes, usage, failed) = pass::<Lines>(body.as_bytes(), 5);
    assert_eq!((bytes.as_slice(), failed), (body.as_bytes(), None));
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(3), Some(4)));
    let (bytes, _, failed) = pass::<Lines>(b"{\"done\":false}\n{\"done\":false}\n{\"do", 5);
    assert_eq!((bytes.len(), failed), (30, Some(Kind::Unavailable)), "half a line is held back");
    let long = vec![b'x'; MAX_LINE_BYTES + 1];
    assert_eq!(pass::<Lines>(&long, 1 << 20).2, Some(Kind::BadResponse));
}

#[test]
fn ol_thinking_and_ol_tool_object_pass_as_they_came() {
    let thought = r#"{"model":"q","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#;
    let call = r#"{"model":"q","message":{"role":"assistant","content":"","tool_calls":[{"function":{"index":0,"name":"f","arguments":{"city":"Paris"}}}]},"done":false}"#;
    let end = r#"{"model":"q","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":292,"eval_count":143}"#;
    let body = format!("{thought}\n{call}\n{end}\n");
    for piece in [1, 7, usize::MAX] {
        let (bytes, usage, failed) = pass::<Lines>(body.as_bytes(), piece);
        assert_eq!((bytes.as_slice(), failed), (body.as_bytes(), None));
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(292), Some(143)));
    }
    let cut = format!("{thought}\n{call}\n");
    assert_eq!(pass::<Lines>(cut.as_bytes(), 9).2, Some(Kind::Unavailable), "a call is no end");
}

#[test]
fn ol_error_in_a_stream_fails_it_in_its_own_words() {
    let body = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"error\":\"the runner has stopped\"}\n";
    let (bytes, _, failed) = pass::<Lines>(body.as_bytes(), 9);
    assert_eq!((bytes.as_slice(), failed), (body.as_bytes(), Some(Kind::Unavailable)));
}

#[test]
fn events_pass_with_their_own_error() {
    const BEGUN: &str = "event: message_start\ndata: {\"type\":\"message_start\"}\n\n";
    const FAILED: &str =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let body = format!("{BEGUN}{FAILED}");
    let (bytes, _, failed) = pass::<sse::Splitter>(body.as_bytes(), 11);
    assert_eq!((bytes.as_slice(), failed), (body.as_bytes(), Some(Kind::Unavailable)));
    assert_eq!(pass::<sse::Splitter>(BEGUN.as_bytes(), 11).2, Some(Kind::Unavailable));
    assert_eq!(pass::<sse::Splitter>(b"", 1).2, Some(Kind::BadResponse));
}

proptest! {
    #[test]
    fn slicing_changes_nothing_and_nothing_panics(
        text in "(data: |event: error|[{}\\[\\]\":a-z0-9, \n]){0,60}",
        noise in proptest::collection::vec(any::<u8>(), 0..20),
        piece in 1_usize..40,
    ) {
        let bytes = [text.as_bytes(), &noise].concat();
        prop_assert_eq!(pass::<sse::Splitter>(&bytes, piece), pass::<sse::Splitter>(&bytes, 4096));
        prop_assert_eq!(pass::<Lines>(&bytes, piece), pass::<Lines>(&bytes, 4096));
        let framed = [chunk(&text), noise].concat();
        prop_assert_eq!(pass::<frames::Splitter>(&framed, piece), pass::<frames::Splitter>(&framed, 4096));
    }
}
