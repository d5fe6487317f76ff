//! Tests of the express lane: what is seen, what is complete, and that no byte is lost.

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use tollgate_api::v1::Usage;

use super::*;
use crate::provider::{express::Express, follow::Follow};

const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"status\":\"in_progress\",\"output\":[]}}\n\n";
const TEXT: &str =
    "data: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\",\"obfuscation\":\"x\"}\n\n";
const CALL: &str = "data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"function_call\"}}\n\n";
const END: &str = "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":2}}}\n\n";
const CUT: &str = "data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"output\":[]}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Returns the bytes that passed, all that was seen of them, and the failure at the end.
fn passed(body: &str) -> (String, Seen, Option<Error>) {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    gathered(Follow::new(body, Express(Watch::default())).collect::<Vec<_>>().now_or_never().unwrap())
}

fn gathered(items: Vec<Result<Item, Error>>) -> (String, Seen, Option<Error>) {
    let (mut bytes, mut all, mut failed) = (String::new(), Seen::default(), None);
    for item in items {
        match item {
            Ok(Item::Raw(raw, seen)) => {
                bytes.push_str(std::str::from_utf8(&raw).unwrap());
                all.content_events += seen.content_events;
                all.usage = seen.usage.or(all.usage);
                all.finish_reason = seen.finish_reason.or(all.finish_reason);
                all.response_id = seen.response_id.or(all.response_id);
                all.model = seen.model.or(all.model);
                all.last |= seen.last;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => failed = Some(error),
        }
    }
    (bytes, all, failed)
}

#[test]
fn every_byte_passes_with_and_without_a_done_at_the_end() {
    for body in [
        format!("{CREATED}{TEXT}{END}"),
        format!(": OPENROUTER PROCESSING\n\n{CREATED}{TEXT}{END}{DONE}"),
        format!("{TEXT}{CUT}").replace('\n', "\r\n"),
    ] {
        let (bytes, seen, failed) = passed(&body);
        assert_eq!(bytes, body);
        assert!(failed.is_none() && seen.last && seen.content_events == 1, "{failed:?}");
    }
}

#[test]
fn id_model_usage_and_finish_are_seen() {
    let (_, seen, _) = passed(&format!("{CREATED}{TEXT}{END}"));
    assert_eq!((seen.response_id.as_deref(), seen.model.as_deref()), (Some("r"), Some("m")));
    let usage: Usage = *seen.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(5), Some(2)));
    assert_eq!(seen.finish_reason, Some(FinishReason::Stop));
    for (body, finish) in
        [(format!("{CALL}{END}"), FinishReason::ToolCalls), (CUT.to_owned(), FinishReason::Length)]
    {
        assert_eq!(passed(&body).1.finish_reason, Some(finish), "{body}");
    }
}

#[test]
fn the_call_is_complete_with_the_piece_that_says_so_and_not_with_the_mark_after_it() {
    let frames = [TEXT, END].map(|text| Ok::<_, std::io::Error>(Frame::data(Bytes::from(text))));
    // The mark does not come.
    let frames = stream::iter(frames).chain(stream::pending());
    let mut lane = Follow::new(StreamBody::new(frames), Express(Watch::default()));
    let Some(Some(Ok(Item::Raw(raw, seen)))) = lane.next().now_or_never() else { panic!() };
    assert!(raw == format!("{TEXT}{END}") && seen.last && seen.usage.is_some());
}

#[test]
fn only_the_answers_own_end_completes_it() {
    for (body, kind) in [
        (format!("{CREATED}{TEXT}"), Kind::Unavailable),
        (format!("{CREATED}{TEXT}{DONE}"), Kind::Unavailable),
        (String::new(), Kind::BadResponse),
        ("<html></html>\n\n".to_owned(), Kind::BadResponse),
        (
            "data: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\"}\n\n".to_owned(),
            Kind::Unavailable,
        ),
    ] {
        let (_, seen, failed) = passed(&body);
        assert!(!seen.last, "{body}");
        assert_eq!(failed.unwrap().kind, kind, "{body}");
    }
}

#[test]
fn a_connection_that_breaks_after_the_end_has_cost_nothing() {
    for (sent, broken) in [(format!("{TEXT}{END}"), false), (TEXT.to_owned(), true)] {
        let frames = [Ok(Frame::data(Bytes::from(sent))), Err(std::io::Error::other("reset"))];
        let lane = Follow::new(StreamBody::new(stream::iter(frames)), Express(Watch::default()));
        let (_, seen, failed) = gathered(lane.collect::<Vec<_>>().now_or_never().unwrap());
        assert_eq!((seen.last, failed.is_some()), (!broken, broken));
    }
}

#[test]
fn a_whole_answer_is_handed_on_as_it_came() {
    let body = "\n {\"id\":\"r\",\"model\":\"m\",\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":\"function_call\"}],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}";
    let Item::Raw(raw, seen) = whole(Bytes::from(body)).unwrap() else { panic!() };
    assert_eq!(raw, body);
    assert_eq!(seen.finish_reason, Some(FinishReason::ToolCalls));
    assert!(seen.last && seen.usage.is_some() && seen.model.as_deref() == Some("m"));
}

#[test]
fn resp_queued_bodies_of_background_calls_pass_and_failed_ones_do_not() {
    let queued = "{\"id\":\"r\",\"status\":\"queued\",\"output\":[],\"usage\":null}";
    let Item::Raw(_, seen) = whole(Bytes::from(queued)).unwrap() else { panic!() };
    assert_eq!(seen.finish_reason, None);
    let failed = "{\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"},\"output\":[]}";
    assert_eq!(whole(Bytes::from(failed)).unwrap_err().kind, Kind::RateLimited { retry_after: None });
}

#[test]
fn json_in_place_of_events_is_named() {
    for (body, kind) in [
        ("{\"status\":\"completed\",\"output\":[]}", Kind::BadResponse),
        ("{\"error\":{\"code\":\"rate_limit_exceeded\"}}", Kind::RateLimited { retry_after: None }),
        ("<html>", Kind::BadResponse),
    ] {
        assert_eq!(in_place_of_events(body.as_bytes()).kind, kind, "{body}");
    }
}
