//! What comes back: a stream of items, and what the ledger made of it.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use tollgate_api::v1;
use uuid::Uuid;

use super::{Event, RateLimits, Target};
use crate::error::Error;

/// Estimates the tokens of one delta: models send about a token at a time, longer pieces hold four bytes a token.
pub fn estimate_delta_tokens(bytes: usize) -> u32 {
    if bytes <= 16 { u32::from(bytes > 0) } else { estimate_text_tokens(bytes) }
}

/// Estimates the tokens of a whole text at four bytes a token, rounded up.
pub fn estimate_text_tokens(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(4)).unwrap_or(u32::MAX)
}

/// Returns the bytes of the answer that an event holds; nothing if it is no content.
pub fn content_bytes(event: &Event) -> Option<usize> {
    match event {
        Event::Text(delta) => Some(delta.text.len()),
        Event::Thought(delta) => Some(delta.text.len()),
        Event::ToolCall(delta) => Some(delta.input.len()),
        Event::Refusal(delta) => Some(delta.text.len()),
        Event::Media(delta) => Some(delta.transcript.len()),
        Event::Usage(_)
        | Event::ChoiceEnd(_)
        | Event::Start(_)
        | Event::End(_)
        | Event::PartStart(_)
        | Event::PartEnd(_)
        | Event::Logprobs(_)
        | Event::Notice(_)
        | Event::Extension(_) => None,
    }
}

/// `Cost.price_version` of a price that the provider itself told with its answer.
pub const PROVIDERS_OWN_PRICE: &str = "provider";

/// What a provider's tap saw in a piece of raw bytes.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Content events (deltas with text, tool input, refusal or media; a whole answer counts as one).
    pub content_events: u32,
    /// Estimated output tokens of the content, for calls whose usage never comes.
    pub output_tokens: u32,
    /// Usage, if this piece told it. Cumulative: the last one holds.
    pub usage: Option<Box<v1::Usage>>,
    /// Finish reason of choice 0, if this piece told it.
    pub finish_reason: Option<v1::FinishReason>,
    /// The upstream's response id, told once.
    pub response_id: Option<String>,
    /// The model that the upstream says it used, told once.
    pub model: Option<String>,
    /// True on the piece that completes the answer (`[DONE]`, a whole body): nothing after it matters.
    pub last: bool,
    /// False for comments and pings, which are no progress.
    pub progress: bool,
}

/// One piece of a reply on its way to the caller.
#[derive(Debug)]
pub enum Item {
    /// Typed lane: an event of the stream grammar (`StreamCompleteResponse`). Providers send `Start` first and
    /// `End` last, for whole answers too.
    Event(Event),
    /// Typed lane: the whole answer of an embedding call.
    Embeddings(Box<v1::EmbedResponse>),
    /// Typed lane: the whole answer of a count of tokens.
    Counted(Box<v1::CountTokensResponse>),
    /// Express lane: whole SSE events, or a whole body, exactly as the upstream sent them.
    Raw(Bytes, Seen),
}

/// Lists attempts as the header `x-tollgate-tried` does: `up/m-1;unavailable;502, spare/m-2;answers;200`. The last part of
/// each is the upstream's HTTP status, 0 if none came.
pub fn tried(attempts: &[v1::Attempt]) -> String {
    let one = |attempt: &v1::Attempt| {
        let outcome = if attempt.outcome.is_empty() { "answers" } else { &attempt.outcome };
        format!("{};{outcome};{}", attempt.target, attempt.http_status)
    };
    attempts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A stream of items. Dropping it cancels the upstream call.
pub type Items<E = Error> = Pin<Box<dyn Stream<Item = Result<Item, E>> + Send>>;

/// What `route` hands to `meter`: the pieces of the answer, and what happens to the attempts once the first content is
/// out.
#[derive(Debug)]
pub enum Step {
    /// A piece of the answer.
    Item(Item),
    /// The running attempt failed, and another one is about to be made: `meter` writes it down before it asks for the
    /// next step.
    Reroute {
        /// How the running attempt ended: a kind of provider failure.
        outcome: &'static str,
        /// Where the next one goes.
        next: Arc<Target>,
    },
    /// The upstream of the running attempt has answered.
    Answered {
        /// Its HTTP status.
        http_status: u16,
        /// Its own id of the request; empty if it gave none.
        upstream_request_id: String,
        /// Whether its answer has begun and is billed to its end though nobody hears it.
        drains: bool,
    },
    /// The running attempt failed, and the answer ends with what was delivered.
    Cut {
        /// How it ended: a kind of provider failure.
        outcome: &'static str,
    },
}

/// A stream of steps. Dropping it cancels the upstream call.
pub type Steps = Pin<Box<dyn Stream<Item = Result<Step, Error>> + Send>>;

/// What the ledger wrote for a call; there once its stream has ended.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Usage with its cost.
    pub usage: v1::Usage,
    /// Every attempt.
    pub attempts: Vec<v1::Attempt>,
}

/// The answer of the pipeline: what is known at the commit point, and the stream that follows.
pub struct Reply {
    /// Our id of the call.
    pub id: Uuid,
    /// The target that answers; absent if headers go out before any target has answered (`commit_after`).
    pub target: Option<Arc<Target>>,
    /// How many upstream calls were made so far.
    pub attempt_count: usize,
    /// Those calls in words, if there were several: `tried`.
    pub tried: String,
    /// The routing rule that decided; empty if none.
    pub rule: String,
    /// What was dropped or changed in translation.
    pub warnings: Vec<v1::Warning>,
    /// The tightest limits of the call, as they stood when it was let in.
    pub rate_limits: RateLimits,
    /// Upstream headers that callers' SDKs read (`openai-processing-ms`, …), safe to forward.
    pub headers: HeaderMap,
    /// The upstream's own request id; empty if unknown.
    pub upstream_request_id: String,
    /// The call that got this answer, if it was another one: this is a repeat, for which nothing was sent upstream.
    pub repeats: Option<Uuid>,
    /// When the call must be over.
    pub deadline: Instant,
    /// The pieces. Ends after the last one, or with an error; the record is durable before the end is seen.
    pub items: Items,
    /// Filled when the stream has ended.
    pub settled: Arc<OnceLock<Settled>>,
}
