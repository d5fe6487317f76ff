//! The JSON twins of `UsageService`, for scripts: the same requests as query parameters, the same answers as proto3
//! JSON with the contract's own names.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::{Path, Query, RawQuery, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    HeaderMap,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::Timestamp;
use tollgate_api::{DESCRIPTORS, v1};

use super::{Edge, grpc, openai};
use crate::{call::Caller, error::Error, telemetry};

/// What the twins take.
const METHODS: &str = "GET,HEAD";
/// Most rows or records of a page.
const MAX_PAGE: i32 = 1000;

/// Query parameters in their order; a name may repeat.
type Pairs = Query<Vec<(String, String)>>;

/// Returns the routes of the twins.
pub(super) fn router(edge: &Edge) -> Router {
    Router::new()
        .route("/v1/usage", openai::only(METHODS, get(query_usage)))
        .route("/v1/usage/records", openai::only(METHODS, get(list_records)))
        .route("/v1/usage/records/{id}", openai::only(METHODS, get(get_record)))
        .route("/v1/quota", openai::only(METHODS, get(get_quota)))
        .with_state(edge.clone())
}

/// An error as OpenAI's envelope.
pub(super) struct Refused(pub(super) Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        openai::refused(&self.0)
    }
}

async fn query_usage(
    State(edge): State<Edge>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    pairs: Pairs,
) -> Result<Response, Refused> {
    let caller = admit(&edge, &headers, raw.as_deref())?;
    let mut request = v1::QueryUsageRequest::default();
    for (name, value) in pairs.0 {
        match name.as_str() {
            "start_time" => request.start_time = Some(time(&name, &value)?),
            "end_time" => request.end_time = Some(time(&name, &value)?),
            "bucket" => request.bucket = value,
            "group_by" => request.group_by.extend(words(&value)),
            "page_size" => request.page_size = page_size(&value)?,
            "page_token" => request.page_token = value,
            _ => filter(&mut request.filters, &name, value)?,
        }
    }
    let answer = edge.pipeline.meter.query_usage(&caller, request).await?;
    Ok(shown("tollgate.v1.QueryUsageResponse", &answer)?)
}

async fn list_records(
    State(edge): State<Edge>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    pairs: Pairs,
) -> Result<Response, Refused> {
    let caller = admit(&edge, &headers, raw.as_deref())?;
    let mut request = v1::ListUsageRecordsRequest::default();
    for (name, value) in pairs.0 {
        match name.as_str() {
            "start_time" => request.start_time = Some(time(&name, &value)?),
            "end_time" => request.end_time = Some(time(&name, &value)?),
            "page_size" => request.page_size = page_size(&value)?,
            "page_token" => request.page_token = value,
            _ => filter(&mut request.filters, &name, value)?,
        }
    }
    let answer = edge.pipeline.meter.list_usage_records(&caller, request).await?;
    Ok(shown("tollgate.v1.ListUsageRecordsResponse", &answer)?)
}

async fn get_record(
    State(edge): State<Edge>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    id: Result<Path<String>, PathRejection>,
    pairs: Pairs,
) -> Result<Response, Refused> {
    let caller = admit(&edge, &headers, raw.as_deref())?;
    none_but_known(&pairs)?;
    let Path(id) = id.map_err(|_| Error::invalid("id", "id must be UTF-8"))?;
    let answer = edge.pipeline.meter.get_usage_record(&caller, v1::GetUsageRecordRequest { id }).await?;
    Ok(shown("tollgate.v1.GetUsageRecordResponse", &answer)?)
}

async fn get_quota(
    State(edge): State<Edge>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    pairs: Pairs,
) -> Result<Response, Refused> {
    let caller = admit(&edge, &headers, raw.as_deref())?;
    none_but_known(&pairs)?;
    let answer = edge.pipeline.quotas(&caller).await?;
    Ok(shown("tollgate.v1.GetQuotaResponse", &answer)?)
}

fn admit(edge: &Edge, headers: &HeaderMap, query: Option<&str>) -> Result<Arc<Caller>, Error> {
    let caller = edge.pipeline.authenticate(headers, query).inspect_err(|error| {
        telemetry::metrics::auth_failed(error.reason_name());
        tracing::debug!(reason = error.reason_name(), "a caller is refused");
    })?;
    grpc::permit_one(&caller, grpc::USAGE_SCOPES)?;
    Ok(caller)
}

fn time(name: &str, value: &str) -> Result<Timestamp, Error> {
    let wrong =
        |_| Error::invalid(name, format!("{name} must be an RFC 3339 time like 2026-01-31T00:00:00Z"));
    let at: jiff::Timestamp = value.parse().map_err(wrong)?;
    // The nanoseconds of a Timestamp count forwards, before 1970 too.
    let seconds = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
    Ok(Timestamp { seconds, nanos: at.subsec_nanosecond().rem_euclid(1_000_000_000) })
}

fn page_size(value: &str) -> Result<i32, Error> {
    let size = value.parse().ok().filter(|size| (1..=MAX_PAGE).contains(size));
    size.ok_or_else(|| {
        Error::invalid("page_size", format!("page_size must be a number from 1 to {MAX_PAGE}"))
    })
}

fn words(value: &str) -> impl Iterator<Item = String> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned)
}

/// Takes `filters[key]=value`; every other name is unknown.
fn filter(filters: &mut HashMap<String, String>, name: &str, value: String) -> Result<(), Error> {
    let key = name.strip_prefix("filters[").and_then(|rest| rest.strip_suffix(']'));
    let key = key.ok_or_else(|| unknown(name))?;
    filters.insert(key.to_owned(), value);
    Ok(())
}

fn none_but_known(pairs: &Pairs) -> Result<(), Error> {
    pairs.0.first().map_or(Ok(()), |(name, _)| Err(unknown(name)))
}

fn unknown(name: &str) -> Error {
    let shown: String = name.escape_default().take(80).collect();
    Error::invalid(shown.clone(), format!("there is no query parameter `{shown}` here"))
}

/// Shows a message as proto3 JSON. Fields without presence are always there (`rows: []`); the others only if set.
fn shown(name: &str, message: &impl Message) -> Result<Response, Error> {
    static POOL: LazyLock<Option<DescriptorPool>> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());
    let broken = || Error::internal("the answer cannot be shown as JSON");
    let descriptor = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name)).ok_or_else(broken)?;
    let dynamic = DynamicMessage::decode(descriptor, &message.encode_to_vec()[..]).map_err(|_| broken())?;
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    let mut body = serde_json::Serializer::new(Vec::with_capacity(1024));
    dynamic.serialize_with_options(&mut body, &options).map_err(|_| broken())?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, body.into_inner()).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn parameters_are_read_by_the_names_of_the_fields() {
        assert_eq!(
            time("t", "1969-12-31T23:59:59.5Z").unwrap(),
            Timestamp { seconds: -1, nanos: 500_000_000 }
        );
        assert!(time("t", "yesterday").is_err());
        assert_eq!(words("model, tag:feature,").collect::<Vec<_>>(), ["model", "tag:feature"]);
        assert!(page_size("1001").is_err());
        let mut filters = HashMap::new();
        filter(&mut filters, "filters[tag:env]", "prod".into()).unwrap();
        assert_eq!(filters["tag:env"], "prod");
        assert_eq!(
            filter(&mut filters, "pagesize", "1".into()).unwrap_err().facts().field.as_deref(),
            Some("pagesize")
        );
    }
}
