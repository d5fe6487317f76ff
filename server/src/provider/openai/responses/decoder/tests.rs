//! Tests of the decoder: each quirk of the dialect that was seen in real traffic.

mod items;
mod slicing;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tollgate_api::v1::{self, part::Kind as PartKind};

use super::*;
use crate::{call::Event as Told, provider::follow::Follow};

type Items = Vec<Result<Item, Error>>;

fn followed(frames: Vec<Bytes>, input: &ChatInput) -> Items {
    let frames = frames.into_iter().map(|frame| Ok::<_, std::convert::Infallible>(Frame::data(frame)));
    let body = StreamBody::new(stream::iter(frames));
    // What follows a complete answer is read by a task of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    Follow::new(body, Decoder::new("mine", input)).collect().now_or_never().unwrap()
}

fn streamed(events: &[&str]) -> Items {
    let text: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
    followed(vec![text.into()], &ChatInput::default())
}

fn whole(body: &str) -> Result<Vec<Item>, Error> {
    Decoder::new("mine", &ChatInput::default()).whole(body.as_bytes())
}

/// Shows items in short: kinds of parts, contents, tokens, the finish reason.
fn shown(items: &Items) -> Vec<String> {
    items
        .iter()
        .filter_map(|item| item.as_ref().map_or_else(|e| Some(format!("{:?}", e.kind)), show))
        .collect()
}

fn show(item: &Item) -> Option<String> {
    let Item::Event(event) = item else { panic!("{item:?}") };
    Some(match event {
        Told::Text(delta) => format!("text {}", delta.text),
        Told::Thought(delta) => format!("thought {}", delta.text),
        Told::Refusal(delta) => format!("refusal {}", delta.text),
        Told::ToolCall(delta) => format!("input {}", delta.input),
        Told::PartStart(start) => match start.initial.as_ref()?.kind.as_ref()? {
            PartKind::ToolCall(call) if call.executed_upstream => format!("[ran {} {}", call.name, call.id),
            PartKind::ToolCall(call) => format!("[call {} {}", call.name, call.id),
            PartKind::ToolResult(result) => {
                format!("[result {} {:?}", result.tool_call_id, result.parts[0].kind.as_ref()?)
            }
            PartKind::Thought(thought) => format!("[thought {}", thought.summarized),
            PartKind::Extension(extension) => format!("[{} {}", extension.r#type, extension.json),
            PartKind::Media(media) => format!("[media {}", media.mime_type),
            _ => "[".to_owned(),
        },
        Told::PartEnd(end) => {
            let token = end.continuity.as_ref().map(|one| String::from_utf8_lossy(&one.token).into_owned());
            format!("] {}", token.unwrap_or_default()).trim_end().to_owned()
        }
        Told::ChoiceEnd(end) => format!("{:?} {}", end.finish_reason(), end.upstream_finish_reason),
        _ => return None,
    })
}

fn completed(output: &str) -> String {
    let usage = r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3}}"#;
    format!(
        r#"{{"type":"response.completed","response":{{"id":"resp_1","model":"m-1","status":"completed","error":null,"output":[{output}],"service_tier":"default","usage":{usage}}}}}"#
    )
}

