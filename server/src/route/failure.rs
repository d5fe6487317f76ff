//! A failed attempt in the caller's words: provider kinds to error reasons.

use std::time::{Duration, Instant};

use tollgate_api::v1;

use crate::{
    call::{Attempt, Target},
    error::{Error, Reason, Upstream},
    provider::{self, Kind},
};

/// The longest wait we hand on: SDKs give up or ignore hints beyond a minute.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Ends the running attempt with a provider's failure.
pub(super) fn note(attempts: &mut [Attempt], failure: &provider::Error, now: Instant) {
    let Some(attempt) = attempts.last_mut() else { return };
    attempt.end(failure.kind.as_str(), now);
    attempt.unsent = failure.unsent;
    if failure.http_status != 0 {
        attempt.http_status = failure.http_status;
    }
    if attempt.upstream_request_id.is_empty() {
        attempt.upstream_request_id.clone_from(&failure.request_id);
    }
}

/// Turns the failure of the last attempt into the caller's error. `delivered` says that content is already out.
pub(super) fn to_caller(failure: provider::Error, target: &Target, delivered: bool) -> Error {
    if let Some(error) = failure.caller {
        return error;
    }
    let who = format!("provider `{}` (target {})", target.provider, target.name);
    let reason = if delivered { Reason::StreamInterrupted } else { reason_of(failure.kind) };
    let message = match failure.kind {
        _ if delivered => format!("the stream of {who} broke off: {}", failure.message),
        Kind::Unsupported => failure.message.clone(),
        Kind::Denied => format!("{who} refused the gateway's own credential; tell whoever runs the gateway"),
        _ => format!("{who}: {}", failure.message),
    };
    let mut error = Error::new(reason, message)
        .with("provider", &*target.provider)
        .with("target", &*target.name)
        .with("kind", failure.kind.as_str());
    if failure.http_status != 0 {
        error = error.with("upstream_status", failure.http_status.to_string());
    }
    if let Some(field) = &failure.field {
        error = error.at_field(field.clone());
    }
    if let Kind::RateLimited { retry_after } = failure.kind {
        error = error.retry_after(retry_after.map(|wait| wait.min(MAX_RETRY_AFTER)));
    }
    error.upstream(Upstream {
        kind: failure.kind.as_str(),
        failure: v1::UpstreamFailure {
            provider: target.provider.to_string(),
            target: target.name.to_string(),
            http_status: i32::from(failure.http_status),
            r#type: failure.upstream_type,
            code: failure.upstream_code,
            message: failure.message,
            request_id: failure.request_id,
        },
        body: if delivered || failure.kind == Kind::Denied { None } else { failure.body },
    })
}

fn reason_of(kind: Kind) -> Reason {
    match kind {
        Kind::RateLimited { .. } => Reason::UpstreamRateLimited,
        Kind::ContextLength => Reason::ContextLengthExceeded,
        Kind::ContentPolicy => Reason::ContentBlocked,
        Kind::Timeout => Reason::UpstreamTimeout,
        Kind::Unavailable => Reason::UpstreamUnavailable,
        Kind::Denied => Reason::UpstreamAuthFailed,
        Kind::Invalid => Reason::UpstreamRejected,
        Kind::Unsupported => Reason::UnsupportedParameter,
        Kind::BadResponse => Reason::UpstreamBadResponse,
    }
}

/// Tells whether an answer that was broken off by a failure of that name may go on at another target.
pub(super) fn may_go_on(kind: &str) -> bool {
    matches!(kind, "rate_limited" | "timeout" | "unavailable" | "denied" | "bad_response")
}

/// Tells whether another target may do better than the one that failed so.
pub(super) fn may_fall_back(kind: Kind) -> bool {
    match kind {
        Kind::RateLimited { .. } | Kind::Timeout | Kind::Unavailable | Kind::Denied | Kind::BadResponse => {
            true
        }
        Kind::ContextLength | Kind::ContentPolicy | Kind::Invalid | Kind::Unsupported => false,
    }
}
