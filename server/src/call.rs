//! What walks through the rooms: a `Call` on the way in, a `Reply` on the way out, and the items of its stream.

mod caller;
mod clock;
mod fingerprint;
mod forward;
mod id;
mod limit;
mod money;
mod need;
mod rate_limits;
mod reply;
mod request;
mod tags;
mod unread;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tollgate_api::v1;
pub use tollgate_api::v1::stream_complete_response::Event;
use uuid::Uuid;

pub use self::{
    caller::{Caller, ModelGlobs, Scope, Scopes, Team, glob_matches},
    clock::now,
    fingerprint::Fingerprint,
    forward::{Endpoint, Forward, Slot, Tail, TailError},
    id::new_id,
    limit::{Adjusted, Limit, Metric, Only, Period, Rule, Subject},
    money::{NANOS_PER_USD, dollars},
    need::{Need, Needs, Priority},
    rate_limits::{RateLimit, RateLimits},
    reply::{
        Item, Items, PROVIDERS_OWN_PRICE, Reply, Seen, Settled, Step, Steps, content_bytes,
        estimate_delta_tokens, estimate_text_tokens, tried,
    },
    request::{Asked, Dialect, Payload, Raw, Request},
    tags::{MAX_TAGS, check_request_id, check_tags, is_tag_name},
    unread::Unread,
};

/// The wire a call came in by. `as_str` is the record's `surface` and the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `tollgate.v1` over gRPC or gRPC-Web.
    Grpc,
    /// `POST /v1/chat/completions`.
    OpenAiChat,
    /// `POST /v1/embeddings`.
    OpenAiEmbeddings,
    /// `POST /v1/responses`.
    OpenAiResponses,
    /// `POST /v1/completions`.
    OpenAiCompletions,
    /// `POST /v1/messages` and `/v1/messages/count_tokens`.
    AnthropicMessages,
    /// What passes through.
    PassThrough(Endpoint),
}

impl Surface {
    /// Returns the name that records and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiEmbeddings => "openai-embeddings",
            Self::OpenAiResponses => "openai-responses",
            Self::OpenAiCompletions => "openai-completions",
            Self::AnthropicMessages => "anthropic-messages",
            Self::PassThrough(endpoint) => endpoint.surface(),
        }
    }
}

/// What a call does, in the words of OpenTelemetry's `gen_ai.operation.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A completion, streamed or whole.
    Chat,
    /// Vectors for texts.
    Embeddings,
    /// How many tokens a prompt would be. Costs nothing.
    CountTokens,
    /// What passes through.
    PassThrough(Endpoint),
}

impl Operation {
    /// Returns the name that records and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::CountTokens => "count_tokens",
            Self::PassThrough(endpoint) => endpoint.operation(),
        }
    }
}

/// When a call must be over, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// True if the caller set it, false if it is our own `timeouts.total`.
    pub by_caller: bool,
}

impl Deadline {
    /// Returns the earlier of the caller's deadline and our own.
    pub fn earlier(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.at < self.at => other,
            _ => self,
        }
    }
}

/// One caller's call.
#[derive(Debug)]
pub struct Call {
    /// Our id: `x-request-id`, the record's id, the stream's id.
    pub id: Uuid,
    /// When it came in, for durations.
    pub started: Instant,
    /// When it came in, for people.
    pub create_time: SystemTime,
    /// The wire it came by.
    pub surface: Surface,
    /// What it does.
    pub operation: Operation,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// What is asked, in short. Its `model` is empty until the body has been read.
    pub asked: Asked,
    /// Gateway options of the call. `tags` there are merged into `Call::tags`.
    pub options: v1::CallOptions,
    /// The key's default tags, the header's, the message's; the last wins.
    pub tags: BTreeMap<String, String>,
    /// What tells its request from others; absent unless the call has a `request_id`.
    pub fingerprint: Option<Fingerprint>,
    /// The caller's deadline, if it set one.
    pub deadline: Option<Deadline>,
    /// The caller's W3C `traceparent`, valid or absent.
    pub traceparent: Option<String>,
    /// How important the call is when there is not room for all.
    pub priority: Priority,
    /// Time spent waiting for a place so far.
    pub waited: Duration,
    /// The routing rule that decided; empty if none.
    pub rule: String,
    /// Every upstream call made for this call so far, the current one last.
    pub attempts: Vec<Attempt>,
}

impl Call {
    /// Returns the attempt that serves the call: the last one, unless it has failed and nobody does.
    pub fn served_by(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| matches!(attempt.outcome, "" | "ok"))
    }
}

