//! Tests of the decoder of answers.

use bytes::Bytes;
use proptest::prelude::*;
use tollgate_api::v1::{Annotation, part, tool_call::Input};

use super::*;
use crate::provider::follow::Frames as _;

/// Decodes a body that comes in pieces of so many bytes.
fn run(body: &[u8], step: usize) -> (Vec<Item>, Result<(), Error>) {
    let mut decoder = Decoder::new("mine", Uuid::nil());
    let mut pieces = Pieces::default();
    let mut out = VecDeque::new();
    let mut all = || -> Result<(), Error> {
        for piece in body.chunks(step) {
            for block in pieces.push(Bytes::copy_from_slice(piece))? {
                decoder.block(&block, &mut out)?;
            }
        }
        if let Some(block) = pieces.finish() {
            decoder.block(&block, &mut out)?;
        }
        if decoder.is_complete() { Ok(()) } else { decoder.end(&mut out) }
    };
    let result = all();
    (out.into(), result)
}

fn part_kind(kind: part::Kind) -> String {
    match kind {
        part::Kind::ToolCall(call) => {
            assert_eq!(call.input, Some(Input::ArgumentsJson(String::new())));
            let who = if call.executed_upstream { "ran" } else { "tool" };
            format!("{who} {} {}", call.id, call.name)
        }
        part::Kind::ToolResult(result) => format!("result {} {}", result.tool_call_id, result.is_error),
        part::Kind::Media(media) => format!("media {}", media.mime_type),
        part::Kind::Extension(extension) => format!("extension {}", extension.r#type),
        part::Kind::Thought(_) => "thought".to_owned(),
        part::Kind::Text(_) => "text".to_owned(),
        part::Kind::Refusal(_) => "refusal".to_owned(),
    }
}

/// Writes events in short: `text0.0 hi`, `+0.1 tool id name`, `-0.1 signature`, `end0 STOP`.
fn short(items: Vec<Item>) -> Vec<String> {
    let items = items.into_iter().map(|item| match item {
        Item::Event(Event::Start(start)) => format!("start {}", start.model),
        Item::Event(Event::Text(d)) => format!("text{}.{} {}", d.choice, d.part, d.text),
        Item::Event(Event::Thought(d)) => format!("thought{}.{} {}", d.choice, d.part, d.text),
        Item::Event(Event::ToolCall(d)) => format!("input{}.{} {}", d.choice, d.part, d.input),
        Item::Event(Event::Media(d)) => format!("media{}.{} {:?}", d.choice, d.part, d.data),
        Item::Event(Event::Logprobs(d)) => format!("logprobs{}.{} {}", d.choice, d.part, d.logprobs.len()),
        Item::Event(Event::PartStart(start)) => {
            let kind = part_kind(start.initial.unwrap().kind.unwrap());
            format!("+{}.{} {kind}", start.choice, start.part)
        }
        Item::Event(Event::PartEnd(end)) => {
            let token = end.continuity.map(|continuity| continuity.token).unwrap_or_default();
            format!("-{}.{} {}", end.choice, end.part, String::from_utf8(token.to_vec()).unwrap())
        }
        Item::Event(Event::ChoiceEnd(end)) => {
            let reason = end.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_");
            format!("end{} {reason}", end.choice)
        }
        Item::Event(Event::Usage(usage)) => {
            format!("usage {:?} {:?}", usage.input_tokens, usage.output_tokens)
        }
        Item::Event(Event::End(end)) => {
            let names: Vec<&str> = end.extensions.iter().map(|one| one.r#type.as_str()).collect();
            format!("end {}", names.join(","))
        }
        other => format!("{other:?}"),
    });
    items.collect()
}

fn told(body: &str) -> Vec<String> {
    let (items, result) = run(body.as_bytes(), usize::MAX);
    result.unwrap();
    short(items)
}

/// Decodes a stream of chunks whose only candidate has these parts; the last one ends it.
fn parts(chunks: &[&str]) -> Vec<String> {
    let mut body = String::new();
    for parts in chunks {
        body += &format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{parts}]}}}}]}}\r\n\r\n");
    }
    body += "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\r\n\r\n";
    let mut told = told(&body);
    assert_eq!(told.remove(0), "start ");
    assert_eq!(told.pop().unwrap(), "end ");
    told
}

fn fails(body: &str) -> Kind {
    run(body.as_bytes(), usize::MAX).1.unwrap_err().kind
}