fn event(kind: &str, index: u8, rest: &str) -> String {
    format!(r#"{{"type":"response.{kind}","output_index":{index},{rest}}}"#)
}

fn item(word: &str, index: u8, item: &str) -> String {
    event(&format!("output_item.{word}"), index, &format!(r#""item":{item}"#))
}

fn end_of(items: &[Item]) -> &v1::StreamEnd {
    let Some(Item::Event(Told::End(end))) = items.last() else { panic!("{items:?}") };
    end
}

#[test]
fn resp_usage_names_and_details_stand_in_the_terminal_event() {
    let items = streamed(&[&event("output_text.delta", 0, r#""delta":"hi""#), &completed("")]);
    let usage = items.iter().find_map(|item| match item {
        Ok(Item::Event(Told::Usage(usage))) => Some(usage),
        _ => None,
    });
    let usage = usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(7)));
    assert_eq!((usage.cache_read_input_tokens, usage.cache_write_input_tokens), (Some(4), Some(2)));
    assert_eq!((usage.reasoning_output_tokens, usage.r#final), (Some(3), true));
    let Some(Ok(Item::Event(Told::End(end)))) = items.last() else { panic!() };
    assert_eq!((end.service_tier.as_str(), end.upstream_response_id.as_str()), ("default", "resp_1"));
}

#[test]
fn resp_incomplete_is_a_complete_answer_that_was_cut() {
    for (reason, finish) in [
        ("max_output_tokens", FinishReason::Length),
        ("content_filter", FinishReason::ContentFilter),
        ("something", FinishReason::Other),
    ] {
        let response =
            format!(r#"{{"status":"incomplete","incomplete_details":{{"reason":"{reason}"}},"output":[]}}"#);
        let expected = format!("{finish:?} {reason}");
        let event = format!(r#"{{"type":"response.incomplete","response":{response}}}"#);
        assert_eq!(shown(&streamed(&[&event])).concat(), expected);
        assert_eq!(shown(&whole(&response).unwrap().into_iter().map(Ok).collect()), [expected]);
    }
}

#[test]
fn resp_failed_and_error_events_are_failures_by_their_words() {
    let failed = |code: &str| {
        format!(
            r#"{{"type":"response.failed","response":{{"status":"failed","error":{{"code":"{code}","message":"m"}}}}}}"#
        )
    };
    let nested =
        r#"{"type":"error","error":{"type":"insufficient_quota","code":"insufficient_quota","message":"m"}}"#;
    let flat = r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null}"#;
    for (event, kind) in [
        (failed("server_error"), Kind::Unavailable),
        (failed("rate_limit_exceeded"), Kind::RateLimited { retry_after: None }),
        (failed("invalid_prompt"), Kind::Invalid),
        (failed("image_content_policy_violation"), Kind::ContentPolicy),
        (failed("failed_to_download_image"), Kind::Invalid),
        (failed("vector_store_timeout"), Kind::Timeout),
        (nested.to_owned(), Kind::Denied),
        (flat.to_owned(), Kind::RateLimited { retry_after: None }),
    ] {
        let items = streamed(&[&event]);
        assert!(matches!(&items[..], [Err(error)] if error.kind == kind), "{event}: {items:?}");
    }
    let body = r#"{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#;
    assert_eq!(whole(body).unwrap_err().kind, Kind::Unavailable);
}

#[test]
fn a_failure_after_content_tells_the_usage_that_is_known() {
    let failed = r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"m"},"usage":{"input_tokens":9,"output_tokens":1}}}"#;
    let items = streamed(&[&event("output_text.delta", 0, r#""delta":"hi""#), failed]);
    let [_, Ok(Item::Event(Told::Text(_))), Ok(Item::Event(Told::Usage(usage))), Err(_)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!((usage.input_tokens, usage.r#final), (Some(9), false));
}

#[test]
fn resp_queued_is_no_content_and_no_answer() {
    let queued = r#"{"type":"response.queued","response":{"id":"r","status":"queued","output":[]}}"#;
    assert_eq!(shown(&streamed(&[queued, &completed("")])), ["Stop completed"]);
    assert_eq!(whole(r#"{"status":"queued","output":[]}"#).unwrap_err().kind, Kind::BadResponse);
}

#[test]
fn resp_error_null_is_no_error() {
    let body = r#"{"status":"completed","error":null,"incomplete_details":null,"output":[]}"#;
    assert!(whole(body).is_ok());
}

#[test]
fn resp_no_sequence_and_oa_obfuscation_change_nothing() {
    let bare = [event("output_text.delta", 0, r#""delta":"hi""#), completed("")];
    let full = [
        event("output_text.delta", 0, r#""delta":"hi","sequence_number":1,"obfuscation":"xx""#),
        completed(""),
    ];
    let show = |events: &[String; 2]| shown(&streamed(&[&events[0], &events[1]]));
    assert_eq!(show(&bare), show(&full));
}

#[test]
fn az_responses_filters_and_costs_are_kept_beside_the_answer() {
    let body = r#"{"status":"completed","output":[],"temperature":1,"content_filters":[{"blocked":false}],
        "usage":{"input_tokens":1,"output_tokens":1,"cost_in_usd_ticks":7,"num_sources_used":2,
        "server_side_tool_usage_details":{"web_search_calls":1,"mcp_calls":0}}}"#;
    let items = whole(body).unwrap();
    let names: Vec<&str> = end_of(&items).extensions.iter().map(|one| one.r#type.as_str()).collect();
    assert_eq!(names, ["content_filters", "usage"]);
    let Item::Event(Told::Usage(usage)) = &items[items.len() - 2] else { panic!() };
    assert_eq!(usage.billable_units.len(), 2);
    assert_eq!((usage.billable_units["sources"], usage.billable_units["web_search_requests"]), (2, 1));
}

#[test]
fn json_leading_space_is_no_trouble_and_other_bodies_are_bad_responses() {
    assert!(whole("\n\n  {\"status\":\"completed\",\"output\":[]}").is_ok());
    for body in ["", "<html>", "[]", "{}", r#"{"output":7}"#, "{\"output\":["] {
        assert_eq!(whole(body).unwrap_err().kind, Kind::BadResponse, "{body}");
    }
}

#[test]
fn sse_no_done_is_the_rule_but_an_end_without_the_last_event_is_cut_short() {
    let delta = event("output_text.delta", 0, r#""delta":"hi""#);
    assert_eq!(shown(&streamed(&[&delta])), ["text hi", "Unavailable"]);
    assert_eq!(shown(&streamed(&[&delta, "[DONE]"])), ["text hi", "Unavailable"]);
    assert_eq!(shown(&streamed(&[])), ["BadResponse"]);
    assert_eq!(shown(&streamed(&["not json"])), ["BadResponse"]);
}

#[test]
fn what_waits_for_its_turn_is_bounded() {
    let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":""}"#;
    let mut events = vec![item("added", 0, call), item("added", 1, call)];
    let long = format!(r#""delta":"{}""#, "x".repeat(MAX_WAITING_BYTES / 4));
    events.extend(std::iter::repeat_n(event("function_call_arguments.delta", 1, &long), 5));
    let all: Vec<&str> = events.iter().map(String::as_str).collect();
    assert_eq!(shown(&streamed(&all)), ["[call f c", "BadResponse"]);
}
