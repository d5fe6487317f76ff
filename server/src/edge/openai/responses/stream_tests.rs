//! What a stream tells, and that its end is the whole answer.

use serde_json::{Value, json};
use tollgate_api::v1::{
    self, Annotation, Continuity, Extension, FinishReason, Media, Part, Thought, ToolCall, annotation, media,
    part, tool_call::Input,
};
use uuid::Uuid;

use super::{request::Repeated, response, stream::Events};
use crate::{
    call::Event,
    edge::{fold::Folder, rest::sse::Encode},
    error::{Error, Reason},
};

fn start(part: i32, kind: part::Kind) -> Event {
    let initial = Part { kind: Some(kind), ..Part::default() };
    Event::PartStart(Box::new(v1::PartStart { choice: 0, part, initial: Some(initial) }))
}

fn text(part: i32, text: &str) -> Event {
    Event::Text(v1::TextDelta { text: text.to_owned(), choice: 0, part })
}

fn end(part: i32, token: Option<&'static str>) -> Event {
    let continuity =
        token.map(|token| Continuity { provider: "gem".to_owned(), token: token.as_bytes().to_vec().into() });
    Event::PartEnd(Box::new(v1::PartEnd { choice: 0, part, continuity, annotations: Vec::new() }))
}

fn call(part: i32, input: Input, executed_upstream: bool) -> Event {
    let call =
        ToolCall { id: format!("call_{part}"), name: "f".to_owned(), input: Some(input), executed_upstream };
    start(part, part::Kind::ToolCall(call))
}

fn input(part: i32, input: &str) -> Event {
    Event::ToolCall(v1::ToolCallDelta { input: input.to_owned(), choice: 0, part })
}

fn thought(part: i32, text: &str, summarized: bool) -> Event {
    start(part, part::Kind::Thought(Thought { text: text.to_owned(), summarized, ..Thought::default() }))
}

/// Puts the start and the end of an answer around what it says.
fn answer(content: Vec<Event>, reason: FinishReason) -> Vec<Event> {
    let created = prost_types::Timestamp { seconds: 17, nanos: 0 };
    let start = v1::StreamStart { model: "m-1".into(), create_time: Some(created), ..Default::default() };
    let usage =
        v1::Usage { input_tokens: Some(3), output_tokens: Some(2), r#final: true, ..Default::default() };
    let ended = v1::ChoiceEnd { finish_reason: reason.into(), ..Default::default() };
    let mut events = vec![Event::Start(Box::new(start))];
    events.extend(content);
    events.push(Event::ChoiceEnd(Box::new(ended)));
    events.push(Event::Usage(Box::new(usage)));
    events.push(Event::End(Box::default()));
    events
}

fn events(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty()).map(|frame| {
        let (name, data) = frame.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), event["type"].as_str());
        event
    });
    frames.collect()
}

/// Streams an answer, checks what holds of every stream, and returns its events.
fn streamed(answer: Vec<Event>) -> Vec<Value> {
    let (mut stream, mut folder) = (Events::new(Uuid::nil(), Repeated::default()), Folder::default());
    let mut bytes = Vec::new();
    for event in answer {
        bytes.extend_from_slice(&stream.event(event.clone()));
        folder.take(event).unwrap();
    }
    let told = events(&bytes);
    for (at, event) in told.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
    }
    assert_eq!(
        (&told[0]["type"], &told[1]["type"]),
        (&json!("response.created"), &json!("response.in_progress"))
    );
    let call = Uuid::nil().simple().to_string();
    let whole = response::write(&folder.finish().unwrap(), &call, &Repeated::default()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let last = &told[told.len() - 1]["response"];
    assert_eq!(last, &whole, "the end of a stream is the whole answer");
    let done = told.iter().filter(|event| event["type"] == "response.output_item.done");
    assert_eq!(
        done.map(|event| event["item"].clone()).collect::<Vec<_>>(),
        *whole["output"].as_array().unwrap()
    );
    told
}

fn names(told: &[Value]) -> Vec<&str> {
    told.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}