#[test]
fn sse_crlf_and_no_done_are_the_dialects_own_stream() {
    let body = concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"He\"}],\"role\":\"model\"},\"index\":0}],",
        "\"usageMetadata\":{\"promptTokenCount\":3},\"modelVersion\":\"models/g\",\"responseId\":\"r\"}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"llo\"}]},\"finishReason\":\"STOP\"}],",
        "\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":2}}\r\n\r\n",
    );
    let expected =
        ["start g", "text0.0 He", "text0.0 llo", "-0.0 ", "end0 STOP", "usage Some(3) Some(2)", "end "];
    assert_eq!(told(body), expected);
}

#[test]
fn ge_usage_cumulative_and_ge_usage_early_partial_counts_give_way_to_the_last() {
    let events = told(concat!(
        "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":9,\"totalTokenCount\":9}},\r\n",
        "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b\"}]}}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":3}},",
        "{\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":4}},",
        "{\"usageMetadata\":{\"trafficType\":\"ON_DEMAND\"}}]",
    ));
    assert_eq!(events[events.len() - 2..], ["usage Some(9) Some(4)", "end trafficType"]);
}

#[test]
fn json_array_streams_must_be_closed() {
    let one = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#;
    assert_eq!(told(&format!("[{one}\n]")), ["start ", "text0.0 a", "-0.0 ", "end0 STOP", "end "]);
    assert_eq!(fails(&format!("[{one}")), Kind::Unavailable);
    assert_eq!(
        fails(&format!("[{one},{{\"error\":{{\"code\":503,\"status\":\"UNAVAILABLE\"}}}}]")),
        Kind::Unavailable
    );
}

