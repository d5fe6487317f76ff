//! Truncation is never success, and each failure is told as what it is, with the upstream named.

use tollgate_api::v1::{self, chat_service_client::ChatServiceClient};
use tonic::Code;

use crate::{
    chat, gateway_with, input, record,
    support::{
        Gateway, KEY,
        http::Caller,
        port::Port,
        upstream::{Step, Upstream, chunk, delta, end, finish, stream_head, whole},
    },
};

/// What the upstream does, and what it must look like: HTTP status, error code, gRPC code.
struct Fault {
    name: &'static str,
    steps: Vec<Step>,
    status: u16,
    code: &'static str,
    grpc: Code,
}

/// A gateway whose alias `m` goes to this upstream alone, with these rules for tries.
fn gateway(upstream: &Upstream, retry: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{more}providers:\n{}models:\n  m: {{ targets: [{{ provider: up, model: m-1 }}], retry: {{ {retry} }} }}\n",
        upstream.provider("up")
    ))
}

/// How often a failure is tried at the only target there is: what another try would not change, once.
fn tries(code: &str) -> usize {
    match code {
        "upstream_unavailable" | "upstream_bad_response" => 3,
        _ => 1,
    }
}

fn before_content(streamed: bool) -> Vec<Fault> {
    let fault = |name, steps, status, code, grpc| Fault { name, steps, status, code, grpc };
    let error = |status, code: &str| {
        whole(
            status,
            "application/json",
            format!(r#"{{"error":{{"message":"no","type":"t","code":"{code}"}}}}"#),
        )
    };
    let short =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"id\":".to_vec();
    let mut faults = vec![
        fault("closed", vec![Step::Close], 502, "upstream_unavailable", Code::Unavailable),
        fault("reset", vec![Step::Reset], 502, "upstream_unavailable", Code::Unavailable),
        fault("401", error(401, "invalid_api_key"), 502, "upstream_auth_failed", Code::Internal),
        fault("400", error(400, "weird"), 400, "weird", Code::InvalidArgument),
        fault("404", error(404, "model_not_found"), 404, "model_not_found", Code::InvalidArgument),
        fault(
            "429",
            error(429, "rate_limit_exceeded"),
            429,
            "upstream_rate_limited",
            Code::ResourceExhausted,
        ),
        fault("500", error(500, "x"), 502, "upstream_unavailable", Code::Unavailable),
        fault("503 html", whole(503, "text/html", "<html>"), 502, "upstream_unavailable", Code::Unavailable),
        fault(
            "html in 200",
            whole(200, "text/html", "<html>hi"),
            502,
            "upstream_bad_response",
            Code::Internal,
        ),
        fault(
            "garbage in 200",
            whole(200, "application/json", "}{"),
            502,
            "upstream_bad_response",
            Code::Internal,
        ),
        fault("empty 200", whole(200, "application/json", ""), 502, "upstream_bad_response", Code::Internal),
        fault(
            "context",
            error(400, "context_length_exceeded"),
            400,
            "context_length_exceeded",
            Code::InvalidArgument,
        ),
        fault(
            "short body",
            vec![Step::Send(short), Step::Close],
            502,
            "upstream_unavailable",
            Code::Unavailable,
        ),
    ];
    if streamed {
        let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
        let error =
            "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":503}}\n\n";
        // A stream announced as JSON has no length to fall short of its dialect's end.
        faults.retain(|fault| fault.name != "short body");
        faults.extend([
            fault("nothing", vec![stream_head(), end()], 502, "upstream_bad_response", Code::Internal),
            fault(
                "role, then end",
                vec![stream_head(), chunk(role), end()],
                502,
                "upstream_unavailable",
                Code::Unavailable,
            ),
            fault(
                "error first",
                vec![stream_head(), chunk(error), end()],
                502,
                "upstream_unavailable",
                Code::Unavailable,
            ),
            fault(
                "half an event",
                vec![stream_head(), chunk("data: {\"cho"), end()],
                502,
                "upstream_unavailable",
                Code::Unavailable,
            ),
        ]);
    }
    faults
}

#[tokio::test]
async fn failures_before_content_are_real_statuses_for_openai_callers() {
    for streamed in [false, true] {
        for fault in before_content(streamed) {
            let steps = fault.steps.clone();
            let upstream = Upstream::start(move |_| steps.clone()).await;
            // The pause after a 429 without a time, a second, is too long to be waited for.
            let gateway = gateway(&upstream, "backoff: 1ms, max_backoff: 100ms", "");
            let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", chat(streamed)).await;
            let name = format!("{} (stream {streamed}): {} {}", fault.name, answer.status, answer.text());
            assert_eq!(answer.status.as_u16(), fault.status, "{name}");
            let error = &answer.json()["error"];
            assert_eq!(error["code"], fault.code, "{name}");
            assert!(!answer.text().contains("sk-upstream"), "{name}");
            if fault.status >= 500 {
                assert!(error["message"].as_str().unwrap().contains("`up`"), "the upstream is named: {name}");
            }
            let record = record(&gateway, answer.header("x-request-id")).await;
            assert_ne!(record["status"], "OK", "{name}");
            let attempts = record["attempts"].as_array().unwrap();
            assert_eq!(attempts.len(), tries(fault.code), "{name}");
            assert_eq!(upstream.seen().len(), attempts.len(), "{name}");
            assert!(attempts.iter().all(|attempt| attempt["outcome"] != "ok"), "{name}");
        }
    }
}

