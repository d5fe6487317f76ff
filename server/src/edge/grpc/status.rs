//! An error as a gRPC status: code, message, rich details and the hint for clients' own retries.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use prost::Message;
use prost_types::Any;
use tollgate_api::v1;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::pb;

use crate::{
    edge::{rate_limits, status},
    error::{Error, Facts, Reason},
};

/// All details together, in bytes: gRPC stacks cap metadata at about 8 KiB.
const MAX_DETAILS: usize = 4 * 1024;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 1024;
/// Longest value of `ErrorInfo.metadata`, in bytes.
const MAX_VALUE: usize = 256;
/// The wait we suggest where the contract promises one and the error has none.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// Turns an error into a status with details.
pub fn to_status(error: &Error) -> Status {
    build(error, None)
}

/// Turns the error of a recorded call into a status that carries the call's id too.
pub fn to_call_status(error: &Error, id: &str) -> Status {
    build(error, Some(id))
}

fn build(error: &Error, id: Option<&str>) -> Status {
    let facts = error.facts();
    let row = status::of(facts.reason);
    let wait = wait(facts);
    let message = cut(&facts.message, MAX_MESSAGE);
    let mut headers = HeaderMap::new();
    // A negative number tells gRPC clients not to retry by themselves.
    let pushback = match wait {
        _ if !status::is_worth_repeating(facts) => Some(HeaderValue::from_static("-1")),
        Some(wait) => Some(HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))),
        None => None,
    };
    rate_limits::put(&mut headers, &facts.rate_limits);
    headers.extend(pushback.map(|value| (http::HeaderName::from_static("grpc-retry-pushback-ms"), value)));
    if let Some(value) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert("x-request-id", value);
    }
    let status = pb::Status {
        code: row.grpc as i32,
        message: message.to_owned(),
        details: details(facts, wait, id, message.len()),
    };
    Status::with_details_and_metadata(
        row.grpc,
        message,
        Bytes::from(status.encode_to_vec()),
        MetadataMap::from_headers(headers),
    )
}

/// Puts our reason and details on a status that tonic made by itself (a message too large, not decodable, …).
/// Returns the error behind it; `None` for one that is ours already or fits no reason.
pub(super) fn of_tonic(status: &Status, limit: usize) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => Some(
            Error::new(Reason::RequestTooLarge, format!("the request message is larger than {limit} bytes"))
                .with("limit", limit.to_string()),
        ),
        Code::Unimplemented => Some(Error::new(Reason::Unimplemented, cut(status.message(), MAX_MESSAGE))),
        Code::Cancelled => Some(Error::new(Reason::Cancelled, "the caller went away while it was sending")),
        // Whatever else tonic finds wrong while it reads a request is the caller's: framing, flags, protobuf.
        Code::Internal | Code::InvalidArgument | Code::Unknown => Some(Error::new(
            Reason::InvalidRequest,
            "the request is not one well-formed message of this RPC (framing, compression or protobuf)",
        )),
        _ => None,
    }
}

fn wait(facts: &Facts) -> Option<Duration> {
    let promised =
        matches!(facts.reason, Reason::RateLimited | Reason::GatewayOverloaded | Reason::RequestInProgress);
    match facts.retry_after {
        _ if !status::is_worth_repeating(facts) => None,
        Some(wait) => Some(wait),
        None => promised.then_some(DEFAULT_WAIT),
    }
}