#[test]
fn texts_side_by_side_are_one_message_with_a_piece_each() {
    let note = Annotation {
        kind: Some(annotation::Kind::Uri(v1::UriCitation { uri: "http://a".into(), title: "A".into() })),
        start_index: Some(0),
        end_index: Some(2),
    };
    let noted = v1::PartEnd { choice: 0, part: 0, continuity: None, annotations: vec![note] };
    let content = vec![
        text(0, "Hel"),
        text(0, "lo"),
        Event::PartEnd(Box::new(noted)),
        start(1, part::Kind::Text("b".to_owned())),
        end(1, None),
    ];
    let told = streamed(answer(content, FinishReason::Stop));
    let piece = ["content_part.added", "output_text.delta", "output_text.done", "content_part.done"];
    let mut expected = vec!["created", "in_progress", "output_item.added", piece[0], piece[1], piece[1]];
    expected.extend(["output_text.annotation.added", piece[2], piece[3]]);
    expected.extend(piece);
    expected.extend(["output_item.done", "completed"]);
    assert_eq!(names(&told), expected);
    let whole = &told[told.len() - 1]["response"];
    assert_eq!(
        (&whole["status"], &whole["created_at"], &whole["model"]),
        (&json!("completed"), &json!(17), &json!("m-1"))
    );
    assert_eq!(whole["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(
        whole["output"][0]["content"][0]["annotations"],
        json!([{"type": "url_citation", "start_index": 0, "end_index": 2, "url": "http://a", "title": "A"}])
    );
    assert_eq!(whole["usage"]["input_tokens_details"], json!({"cached_tokens": 0}));
    assert_eq!(told[4]["item_id"], whole["output"][0]["id"]);
}

#[test]
fn thoughts_calls_and_text_keep_their_order_and_their_tokens() {
    let content = vec![
        thought(0, "", true),
        Event::Thought(v1::ThoughtDelta { text: "hm".to_owned(), choice: 0, part: 0 }),
        end(0, Some("signed")),
        thought(1, "raw", false),
        end(1, None),
        call(2, Input::ArgumentsJson(String::new()), true),
        input(2, "{\"hidden\":1}"),
        end(2, None),
        text(3, "so"),
        end(3, Some("texts too")),
        call(4, Input::ArgumentsJson(String::new()), false),
        input(4, "{\"a\""),
        input(4, ":1}"),
        end(4, Some("calls too")),
        call(5, Input::Text("free".to_owned()), false),
        end(5, None),
    ];
    let told = streamed(answer(content, FinishReason::ToolCalls));
    let reasoning = [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ];
    assert_eq!(names(&told)[2..8], reasoning);
    assert_eq!(names(&told)[10], "reasoning_text.delta");
    let output = told[told.len() - 1]["response"]["output"].as_array().unwrap();
    let kinds: Vec<_> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "reasoning", "message", "function_call", "custom_tool_call"]);
    assert_eq!(output[0]["summary"], json!([{"type": "summary_text", "text": "hm"}]));
    assert_eq!(output[0]["encrypted_content"], "tollgate.gem.c2lnbmVk");
    assert_eq!(output[1]["content"], json!([{"type": "reasoning_text", "text": "raw"}]));
    assert!(output[2]["content"][0]["extra_content"]["tollgate"]["continuity"].is_string());
    assert_eq!((&output[3]["arguments"], &output[3]["call_id"]), (&json!("{\"a\":1}"), &json!("call_4")));
    assert!(output[3]["extra_content"]["tollgate"]["continuity"].is_string());
    assert_eq!(output[4]["input"], "free");
    assert!(names(&told).contains(&"custom_tool_call_input.done"));
}

#[test]
fn a_hidden_thought_says_whose_it_is() {
    let hidden = Thought { redacted: b"x".to_vec().into(), ..Thought::default() };
    let told = streamed(answer(
        vec![start(0, part::Kind::Thought(hidden)), end(0, Some("sig"))],
        FinishReason::Stop,
    ));
    let output = &told[told.len() - 1]["response"]["output"];
    assert_eq!(output[0]["encrypted_content"], "tollgate.redacted.gem.eA");
}

