//! Responses, legacy completions and Azure's paths, from request to response.

use super::*;

#[tokio::test]
async fn a_response_is_told_whole_as_a_stream_and_by_azures_paths() {
    let house = house();
    for path in
        ["/v1/responses", "/responses", "/openai/responses?api-version=preview", "/openai/v1/responses"]
    {
        let response = house.plays(typed()).post(path, r#"{"model":"play","input":"hi","top_p":0.5}"#).await;
        let body = body_of(response).await;
        assert_eq!((&body["object"], &body["status"]), (&json!("response"), &json!("completed")), "{path}");
        assert_eq!(body["output"][0]["content"][0]["text"], "Hello");
        assert_eq!((&body["top_p"], &body["tools"]), (&json!(0.5), &json!([])));
    }
    let body = r#"{"model":"play","input":"hi","stream":true}"#;
    let text = text_of(house.plays(typed()).post("/v1/responses", body).await).await;
    assert!(text.starts_with("event: response.created\ndata: {\"type\":\"response.created\","), "{text}");
    assert!(text.contains("event: response.completed\n") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn responses_of_the_same_dialect_pass_byte_for_byte_but_not_with_tokens_of_others() {
    let house = house();
    let answer = "{\"id\" : \"resp_theirs\",\n \"new\":1}";
    let body = r#"{"model":"play","input":"hi","previous_response_id":"resp_0"}"#;
    house.expects(Dialect::OpenAiResponses);
    let response = house.plays(vec![raw(answer, true)]).post("/v1/responses", body).await;
    assert_eq!(text_of(response).await, answer);
    assert_eq!(house.player.sent.lock().unwrap().as_deref(), Some(body.as_bytes()));
    let body = r#"{"model":"play","input":[{"role":"user","content":"hi"},
        {"type":"reasoning","summary":[],"encrypted_content":"tollgate.gem.c2ln"}]}"#;
    let response = house.plays(typed()).post("/v1/responses", body).await;
    assert_eq!(response.status(), 200);
    assert_eq!(*house.player.sent.lock().unwrap(), None);
}

#[tokio::test]
async fn what_refers_to_a_kept_response_says_that_there_is_none() {
    let house = house();
    for (method, path) in [
        (Method::GET, "/v1/responses/resp_1"),
        (Method::DELETE, "/v1/responses/resp_1"),
        (Method::POST, "/v1/responses/resp_1/cancel"),
        (Method::GET, "/v1/responses/resp_1/input_items"),
    ] {
        let request = Request::builder().method(&method).uri(path).header("api-key", KEY);
        let response = house.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 404, "{method} {path}");
        assert!(body_of(response).await["error"]["message"].as_str().unwrap().contains("keeps none"));
    }
    let stranger = Request::get("/v1/responses/resp_1").body(Body::empty()).unwrap();
    assert_eq!(house.send(stranger).await.status(), 401);
}

#[tokio::test]
async fn a_prompt_is_counted_without_an_answer() {
    let house = house();
    let body = r#"{"model":"echo","input":"one two three"}"#;
    let body = body_of(house.post("/v1/responses/input_tokens", body).await).await;
    assert_eq!(body["object"], "response.input_tokens");
    assert!(body["input_tokens"].as_i64().unwrap() >= 3);
}

#[tokio::test]
async fn a_legacy_completion_is_told_whole_and_as_a_stream() {
    let house = house();
    let body =
        body_of(house.plays(typed()).post("/completions", r#"{"model":"play","prompt":"hi"}"#).await).await;
    assert_eq!((&body["object"], &body["choices"][0]["text"]), (&json!("text_completion"), &json!("Hello")));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let stream = r#"{"model":"play","prompt":"hi","stream":true}"#;
    let text = text_of(house.plays(typed()).post("/v1/completions", stream).await).await;
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"usage\""), "{text}");
    let refused =
        body_of(house.post("/v1/completions", r#"{"model":"echo","prompt":["a","b"]}"#).await).await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["param"]),
        (&json!("unsupported_parameter"), &json!("prompt"))
    );
}

#[tokio::test]
async fn azures_deployment_is_the_model() {
    let house = house();
    let body = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let path = "/openai/deployments/play/chat/completions?api-version=2024-10-21";
    let request = Request::post(path).header("api-key", KEY).body(Body::from(body)).unwrap();
    let response = house.plays(typed()).send(request).await;
    assert_eq!(body_of(response).await["choices"][0]["message"]["content"], "Hello");
    let sent = house.player.sent.lock().unwrap().clone();
    assert_eq!(
        sent.as_deref(),
        Some(br#"{"model":"play","messages":[{"role":"user","content":"hi"}]}"#.as_slice())
    );
    let named = r#"{"model":"gpt-4o","prompt":"hi"}"#;
    let response = house.plays(typed()).post("/openai/deployments/play/completions", named).await;
    assert_eq!(response.status(), 200);
}
