//! Tests of the upstream calls that a request for embeddings becomes.

use bytes::Bytes;
use tollgate_api::v1::{
    EmbedInput, Media, Part, Parts, ProviderOptions, embed_input::Kind as Input, media, part,
};
use uuid::Uuid;

use super::*;
use crate::{call::Payload, provider::Kind};

fn built(request: EmbedRequest, model: &str, strict: bool) -> Result<(Vec<Call>, Vec<Warning>), Error> {
    let payload = Payload::typed(request);
    let outgoing = Outgoing {
        call_id: Uuid::nil(),
        provider: "mine",
        model,
        payload: &payload,
        streamed: false,
        usage_wanted: true,
        strict,
        traceparent: None,
        output_cap: None,
    };
    build(payload.view().unwrap(), &outgoing)
}

fn texts(list: &[&str]) -> Vec<EmbedInput> {
    list.iter().map(|text| EmbedInput { kind: Some(Input::Text((*text).to_owned())) }).collect()
}

fn bodies(request: EmbedRequest, model: &str) -> Vec<String> {
    let (calls, warnings) = built(request, model, true).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    calls.into_iter().map(|call| call.body).collect()
}

#[test]
fn br_invoke_vendors_each_maker_has_its_own_request() {
    let request = EmbedRequest { inputs: texts(&["a", "b"]), ..EmbedRequest::default() };
    let sized = EmbedRequest { dimensions: Some(256), ..request.clone() };
    for (request, model, expected) in [
        (&request, "amazon.titan-embed-text-v1", vec![r#"{"inputText":"a"}"#, r#"{"inputText":"b"}"#]),
        (
            &sized,
            "amazon.titan-embed-text-v2:0",
            vec![r#"{"inputText":"a","dimensions":256}"#, r#"{"inputText":"b","dimensions":256}"#],
        ),
        (
            &sized,
            "us.cohere.embed-v4:0",
            vec![r#"{"texts":["a","b"],"input_type":"search_document","output_dimension":256}"#],
        ),
    ] {
        assert_eq!(bodies(request.clone(), model), expected, "{model}");
    }
    let query = EmbedRequest { task: "query".into(), truncation: "end".into(), ..sized };
    assert_eq!(
        bodies(query.clone(), "amazon.nova-2-multimodal-embeddings-v1:0")[1],
        r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_RETRIEVAL","text":{"truncationMode":"END","value":"b"},"embeddingDimension":256}}"#
    );
    let cohere = bodies(EmbedRequest { encoding: "binary".into(), ..query }, "cohere.embed-english-v3");
    assert!(cohere[0].contains(r#""input_type":"search_query","truncate":"RIGHT""#), "{cohere:?}");
    assert!(cohere[0].contains(r#""embedding_types":["ubinary"]"#), "{cohere:?}");
}

#[test]
fn many_inputs_become_batches() {
    let names: Vec<String> = (0..200).map(|index| format!("t{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let request = EmbedRequest { inputs: texts(&names), ..EmbedRequest::default() };
    let (calls, _) = built(request, "cohere.embed-multilingual-v3", true).unwrap();
    assert_eq!(calls.iter().map(|call| call.inputs).collect::<Vec<_>>(), [96, 96, 8]);
    assert!(calls[2].body.starts_with(r#"{"texts":["t192""#));
}

#[test]
fn pictures_go_to_models_that_see() {
    let picture = Media {
        mime_type: "image/png".into(),
        source: Some(media::Source::Data(Bytes::from_static(b"abc"))),
        ..Media::default()
    };
    let parts =
        Parts { parts: vec![Part { kind: Some(part::Kind::Media(Box::new(picture))), ..Part::default() }] };
    let request = EmbedRequest {
        inputs: vec![EmbedInput { kind: Some(Input::Parts(parts)) }],
        ..EmbedRequest::default()
    };
    assert_eq!(bodies(request.clone(), "amazon.titan-embed-image-v1"), [r#"{"inputImage":"YWJj"}"#]);
    assert!(
        bodies(request.clone(), "amazon.nova-2-multimodal-embeddings-v1:0")[0]
            .contains(r#""image":{"format":"png","source":{"bytes":"YWJj"}}"#)
    );
    let error = built(request, "amazon.titan-embed-text-v2:0", false).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("inputs[0].parts"));
}

#[test]
fn what_a_model_cannot_is_refused_or_told_once() {
    let request = EmbedRequest { inputs: texts(&["a", "b"]), ..EmbedRequest::default() };
    let task = EmbedRequest { task: "query".into(), ..request.clone() };
    let (_, warnings) = built(task.clone(), "amazon.titan-embed-text-v2:0", false).unwrap();
    assert_eq!(warnings.iter().map(|warning| warning.field.as_str()).collect::<Vec<_>>(), ["task"]);
    assert_eq!(built(task, "amazon.titan-embed-text-v2:0", true).unwrap_err().kind, Kind::Unsupported);
    let int8 = EmbedRequest { encoding: "int8".into(), ..request.clone() };
    assert_eq!(
        built(int8, "amazon.titan-embed-text-v1", false).unwrap_err().field.as_deref(),
        Some("encoding")
    );
    assert_eq!(
        built(request.clone(), "twelvelabs.marengo-embed-2-7-v1:0", false).unwrap_err().kind,
        Kind::Unsupported
    );
    let patch = |json: &str| {
        let option = ProviderOptions { body_json: json.into(), ..ProviderOptions::default() };
        EmbedRequest { provider_options: vec![option], ..request.clone() }
    };
    let patched = bodies(patch(r#"{"normalize":false}"#), "amazon.titan-embed-text-v2:0");
    assert_eq!(patched[1], r#"{"inputText":"b","normalize":false}"#);
    assert!(built(patch(r#"{"inputText":"x"}"#), "amazon.titan-embed-text-v2:0", false).is_err());
}
