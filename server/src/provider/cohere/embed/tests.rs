//! Tests of embeddings.

use tollgate_api::v1::{self, FloatVector, embedding::Vector};
use uuid::Uuid;

use super::*;
use crate::call::Payload;

fn built(request: EmbedRequest, strict: bool) -> Result<(Built, Wanted), Error> {
    let payload = Payload::typed(request);
    let outgoing = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model: "embed",
        payload: &payload,
        streamed: false,
        usage_wanted: true,
        strict,
        traceparent: None,
        output_cap: None,
    };
    build(payload.view().unwrap(), &outgoing)
}

fn texts(texts: &[&str]) -> Vec<EmbedInput> {
    texts.iter().map(|text| EmbedInput { kind: Some(Input::Text((*text).to_owned())) }).collect()
}

#[test]
fn a_request_says_what_the_vectors_are_for() {
    let request =
        EmbedRequest { inputs: texts(&["a", "b"]), dimensions: Some(256), ..EmbedRequest::default() };
    let (plain, _) = built(request.clone(), true).unwrap();
    assert_eq!(
        plain.body,
        r#"{"model":"embed","input_type":"search_document","embedding_types":["float"],"output_dimension":256,"texts":["a","b"]}"#
    );
    for (task, encoding, truncation, expected) in [
        ("query", "int8", "end", r#""input_type":"search_query","embedding_types":["int8"]"#),
        ("clustering", "binary", "none", r#""input_type":"clustering","embedding_types":["ubinary"]"#),
    ] {
        let request = EmbedRequest {
            task: task.into(),
            encoding: encoding.into(),
            truncation: truncation.into(),
            ..request.clone()
        };
        let body = built(request, true).unwrap().0.body;
        assert!(body.contains(expected) && body.contains(&truncation.to_uppercase()), "{body}");
    }
    let similarity = EmbedRequest { task: "similarity".into(), ..request };
    assert_eq!(built(similarity.clone(), false).unwrap().0.warnings[0].field, "task");
    assert_eq!(built(similarity, true).unwrap_err().kind, Kind::Unsupported);
}

#[test]
fn texts_and_images_are_embedded_together() {
    let image = Media {
        mime_type: "image/png".into(),
        source: Some(Source::Data(bytes::Bytes::from_static(b"abc"))),
        ..Media::default()
    };
    let parts = v1::Parts {
        parts: [PartKind::Text("a".into()), PartKind::Media(Box::new(image))]
            .map(|kind| v1::Part { kind: Some(kind), ..v1::Part::default() })
            .into(),
    };
    let mut inputs = texts(&["b"]);
    inputs.insert(0, EmbedInput { kind: Some(Input::Parts(parts)) });
    let body = built(EmbedRequest { inputs, ..EmbedRequest::default() }, true).unwrap().0.body;
    assert!(
        body.ends_with(concat!(
            r#""inputs":[{"content":[{"type":"text","text":"a"},"#,
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,YWJj"}}]},"#,
            r#"{"content":[{"type":"text","text":"b"}]}]}"#
        )),
        "{body}"
    );
}

#[test]
fn vectors_and_billed_units_are_read() {
    let wanted = |name, form| Wanted { name, form };
    let read = |body: &str, inputs, wanted| decode(body.as_bytes(), inputs, wanted, "embed".to_owned());
    let body = r#"{"id":"i","embeddings":{"float":[[0.5,1],[2,3]],"int8":[[-1,2],[3,4]]},"meta":{"billed_units":{"input_tokens":7}}}"#;
    let answer = read(body, 2, wanted("float", Form::Floats)).unwrap();
    assert_eq!(answer.embeddings[1].vector, Some(Vector::Dense(FloatVector { values: vec![2.0, 3.0] })));
    assert_eq!((answer.model.as_str(), answer.usage.unwrap().input_tokens), ("embed", Some(7)));
    let answer = read(body, 2, wanted("int8", Form::Bytes)).unwrap();
    assert_eq!(answer.embeddings[0].vector, Some(Vector::Int8(vec![0xff, 2].into())));
    for (body, inputs) in
        [(body, 3), (r#"{"embeddings":{}}"#, 1), (r#"{"embeddings":{"float":[["x"]]}}"#, 1), ("<html>", 1)]
    {
        let error = read(body, inputs, wanted("float", Form::Floats)).unwrap_err();
        assert_eq!(error.kind, Kind::BadResponse, "{body}");
    }
    let refused = read(r#"{"message":"invalid request"}"#, 1, wanted("float", Form::Floats)).unwrap_err();
    assert!(refused.message.contains("invalid request"));
}