#[cfg(test)]
impl Call {
    /// A streamed chat over gRPC to a model of that name, from a caller that may do what keys usually may.
    pub(crate) fn for_test(model: &str) -> Self {
        Self {
            id: new_id(),
            started: now(),
            create_time: SystemTime::now(),
            surface: Surface::Grpc,
            operation: Operation::Chat,
            caller: Arc::new(Caller::for_test()),
            asked: Asked { model: model.to_owned(), streamed: true, ..Asked::default() },
            options: v1::CallOptions::default(),
            tags: BTreeMap::new(),
            fingerprint: None,
            deadline: None,
            traceparent: None,
            priority: Priority::default(),
            waited: Duration::ZERO,
            rule: String::new(),
            attempts: Vec::new(),
        }
    }
}

/// A vendor's model that a call may be sent to.
#[derive(Debug)]
pub struct Target {
    /// `provider/model`, as records and headers show it.
    pub name: Arc<str>,
    /// The provider's name in the configuration.
    pub provider: Arc<str>,
    /// The vendor's model id.
    pub model: Arc<str>,
    /// The catalog's name of the vendor, for prices and facts (`openai`, `echo`, …).
    pub vendor: Arc<str>,
    /// Prices from the configuration, which override the catalog's.
    pub rates: Option<Rates>,
}

/// Prices in nano-USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Input tokens that were not read from the provider's cache.
    pub input: i64,
    /// Output tokens, reasoning included.
    pub output: i64,
    /// Input tokens read from the provider's cache; `input` if absent.
    pub cache_read: Option<i64>,
    /// Input tokens written to the provider's cache; `input` if absent.
    pub cache_write: Option<i64>,
}

/// One upstream call.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where it went.
    pub target: Arc<Target>,
    /// When it was started.
    pub started: Instant,
    /// How long it took; absent while it runs.
    pub duration: Option<Duration>,
    /// `ok`, `cancelled`, or a kind of provider failure; empty while it runs.
    pub outcome: &'static str,
    /// The upstream's HTTP status; 0 if none came.
    pub http_status: u16,
    /// The upstream's own request id; empty if it gave none.
    pub upstream_request_id: String,
    /// Whether it ended before there was a connection, and so cannot have cost anything.
    pub unsent: bool,
    /// Whether it was started beside a running one.
    pub hedged: bool,
    /// What the provider bills for it, where it is not the last one: that one is billed by what the call came to.
    pub usage: Option<Box<v1::Usage>>,
}

impl Attempt {
    /// Starts the clock of an attempt.
    pub fn start(target: Arc<Target>, now: Instant) -> Self {
        Self {
            target,
            started: now,
            duration: None,
            outcome: "",
            http_status: 0,
            upstream_request_id: String::new(),
            unsent: false,
            hedged: false,
            usage: None,
        }
    }

    /// Writes down how the attempt ended; the first ending holds.
    pub fn end(&mut self, outcome: &'static str, now: Instant) {
        if self.duration.is_none() {
            self.duration = Some(now.saturating_duration_since(self.started));
            self.outcome = outcome;
        }
    }

    /// Tells whether a provider may have worked for it, though it does not serve the call.
    pub fn may_be_billed(&self) -> bool {
        self.usage.is_some() || (!self.unsent && matches!(self.outcome, "" | "cancelled" | "timeout"))
    }

    /// Shows the attempt as the contract does.
    pub fn to_proto(&self) -> v1::Attempt {
        v1::Attempt {
            // `to_string` of an `Arc<str>` goes through the formatter.
            target: (*self.target.name).to_owned(),
            provider: (*self.target.provider).to_owned(),
            model: (*self.target.model).to_owned(),
            outcome: self.outcome.to_owned(),
            http_status: i32::from(self.http_status),
            duration: self.duration.and_then(|d| d.try_into().ok()),
            upstream_request_id: self.upstream_request_id.clone(),
            input_tokens: self.usage.as_ref().and_then(|usage| usage.input_tokens),
            output_tokens: self.usage.as_ref().and_then(|usage| usage.output_tokens),
            cost_nanos: self.usage.as_ref().and_then(|usage| Some(usage.cost.as_ref()?.amount_nanos)),
            estimated: self
                .usage
                .as_ref()
                .is_some_and(|usage| usage.source() == v1::usage::Source::Estimated),
            hedged: self.hedged,
        }
    }
}
