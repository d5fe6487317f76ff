//! Plan to answer: one upstream call after another until one brings content, within the caller's deadline.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use http::HeaderMap;
use tokio::time::timeout_at;
use tollgate_api::v1;
use uuid::Uuid;

use super::{Candidate, Health, Plan, failure, guarded::Guarded, health::Ticket};
use crate::{
    call::{Attempt, Call, Deadline, Event, Forward, Item, Items, Request, Steps, Target, now},
    error::{Error, Reason},
    load::{Gates, Place},
    provider::{self, Answer, Forwarding, Kind, Outgoing},
};

/// How long each phase of an upstream call may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From sending the request to the first content event.
    pub first_token: Duration,
    /// Between two events that are progress.
    pub idle: Duration,
}

impl Timeouts {
    /// Returns these timeouts, shortened (never lengthened) by what the caller asked for.
    #[must_use]
    pub fn narrowed_by(self, options: &v1::CallOptions) -> Self {
        let shorter = |ours: Duration, theirs: Option<prost_types::Duration>| {
            theirs.and_then(|wait| Duration::try_from(wait).ok()).map_or(ours, |theirs| theirs.min(ours))
        };
        Self {
            first_token: shorter(self.first_token, options.first_token_timeout),
            idle: shorter(self.idle, options.idle_timeout),
        }
    }
}

/// An answer whose first content event is in hand.
pub struct Dispatched {
    /// Who answers.
    pub target: Arc<Target>,
    /// What was dropped or changed in translation.
    pub warnings: Vec<v1::Warning>,
    /// Upstream headers that are safe to forward.
    pub headers: HeaderMap,
    /// The upstream's own request id; empty if it gave none.
    pub upstream_request_id: String,
    /// The pieces, the first content event included.
    pub items: Steps,
}

/// What dispatching a call needs beside the call.
pub struct Way {
    /// Where it may go.
    pub plan: Plan,
    /// What is asked.
    pub request: Request,
    /// How long the phases may take; a candidate may have its own `first_token`.
    pub timeouts: Timeouts,
    /// When all must be over.
    pub deadline: Deadline,
    /// How the targets are.
    pub health: Arc<Health>,
    /// Who may enter them.
    pub gates: Arc<Gates>,
}

/// Tries the plan's targets until one brings content. `before_attempt` runs before each upstream call, when the attempt
/// already stands in the call.
///
/// # Errors
/// The last attempt's failure in the caller's words, with every attempt, or the deadline's.
pub async fn dispatch(
    way: Arc<Way>,
    call: &mut Call,
    before_attempt: impl Fn(&Call) -> Result<(), Error>,
) -> Result<Dispatched, Error> {
    let Way { plan, request, timeouts, deadline, health, gates } = &*way;
    let (timeouts, deadline) = (*timeouts, *deadline);
    let tries = plan.candidates.iter().take(plan.policy.attempts.max(1));
    let mut left = tries.len();
    for candidate in tries {
        left -= 1;
        let at = now();
        if at >= deadline.at {
            let error = super::guarded::deadline_error(deadline);
            return Err(error.attempts(call.attempts.iter().map(Attempt::to_proto).collect()));
        }
        let ticket = match health.of(&candidate.target).admit(left == 0, at) {
            Ok(ticket) => ticket,
            Err(_) if left > 0 => continue,
            Err(_) => {
                return Err(Error::new(Reason::NoTargetAvailable, "no target is well enough to be tried"));
            }
        };
        let gate = gates.of(&candidate.target.name, candidate.concurrent);
        let place =
            gate.try_enter().ok_or_else(|| Error::new(Reason::GatewayOverloaded, "the target is full"))?;
        let held = Held { ticket, place };
        call.attempts.push(Attempt::start(candidate.target.clone(), at));
        if let Err(error) = before_attempt(call) {
            // It was not made, so nothing may tell of it.
            call.attempts.pop();
            return Err(error.attempts(call.attempts.iter().map(Attempt::to_proto).collect()));
        }
        let failed = match attempt(candidate, held, call, request, timeouts, deadline).await {
            Ok(dispatched) => return Ok(dispatched),
            Err(Failed::Deadline(error)) => {
                end_running(call, "cancelled");
                return Err(error.attempts(call.attempts.iter().map(Attempt::to_proto).collect()));
            }
            Err(Failed::Upstream(failed)) => failed,
        };
        failure::note(&mut call.attempts, &failed, now());
        if left == 0
            || !request.can_be_sent()
            || failed.caller.is_some()
            || !failure::may_fall_back(failed.kind)
        {
            let error = failure::to_caller(failed, &candidate.target, false);
            return Err(error.attempts(call.attempts.iter().map(Attempt::to_proto).collect()));
        }
    }
    Err(Error::internal("a plan without targets"))
}

