//! The one table from error reasons to gRPC codes, HTTP statuses and the dialects' error types (CONTRACT §7).

use tonic::Code;

use crate::error::{Facts, Reason};

/// How one reason looks on every surface.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// gRPC status code.
    pub grpc: Code,
    /// HTTP status of the OpenAI surface and the JSON twins.
    pub http: u16,
    /// OpenAI's `error.type`.
    pub openai_type: &'static str,
    /// OpenAI's `error.code`.
    pub openai_code: &'static str,
    /// Whether an SDK should try the same call again by itself (`x-should-retry`).
    pub retry: bool,
}

const fn row(
    grpc: Code,
    http: u16,
    openai_type: &'static str,
    openai_code: &'static str,
    retry: bool,
) -> Row {
    Row { grpc, http, openai_type, openai_code, retry }
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

/// Returns the row of a reason.
pub fn of(reason: Reason) -> Row {
    match reason {
        Reason::ApiKeyMissing | Reason::ApiKeyInvalid | Reason::ApiKeyExpired => {
            row(Code::Unauthenticated, 401, INVALID, "invalid_api_key", false)
        }
        Reason::ScopeDenied => row(Code::PermissionDenied, 403, INVALID, "scope_denied", false),
        Reason::ModelNotAllowed => row(Code::PermissionDenied, 403, INVALID, "model_not_allowed", false),
        Reason::ModelNotFound => row(Code::NotFound, 404, INVALID, "model_not_found", false),
        Reason::InvalidRequest => row(Code::InvalidArgument, 400, INVALID, "invalid_request", false),
        Reason::UnsupportedParameter => {
            row(Code::InvalidArgument, 400, INVALID, "unsupported_parameter", false)
        }
        Reason::RequestTooLarge => row(Code::OutOfRange, 413, INVALID, "request_too_large", false),
        Reason::ContextLengthExceeded => {
            row(Code::InvalidArgument, 400, INVALID, "context_length_exceeded", false)
        }
        Reason::ContentBlocked => row(Code::InvalidArgument, 400, INVALID, "content_policy_violation", false),
        Reason::RateLimited => row(Code::ResourceExhausted, 429, "requests", "rate_limit_exceeded", true),
        Reason::BudgetExhausted => {
            row(Code::ResourceExhausted, 429, "insufficient_quota", "insufficient_quota", false)
        }
        Reason::CostCapExceeded => {
            row(Code::ResourceExhausted, 429, "insufficient_quota", "cost_cap_exceeded", false)
        }
        Reason::GatewayOverloaded => row(Code::Unavailable, 503, SERVER, "overloaded", true),
        Reason::NoTargetAvailable => row(Code::Unavailable, 503, SERVER, "no_target_available", true),
        Reason::UpstreamRateLimited => {
            row(Code::ResourceExhausted, 429, "requests", "upstream_rate_limited", true)
        }
        Reason::UpstreamTimeout => row(Code::DeadlineExceeded, 504, SERVER, "upstream_timeout", false),
        Reason::UpstreamUnavailable => row(Code::Unavailable, 502, SERVER, "upstream_unavailable", false),
        // The upstream's own 4xx, where there is one, replaces this 400.
        Reason::UpstreamRejected => row(Code::InvalidArgument, 400, INVALID, "upstream_rejected", false),
        Reason::UpstreamAuthFailed => row(Code::Internal, 502, SERVER, "upstream_auth_failed", false),
        Reason::UpstreamBadResponse => row(Code::Internal, 502, SERVER, "upstream_bad_response", false),
        Reason::StreamInterrupted => row(Code::Unavailable, 502, SERVER, "stream_interrupted", false),
        // 409 is what SDKs retry by themselves.
        Reason::RequestInProgress => row(Code::Aborted, 409, INVALID, "request_in_progress", true),
        Reason::RequestIdReused => row(Code::InvalidArgument, 422, INVALID, "request_id_reused", false),
        Reason::CallerDeadlineExceeded => {
            row(Code::DeadlineExceeded, 504, SERVER, "caller_deadline_exceeded", false)
        }
        Reason::Cancelled => row(Code::Cancelled, 499, INVALID, "cancelled", false),
        Reason::StoreUnavailable => row(Code::Unavailable, 503, SERVER, "store_unavailable", true),
        Reason::Unimplemented => row(Code::Unimplemented, 404, INVALID, "unimplemented", false),
        Reason::NotFound => row(Code::NotFound, 404, INVALID, "not_found", false),
        Reason::EtagMismatch => row(Code::Aborted, 412, INVALID, "etag_mismatch", false),
        // Not 409, which SDKs retry by themselves.
        Reason::AlreadyExists => row(Code::AlreadyExists, 422, INVALID, "already_exists", false),
        Reason::TeamNotEmpty => row(Code::FailedPrecondition, 422, INVALID, "team_not_empty", false),
        Reason::DeclaredInConfig => row(Code::FailedPrecondition, 422, INVALID, "declared_in_config", false),
        Reason::Internal | Reason::Unspecified => row(Code::Internal, 500, SERVER, "internal_error", true),
    }
}

/// Returns the HTTP status of an error on the OpenAI surface and the JSON twins.
pub fn http(facts: &Facts) -> u16 {
    facts.http_status.unwrap_or(of(facts.reason).http)
}

/// Returns OpenAI's `error.type` of an error. Of a limit it tells what is limited.
pub fn openai_type(facts: &Facts) -> &'static str {
    if facts.reason == Reason::RateLimited && facts.rate_limits.tokens.is_some() {
        return "tokens";
    }
    of(facts.reason).openai_type
}

