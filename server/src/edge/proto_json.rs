//! Messages of the contract as proto3 JSON, with the contract's own names: what scripts read and write.

use std::{io, sync::LazyLock};

use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use tollgate_api::DESCRIPTORS;

use crate::error::{Error, Reason};

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// Answers with a message. Fields without presence are always there (`rows: []`); the others only if set.
///
/// # Errors
/// `INTERNAL` if the contract has no message of that name.
pub(super) fn shown(name: &str, message: &impl Message) -> Result<Response, Error> {
    let mut body = Vec::with_capacity(1024);
    write_json(name, &message.encode_to_vec(), &mut body)
        .map_err(|_| Error::internal("the answer cannot be shown as JSON"))?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// Writes an encoded message as JSON, on one line.
///
/// # Errors
/// The message is none of that name, or what `to` says.
pub fn write_json(name: &str, message: &[u8], to: impl io::Write) -> io::Result<()> {
    let descriptor = descriptor(name).map_err(io::Error::other)?;
    let dynamic = DynamicMessage::decode(descriptor, message)?;
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    Ok(dynamic.serialize_with_options(&mut serde_json::Serializer::new(to), &options)?)
}

/// Writes a message in the one way in which all that say the same are written: maps have no order of their own.
///
/// # Errors
/// `INTERNAL` if the contract has no message of that name.
pub(super) fn canonical(name: &str, message: &impl Message) -> Result<Vec<u8>, Error> {
    let dynamic = DynamicMessage::decode(descriptor(name)?, &message.encode_to_vec()[..]).ok();
    let sorted = dynamic.and_then(|dynamic| serde_json::to_value(dynamic).ok());
    sorted
        .map(|sorted| sorted.to_string().into_bytes())
        .ok_or_else(|| Error::internal("a request cannot be compared"))
}

/// Reads a message. Names may be written as in the contract or in camel case; an unknown one is refused.
///
/// # Errors
/// `INVALID_REQUEST` with the place that is wrong, without a word of the caller's content.
pub(super) fn read<M: Message + Default>(name: &str, json: &[u8]) -> Result<M, Error> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let wrong = |error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("the body is no `{name}` as proto3 JSON, at line {line} column {column}");
        Error::new(Reason::InvalidRequest, message)
    };
    let dynamic =
        DynamicMessage::deserialize_with_options(descriptor(name)?, &mut parser, &DeserializeOptions::new())
            .map_err(|error| wrong(&error))?;
    parser.end().map_err(|error| wrong(&error))?;
    dynamic.transcode_to().map_err(|_| Error::internal("the request cannot be read from JSON"))
}

fn descriptor(name: &str) -> Result<MessageDescriptor, Error> {
    let found = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name));
    found.ok_or_else(|| Error::internal("the contract has no such message"))
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use serde_json::json;
    use tollgate_api::v1;

    use super::*;

    async fn body(response: Response) -> serde_json::Value {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn answers_have_the_contracts_names_and_unset_counts_are_absent() {
        let usage = v1::Usage { input_tokens: Some(7), ..Default::default() };
        let record = v1::UsageRecord {
            id: "r".into(),
            create_time: Some(Timestamp { seconds: 0, nanos: 500_000_000 }),
            usage: Some(usage),
            cache_status: v1::CacheStatus::Bypass.into(),
            ..Default::default()
        };
        let answer = v1::GetUsageRecordResponse { record: Some(record) };
        let shown = body(shown("tollgate.v1.GetUsageRecordResponse", &answer).unwrap()).await;
        let record = &shown["record"];
        assert_eq!(record["usage"]["input_tokens"], "7", "int64 is a string");
        assert!(record["usage"].get("output_tokens").is_none(), "absent is not zero");
        assert!(record["usage"].get("cost").is_none());
        assert_eq!(record["cache_status"], "CACHE_STATUS_BYPASS");
        assert_eq!(record["create_time"], "1970-01-01T00:00:00.500Z");
    }

    #[tokio::test]
    async fn an_empty_answer_still_has_its_list() {
        let shown =
            body(shown("tollgate.v1.QueryUsageResponse", &v1::QueryUsageResponse::default()).unwrap()).await;
        assert_eq!(shown, json!({ "rows": [], "next_page_token": "" }));
    }

    #[test]
    fn a_request_is_read_by_either_spelling_and_refused_without_its_content() {
        let name = "tollgate.v1.ExplainRouteRequest";
        for key in ["max_output_tokens", "maxOutputTokens"] {
            let json = format!(r#"{{"input":{{"model":"m","{key}":"7"}}}}"#);
            let request: v1::ExplainRouteRequest = read(name, json.as_bytes()).unwrap();
            assert_eq!(request.input.unwrap().max_output_tokens, Some(7));
        }
        for wrong in [r#"{"input":"sesame"}"#, r#"{"sesame":1}"#, "{", "{} {}"] {
            let error = read::<v1::ExplainRouteRequest>(name, wrong.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), Reason::InvalidRequest, "{wrong}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }
}