/// What an attempt holds at its target while it runs. Dropped without a word it counts neither for nor against the
/// target: the caller went away.
#[derive(Debug)]
pub(super) struct Held {
    /// Its say in the target's health.
    pub(super) ticket: Ticket,
    /// Its place behind the target's gate.
    pub(super) place: Place,
}

impl Held {
    /// The answer is complete, with so many output tokens.
    pub(super) fn complete(mut self, output_tokens: i64, now: Instant) {
        self.ticket.complete(output_tokens, now);
        self.place.served();
    }

    /// The attempt failed.
    pub(super) fn failed(mut self, failure: &provider::Error, now: Instant) {
        self.ticket.failed(failure.kind, now);
        if matches!(failure.kind, Kind::RateLimited { .. }) {
            self.place.throttled();
        }
    }
}

/// What an attempt needs to know of its call. A copy, so that attempts run while the call is written to.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    /// Our id of the call.
    pub(super) call_id: Uuid,
    /// Whether tokens are wanted as they come.
    pub(super) streamed: bool,
    /// Whether the caller asked to see usage in the stream.
    pub(super) usage_wanted: bool,
    /// What the caller wants done with parameters that a provider does not know.
    pub(super) unsupported: v1::UnsupportedParameters,
    /// The caller's `traceparent`.
    pub(super) traceparent: Option<String>,
}

impl Brief {
    /// Takes from a call what its attempts need.
    pub(super) fn of(call: &Call) -> Self {
        Self {
            call_id: call.id,
            streamed: call.asked.streamed,
            usage_wanted: call.asked.usage_wanted,
            unsupported: call.options.unsupported_parameters(),
            traceparent: call.traceparent.clone(),
        }
    }
}

enum Failed {
    Upstream(provider::Error),
    Deadline(Error),
}

fn end_running(call: &mut Call, outcome: &'static str) {
    if let Some(attempt) = call.attempts.last_mut() {
        attempt.end(outcome, now());
    }
}

/// Makes one upstream call and holds its items back until the first that is content.
async fn attempt(
    candidate: &Candidate,
    held: Held,
    call: &mut Call,
    request: &Request,
    timeouts: Timeouts,
    deadline: Deadline,
) -> Result<Dispatched, Failed> {
    let timeouts = Timeouts {
        first_token: candidate.first_token.unwrap_or(timeouts.first_token).min(timeouts.first_token),
        ..timeouts
    };
    let first_token = now() + timeouts.first_token;
    let until = first_token.min(deadline.at);
    let provider = &candidate.provider;
    let brief = Brief::of(call);
    let work = async {
        let mut answer = send(candidate, &brief, request).await?;
        let first = hold_until_content(&mut answer.items).await?;
        Ok::<_, provider::Error>((answer, first))
    };
    let (answer, first) = match timeout_at(until.into(), work).await {
        Ok(done) => done.map_err(Failed::Upstream)?,
        Err(_) if until == deadline.at => {
            return Err(Failed::Deadline(super::guarded::deadline_error(deadline)));
        }
        Err(_) => {
            return Err(Failed::Upstream(provider::Error::new(
                Kind::Timeout,
                format!(
                    "no content within first_token = {:?} (a larger `timeouts.first_token` waits longer)",
                    timeouts.first_token
                ),
            )));
        }
    };
    if let Some(attempt) = call.attempts.last_mut() {
        attempt.http_status = answer.http_status;
        attempt.upstream_request_id.clone_from(&answer.upstream_request_id);
    }
    tracing::debug!(call = %call.id, provider = %provider.name, model = %candidate.target.model, "upstream answers");
    let items = stream::iter(first.into_iter().map(Ok)).chain(answer.items);
    Ok(Dispatched {
        target: candidate.target.clone(),
        warnings: answer.warnings,
        headers: answer.headers,
        upstream_request_id: answer.upstream_request_id,
        items: Box::pin(Guarded::new(
            Box::pin(items),
            candidate.target.clone(),
            call.asked.streamed,
            timeouts.idle,
            deadline,
            held,
        )),
    })
}

