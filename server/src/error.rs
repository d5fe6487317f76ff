//! What can go wrong for a caller: reasons and facts, no status codes (those are `edge/status.rs`'s).

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use tollgate_api::v1;
pub use tollgate_api::v1::ErrorReason as Reason;

use crate::call::RateLimits;

/// An error as the caller will be told it. Messages never hold keys, prompts or answers.
#[derive(Clone)]
pub struct Error(Box<Facts>);

/// Everything an edge may say of an error.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What happened, in the contract's vocabulary.
    pub reason: Reason,
    /// One sentence: which layer, which limit, what to do.
    pub message: String,
    /// The request field that is wrong, as a path in the caller's own dialect (`messages[2].content`).
    pub field: Option<String>,
    /// When a retry makes sense.
    pub retry_after: Option<Duration>,
    /// Whether the same call can never succeed, whatever its reason says of a retry.
    pub for_good: bool,
    /// Further facts for `ErrorInfo.metadata`.
    pub metadata: Vec<(&'static str, String)>,
    /// What the upstream said, if one was asked.
    pub upstream: Option<Upstream>,
    /// Every attempt that was made.
    pub attempts: Vec<v1::Attempt>,
    /// The routing rule that decided where they went; empty if none.
    pub rule: String,
    /// What the answer came to before it was interrupted; absent if nothing was delivered.
    pub came_to: Option<CameTo>,
    /// How the limit stands that refused the call.
    pub rate_limits: RateLimits,
    /// HTTP status that the configuration gives it in place of the usual one.
    pub http_status: Option<u16>,
}

/// What an interrupted answer came to: delivered and billed counts, by which the record goes too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CameTo {
    /// Content events that were handed to the caller.
    pub delivered_event_count: i64,
    /// Input tokens that are billed; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<i64>,
    /// Output tokens that are billed; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<i64>,
    /// What they cost, in nano-USD; absent if no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nanos: Option<i64>,
    /// Whether the counts are an estimate.
    pub estimated: bool,
}

/// An upstream's refusal.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// The kind of failure, as attempts and metrics name it (`timeout`, `unavailable`, …).
    pub kind: &'static str,
    /// The contract's view of it; its `message` is safe to show.
    pub failure: v1::UpstreamFailure,
    /// The upstream's own body, for a caller of the same dialect; absent if it may hold a secret.
    pub body: Option<Bytes>,
}

impl Error {
    /// Makes an error of that reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            reason,
            message: message.into(),
            field: None,
            retry_after: None,
            for_good: false,
            metadata: Vec::new(),
            upstream: None,
            attempts: Vec::new(),
            rule: String::new(),
            came_to: None,
            rate_limits: RateLimits::default(),
            http_status: None,
        }))
    }

    /// Makes the error for a request field that cannot be accepted.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidRequest, message).at_field(field.into())
    }

    /// Makes the error for a mistake of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Reason::Internal, message)
    }

    /// Names the request field that is at fault.
    #[must_use]
    pub fn at_field(mut self, field: String) -> Self {
        self.0.metadata.push(("field", field.clone()));
        self.0.field = Some(field);
        self
    }

    /// Makes the error for a call in which the gateway panicked; the panic's own words are in the log.
    pub fn panicked() -> Self {
        Self::internal("the gateway made a mistake in this call; its log says more")
    }

    /// Adds a fact for `ErrorInfo.metadata`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.metadata.push((key, value.into()));
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    /// Says that the same call can never succeed.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.0.for_good = true;
        self
    }

    /// Adds what the upstream said.
    #[must_use]
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.0.upstream = Some(upstream);
        self
    }

    /// Adds the attempts that were made.
    #[must_use]
    pub fn attempts(mut self, attempts: Vec<v1::Attempt>) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Adds what the answer came to before it was interrupted.
    #[must_use]
    pub fn after(mut self, came_to: CameTo) -> Self {
        self.0.came_to = Some(came_to);
        self
    }

    /// Tells how the limit stands that refused the call.
    #[must_use]
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.0.rate_limits = limits;
        self
    }

    /// Gives it another HTTP status than the usual one.
    #[must_use]
    pub fn http_status(mut self, status: u16) -> Self {
        self.0.http_status = Some(status);
        self
    }

    /// Names the routing rule that decided.
    #[must_use]
    pub fn by_rule(mut self, rule: &str) -> Self {
        rule.clone_into(&mut self.0.rule);
        self
    }

    /// Returns the reason.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Returns the reason's short name, as records and metrics show it (`MODEL_NOT_FOUND`).
    pub fn reason_name(&self) -> &'static str {
        short_name(self.0.reason)
    }

    /// Returns all facts.
    pub fn facts(&self) -> &Facts {
        &self.0
    }
}

/// Returns a reason's name without the enum's prefix.
pub fn short_name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}