#[test]
fn images_and_items_of_openais_own_are_items_and_other_vendors_blocks_are_not() {
    let theirs = |kind: &str| {
        let json = format!(r#"{{"type":"{kind}","id":"x"}}"#);
        part::Kind::Extension(Extension { provider: "p".to_owned(), r#type: kind.to_owned(), json })
    };
    let image = Media {
        mime_type: "image/png".to_owned(),
        source: Some(media::Source::Data(vec![1, 2].into())),
        ..Media::default()
    };
    let more = v1::MediaDelta { data: vec![3].into(), choice: 0, part: 0, transcript: String::new() };
    let content = vec![
        start(0, part::Kind::Media(Box::new(image))),
        Event::Media(Box::new(more)),
        end(0, None),
        start(1, theirs("web_search_call")),
        end(1, None),
        start(2, theirs("server_tool_use")),
        end(2, None),
    ];
    let told = streamed(answer(content, FinishReason::Stop));
    let output = &told[told.len() - 1]["response"]["output"];
    assert_eq!((&output[0]["type"], &output[0]["result"]), (&json!("image_generation_call"), &json!("AQID")));
    assert_eq!(output[1], json!({"type": "web_search_call", "id": "x"}));
    assert_eq!(output.as_array().unwrap().len(), 2);
}

#[test]
fn how_an_answer_ends_is_told() {
    let refusal = || start(0, part::Kind::Refusal("no".to_owned()));
    let cases = [
        (text(0, "a"), FinishReason::Length, "incomplete", "max_output_tokens"),
        (text(0, "a"), FinishReason::ContextLength, "incomplete", "max_output_tokens"),
        (text(0, "a"), FinishReason::ContentFilter, "incomplete", "content_filter"),
        (text(0, "a"), FinishReason::Refusal, "incomplete", "content_filter"),
        (refusal(), FinishReason::Refusal, "completed", ""),
        (text(0, "a"), FinishReason::Other, "completed", ""),
    ];
    for (content, reason, status, why) in cases {
        let told = streamed(answer(vec![content], reason));
        let last = &told[told.len() - 1];
        assert_eq!(last["type"], format!("response.{status}"), "{reason:?}");
        assert_eq!(last["response"]["incomplete_details"]["reason"].as_str().unwrap_or(""), why);
        assert_eq!(last["response"]["output"][0]["status"], status);
    }
}

#[test]
fn a_failure_is_the_last_event_and_no_end() {
    let failed = Error::new(Reason::StreamInterrupted, "cut");
    let mut stream = Events::new(Uuid::nil(), Repeated::default());
    let mut bytes = stream.event(text(0, "half")).to_vec();
    bytes.extend_from_slice(&stream.failed(&failed));
    let told = events(&bytes);
    let (error, last) = (&told[told.len() - 2], &told[told.len() - 1]);
    assert_eq!((&error["type"], &error["message"]), (&json!("error"), &json!("cut")));
    assert_eq!(error["error"]["code"], "stream_interrupted");
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(last["response"]["error"]["message"], "cut");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    assert!(stream.event(text(0, "late")).is_empty() && stream.failed(&failed).is_empty());
}

#[test]
fn a_failure_behind_the_upstreams_own_events_fits_them() {
    let mut stream = Events::new(Uuid::nil(), Repeated::default());
    stream.passed(b"data: {\"type\":\"response.created\",\"sequence_number\":4,\"response\":{\"id\":\"resp_theirs\"}}\n\n");
    let told = events(&stream.failed(&Error::new(Reason::StreamInterrupted, "cut")));
    assert_eq!(told.len(), 2, "an upstream has begun already");
    assert_eq!((&told[0]["sequence_number"], &told[1]["sequence_number"]), (&json!(5), &json!(6)));
    assert_eq!(told[1]["response"]["id"], "resp_theirs");
}

#[test]
fn logprobs_stand_with_their_text() {
    let token = v1::TokenLogprob { token: "a".into(), logprob: -0.5, ..Default::default() };
    let logprobs = v1::LogprobDelta { logprobs: vec![token], choice: 0, part: 0 };
    let told = streamed(answer(
        vec![text(0, "a"), Event::Logprobs(Box::new(logprobs)), end(0, None)],
        FinishReason::Stop,
    ));
    let output = &told[told.len() - 1]["response"]["output"];
    assert_eq!(output[0]["content"][0]["logprobs"][0]["logprob"], -0.5);
}