pub(super) async fn send(
    candidate: &Candidate,
    brief: &Brief,
    request: &Request,
) -> Result<Answer, provider::Error> {
    let provider = &candidate.provider;
    match request {
        Request::Chat(payload) => {
            let adapter = &provider.adapter;
            adapter.chat(outgoing(candidate, brief, payload)).await
        }
        Request::Embed(payload) => {
            let adapter = &provider.adapter;
            adapter.embed(outgoing(candidate, brief, payload)).await
        }
        Request::CountTokens(payload) => {
            let adapter = &provider.adapter;
            adapter.count_tokens(outgoing(candidate, brief, payload)).await
        }
        Request::Forward(forward) => {
            let adapter = &provider.adapter;
            adapter.forward(forwarding(candidate, brief, forward)).await
        }
    }
}

fn outgoing<'a, T>(
    candidate: &'a Candidate,
    brief: &'a Brief,
    payload: &'a crate::call::Payload<T>,
) -> Outgoing<'a, T> {
    Outgoing {
        call_id: brief.call_id,
        provider: &candidate.provider.name,
        model: &candidate.target.model,
        payload,
        streamed: brief.streamed,
        usage_wanted: brief.usage_wanted,
        strict: match brief.unsupported {
            v1::UnsupportedParameters::Reject => true,
            v1::UnsupportedParameters::Drop => false,
            v1::UnsupportedParameters::Unspecified => candidate.provider.rejects_unsupported,
        },
        traceparent: brief.traceparent.as_deref(),
    }
}

fn forwarding<'a>(candidate: &'a Candidate, brief: &'a Brief, forward: &'a Forward) -> Forwarding<'a> {
    Forwarding {
        call_id: brief.call_id,
        model: &candidate.target.model,
        forward,
        traceparent: brief.traceparent.as_deref(),
    }
}

/// Most bytes that are held back for the first content: role frames and pings are small, whatever comes else is none.
const MOST_HELD: usize = 1 << 20;
/// What holding an item costs beside its bytes.
const ITEM: usize = 256;

/// Reads up to and including the first item that a caller may see as an answer. Failures up to here can still be
/// a real status, and another target may be tried unseen.
pub(super) async fn hold_until_content(
    items: &mut Items<provider::Error>,
) -> Result<Vec<Item>, provider::Error> {
    let mut held = Vec::with_capacity(2);
    let mut bytes = 0_usize;
    while let Some(item) = items.next().await {
        let item = item?;
        let commits = is_content(&item);
        held.push(item);
        if commits {
            return Ok(held);
        }
        let size = if let Some(Item::Raw(piece, _)) = held.last() { piece.len() } else { 0 };
        bytes = bytes.saturating_add(size).saturating_add(ITEM);
        if bytes > MOST_HELD {
            return Err(provider::Error::new(
                Kind::BadResponse,
                format!("no content within the first {MOST_HELD} bytes of the stream"),
            ));
        }
    }
    if held.is_empty() {
        return Err(provider::Error::new(Kind::BadResponse, "the answer is empty"));
    }
    Ok(held)
}

fn is_content(item: &Item) -> bool {
    match item {
        Item::Embeddings(_) | Item::Counted(_) => true,
        Item::Raw(_, seen) => seen.content_events > 0 || seen.last,
        Item::Event(event) => !matches!(event, Event::Start(_) | Event::PartStart(_) | Event::Usage(_)),
    }
}

#[cfg(test)]
mod tests;
