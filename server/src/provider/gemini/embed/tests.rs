//! Tests of embeddings both ways.

use tollgate_api::v1::{self, Part};
use uuid::Uuid;

use super::*;
use crate::{call::Payload, provider::gemini::place};

fn place(api: Api) -> Place {
    place::at(api, "http://h", "")
}

fn built(api: Api, request: EmbedRequest, strict: bool) -> Result<Built, Error> {
    let payload = Payload::typed(request);
    let outgoing = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "e",
        payload: &payload,
        streamed: false,
        usage_wanted: false,
        strict,
        traceparent: None,
        output_cap: None,
    };
    build(payload.view().unwrap(), &outgoing, &place(api))
}

fn text(text: &str) -> EmbedInput {
    EmbedInput { kind: Some(Input::Text(text.to_owned())) }
}

fn request() -> EmbedRequest {
    let option = v1::ProviderOptions {
        provider: "mine".into(),
        body_json: r#"{"title":"t"}"#.into(),
        ..Default::default()
    };
    EmbedRequest {
        inputs: vec![text("a"), text("b")],
        dimensions: Some(8),
        task: "query".into(),
        provider_options: vec![option],
        ..EmbedRequest::default()
    }
}

#[test]
fn each_input_is_a_request_of_a_batch_or_an_instance() {
    let one = |text: &str| {
        format!(
            r#"{{"model":"models/e","content":{{"parts":[{{"text":"{text}"}}]}},"taskType":"RETRIEVAL_QUERY","outputDimensionality":8,"title":"t"}}"#
        )
    };
    let studio = built(Api::Studio, request(), true).unwrap().body;
    assert_eq!(studio, format!(r#"{{"requests":[{},{}]}}"#, one("a"), one("b")));
    let vertex =
        built(Api::Vertex, EmbedRequest { truncation: "none".into(), ..request() }, true).unwrap().body;
    let one = |text: &str| format!(r#"{{"content":"{text}","task_type":"RETRIEVAL_QUERY","title":"t"}}"#);
    let parameters = r#""parameters":{"outputDimensionality":8,"autoTruncate":false}"#;
    assert_eq!(vertex, format!(r#"{{"instances":[{},{}],{parameters}}}"#, one("a"), one("b")));
}

#[test]
fn media_are_embedded_where_models_take_them() {
    let media = v1::Media {
        mime_type: "image/png".into(),
        source: Some(v1::media::Source::Data(bytes::Bytes::from_static(b"a"))),
        ..Default::default()
    };
    let parts = vec![Part { kind: Some(Kind::Media(Box::new(media))), ..Part::default() }];
    let inputs = || vec![EmbedInput { kind: Some(Input::Parts(v1::Parts { parts: parts.clone() })) }];
    let asked = || EmbedRequest { inputs: inputs(), ..EmbedRequest::default() };
    let studio = built(Api::Studio, asked(), true).unwrap().body;
    assert!(
        studio.contains(r#""parts":[{"inlineData":{"mimeType":"image/png","data":"YQ=="}}]"#),
        "{studio}"
    );
    assert_eq!(built(Api::Vertex, asked(), false).unwrap_err().kind, Failure::Unsupported);
}

#[test]
fn what_cannot_be_embedded_is_refused_and_the_rest_warned_of() {
    let ids = EmbedInput { kind: Some(Input::TokenIds(v1::TokenIds { ids: vec![1] })) };
    let error = built(Api::Studio, EmbedRequest { inputs: vec![ids], ..EmbedRequest::default() }, false);
    assert_eq!(error.unwrap_err().field.as_deref(), Some("inputs[0]"));
    let cut = EmbedRequest { truncation: "start".into(), end_user_id: "u".into(), ..request() };
    let warnings = built(Api::Vertex, cut.clone(), false).unwrap().warnings;
    let fields: Vec<&str> = warnings.iter().map(|warning| warning.field.as_str()).collect();
    assert_eq!(fields, ["end_user_id", "truncation"]);
    assert!(built(Api::Studio, cut, true).is_err());
}

#[test]
fn em_usage_shape_differs_and_may_be_absent() {
    let input_tokens = |body: &str| {
        let answer = decode(body.as_bytes(), 2, "e").unwrap();
        assert_eq!((answer.embeddings.len(), answer.embeddings[1].index), (2, 1));
        answer.usage.and_then(|usage| usage.input_tokens)
    };
    assert_eq!(input_tokens(r#"{"embeddings":[{"values":[0.5]},{"values":[1]}]}"#), None);
    let told = r#"{"embeddings":[{"values":[0.5]},{"values":[1]}],"usageMetadata":{"promptTokenCount":7}}"#;
    assert_eq!(input_tokens(told), Some(7));
    let vertex = r#"{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":4,"truncated":false}}},
        {"embeddings":{"values":[2],"statistics":{"token_count":6.0}}}]}"#;
    assert_eq!(input_tokens(vertex), Some(10));
}

#[test]
fn missing_or_broken_vectors_are_a_bad_response() {
    for body in [
        "{}",
        r#"{"embeddings":[{"values":[1]}]}"#,
        r#"{"embeddings":[{"values":[1]},{"values":[]}]}"#,
        r#"{"embeddings":[{"values":["x"]},{}]}"#,
        "<html>",
    ] {
        assert_eq!(decode(body.as_bytes(), 2, "e").unwrap_err().kind, Failure::BadResponse, "{body}");
    }
    let error = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#;
    assert_eq!(
        decode(error.as_bytes(), 2, "e").unwrap_err().kind,
        Failure::RateLimited { retry_after: None }
    );
}
