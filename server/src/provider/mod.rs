//! To whom a call goes: one folder per dialect behind a trait of a few methods, a table of compatible vendors, and what
//! they share.
//!
//! A dialect is a way there (`translate` for the typed lane, `express` for the caller's own bytes) and a way back
//! (`follow` drives its `Lane`, which tells what it reads with `compose`). `upstream` sends, `credential` opens the
//! door, `refusal` says what a failure means, `registry` lists the dialects.
//!
//! Place in the path: the last room; `route` calls it once per attempt. Config: `providers`. Metrics:
//! `tollgate_upstream_*`, written by `meter`. Tests: `tests/e2e/upstream.rs`, `tests/wire`.

pub mod anthropic;
pub mod aws;
pub mod azure;
pub mod bedrock;
pub mod cohere;
pub mod compose;
pub mod credential;
pub mod echo;
pub mod entra;
mod estimate;
pub mod express;
pub mod follow;
mod forward;
pub mod gemini;
pub mod google;
pub mod http;
mod json;
#[cfg(any(test, feature = "fuzzing"))]
pub mod lanes;
pub mod openai;
mod probe;
mod refusal;
mod refused;
pub mod registry;
mod retry_after;
pub mod sse;
pub mod token;
mod translate;
mod units;
pub mod upstream;
pub mod vendors;

use std::{sync::Arc, time::Duration};

use ::http::HeaderMap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tollgate_api::v1;
use uuid::Uuid;

use crate::call::{Endpoint, Forward, Items, Payload};

pub use registry::{Settings, build, dialects, from_environment, keys_of};

/// A vendor's adapter. Dropping the future or the items it returns ends the upstream call at once.
pub trait Provider: Send + Sync + 'static {
    /// Sends a completion. The answer's items follow the grammar of `call::Item`; for a whole answer
    /// (`streamed` false) too.
    ///
    /// # Errors
    /// Anything up to and including the upstream's response head; later failures come as an item.
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>>;

    /// Asks for embeddings.
    ///
    /// # Errors
    /// As `chat`.
    fn embed<'a>(&'a self, request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>>;

    /// Counts the tokens of a prompt: by the vendor if it offers that, else an upper bound by us.
    ///
    /// # Errors
    /// As `chat`.
    fn count_tokens<'a>(
        &'a self,
        request: Outgoing<'a, v1::ChatInput>,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { estimate::count_tokens(request.payload.view()?, request.model) })
    }

    /// Tells whether a model is known to go on with a last message of the assistant, so that the two are one answer.
    fn continues(&self, _model: &str) -> bool {
        false
    }

    /// Names where an endpoint that passes through is reached, if the vendor has it.
    fn place(&self, _endpoint: Endpoint, _model: &str) -> Option<Place<'_>> {
        None
    }

    /// Names what can be asked for with a GET below the provider's address, at no cost: whether it is there.
    fn listing(&self) -> &'static str {
        "v1/models"
    }

    /// Asks whether the vendor is well, with a request that costs nothing.
    ///
    /// # Errors
    /// As `chat`. An answer that only refuses the request is one of a vendor that is well.
    fn probe<'a>(&'a self, model: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match self.place(Endpoint::Native, model) {
                Some(place) => probe::ask(&place, self.listing()).await,
                None => Ok(()),
            }
        })
    }

    /// Passes a request through, byte for byte but for the model's name.
    ///
    /// # Errors
    /// As `chat`; `Unsupported` if the vendor has no such endpoint.
    fn forward<'a>(&'a self, request: Forwarding<'a>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let endpoint = request.forward.endpoint;
            let Some(place) = self.place(endpoint, request.model) else {
                let message = format!("this provider has no endpoint for `{}`", endpoint.operation());
                return Err(Error::new(Kind::Unsupported, message));
            };
            forward::send(&place, request).await
        })
    }
}

/// Translates a request as the dialect of that target does: for the tests of what becomes of it.
#[cfg(test)]
pub(crate) fn built_for(
    target: &str,
    outgoing: &Outgoing<'_, v1::ChatInput>,
) -> Result<(String, Vec<v1::Warning>), Error> {
    let built = match target {
        "openai-responses" => openai::responses_body(outgoing),
        "anthropic" => anthropic::request_of(outgoing),
        "gemini" => gemini::request_of(outgoing),
        "bedrock" => bedrock::request_of(outgoing),
        "cohere" => cohere::request_of(outgoing),
        vendor => openai::chat_body(vendor, outgoing),
    }?;
    Ok((built.body, built.warnings))
}

/// Where an endpoint is reached.
pub struct Place<'a> {
    /// The vendor's host.
    pub upstream: &'a upstream::Upstream,
    /// The URL below which the path is.
    pub base: &'a ::http::Uri,
    /// The path; for `Endpoint::Native` the caller's own is used.
    pub path: String,
}

/// One attempt to pass a request through.
#[derive(Debug)]
pub struct Forwarding<'a> {
    /// Our id of the call.
    pub call_id: Uuid,
    /// The vendor's model id.
    pub model: &'a str,
    /// What is passed through.
    pub forward: &'a Forward,
    /// The caller's `traceparent`.
    pub traceparent: Option<&'a str>,
}

