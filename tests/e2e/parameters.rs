//! Parameters that a target does not know: dropped with a warning or refused, as the configuration or the call says.

use serde_json::json;
use tollgate_api::v1::{self, UnsupportedParameters, chat_service_client::ChatServiceClient};
use tonic::Code;

use crate::support::{
    Gateway, KEY,
    http::Caller,
    upstream::{Upstream, completion, whole},
};

const FIELD: &str = "input.sampling.top_k";

/// A gateway before OpenAI itself, which knows no `top_k`.
async fn gateway(unsupported: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::start(|_| whole(200, "application/json", completion("hi", 3, 1))).await;
    let provider = upstream.provider("up").replace(" }", &format!(", unsupported: {unsupported} }}"));
    let yaml =
        format!("providers:\n{provider}models:\n  m: {{ targets: [{{ provider: up, model: m-1 }}] }}\n");
    (Gateway::start(&yaml), upstream)
}

fn request(wish: UnsupportedParameters) -> v1::CompleteRequest {
    let text = v1::Part { kind: Some(v1::part::Kind::Text("hello".into())), ..Default::default() };
    let input = v1::ChatInput {
        model: "m".into(),
        messages: vec![v1::Message { role: v1::Role::User.into(), parts: vec![text], name: String::new() }],
        sampling: Some(v1::Sampling { top_k: Some(5), ..Default::default() }),
        ..Default::default()
    };
    let options = v1::CallOptions { unsupported_parameters: wish.into(), ..Default::default() };
    v1::CompleteRequest { input: Some(input), options: Some(options) }
}

#[tokio::test]
async fn a_provider_that_rejects_names_the_field_to_rest_callers() {
    let body =
        json!({"model": "m", "max_tokens": 5, "top_k": 5, "messages": [{"role": "user", "content": "hi"}]});
    let (gateway, upstream) = self::gateway("reject").await;
    let refused = Caller::new(gateway.addr, KEY).post("/v1/messages", body.to_string()).await;
    assert_eq!(refused.status.as_u16(), 400, "{}", refused.text());
    assert_eq!(refused.json()["error"]["type"], "invalid_request_error");
    assert!(refused.text().contains("top_k"), "{}", refused.text());
    assert!(upstream.seen().is_empty());

    let (gateway, upstream) = self::gateway("drop").await;
    let answered = Caller::new(gateway.addr, KEY).post("/v1/messages", body.to_string()).await;
    assert_eq!(answered.status.as_u16(), 200, "{}", answered.text());
    assert_eq!(answered.header("x-tollgate-warnings"), "parameter_dropped top_k");
    assert!(upstream.seen()[0].json().get("top_k").is_none());
}

#[tokio::test]
async fn what_only_a_callers_dialect_can_say_is_told_as_well() {
    let tool = json!({"name": "f", "input_schema": {"type": "object"}, "defer_loading": true});
    let body = json!({"model": "m", "max_tokens": 5, "tools": [tool], "messages": [{"role": "user", "content": "hi"}]});
    for (unsupported, status) in [("drop", 200), ("reject", 400)] {
        let (gateway, _upstream) = self::gateway(unsupported).await;
        let answer = Caller::new(gateway.addr, KEY).post("/v1/messages", body.to_string()).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        let told =
            if status == 200 { answer.header("x-tollgate-warnings").to_owned() } else { answer.text() };
        assert!(told.contains("tools[0].defer_loading"), "{told}");
    }
}

#[tokio::test]
async fn what_a_call_says_wins_over_the_configuration() {
    for (configured, wish, refused) in [
        ("reject", UnsupportedParameters::Unspecified, true),
        ("reject", UnsupportedParameters::Drop, false),
        ("drop", UnsupportedParameters::Unspecified, false),
        ("drop", UnsupportedParameters::Reject, true),
    ] {
        let (gateway, _upstream) = self::gateway(configured).await;
        let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
        match client.complete(request(wish)).await {
            Ok(answer) => {
                assert!(!refused, "{configured} {wish:?}");
                assert_eq!(answer.into_inner().warnings[0].field, FIELD);
            }
            Err(status) => {
                assert!(refused, "{configured} {wish:?}: {status:?}");
                assert_eq!(status.code(), Code::InvalidArgument);
                assert!(status.message().contains(FIELD), "{status:?}");
                assert!(!status.details().is_empty());
            }
        }
    }
}
