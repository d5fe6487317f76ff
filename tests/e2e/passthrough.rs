//! What passes through: bytes both ways, limits, records, and endings.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    gateway_with, record,
    support::{
        ADMIN_KEY, Gateway, KEY,
        http::Caller,
        upstream::{Step, Upstream, chunk, end, head, whole},
    },
};

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nen\r\n--b--\r\n";

#[tokio::test]
async fn json_arrives_as_it_was_sent_and_its_units_are_recorded() {
    const RANKED: &str =
        "{\"results\": [ {\"index\":0} ],\n \"meta\":{\"billed_units\":{\"search_units\":2}}}";
    let upstream = Upstream::start(|_| whole(200, "application/json", RANKED)).await;
    let gateway = gateway_with(&upstream, "");
    let caller = Caller::new(gateway.addr, KEY);
    for path in ["/v1/rerank", "/rerank", "/v2/rerank"] {
        let body = r#"{"query":"q", "documents":["a"],"model": "m","top_n":1.0}"#;
        let answer = caller.post(path, body).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, RANKED));
        assert_eq!(answer.header("x-tollgate-target"), "up/m-1");
        let record = record(&gateway, answer.header("x-request-id")).await;
        assert_eq!(record["operation"], "rerank");
        assert_eq!(record["surface"], "rerank");
        assert_eq!(record["usage"]["billable_units"], json!({"search_units": "2"}));
        assert_eq!(record["status"], "OK");
    }
    let seen = upstream.seen();
    assert_eq!(seen[0].path, "/v1/rerank");
    let sent = r#"{"query":"q", "documents":["a"],"model": "m-1","top_n":1.0}"#;
    assert_eq!(String::from_utf8_lossy(&seen[0].body), sent);
    assert_eq!(seen[0].header("authorization"), "Bearer sk-upstream");
}

#[tokio::test]
async fn a_form_is_streamed_with_the_vendors_model_in_it() {
    let told =
        r#"{"text":"hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":3,"total_tokens":17}}"#;
    let upstream = Upstream::start(move |_| whole(200, "application/json", told)).await;
    let gateway = gateway_with(&upstream, "");
    let caller = Caller::new(gateway.addr, KEY);
    let kind = ("content-type", "multipart/form-data; boundary=b");
    let answer = caller.try_post("/v1/audio/transcriptions", FORM, &[kind]).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, told));
    let seen = upstream.seen();
    assert_eq!(seen[0].path, "/v1/audio/transcriptions");
    assert_eq!(seen[0].header("content-type"), kind.1);
    let expected = FORM.replace("\r\n\r\nm\r\n", "\r\n\r\nm-1\r\n");
    assert_eq!(String::from_utf8_lossy(&seen[0].body), expected);
    let record = record(&gateway, answer.header("x-request-id")).await;
    assert_eq!(
        (&record["usage"]["input_tokens"], &record["usage"]["output_tokens"]),
        (&"14".into(), &"3".into())
    );
    assert_eq!((&record["operation"], &record["surface"]), (&"transcription".into(), &"openai-audio".into()));
}