/// Tells whether the same call may succeed when it is repeated. When the caller's own hints leave no target, or a budget is
/// spent, no time to wait for is known, and to wait is of no use.
pub fn is_worth_repeating(facts: &Facts) -> bool {
    let retry = match facts.reason {
        Reason::NoTargetAvailable | Reason::BudgetExhausted => facts.retry_after.is_some(),
        reason => of(reason).retry,
    };
    retry && !facts.for_good
}

/// Returns the HTTP status and the `error.type` of the Anthropic surface, which has fewer words than OpenAI's.
pub fn anthropic(facts: &Facts) -> (u16, &'static str) {
    if matches!(facts.reason, Reason::BudgetExhausted | Reason::CostCapExceeded) {
        return (http(facts), "billing_error");
    }
    match http(facts) {
        401 => (401, "authentication_error"),
        403 => (403, "permission_error"),
        404 => (404, "not_found_error"),
        409 => (409, INVALID),
        413 => (413, "request_too_large"),
        429 => (429, "rate_limit_error"),
        499 => (499, "api_error"),
        503 => (529, "overloaded_error"),
        504 => (504, "timeout_error"),
        400..=498 => (400, INVALID),
        _ => (500, "api_error"),
    }
}

/// Returns the gRPC code's name as records show it; `None` is success.
pub fn grpc_code_name(reason: Option<Reason>) -> &'static str {
    match reason.map_or(Code::Ok, |reason| of(reason).grpc) {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_row_with_an_error_status() {
        for number in 0..64 {
            let Ok(reason) = Reason::try_from(number) else { continue };
            let row = of(reason);
            assert!(row.grpc != Code::Ok, "{reason:?}");
            assert!((400..=504).contains(&row.http), "{reason:?}");
        }
    }

    #[test]
    fn a_retry_is_never_suggested_for_the_callers_own_mistakes() {
        for number in 0..64 {
            let Ok(reason) = Reason::try_from(number) else { continue };
            let row = of(reason);
            if row.grpc == Code::InvalidArgument || row.grpc == Code::Unauthenticated {
                assert!(!row.retry, "{reason:?}");
            }
        }
    }
}