#[tokio::test]
async fn failures_before_content_are_real_statuses_for_grpc_callers() {
    for streamed in [false, true] {
        for fault in before_content(streamed) {
            let steps = fault.steps.clone();
            let upstream = Upstream::start(move |_| steps.clone()).await;
            let gateway = gateway(&upstream, "attempts: 1", "");
            let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
            let status = if streamed {
                let request = v1::StreamCompleteRequest { input: Some(input("m")), ..Default::default() };
                client.stream_complete(request).await.map(|_| ()).unwrap_err()
            } else {
                let request = v1::CompleteRequest { input: Some(input("m")), options: None };
                client.complete(request).await.map(|_| ()).unwrap_err()
            };
            assert_eq!(status.code(), fault.grpc, "{} (stream {streamed}): {status:?}", fault.name);
            assert!(!status.details().is_empty(), "{}", fault.name);
            assert_eq!(upstream.seen().len(), 1, "{}", fault.name);
        }
    }
}

fn after_content() -> Vec<(&'static str, Vec<Step>)> {
    // In one piece, so that no pause comes between.
    let started = || vec![stream_head(), chunk(delta("one") + &delta(" two"))];
    let with = |last: Vec<Step>| [started(), last].concat();
    vec![
        ("clean end without an end event", with(vec![end()])),
        ("connection closed", with(vec![Step::Close])),
        ("connection reset", with(vec![Step::Await(1), Step::Reset])),
        ("half an event", with(vec![chunk("data: {\"choices\":[{\"ind"), end()])),
        ("an error event", with(vec![chunk("data: {\"error\":{\"message\":\"boom\"}}\n\n"), end()])),
        ("garbage", with(vec![chunk("data: <html>\n\n"), end()])),
        ("silence", with(vec![Step::Hold])),
    ]
}

/// Only silence is to be cut.
fn idle(name: &str) -> &'static str {
    if name == "silence" { "timeouts: { idle: 500ms }\n" } else { "" }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_in_an_error_and_the_record_says_what_was_delivered() {
    for (name, steps) in after_content() {
        let upstream = Upstream::start(move |_| steps.clone()).await;
        upstream.release();
        let gateway = gateway_with(&upstream, idle(name));
        let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", chat(true)).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{name}");
        assert!(text.starts_with(&delta("one")), "{name}: {text}");
        assert!(!text.contains("data: [DONE]"), "{name}: {text}");
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let error: serde_json::Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{name}: {error}: {last}"));
        assert_eq!(error["error"]["code"], "stream_interrupted", "{name}");
        let record = record(&gateway, answer.header("x-request-id")).await;
        assert_eq!(record["status"], "UNAVAILABLE", "{name}");
        assert_eq!(record["error_reason"], "STREAM_INTERRUPTED", "{name}");
        assert_eq!(record["delivered_event_count"], "2", "{name}");
        assert_eq!(record["usage"]["output_tokens"], "2", "{name}");
        assert_eq!(record["usage"]["source"], "SOURCE_ESTIMATED", "{name}");
    }
}

#[tokio::test]
async fn a_broken_stream_ends_in_a_status_for_grpc_callers_after_its_usage() {
    for (name, steps) in after_content() {
        let upstream = Upstream::start(move |_| steps.clone()).await;
        upstream.release();
        let gateway = gateway_with(&upstream, idle(name));
        let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
        let request = v1::StreamCompleteRequest { input: Some(input("m")), ..Default::default() };
        let mut stream = client.stream_complete(request).await.unwrap().into_inner();
        let mut last = None;
        let status = loop {
            match stream.message().await {
                Ok(Some(message)) => last = message.event,
                Ok(None) => panic!("{name}: ended as success"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::Unavailable, "{name}: {status:?}");
        let Some(v1::stream_complete_response::Event::Usage(usage)) = last else {
            panic!("{name}: {last:?}")
        };
        assert_eq!((usage.output_tokens, usage.source()), (Some(2), v1::usage::Source::Estimated), "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_a_timeout() {
    let upstream = Upstream::start(|_| vec![Step::Hold]).await;
    let gateway = gateway(&upstream, "attempts: 1", "timeouts: { first_token: 300ms }\n");
    for streamed in [false, true] {
        let answer = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", chat(streamed)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (504, &"upstream_timeout".into())
        );
    }
    upstream.hung_up(upstream.seen().len()).await;
}

#[tokio::test]
async fn an_upstream_that_is_down_is_unavailable_and_the_next_target_serves() {
    let port = Port::hold();
    let down = port.addr;
    let upstream =
        Upstream::start(|_| vec![stream_head(), chunk(delta("hi")), chunk(finish(1, 1)), end()]).await;
    let gateway = crate::support::Gateway::start(&format!(
        "providers:\n  down: {{ dialect: openai, base_url: \"http://{down}/v1\", api_key: k }}\n{}models:\n  \
         m: {{ targets: [{{ provider: down, model: m-0 }}] }}\n  \
         two: {{ targets: [{{ provider: down, model: m-0 }}, {{ provider: up, model: m-1 }}] }}\n",
        upstream.provider("up")
    ));
    let caller = Caller::new(gateway.addr, KEY);
    let answer = caller.post("/v1/chat/completions", chat(true)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["code"]),
        (502, &"upstream_unavailable".into())
    );
    let answer = caller.post("/v1/chat/completions", chat(true).replace("\"m\"", "\"two\"")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((answer.header("x-tollgate-provider"), answer.header("x-tollgate-attempts")), ("up", "2"));
    assert_eq!(answer.header("x-tollgate-tried"), "down/m-0;unavailable;0, up/m-1;answers;200");
    let record = record(&gateway, answer.header("x-request-id")).await;
    let outcomes: Vec<_> =
        record["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["unavailable", "ok"]);
}
