//! What passes through: bytes both ways, limits, records, and endings.

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
