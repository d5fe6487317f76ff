//! The JSON twins of `UsageService` and of `ExplainRoute`, for scripts: the same requests as query parameters or as
//! proto3 JSON, the same answers as proto3 JSON with the contract's own names.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, RawQuery, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::HeaderMap;
use prost_types::Timestamp;
use tollgate_api::v1;

use super::{
    Edge,
    explain::explain,
    grpc, openai,
    proto_json::{self, shown},
    rest::body,
};
use crate::{
    call::{Caller, Scope},
    error::Error,
    telemetry,
};

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
        .route("/v1/explain", openai::only("POST", post(explain_route)))
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
    let caller = admit(&edge, &headers, raw.as_deref(), grpc::USAGE_SCOPES).await?;
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
    let caller = admit(&edge, &headers, raw.as_deref(), grpc::USAGE_SCOPES).await?;
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
    let caller = admit(&edge, &headers, raw.as_deref(), grpc::USAGE_SCOPES).await?;
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
    let caller = admit(&edge, &headers, raw.as_deref(), grpc::USAGE_SCOPES).await?;
    none_but_known(&pairs)?;
    let answer = edge.pipeline.standing(&caller).await?;
    Ok(shown("tollgate.v1.GetQuotaResponse", &answer)?)
}

async fn explain_route(
    State(edge): State<Edge>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    body: Body,
) -> Result<Response, Refused> {
    let caller = admit(&edge, &headers, raw.as_deref(), &[Scope::Chat]).await?;
    let body = body::read(&headers, body, edge.limits.body).await?;
    let request = proto_json::read("tollgate.v1.ExplainRouteRequest", &body)?;
    let answer = explain(&edge, caller, &headers, request)?;
    Ok(shown("tollgate.v1.ExplainRouteResponse", &answer)?)
}

async fn admit(
    edge: &Edge,
    headers: &HeaderMap,
    query: Option<&str>,
    scopes: &[Scope],
) -> Result<Arc<Caller>, Error> {
    let caller = edge.pipeline.authenticate(headers, query).await.inspect_err(|error| {
        telemetry::metrics::auth_failed(error.reason_name());
        tracing::debug!(reason = error.reason_name(), "a caller is refused");
    })?;
    grpc::permit_one(&caller, scopes)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