#[test]
fn ge_tool_finish_stop_ge_tool_id_and_ge_tool_no_args_are_calls_of_tools() {
    let events = parts(&[
        r#"{"functionCall":{"name":"f"}},{"functionCall":{"name":"g","id":"own","args":{ "a" : "x y" }}}"#,
    ]);
    let made = "call_00000000000000000000000000000000_0";
    assert_eq!(events[..3], [format!("+0.0 tool {made} f"), "input0.0 {}".to_owned(), "-0.0 ".to_owned()]);
    assert_eq!(events[3..], ["+0.1 tool own g", r#"input0.1 {"a":"x y"}"#, "-0.1 ", "end0 TOOL_CALLS"]);
}

#[test]
fn ge_partial_args_come_as_one_object_when_they_are_whole() {
    let events = parts(&[
        r#"{"functionCall":{"name":"f","willContinue":true},"thoughtSignature":"sig"}"#,
        r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.at","stringValue":"Bos","willContinue":true}],"willContinue":true}}"#,
        r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.at","stringValue":"ton"}],"willContinue":true}}"#,
        r#"{"functionCall":{}}"#,
        r#"{"functionCall":{"name":"g","willContinue":true}}"#,
    ]);
    assert_eq!(events[1..3], [r#"input0.0 {"at":"Boston"}"#, "-0.0 sig"]);
    assert_eq!(events[4..], ["input0.1 {}", "-0.1 ", "end0 TOOL_CALLS"]);
}

#[test]
fn ge_thought_part_and_signatures_stay_in_their_places() {
    let events = parts(&[
        r#"{"text":"hm","thought":true},{"text":"a"}"#,
        r#"{"text":"b","thoughtSignature":"s1"}"#,
        r#"{"text":"c"},{"functionCall":{"name":"f","id":"i"},"thoughtSignature":"s2"}"#,
    ]);
    let expected = [
        "+0.0 thought",
        "thought0.0 hm",
        "-0.0 ",
        "+0.1 text",
        "text0.1 a",
        "text0.1 b",
        "-0.1 s1",
        "+0.2 text",
        "text0.2 c",
        "-0.2 ",
        "+0.3 tool i f",
        "input0.3 {}",
        "-0.3 s2",
        "end0 TOOL_CALLS",
    ];
    assert_eq!(events, expected);
}

#[test]
fn ge_signature_empty_text_belongs_to_the_text_before_it() {
    assert_eq!(
        parts(&[r#"{"text":"a"}"#, r#"{"text":"","thoughtSignature":"s"}"#]),
        ["text0.0 a", "-0.0 s", "end0 STOP"]
    );
    let alone =
        parts(&[r#"{"functionCall":{"name":"f","id":"i"}}"#, r#"{"text":"","thoughtSignature":"s"}"#]);
    assert_eq!(alone[3..], ["+0.1 text", "-0.1 s", "end0 TOOL_CALLS"]);
}

#[test]
fn ge_code_exec_parts_go_back_as_they_came() {
    let ran = r#"{"executableCode":{"language":"PYTHON","code":"1"},"thoughtSignature":"s"}"#;
    let result = r#"{"codeExecutionResult":{"outcome":"OUTCOME_FAILED","output":"no"}}"#;
    let events = parts(&[&format!("{{\"text\":\"a\"}},{ran}"), result]);
    let made = "call_00000000000000000000000000000000_0";
    let expected = [
        "text0.0 a".to_owned(),
        "-0.0 ".to_owned(),
        format!("+0.1 ran {made} code_execution"),
        r#"input0.1 {"language":"PYTHON","code":"1"}"#.to_owned(),
        format!("-0.1 {ran}"),
        format!("+0.2 result {made} true"),
        format!("-0.2 {result}"),
        "end0 STOP".to_owned(),
    ];
    assert_eq!(events, expected);
}

#[test]
fn searches_that_gemini_runs_are_calls_with_results() {
    let call = r#"{"toolCall":{"toolType":"GOOGLE_SEARCH_WEB","args":{"queries":["q"]},"id":"x"}}"#;
    let result = r#"{"toolResponse":{"toolType":"GOOGLE_SEARCH_WEB","response":{"a":1},"id":"x"}}"#;
    let events = parts(&[call, result]);
    assert_eq!(events[0], "+0.0 ran x GOOGLE_SEARCH_WEB");
    assert_eq!(events[3], "+0.1 result x false");
}

#[test]
fn sounds_are_joined_and_images_are_not() {
    let sound = r#"{"inlineData":{"mimeType":"audio/L16;rate=24000","data":"YQ=="}}"#;
    let image = r#"{"inlineData":{"mimeType":"image/png","data":"Yg=="}}"#;
    let events = parts(&[sound, sound, image, image]);
    let expected = [
        "+0.0 media audio/L16;rate=24000",
        "media0.0 b\"a\"",
        "media0.0 b\"a\"",
        "-0.0 ",
        "+0.1 media image/png",
        "media0.1 b\"b\"",
        "-0.1 ",
        "+0.2 media image/png",
        "media0.2 b\"b\"",
        "-0.2 ",
        "end0 STOP",
    ];
    assert_eq!(events, expected);
}

#[test]
fn parts_that_nobody_knows_are_kept() {
    let events = parts(&[r#"{"hologram":{"x":1}},7,{"fileData":{"fileUri":"gs://a"}}"#]);
    assert_eq!(events, ["+0.0 extension hologram", "-0.0 ", "+0.1 extension fileData", "-0.1 ", "end0 STOP"]);
}

#[test]
fn ge_no_parts_and_ge_finish_message_are_an_answer() {
    let body = r#"{"candidates":[{"content":{"role":"model"},"finishReason":2,"finishMessage":"full"}],
        "usageMetadata":{"promptTokenCount":5,"totalTokenCount":9,"thoughtsTokenCount":4,"trafficType":1}}"#;
    assert_eq!(
        told(body),
        ["start ", "end0 LENGTH", "usage Some(5) Some(4)", "end finishMessage,trafficType"]
    );
    let plain = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","id":"i"}}]},
        "finishReason":"STOP","finishMessage":"Model generated function call(s)."}]}"#;
    assert_eq!(told(plain)[4..], ["end0 TOOL_CALLS", "end finishMessage"]);
}

#[test]
fn ge_blocked_prompts_are_refused_and_blocked_answers_are_cut() {
    let prompt = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":5}}"#;
    let error = run(prompt.as_bytes(), 7).1.unwrap_err();
    assert_eq!((error.kind, error.upstream_code.as_str()), (Kind::ContentPolicy, "SAFETY"));
    let answer =
        r#"{"candidates":[{"content":{},"finishReason":"SAFETY","safetyRatings":[{"blocked":true}]}]}"#;
    assert_eq!(told(answer), ["start ", "end0 CONTENT_FILTER", "end safetyRatings"]);
}

#[test]
fn ge_malformed_call_is_told_with_its_word() {
    let body = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","id":"i"}}]},
        "finishReason":"UNEXPECTED_TOOL_CALL","finishMessage":"undeclared"}]}"#;
    assert_eq!(told(body)[4..], ["end0 OTHER", "end finishMessage"]);
}

#[test]
fn ge_grounding_is_a_note_on_the_text_and_counts_its_searches() {
    let body = concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"é yes\"}]}}]}\n\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\",\"thoughtSignature\":\"s\"}]},\"finishReason\":\"STOP\",",
        "\"groundingMetadata\":{\"groundingChunks\":[{\"web\":{\"uri\":\"u\"}}],\"webSearchQueries\":[\"q\"],",
        "\"groundingSupports\":[{\"segment\":{\"startIndex\":3,\"endIndex\":6},\"groundingChunkIndices\":[0]}]}}],",
        "\"usageMetadata\":{\"promptTokenCount\":1}}\n\n",
    );
    let items = run(body.as_bytes(), usize::MAX).0;
    let notes: Vec<&Annotation> = items
        .iter()
        .filter_map(
            |item| if let Item::Event(Event::PartEnd(end)) = item { Some(&end.annotations) } else { None },
        )
        .flatten()
        .collect();
    assert_eq!((notes.len(), notes[0].start_index, notes[0].end_index), (1, Some(2), Some(5)));
    let usage = items
        .iter()
        .find_map(|item| if let Item::Event(Event::Usage(usage)) = item { Some(usage) } else { None });
    assert_eq!(usage.unwrap().billable_units["web_search_requests"], 1);
}

#[test]
fn ge_logprobs_belong_to_the_text() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"2"}]},"finishReason":"STOP","avgLogprobs":-0.7,
        "logprobsResult":{"chosenCandidates":[{"token":"2","logProbability":-0.1}]}}]}"#;
    assert_eq!(told(body)[1..3], ["text0.0 2", "logprobs0.0 1"]);
}

