//! What all dialects say of a failed call beside their own envelope.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{head::put, names};
use crate::{
    call::tried,
    edge::{rate_limits, status},
    error::{Error, Reason},
};

/// SDKs give up or ignore a hint to wait for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Returns the upstream's status and body where it refused the request itself, which only its own words explain. The
/// dialect of the body is still to be judged.
pub(in crate::edge) fn upstreams_own(error: &Error) -> Option<(u16, Bytes)> {
    let told = error.facts().upstream.as_ref()?;
    let refused = matches!(
        error.reason(),
        Reason::UpstreamRejected | Reason::ContextLengthExceeded | Reason::ContentBlocked
    );
    if !refused {
        return None;
    }
    let status = match told.failure.http_status {
        // These speak of the gateway's own credential, connection or limits, never of the caller's.
        401 | 402 | 403 | 407 | 408 | 429 => return None,
        // SDKs repeat a 409 by themselves.
        409 => 422,
        status @ 400..=498 => u16::try_from(status).ok()?,
        _ => return None,
    };
    Some((status, told.body.clone()?))
}

/// Adds what the headers of a refusal say, the same for all dialects.
pub(in crate::edge) fn add_facts(headers: &mut HeaderMap, error: &Error) {
    let facts = error.facts();
    let retry = status::is_worth_repeating(facts);
    put(headers, &names::REASON, error.reason_name());
    headers.insert("x-should-retry", HeaderValue::from_static(if retry { "true" } else { "false" }));
    headers.insert("x-tollgate-attempts", facts.attempts.len().into());
    put(headers, &names::TRIED, &tried(&facts.attempts));
    put(headers, &names::RULE, &facts.rule);
    if let Some(last) = facts.attempts.last() {
        put(headers, &names::PROVIDER, &last.provider);
        put(headers, &names::MODEL, &last.model);
        put(headers, &names::TARGET, &last.target);
        put(headers, &names::UPSTREAM_REQUEST_ID, &last.upstream_request_id);
    }
    if let Some(told) = &facts.upstream {
        put(headers, &names::PROVIDER, &told.failure.provider);
        put(headers, &names::TARGET, &told.failure.target);
        put(headers, &names::UPSTREAM_REQUEST_ID, &told.failure.request_id);
    }
    rate_limits::put(headers, &facts.rate_limits);
    if let Some(wait) = facts.retry_after {
        let wait = wait.min(MAX_RETRY_AFTER);
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        headers.insert("retry-after", ms.div_ceil(1000).max(1).into());
        headers.insert("retry-after-ms", ms.into());
    }
}