/// A provider under its configured name, as `route` holds it.
#[derive(Clone)]
pub struct Named {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The catalog's name of the vendor (`openai`, `echo`, …), for prices and facts.
    pub vendor: Arc<str>,
    /// Which of the provider's credentials this one uses; empty if it has but one.
    pub credential: Arc<str>,
    /// The adapter.
    pub adapter: Arc<dyn Provider>,
    /// Whether a parameter that the vendor does not know refuses a call that says nothing about it.
    pub rejects_unsupported: bool,
    /// Whether it bills an answer to its end though nobody hears it.
    pub drains: bool,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named")
            .field("name", &self.name)
            .field("vendor", &self.vendor)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

impl Named {
    /// Names an adapter that is lenient with parameters.
    pub fn new(name: &str, vendor: &str, adapter: Arc<dyn Provider>) -> Self {
        let credential = Arc::from("");
        let (name, vendor) = (name.into(), vendor.into());
        Self { name, vendor, credential, adapter, rejects_unsupported: false, drains: false }
    }
}

/// One attempt's request.
#[derive(Debug)]
pub struct Outgoing<'a, T> {
    /// Our id of the call, sent along as `x-client-request-id` for the vendor's support.
    pub call_id: Uuid,
    /// The configured name of the provider, which selects its `provider_options`.
    pub provider: &'a str,
    /// The vendor's model id.
    pub model: &'a str,
    /// The request; its raw bytes may be sent if they are in the vendor's dialect.
    pub payload: &'a Payload<T>,
    /// Whether to ask for a stream.
    pub streamed: bool,
    /// Whether the caller asked to see usage in the stream. Upstream is asked for it always.
    pub usage_wanted: bool,
    /// Whether a parameter the vendor does not know refuses the call instead of being dropped with a warning.
    pub strict: bool,
    /// The caller's `traceparent`.
    pub traceparent: Option<&'a str>,
    /// Most output tokens to ask for where the caller names no bound: a budget needs to know it.
    pub output_cap: Option<i64>,
}

impl Outgoing<'_, v1::ChatInput> {
    /// Returns the most output tokens to ask for, if there is a bound.
    pub fn max_output_tokens(&self, input: &v1::ChatInput) -> Option<i64> {
        input.max_output_tokens.or(self.output_cap)
    }
}

/// An upstream's answer from its head on.
pub struct Answer {
    /// The upstream's HTTP status (200 for built-in providers).
    pub http_status: u16,
    /// The upstream's own request id; empty if it gave none.
    pub upstream_request_id: String,
    /// Upstream headers that callers' SDKs read and that are safe to forward.
    pub headers: HeaderMap,
    /// What was dropped or changed in translation.
    pub warnings: Vec<v1::Warning>,
    /// The pieces of the answer. A stream that did not reach its dialect's own end yields an error, never just ends.
    pub items: Items<Error>,
}

/// What an upstream failure means for retry, fallback and the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 429 and its kin. The wait is the upstream's own hint.
    RateLimited {
        /// The upstream's own hint.
        retry_after: Option<Duration>,
    },
    /// The prompt does not fit the model.
    ContextLength,
    /// The vendor's own filter refused.
    ContentPolicy,
    /// Connect, first token or idle timeout, or the upstream's own 408 or 504.
    Timeout,
    /// Refused, reset, cut short, 5xx.
    Unavailable,
    /// The vendor refused our credential (401, 403, no credit).
    Denied,
    /// The vendor refused the request (other 4xx).
    Invalid,
    /// The vendor does not know this parameter and the caller asked for strictness.
    Unsupported,
    /// The answer is not what its dialect promises: HTML, half a JSON, nothing at all.
    BadResponse,
}

impl Kind {
    /// Returns the name that attempts, records and metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "rate_limited",
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Invalid | Self::Unsupported => "invalid",
            Self::BadResponse => "bad_response",
        }
    }
}

/// A failed attempt.
#[derive(Debug)]
pub struct Error {
    /// What it means.
    pub kind: Kind,
    /// What to tell people, without keys, prompts or answers.
    pub message: String,
    /// The upstream's HTTP status; 0 if none came.
    pub http_status: u16,
    /// The upstream's `error.type`; empty if none.
    pub upstream_type: String,
    /// The upstream's `error.code`; empty if none.
    pub upstream_code: String,
    /// The request field the upstream names, or that cannot be translated.
    pub field: Option<String>,
    /// The upstream's own request id; empty if none.
    pub request_id: String,
    /// The upstream's error body as it came, for a caller of the same dialect; absent if it may hold a secret.
    pub body: Option<Bytes>,
    /// The upstream's own hint when to try again, whatever the kind (503 and 529 may have one too).
    pub retry_after: Option<Duration>,
    /// No connection was made, so that the upstream cannot have done anything.
    pub unsent: bool,
    /// The request itself does not fit the contract: told to the caller as it is.
    pub caller: Option<crate::error::Error>,
}

impl Error {
    /// Makes a failure that no upstream answer stands behind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            http_status: 0,
            upstream_type: String::new(),
            upstream_code: String::new(),
            field: None,
            request_id: String::new(),
            body: None,
            retry_after: match kind {
                Kind::RateLimited { retry_after } => retry_after,
                _ => None,
            },
            unsent: false,
            caller: None,
        }
    }
}

impl From<crate::error::Error> for Error {
    fn from(error: crate::error::Error) -> Self {
        Self { caller: Some(error.clone()), ..Self::new(Kind::Invalid, error.to_string()) }
    }
}