#[test]
fn candidates_are_choices_and_all_must_end() {
    let first = "data: {\"candidates\":[{\"index\":1,\"content\":{\"parts\":[{\"text\":\"b\"}]},\"finishReason\":\"STOP\"},{\"index\":0,\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n\n";
    assert_eq!(fails(first), Kind::Unavailable);
    let body =
        format!("{first}data: {{\"candidates\":[{{\"index\":0,\"finishReason\":\"MAX_TOKENS\"}}]}}\n\n");
    let expected = ["start ", "text1.0 b", "text0.0 a", "-0.0 ", "end0 LENGTH", "-1.0 ", "end1 STOP", "end "];
    assert_eq!(told(&body), expected);
    assert_eq!(fails("{\"candidates\":[{\"index\":1000,\"finishReason\":\"STOP\"}]}"), Kind::BadResponse);
}

#[test]
fn what_is_no_whole_answer_is_a_failure() {
    for (body, kind) in [
        ("", Kind::BadResponse),
        (" \r\n", Kind::BadResponse),
        ("<html>busy</html>", Kind::BadResponse),
        ("data: <html>\n\n", Kind::BadResponse),
        (": ping\n\n", Kind::BadResponse),
        ("{}", Kind::BadResponse),
        ("{\"usageMetadata\":{\"promptTokenCount\":1}}", Kind::BadResponse),
        ("{\"candidates\":[{\"content\":", Kind::Unavailable),
        ("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}", Kind::Unavailable),
        ("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n\n", Kind::Unavailable),
        ("data: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}\n\n", Kind::Unavailable),
        (
            "[{\"error\":{\"code\":400,\"message\":\"API key not valid.\",\"status\":\"INVALID_ARGUMENT\"}}]",
            Kind::Denied,
        ),
        (
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"data\":\"*\"}}]}}]}\n\n",
            Kind::BadResponse,
        ),
    ] {
        assert_eq!(fails(body), kind, "{body}");
    }
}

#[test]
fn a_stray_done_and_a_list_in_an_event_are_taken() {
    let body = "data: [{\"candidates\":[{\"finishReason\":\"STOP\"}]}]\n\ndata: [DONE]\n\n";
    assert_eq!(told(body), ["start ", "end0 STOP", "end "]);
}

/// Bodies that look like Gemini's, mostly.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(r#"{"text":"é"}"#),
        Just(r#"{"text":"","thoughtSignature":"s"}"#),
        Just(r#"{"functionCall":{"name":"f","willContinue":true}}"#),
        Just(
            r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.a[0]","stringValue":"}"}],"willContinue":true}}"#
        ),
        Just(r#"{"inlineData":{"mimeType":"audio/x","data":"YQ=="}}"#),
        Just("7"),
    ];
    let chunk = proptest::collection::vec(piece, 0..4).prop_map(|parts| {
        let parts = parts.join(",");
        format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP"}}]}}"#)
    });
    let chunks = proptest::collection::vec(chunk, 0..5);
    let answer = (chunks, 0..3).prop_map(|(chunks, form)| match form {
        0 => format!("[{}]", chunks.join("\r\n,")),
        1 => chunks.concat(),
        _ => chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect(),
    });
    prop_oneof![
        4 => answer.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn slicing_changes_nothing_and_no_bytes_are_a_panic(body in bodies(), step in 1_usize..40, cut in 0_usize..2000) {
        let body = &body[..cut.min(body.len())];
        let (whole, result) = run(body, usize::MAX);
        let (sliced, other) = run(body, step);
        prop_assert_eq!(format!("{whole:?}"), format!("{sliced:?}"));
        prop_assert_eq!(result.map_err(|error| error.kind), other.map_err(|error| error.kind));
    }
}