/// Packs the details, the most telling first, as far as there is room.
fn details(facts: &Facts, wait: Option<Duration>, id: Option<&str>, message: usize) -> Vec<Any> {
    let mut details =
        Details { packed: Vec::with_capacity(4), left: MAX_DETAILS.saturating_sub(message + 16) };
    details.add("google.rpc.ErrorInfo", &error_info(facts));
    if let Some(delay) = wait.and_then(|wait| prost_types::Duration::try_from(wait).ok()) {
        details.add("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay: Some(delay) });
    }
    if let Some(field) = &facts.field {
        let violation = pb::bad_request::FieldViolation {
            field: cut(field, MAX_VALUE).to_owned(),
            description: cut(&facts.message, 2 * MAX_VALUE).to_owned(),
            ..Default::default()
        };
        details.add("google.rpc.BadRequest", &pb::BadRequest { field_violations: vec![violation] });
    }
    let reason = facts.reason;
    if matches!(reason, Reason::RateLimited | Reason::BudgetExhausted | Reason::CostCapExceeded) {
        details.add("google.rpc.QuotaFailure", &quota_failure(facts));
    }
    if reason == Reason::ModelNotFound {
        details.add(
            "google.rpc.ResourceInfo",
            &pb::ResourceInfo {
                resource_type: "model".to_owned(),
                resource_name: value_of(facts, "model"),
                ..Default::default()
            },
        );
    }
    if let Some(id) = id {
        details.add(
            "google.rpc.RequestInfo",
            &pb::RequestInfo { request_id: id.to_owned(), serving_data: String::new() },
        );
    }
    if let Some(upstream) = &facts.upstream {
        let failure = &upstream.failure;
        details.add(
            "tollgate.v1.UpstreamFailure",
            &v1::UpstreamFailure {
                r#type: cut(&failure.r#type, MAX_VALUE).to_owned(),
                code: cut(&failure.code, MAX_VALUE).to_owned(),
                message: cut(&failure.message, MAX_MESSAGE).to_owned(),
                request_id: cut(&failure.request_id, MAX_VALUE).to_owned(),
                ..failure.clone()
            },
        );
    }
    if !facts.attempts.is_empty() || reason == Reason::NoTargetAvailable {
        details.add_attempts(&facts.attempts);
    }
    details.packed
}

struct Details {
    packed: Vec<Any>,
    left: usize,
}

impl Details {
    /// Packs a message if it fits; an `Any` in its list costs its own length and a few bytes of framing.
    fn add<M: Message>(&mut self, name: &str, message: &M) -> bool {
        let any = Any { type_url: type_url(name), value: message.encode_to_vec() };
        let Some(left) = self.left.checked_sub(any.encoded_len() + 4) else { return false };
        self.left = left;
        self.packed.push(any);
        true
    }

    /// Packs the last attempts, as many as fit.
    fn add_attempts(&mut self, attempts: &[v1::Attempt]) {
        let mut from = attempts.len().saturating_sub(32);
        while !self.add("tollgate.v1.RouteFailure", &v1::RouteFailure { attempts: attempts[from..].to_vec() })
            && from < attempts.len()
        {
            from += 1;
        }
    }
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

fn error_info(facts: &Facts) -> pb::ErrorInfo {
    let mut metadata: HashMap<String, String> = facts
        .metadata
        .iter()
        .take(16)
        .map(|(key, value)| ((*key).to_owned(), cut(value, MAX_VALUE).to_owned()))
        .collect();
    metadata.entry("layer".to_owned()).or_insert_with(|| layer(facts.reason).to_owned());
    pb::ErrorInfo { reason: facts.reason.as_str_name().to_owned(), domain: "tollgate".to_owned(), metadata }
}

/// What `QuotaFailure` tells of how the limit stands.
const STANDING: [&str; 3] = ["used", "reserved_amount", "reset_time"];

fn quota_failure(facts: &Facts) -> pb::QuotaFailure {
    let violation = pb::quota_failure::Violation {
        subject: value_of(facts, "subject"),
        description: cut(&facts.message, 2 * MAX_VALUE).to_owned(),
        quota_metric: value_of(facts, "metric"),
        quota_id: value_of(facts, "window"),
        quota_value: value_of(facts, "limit").parse().unwrap_or_default(),
        quota_dimensions: STANDING
            .iter()
            .map(|key| ((*key).to_owned(), value_of(facts, key)))
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        ..Default::default()
    };
    pb::QuotaFailure { violations: vec![violation] }
}

fn value_of(facts: &Facts, key: &str) -> String {
    let value = facts.metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
    cut(value.unwrap_or_default(), MAX_VALUE).to_owned()
}

/// Names the part of the gateway that refuses for this reason, unless the error says otherwise.
fn layer(reason: Reason) -> &'static str {
    match reason {
        Reason::ApiKeyMissing
        | Reason::ApiKeyInvalid
        | Reason::ApiKeyExpired
        | Reason::ScopeDenied
        | Reason::ModelNotAllowed
        | Reason::EtagMismatch
        | Reason::AlreadyExists
        | Reason::TeamNotEmpty
        | Reason::DeclaredInConfig => "auth",
        Reason::ModelNotFound | Reason::NoTargetAvailable | Reason::CallerDeadlineExceeded => "route",
        Reason::RateLimited | Reason::BudgetExhausted | Reason::CostCapExceeded => "quota",
        Reason::UnsupportedParameter
        | Reason::ContextLengthExceeded
        | Reason::ContentBlocked
        | Reason::UpstreamRateLimited
        | Reason::UpstreamTimeout
        | Reason::UpstreamUnavailable
        | Reason::UpstreamRejected
        | Reason::UpstreamAuthFailed
        | Reason::UpstreamBadResponse
        | Reason::StreamInterrupted => "provider",
        Reason::StoreUnavailable | Reason::NotFound => "meter",
        Reason::Unspecified
        | Reason::InvalidRequest
        | Reason::RequestTooLarge
        | Reason::GatewayOverloaded
        | Reason::RequestInProgress
        | Reason::RequestIdReused
        | Reason::Internal
        | Reason::Cancelled
        | Reason::Unimplemented => "edge",
    }
}

/// Cuts a text to at most `max` bytes, between characters.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::error::Upstream;

    fn pushback(status: &Status) -> Option<&str> {
        status.metadata().get("grpc-retry-pushback-ms").map(|value| value.to_str().unwrap())
    }

    fn unpacked<M: Message + Default>(status: &Status, name: &str) -> Option<M> {
        let all = pb::Status::decode(status.details()).unwrap();
        let any = all.details.iter().find(|any| any.type_url == type_url(name))?;
        Some(M::decode(&any.value[..]).unwrap())
    }

    #[test]
    fn every_reason_has_a_status_with_its_full_name_and_layer() {
        for number in 1..64 {
            let Ok(reason) = Reason::try_from(number) else { continue };
            let status = to_status(&Error::new(reason, "why"));
            let info = status.get_error_details().error_info().cloned().unwrap();
            assert_eq!(info.reason, reason.as_str_name());
            assert_eq!(info.domain, "tollgate");
            assert!(info.metadata.contains_key("layer"), "{reason:?}");
        }
    }

    #[test]
    fn a_rate_limit_tells_when_to_retry_and_a_spent_budget_tells_not_to() {
        let wait = Duration::from_millis(1500);
        let limited = to_status(&Error::new(Reason::RateLimited, "slow down").retry_after(Some(wait)));
        assert_eq!(pushback(&limited), Some("1500"));
        assert_eq!(limited.get_error_details().retry_info().unwrap().retry_delay, Some(wait));
        let spent = to_status(&Error::new(Reason::BudgetExhausted, "spent").with("metric", "cost_nanos"));
        assert_eq!(pushback(&spent), Some("-1"));
        assert!(spent.get_error_details().retry_info().is_none());
        assert_eq!(
            unpacked::<pb::QuotaFailure>(&spent, "google.rpc.QuotaFailure").unwrap().violations[0]
                .quota_metric,
            "cost_nanos"
        );
    }

    #[test]
    fn a_wrong_field_is_named_in_bad_request() {
        let status = to_call_status(&Error::invalid("input.model", "input.model is required"), "call-1");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "input.model");
        assert_eq!(details.request_info().unwrap().request_id, "call-1");
        assert_eq!(status.metadata().get("x-request-id").unwrap(), "call-1");
    }

    #[test]
    fn ten_attempts_with_long_names_keep_the_last_ones() {
        let attempt = |number: usize| v1::Attempt {
            target: format!("{}/{}-{number}", "p".repeat(60), "m".repeat(250)),
            provider: "p".repeat(60),
            model: format!("{}-{number}", "m".repeat(250)),
            outcome: "unavailable".to_owned(),
            upstream_request_id: "r".repeat(128),
            ..Default::default()
        };
        let failure = v1::UpstreamFailure { message: "x".repeat(1024), ..Default::default() };
        let error = Error::new(Reason::UpstreamUnavailable, "no")
            .upstream(Upstream { failure, ..Default::default() })
            .attempts((0..10).map(attempt).collect());
        let status = to_status(&error);
        assert!(status.details().len() <= MAX_DETAILS);
        let kept = unpacked::<v1::RouteFailure>(&status, "tollgate.v1.RouteFailure").unwrap().attempts;
        assert!(kept.len() >= 2, "{}", kept.len());
        let last: Vec<_> = (10 - kept.len()..10).map(attempt).collect();
        assert_eq!(kept, last);
    }

    #[test]
    fn no_target_is_worth_a_retry_only_if_one_comes_back() {
        let none = Error::new(Reason::NoTargetAvailable, "hints leave none");
        assert_eq!(pushback(&to_status(&none)), Some("-1"));
        let wait = Duration::from_millis(800);
        assert_eq!(pushback(&to_status(&none.retry_after(Some(wait)))), Some("800"));
    }

    #[test]
    fn details_and_message_stay_small_whatever_an_upstream_says() {
        let failure = v1::UpstreamFailure { message: "é".repeat(4000), ..Default::default() };
        let attempt = v1::Attempt { target: "t".repeat(200), ..Default::default() };
        let error = Error::new(Reason::UpstreamUnavailable, "ü".repeat(3000))
            .upstream(Upstream { failure, ..Default::default() })
            .attempts(vec![attempt; 100]);
        let status = to_status(&error);
        assert!(status.message().len() <= MAX_MESSAGE);
        assert!(status.details().len() <= MAX_DETAILS, "{}", status.details().len());
        assert!(
            unpacked::<v1::UpstreamFailure>(&status, "tollgate.v1.UpstreamFailure").unwrap().message.len()
                <= MAX_MESSAGE
        );
        assert!(
            !unpacked::<v1::RouteFailure>(&status, "tollgate.v1.RouteFailure").unwrap().attempts.is_empty()
        );
    }
}