#[tokio::test]
async fn sound_that_is_cut_short_is_never_whole() {
    let upstream = Upstream::start(|seen| {
        let mut steps = vec![head(200, "audio/mpeg"), chunk([0xff; 900])];
        if seen.json()["input"] == "whole" {
            steps.push(end());
        } else {
            steps.push(Step::Close);
        }
        steps
    })
    .await;
    let gateway = gateway_with(&upstream, "");
    let caller = Caller::new(gateway.addr, KEY);
    let speech = |input: &str| format!(r#"{{"model":"m","voice":"alloy","input":"{input}"}}"#);
    let answer = caller.post("/v1/audio/speech", speech("whole")).await;
    assert_eq!(answer.body.as_ref(), [0xff; 900]);
    assert_eq!(answer.header("content-type"), "audio/mpeg");
    let spoken = record(&gateway, answer.header("x-request-id")).await;
    assert_eq!(spoken["usage"]["billable_units"], json!({"characters": "5"}));
    assert_eq!(spoken["usage"]["source"], "SOURCE_ESTIMATED");

    let response = caller.open("/v1/audio/speech", speech("cut"), &[]).await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert!(body.is_err(), "the caller must not take it for whole");
    assert_eq!(record(&gateway, &id).await["status"], "UNAVAILABLE");
}

#[tokio::test]
async fn an_upstreams_refusal_and_a_missing_model_are_told_in_the_envelope() {
    let refusal =
        r#"{"error":{"message":"bad size","type":"invalid_request_error","param":"size","code":null}}"#;
    let upstream = Upstream::start(move |_| whole(400, "application/json", refusal)).await;
    let gateway = gateway_with(&upstream, "");
    let caller = Caller::new(gateway.addr, KEY);
    let answer = caller.post("/v1/images/generations", r#"{"model":"m","prompt":"x"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (400, refusal));
    let answer = caller.post("/v1/audio/speech", r#"{"input":"x"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["param"].as_str()), (400, Some("model")));
    assert_eq!(record(&gateway, answer.header("x-request-id")).await["error_reason"], "INVALID_REQUEST");
}

#[tokio::test]
async fn a_native_wire_needs_the_scope_and_an_alias_and_is_recorded_by_its_model() {
    const LINES: &str = "{\"model\":\"llama\",\"message\":{\"content\":\"hi\"},\"done\":false}\n{\"model\":\"llama\",\"done\":true,\"prompt_eval_count\":26,\"eval_count\":4}\n";
    let upstream = Upstream::start(|_| {
        vec![head(200, "application/x-ndjson"), chunk(&LINES[..40]), chunk(&LINES[40..]), end()]
    })
    .await;
    let gateway = gateway_with(&upstream, "");
    let body = r#"{"model":"llama","messages":[]}"#;
    let unscoped = Caller::new(gateway.addr, KEY).post("/providers/up/api/chat", body).await;
    assert_eq!(unscoped.status, 403);
    let pinner = Caller::new(gateway.addr, ADMIN_KEY);
    let unaliased = pinner.post("/providers/up/api/chat", body).await;
    assert_eq!(unaliased.status, 404, "{}", unaliased.text());
    assert!(upstream.seen().is_empty());
    drop(gateway);

    let gateway = Gateway::start(&format!(
        "providers:\n{}models:\n  \"up/*\": {{ targets: [{{ provider: up, model: \"*\" }}] }}\n",
        upstream.provider("up")
    ));
    let pinner = Caller::new(gateway.addr, ADMIN_KEY);
    let answer = pinner.post("/providers/up/api/chat?a=b", body).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, LINES));
    assert_eq!(upstream.seen()[0].path, "/v1/api/chat?a=b");
    let record = record(&gateway, answer.header("x-request-id")).await;
    assert_eq!(record["requested_model"], "up/llama");
    assert_eq!(
        (&record["usage"]["input_tokens"], &record["usage"]["output_tokens"]),
        (&"26".into(), &"4".into())
    );
}

/// A gateway with one provider of that dialect, whose every model may be asked for.
fn native(upstream: &Upstream, dialect: &str) -> Gateway {
    let keys = "region: us-east-1, access_key_id: AKIA1, secret_access_key: s1";
    let keys = if dialect.starts_with("bedrock") { keys } else { "api_key: sk-upstream" };
    Gateway::start(&format!(
        "providers:\n  up: {{ dialect: {dialect}, base_url: \"http://{}\", {keys} }}\n\
         models:\n  \"up/*\": {{ targets: [{{ provider: up, model: \"*\" }}] }}\n",
        upstream.addr
    ))
}

/// One message of AWS's event stream.
fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut written = Vec::new();
    for (name, value) in headers {
        written.extend([&[u8::try_from(name.len()).unwrap()], name.as_bytes(), &[7]].concat());
        written.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        written.extend(value.as_bytes());
    }
    let all = u32::try_from(written.len() + payload.len() + 16).unwrap();
    let mut frame = [all.to_be_bytes(), u32::try_from(written.len()).unwrap().to_be_bytes()].concat();
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend([written.as_slice(), payload.as_bytes()].concat());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// An event of a model's vendor as `InvokeModel` wraps it.
fn wrapped(event: &str) -> Vec<u8> {
    let payload = format!(r#"{{"bytes":"{}","p":"abc"}}"#, STANDARD.encode(event));
    frame(&[(":event-type", "chunk"), (":message-type", "event")], &payload)
}

const BEGUN: &str = r#"{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"c","content":[],"usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":1}}}"#;
const SAID: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#;
const DONE: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#;
const STOPPED: &str = r#"{"type":"message_stop"}"#;

#[tokio::test]
async fn every_vendors_own_stream_passes_untouched_and_is_counted() {
    let sse = |events: &[(&str, &str)]| {
        let event = |(name, data): &(&str, &str)| format!("event: {name}\ndata: {data}\n\n");
        events.iter().map(event).collect::<String>().into_bytes()
    };
    let claude = [("message_start", BEGUN), ("message_delta", DONE), ("message_stop", STOPPED)];
    let gemini = "data: {\"candidates\":[{\"content\":{},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":5}}\r\n\r\n";
    let cohere = [(
        "message-end",
        r#"{"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":2},"tokens":{"input_tokens":10,"output_tokens":9}}}}"#,
    )];
    let invoked = [wrapped(BEGUN), wrapped(DONE), wrapped(STOPPED)].concat();
    for (dialect, path, kind, body) in [
        ("anthropic", "v1/messages", "text/event-stream", sse(&claude)),
        (
            "gemini",
            "v1beta/models/g:streamGenerateContent?alt=sse",
            "text/event-stream",
            gemini.as_bytes().to_vec(),
        ),
        ("cohere", "v2/chat", "text/event-stream", sse(&cohere)),
        (
            "bedrock",
            "model/anthropic.c%3A0/invoke-with-response-stream",
            "application/vnd.amazon.eventstream",
            invoked,
        ),
    ] {
        let sent = body.clone();
        let upstream = Upstream::start(move |_| {
            vec![head(200, kind), chunk(&sent[..sent.len() / 2]), chunk(&sent[sent.len() / 2..]), end()]
        })
        .await;
        let gateway = native(&upstream, dialect);
        let caller = Caller::new(gateway.addr, ADMIN_KEY);
        let answer = caller.post(&format!("/providers/up/{path}"), r#"{"model":"c","stream":true}"#).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, body.as_slice()), "{dialect}");
        assert_eq!(upstream.seen()[0].path, format!("/{path}"));
        let record = record(&gateway, answer.header("x-request-id")).await;
        let counts = (&record["usage"]["input_tokens"], &record["usage"]["output_tokens"]);
        assert_eq!(counts, (&"10".into(), &"9".into()), "{dialect}");
        assert_eq!(record["status"], "OK");
    }
}

#[tokio::test]
async fn a_native_stream_that_fails_is_torn_and_its_refusal_is_in_the_vendors_words() {
    let exception = frame(
        &[(":exception-type", "modelStreamErrorException"), (":message-type", "exception")],
        r#"{"message":"gone"}"#,
    );
    for rest in [exception, wrapped(DONE)[..30].to_vec()] {
        let upstream = Upstream::start(move |_| {
            let kind = "application/vnd.amazon.eventstream";
            vec![head(200, kind), chunk(wrapped(BEGUN)), chunk(rest.clone()), end()]
        })
        .await;
        let gateway = native(&upstream, "bedrock");
        let caller = Caller::new(gateway.addr, ADMIN_KEY);
        let response = caller.open("/providers/up/model/m/invoke-with-response-stream", "{}", &[]).await;
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        assert!(body.is_err(), "the caller must not take it for whole");
        assert_eq!(record(&gateway, &id).await["status"], "UNAVAILABLE");
    }
    const REFUSED: &str = r#"{"message":"URL sources are not supported"}"#;
    let upstream = Upstream::start(|_| whole(400, "application/json", REFUSED)).await;
    let gateway = native(&upstream, "bedrock");
    let answer = Caller::new(gateway.addr, ADMIN_KEY).post("/providers/up/model/m/invoke", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (400, REFUSED));
}

#[tokio::test]
async fn anthropics_callers_reach_claude_on_bedrock_event_by_event() {
    let upstream = Upstream::start(|seen| {
        if seen.path.ends_with("/invoke") {
            return whole(
                200,
                "application/json",
                r#"{"type":"message", "content":[],"usage":{"input_tokens":1,"output_tokens":2}}"#,
            );
        }
        let events = [BEGUN, SAID, DONE, STOPPED].map(wrapped).concat();
        vec![head(200, "application/vnd.amazon.eventstream"), chunk(events), end()]
    })
    .await;
    let gateway = native(&upstream, "bedrock");
    let caller = Caller::new(gateway.addr, KEY);
    let body = |streamed: bool| {
        format!(
            r#"{{"model":"up/us.anthropic.c:0","max_tokens":9,"new":[1.0],"stream":{streamed},"messages":[{{"role":"user","content":"x"}}]}}"#
        )
    };
    let beta = ("anthropic-beta", "b-1,b-2");
    let answer = caller.try_post("/v1/messages", body(true), &[beta]).await.unwrap();
    let expected = [
        ("message_start", BEGUN),
        ("content_block_delta", SAID),
        ("message_delta", DONE),
        ("message_stop", STOPPED),
    ]
    .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"));
    assert_eq!(answer.text(), expected.concat());
    let told = record(&gateway, answer.header("x-request-id")).await;
    assert_eq!(
        (&told["usage"]["input_tokens"], &told["usage"]["output_tokens"]),
        (&"10".into(), &"9".into())
    );
    let answer = caller.post("/v1/messages", body(false)).await;
    assert!(answer.text().starts_with(r#"{"type":"message", "content":[]"#), "{}", answer.text());
    let seen = upstream.seen();
    assert_eq!(seen[0].path, "/model/us.anthropic.c%3A0/invoke-with-response-stream");
    assert_eq!(
        String::from_utf8_lossy(&seen[0].body),
        r#"{"max_tokens":9,"new":[1.0],"messages":[{"role":"user","content":"x"}],"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["b-1","b-2"]}"#
    );
    assert!(seen[0].header("authorization").starts_with("AWS4-HMAC-SHA256 "));
    assert_eq!(seen[1].path, "/model/us.anthropic.c%3A0/invoke");
}
