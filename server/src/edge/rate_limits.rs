//! How the tightest limits of a call stand, in the headers that SDKs read. Only ours: an upstream's are not the caller's.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{Timestamp, Unit};

use crate::call::{RateLimit, RateLimits};

/// The three headers of one limit: how much, how much is left, and when all is there again.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

static REQUESTS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-requests"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
    reset: HeaderName::from_static("x-ratelimit-reset-requests"),
};
static TOKENS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
    reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
};
static ANTHROPIC_REQUESTS: Names = Names {
    limit: HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    remaining: HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    reset: HeaderName::from_static("anthropic-ratelimit-requests-reset"),
};
static ANTHROPIC_TOKENS: Names = Names {
    limit: HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    remaining: HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    reset: HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
};

/// Adds the limits in OpenAI's words.
pub(in crate::edge) fn put(headers: &mut HeaderMap, limits: &RateLimits) {
    for (names, limit) in [(&REQUESTS, limits.requests), (&TOKENS, limits.tokens)] {
        write(headers, names, limit, |reset| {
            span(reset.duration_since(SystemTime::now()).unwrap_or_default())
        });
    }
}

/// Adds the limits in Anthropic's words.
pub(in crate::edge) fn put_anthropic(headers: &mut HeaderMap, limits: &RateLimits) {
    for (names, limit) in [(&ANTHROPIC_REQUESTS, limits.requests), (&ANTHROPIC_TOKENS, limits.tokens)] {
        write(headers, names, limit, moment);
    }
}

fn write(
    headers: &mut HeaderMap,
    names: &Names,
    limit: Option<RateLimit>,
    reset: impl FnOnce(SystemTime) -> String,
) {
    let Some(limit) = limit else { return };
    headers.insert(&names.limit, limit.limit.into());
    headers.insert(&names.remaining, limit.remaining.into());
    if let Some(Ok(reset)) = limit.reset.map(|at| HeaderValue::from_str(&reset(at))) {
        headers.insert(&names.reset, reset);
    }
}

/// Writes a span of time as OpenAI does: `20ms`, `1s`, `6m0s`, `25h0m0s`.
fn span(span: Duration) -> String {
    let (seconds, millis) = (span.as_secs(), span.as_millis());
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{}s", millis.div_ceil(1_000)),
        60..3_600 => format!("{minutes}m{}s", seconds % 60),
        _ => format!("{hours}h{minutes}m{}s", seconds % 60),
    }
}

fn moment(at: SystemTime) -> String {
    let whole = Timestamp::try_from(at).and_then(|at| at.round(Unit::Second));
    whole.map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_spans_for_one_and_moments_for_the_other() {
        for (millis, text) in [
            (0, "0ms"),
            (20, "20ms"),
            (1_000, "1s"),
            (1_001, "2s"),
            (360_000, "6m0s"),
            (90_061_000, "25h1m1s"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        let mut headers = HeaderMap::new();
        let reset = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let limits = RateLimits { requests: Some(RateLimit::new(10, 4, Some(reset))), tokens: None };
        put_anthropic(&mut headers, &limits);
        assert_eq!(headers["anthropic-ratelimit-requests-limit"], "10");
        assert_eq!(headers["anthropic-ratelimit-requests-remaining"], "6");
        assert_eq!(headers["anthropic-ratelimit-requests-reset"], "2023-11-14T22:13:20Z");
        assert_eq!(headers.len(), 3);
        put(&mut headers, &limits);
        assert_eq!(headers["x-ratelimit-reset-requests"], "0ms");
    }

    #[test]
    fn without_limits_nothing_is_said() {
        let mut headers = HeaderMap::new();
        put(&mut headers, &RateLimits::default());
        put_anthropic(&mut headers, &RateLimits { tokens: Some(RateLimit::new(5, 1, None)), requests: None });
        assert_eq!(headers.len(), 2, "a total never starts anew");
    }
}
