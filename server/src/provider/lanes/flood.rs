//! Streams that never end: whatever a vendor sends, a reader holds a bounded amount of it. Items are dropped as they
//! come, so that what is counted is what the reader keeps.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    readers,
    samples::{self, Sample},
};

/// What a reader may hold at once, in bytes, of a flood of small events.
const SMALL: u64 = 6 * 1024 * 1024;
/// What it may hold of a flood of large ones: its limits, and as much again while a buffer grows.
const LARGE: u64 = 30 * 1024 * 1024;
/// What it may hold of one event that never ends: twice the limit of its wire, and as much again while it grows.
const ENDLESS: u64 = 200 * 1024 * 1024;

/// Events that come first, and one that comes again and again: `#` counts, `@` is filler.
type Flood = (&'static str, &'static [&'static str], &'static str);

const FLOODS: &[Flood] = &[
    (
        "openai-chat",
        &[],
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":#,"id":"i#","function":{"name":"f","arguments":"{}"}}]}}]}"#,
    ),
    (
        "openai-chat",
        &[],
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"i","function":{"arguments":"@"}}]}}]}"#,
    ),
    (
        "openai-chat",
        &[
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}}]}"#,
        ],
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"@"}}]}}]}"#,
    ),
    ("openai-chat", &[], r#"{"choices":[{"index":-#,"delta":{"content":"a"}}]}"#),
    ("openai-chat", &[], r#"{"choices":[{"index":#,"delta":{"content":"a"}}]}"#),
    (
        "openai-chat",
        &[],
        r#"{"choices":[{"index":0,"delta":{"content":"a","annotations":[{"type":"x#","x":"@"}]}}]}"#,
    ),
    (
        "openai-chat",
        &[],
        r#"{"choices":[{"index":0,"delta":{"reasoning_details":[{"type":"r","data":"@"}]}}]}"#,
    ),
    (
        "openai-chat",
        &[],
        r#"{"choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"@","logprob":-1}]}}]}"#,
    ),
    ("openai-chat", &[], r#"{"x#":"@","choices":[]}"#),
    (
        "openai-chat",
        &[],
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":#,"function":{"name":"@","arguments":"{}"}}]}}]}"#,
    ),
    ("openai-chat-think-tags", &[], r#"{"choices":[{"index":0,"delta":{"content":"      "}}]}"#),
    ("openai-chat-express", &[], r#"{"choices":[{"index":#,"delta":{"content":"@"}}]}"#),
    (
        "openai-responses",
        &[],
        r#"{"type":"response.output_item.added","output_index":#,"item":{"type":"message"}}"#,
    ),
    (
        "openai-responses",
        &[
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f"}}"#,
        ],
        r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"@"}"#,
    ),
    (
        "openai-responses",
        &[],
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":#,"delta":"@"}"#,
    ),
    (
        "openai-responses",
        &[],
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"@"}"#,
    ),
    (
        "openai-responses",
        &[r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}"#],
        r#"{"type":"response.output_text.annotation.added","output_index":0,"annotation":{"type":"x#","x":"@"}}"#,
    ),
    (
        "anthropic",
        &[r#"{"type":"content_block_start","content_block":{"type":"thinking","thinking":""}}"#],
        r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"@"}}"#,
    ),
    (
        "anthropic",
        &[r#"{"type":"content_block_start","content_block":{"type":"text","text":"a"}}"#],
        r#"{"type":"content_block_delta","delta":{"type":"citations_delta","citation":{"type":"x#","cited_text":"@"}}}"#,
    ),
    (
        "anthropic",
        &[],
        r#"{"type":"content_block_start","index":#,"content_block":{"type":"tool_use","id":"t#","name":"@"}}"#,
    ),
    ("anthropic", &[], r#"{"type":"message_delta","delta":{"x#":"@"}}"#),
    (
        "anthropic",
        &[r#"{"type":"content_block_start","content_block":{"type":"new"}}"#],
        r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"@"}}"#,
    ),
    ("gemini", &[], r#"{"candidates":[{"index":-#,"content":{"parts":[]}}]}"#),
    (
        "gemini",
        &[],
        r#"{"candidates":[{"index":0,"content":{"parts":[{"text":"@"}]},"groundingMetadata":{"a#":"@"}}]}"#,
    ),
    (
        "gemini",
        &[],
        r#"{"candidates":[{"index":0,"content":{"parts":[{"functionCall":{"name":"f","willContinue":true}},{"functionCall":{"willContinue":true,"partialArgs":[{"jsonPath":"$.a","stringValue":"@"}]}}]}}]}"#,
    ),
    (
        "gemini",
        &[
            r#"{"candidates":[{"index":0,"content":{"parts":[{"functionCall":{"name":"f","willContinue":true}}]}}]}"#,
        ],
        r#"{"candidates":[{"index":0,"content":{"parts":[{"functionCall":{"willContinue":true,"partialArgs":[{"jsonPath":"$.a#","stringValue":"@"}]}}]}}]}"#,
    ),
    ("gemini", &[], r#"{"x#":"@","candidates":[]}"#),
    ("bedrock", &[], r#"{"contentBlockIndex":#,"start":{"toolUse":{"toolUseId":"t#","name":"@"}}}"#),
    (
        "bedrock",
        &[r#"{"contentBlockIndex":0,"start":{"toolResult":{"toolUseId":"t"}}}"#],
        r#"{"contentBlockIndex":0,"delta":{"toolResult":[{"text":"@"}]}}"#,
    ),
    ("bedrock", &[], r#"{"contentBlockIndex":0,"delta":{"citation":{"title":"@"}}}"#),
    ("cohere", &[], r#"{"type":"x#","x":"@"}"#),
    (
        "cohere",
        &[r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a"}}}}"#],
        r#"{"type":"citation-start","index":#,"delta":{"message":{"citations":{"start":0,"end":1,"text":"@","sources":[{"type":"document","id":"@"}]}}}}"#,
    ),
    (
        "cohere",
        &[],
        r#"{"type":"tool-call-delta","index":#,"delta":{"message":{"tool_calls":{"function":{"arguments":"@"}}}}}"#,
    ),
];

/// The most that the reader of that name holds of these pieces, and whether it refused them.
fn held(reader: &str, pieces: impl Iterator<Item = Bytes> + Send + 'static) -> (u64, bool) {
    let reader = readers().find(|one| one.name == reader).unwrap();
    let mut failed = false;
    let info = allocation_counter::measure(|| {
        reader.read(Box::new(pieces), &mut |item| failed |= item.is_err());
    });
    (info.bytes_max, failed)
}

fn flood(
    (reader, first, again): Flood,
    count: usize,
    filler: &str,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    let (reader, again, filler) = (reader.to_owned(), again.to_owned(), filler.to_owned());
    let wire = samples::of(&reader)[0].wire;
    let named = move |json: String| {
        let name = if reader == "bedrock" { "contentBlockDelta" } else { "" };
        let events = vec![(name.to_owned(), json)];
        Bytes::from(Sample { wire, events, whole_after: 1 }.begun(1, "\n"))
    };
    let first: Vec<String> = first.iter().map(|json| (*json).to_owned()).collect();
    let again = (1..=count).map(move |at| again.replace('#', &at.to_string()).replace('@', &filler));
    first.into_iter().chain(again).map(named)
}

#[test]
fn no_flood_of_small_events_is_held() {
    for one in FLOODS {
        let (bytes, _) = held(one.0, flood(*one, 6000, "x"));
        assert!(bytes < SMALL, "{} holds {bytes} bytes of {}", one.0, one.2);
    }
}

#[test]
fn no_flood_of_large_events_is_held() {
    let filler = "y".repeat(1024 * 1024);
    for one in FLOODS.iter().filter(|one| one.2.contains('@')) {
        let (bytes, _) = held(one.0, flood(*one, 34, &filler));
        assert!(bytes < LARGE, "{} holds {bytes} bytes of {}", one.0, one.2);
    }
}

#[test]
fn an_event_that_never_ends_is_refused() {
    for reader in readers().filter(|reader| !samples::of(reader.name).is_empty()) {
        for begin in ["data: \"", "{\"x\":\"", "[{\"x\":\"", "x"] {
            let more = Bytes::from(vec![b'x'; 256 * 1024]);
            let pieces = std::iter::once(Bytes::from(begin)).chain(std::iter::repeat_n(more, 4 * 80));
            let (bytes, failed) = held(reader.name, pieces);
            assert!(failed && bytes < ENDLESS, "{} {begin}: {bytes} bytes", reader.name);
        }
    }
}

#[test]
fn bytes_without_events_are_not_held() {
    for reader in readers().filter(|reader| !samples::of(reader.name).is_empty()) {
        for bytes in ["\n", ": ping\n\n", " \n", "\r\n"] {
            let piece = Bytes::from(bytes.repeat(4096));
            let (held, _) = held(reader.name, std::iter::repeat_n(piece, 8));
            assert!(held < SMALL, "{} holds {held} bytes of {bytes:?}", reader.name);
        }
    }
}

/// Five megabytes of tiny deltas, and one input of five megabytes in pieces. Only a release build is held to the time.
#[test]
fn no_reader_is_quadratic() {
    let deltas: &[Flood] = &[
        ("openai-chat", &[], r#"{"choices":[{"index":0,"delta":{"content":"@"}}]}"#),
        ("openai-chat-think-tags", &[], r#"{"choices":[{"index":0,"delta":{"content":"<think>@"}}]}"#),
        ("openai-chat-express", &[], r#"{"choices":[{"index":0,"delta":{"content":"@"}}]}"#),
        (
            "openai-responses",
            &[],
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"@"}"#,
        ),
        ("anthropic", &[], r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"@"}}"#),
        (
            "anthropic-express",
            &[],
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"@"}}"#,
        ),
        ("gemini", &[], r#"{"candidates":[{"index":0,"content":{"parts":[{"text":"@"}]}}]}"#),
        ("bedrock", &[], r#"{"contentBlockIndex":0,"delta":{"text":"@"}}"#),
        ("cohere", &[], r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"@"}}}}"#),
        ("pass-events", &[], r#"{"x":"@"}"#),
    ];
    let asked = std::env::var("TOLLGATE_FUZZ_CASES").ok().and_then(|count| count.parse().ok());
    let count = asked.unwrap_or(if cfg!(debug_assertions) { 1000 } else { 500_000 });
    for one in deltas.iter().chain(FLOODS) {
        let pieces: Vec<Bytes> = flood(*one, count, "0123456789").collect();
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let began = Instant::now();
        let (held, failed) = held(one.0, pieces.into_iter());
        let took = began.elapsed();
        let slow = took > Duration::from_millis(100) + Duration::from_nanos(100 * bytes as u64);
        assert!(cfg!(debug_assertions) || !slow, "{} took {took:?} for {bytes} bytes: {}", one.0, one.2);
        eprintln!("{:28} {took:>10.2?} {bytes:>10} bytes held {held:>9} failed {failed} {}", one.0, one.2);
    }
}
