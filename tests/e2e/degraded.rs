//! The answer of last resort: when no target can answer, the configured text does, on every surface, and says what it is.

use serde_json::{Value, json};
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient, stream_complete_response::Event};

use crate::{
    chat, input, record, refusing,
    support::{
        Gateway, KEY,
        http::{Answer, Caller},
        upstream::{Step, Upstream},
    },
    tried,
};

const TEXT: &str = "Not available right now. Please try again in a minute.";

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "breaker: {{ failures: 1000, min_calls: 1000 }}\nproviders:\n{}models:\n  m: {{ degraded: \"{TEXT}\", \
         retry: {{ attempts: 1 }}, targets: [{{ provider: up, model: m-1 }}] }}\n",
        upstream.provider("up")
    ))
}

/// A way to ask over REST, and where the answer has its text and its end.
struct Way {
    path: &'static str,
    body: Value,
    text: fn(&Value) -> Option<&str>,
    end: (fn(&Value) -> Option<&str>, &'static str),
}

fn ways() -> Vec<Way> {
    let with = |mut body: Value, more: Value| {
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let messages = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    let anthropic = with(messages.clone(), json!({"max_tokens": 9}));
    let responses = json!({"model": "m", "input": "hello"});
    let streamed = json!({"stream": true});
    vec![
        Way {
            path: "/v1/chat/completions",
            body: messages.clone(),
            text: |answer| answer["choices"][0]["message"]["content"].as_str(),
            end: (|answer| answer["choices"][0]["finish_reason"].as_str(), "stop"),
        },
        Way {
            path: "/v1/chat/completions",
            body: with(messages, streamed.clone()),
            text: |event| event["choices"][0]["delta"]["content"].as_str(),
            end: (|event| event["choices"][0]["finish_reason"].as_str(), "stop"),
        },
        Way {
            path: "/v1/messages",
            body: anthropic.clone(),
            text: |answer| answer["content"][0]["text"].as_str(),
            end: (|answer| answer["stop_reason"].as_str(), "end_turn"),
        },
        Way {
            path: "/v1/messages",
            body: with(anthropic, streamed.clone()),
            text: |event| event["delta"]["text"].as_str(),
            end: (|event| event["delta"]["stop_reason"].as_str(), "end_turn"),
        },
        Way {
            path: "/v1/responses",
            body: responses.clone(),
            text: |answer| answer["output"][0]["content"][0]["text"].as_str(),
            end: (|answer| answer["status"].as_str(), "completed"),
        },
        Way {
            path: "/v1/responses",
            body: with(responses, streamed),
            text: |event| event["delta"].as_str(),
            end: (
                |event| {
                    event["response"]["status"].as_str().filter(|_| event["type"] == "response.completed")
                },
                "completed",
            ),
        },
    ]
}

/// The answer's JSON: all of it, or its events.
fn pieces(answer: &Answer) -> Vec<Value> {
    if !answer.header("content-type").starts_with("text/event-stream") {
        return vec![answer.json()];
    }
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// What the record says of a call that the gateway answered itself.
async fn check_record(gateway: &Gateway, id: &str) {
    let record = record(gateway, id).await;
    assert_eq!(record["status"], "OK", "{record}");
    assert_eq!(tried(&record), [("up/m-1", "unavailable")], "{record}");
    assert_eq!(record["target"].as_str().unwrap_or_default(), "", "{record}");
    let usage = &record["usage"];
    let counts = ["input_tokens", "output_tokens"].map(|name| usage[name].as_str().unwrap_or("0"));
    assert_eq!(counts, ["0", "0"], "{record}");
    assert!(!record["unpriced"].as_bool().unwrap_or(false), "it costs nothing: {record}");
}

#[tokio::test]
async fn the_text_answers_on_every_rest_surface() {
    let upstream = Upstream::start(refusing(503, "x")).await;
    let gateway = gateway(&upstream);
    for Way { path, body, text, end: (end, reason) } in ways() {
        let answer = Caller::new(gateway.addr, KEY).post(path, body.to_string()).await;
        let name = format!("{path} {body}: {} {}", answer.status, answer.text());
        assert_eq!(answer.status, 200, "{name}");
        let pieces = pieces(&answer);
        let got: String = pieces.iter().filter_map(text).collect();
        assert_eq!(got, TEXT, "{name}");
        assert_eq!(pieces.iter().find_map(end), Some(reason), "{name}");
        let model =
            ["/model", "/message/model", "/response/model"].into_iter().find_map(|at| pieces[0].pointer(at));
        assert_eq!(model, Some(&json!("m")), "{name}");
        assert_eq!(answer.header("x-tollgate-warnings"), "degraded_answer", "{name}");
        assert_eq!(
            (answer.header("x-tollgate-target"), answer.header("x-tollgate-attempts")),
            ("", "1"),
            "{name}"
        );
        check_record(&gateway, answer.header("x-request-id")).await;
    }
    assert_eq!(upstream.seen().len(), ways().len());
}

#[tokio::test]
async fn the_text_answers_over_grpc_and_says_why() {
    let upstream = Upstream::start(|_| vec![Step::Close]).await;
    let gateway = gateway(&upstream);
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let request = v1::CompleteRequest { input: Some(input("m")), options: None };
    let whole = client.complete(request).await.unwrap().into_inner();
    let choice = &whole.choices[0];
    assert_eq!(choice.finish_reason(), v1::FinishReason::Other);
    let parts = &choice.message.as_ref().unwrap().parts;
    assert_eq!(parts[0].kind, Some(v1::part::Kind::Text(TEXT.to_owned())));
    let check = |warnings: &[v1::Warning], route: &v1::RouteInfo| {
        assert_eq!(
            warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>(),
            ["degraded_answer"]
        );
        let outcomes: Vec<_> = route.attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
        assert_eq!((outcomes, route.target.as_str()), (vec!["unavailable"], ""));
    };
    check(&whole.warnings, whole.route.as_ref().unwrap());
    check_record(&gateway, &whole.id).await;

    let request = v1::StreamCompleteRequest { input: Some(input("m")), ..Default::default() };
    let mut stream = client.stream_complete(request).await.unwrap().into_inner();
    let (mut text, mut start, mut usage, mut finish, mut end) = (String::new(), None, None, None, None);
    while let Some(message) = stream.message().await.unwrap() {
        match message.event {
            Some(Event::Start(told)) => start = Some(told),
            Some(Event::Text(delta)) => text += &delta.text,
            Some(Event::Usage(told)) => usage = Some(told),
            Some(Event::ChoiceEnd(told)) => finish = Some(told.finish_reason()),
            Some(Event::End(told)) => end = told.route,
            _ => {}
        }
    }
    let (start, usage) = (start.unwrap(), usage.unwrap());
    assert_eq!((text.as_str(), finish), (TEXT, Some(v1::FinishReason::Other)));
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(0), Some(0)));
    check(&start.warnings, &end.unwrap());
    check_record(&gateway, &start.id).await;
}

#[tokio::test]
async fn a_resting_target_is_no_reason_to_fail_and_its_state_is_told() {
    let limited = "HTTP/1.1 429 X\r\nretry-after: 60\r\ncontent-length: 2\r\n\r\n{}";
    let upstream = Upstream::start(|_| vec![Step::Send(limited.into())]).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    for _ in 0..20 {
        let answer = caller.post("/v1/chat/completions", chat(false)).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-tollgate-warnings")), (200, "degraded_answer"));
    }
    let metrics = crate::metrics(&gateway).await;
    assert!(metrics.contains("tollgate_circuit_state{target=\"up/m-1\"} 2"), "{metrics}");
}

#[tokio::test]
async fn what_a_text_cannot_mend_stays_an_error() {
    let messages = |code| ("/v1/chat/completions", chat(false), 400, code, 400);
    let mut cases =
        vec![messages("weird"), messages("context_length_exceeded"), messages("content_policy_violation")];
    // A text is no vector.
    cases.push(("/v1/embeddings", json!({"model": "m", "input": "hello"}).to_string(), 503, "x", 502));
    for (path, body, upstream_status, code, status) in cases {
        let upstream = Upstream::start(refusing(upstream_status, code)).await;
        let answer = Caller::new(gateway(&upstream).addr, KEY).post(path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {code}: {}", answer.text());
        assert_eq!(answer.header("x-tollgate-warnings"), "", "{path} {code}");
    }
    let silent = Upstream::start(|_| vec![Step::Hold]).await;
    let gateway = gateway(&silent);
    let caller = Caller::new(gateway.addr, KEY);
    let late = caller
        .try_post("/v1/chat/completions", chat(false), &[("x-tollgate-timeout-ms", "200")])
        .await
        .unwrap();
    assert_eq!(late.header("x-tollgate-reason"), "CALLER_DEADLINE_EXCEEDED", "{}", late.text());
    let denied = caller
        .try_post("/v1/chat/completions", chat(false), &[("x-tollgate-route", "deny=up")])
        .await
        .unwrap();
    assert_eq!((denied.status.as_u16(), denied.header("x-tollgate-reason")), (503, "NO_TARGET_AVAILABLE"));
}
