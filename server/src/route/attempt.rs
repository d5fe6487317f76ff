//! One upstream call, up to its first content.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream,
};
use http::HeaderMap;
use tokio::time::timeout_at;
use tollgate_api::v1;
use uuid::Uuid;

use super::{
    Candidate,
    guarded::{Guarded, deadline_error},
    health::Ticket,
    heard::Heard,
    patience::Patience,
};
use crate::{
    call::{Call, Deadline, Forward, Payload, Request, Steps, Target, now},
    error::Error,
    failpoint,
    load::Place,
    provider::{self, Answer, Forwarding, Kind, Outgoing},
    quota::Turn,
};

/// How long each phase of an upstream call may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From sending the request to the first content event.
    pub first_token: Duration,
    /// Between two events that are progress.
    pub idle: Duration,
}

fn duration(told: Option<prost_types::Duration>) -> Option<Duration> {
    told.and_then(|wait| Duration::try_from(wait).ok())
}

/// An answer whose first content event is in hand.
pub struct Dispatched {
    /// Who answers; absent if nobody did and the gateway answers itself.
    pub target: Option<Arc<Target>>,
    /// What was dropped or changed in translation.
    pub warnings: Vec<v1::Warning>,
    /// Upstream headers that are safe to forward.
    pub headers: HeaderMap,
    /// The upstream's own request id; empty if it gave none.
    pub upstream_request_id: String,
    /// Whether the answer is billed to its end though nobody hears it.
    pub drains: bool,
    /// The pieces, the first content event included.
    pub items: Steps,
}

/// What an attempt holds at its target while it runs. Dropped without a word it counts neither for nor against the
/// target: the caller went away.
#[derive(Debug)]
pub(super) struct Held {
    /// Its say in the target's health.
    pub(super) ticket: Ticket,
    /// Its place behind the target's gate.
    pub(super) place: Place,
    /// What it holds of the target's limits, if it has any.
    pub(super) turn: Option<Turn>,
}

impl Held {
    /// The answer is complete, with so many output tokens.
    pub(super) fn complete(mut self, output_tokens: i64, now: Instant) {
        self.ticket.complete(output_tokens, now);
        self.place.served();
    }

    /// The attempt failed. What is the caller's own, and was never sent, says nothing of the target.
    pub(super) fn failed(mut self, failure: &provider::Error, now: Instant) {
        let was_refused_here = failure.caller.is_some()
            || failure.kind == Kind::Unsupported
            || failure.kind == Kind::Invalid && failure.http_status == 0;
        let costs_nothing = was_refused_here || failure.unsent || failure.http_status >= 400;
        if let Some(turn) = self.turn.take().filter(|_| costs_nothing) {
            turn.cost_nothing();
        }
        if was_refused_here {
            return;
        }
        self.ticket.failed(failure.kind, now);
        match (failure.kind, failure.retry_after) {
            (Kind::RateLimited { .. }, _) => self.place.throttled(),
            (_, Some(asked)) => self.ticket.pause(asked, now),
            (_, None) => {}
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
    /// How long the caller wants to wait for the first content of one target.
    pub(super) first_token: Option<Duration>,
    /// How long the caller wants to wait between two events.
    pub(super) idle: Option<Duration>,
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
            first_token: duration(call.options.first_token_timeout),
            idle: duration(call.options.idle_timeout),
        }
    }
}

/// How an attempt came out.
pub(super) type Outcome = Result<Dispatched, Failed>;

/// Why an attempt brought no content.
#[derive(Debug)]
pub(super) enum Failed {
    /// The upstream failed, or was too slow.
    Upstream(provider::Error),
    /// The whole call was too slow.
    Deadline(Error),
}

/// One upstream call.
#[derive(Clone, Copy)]
pub(super) struct Upcall<'a> {
    /// Where it goes.
    pub(super) candidate: &'a Candidate,
    /// What is asked.
    pub(super) request: &'a Request,
    /// What it needs to know of its call.
    pub(super) brief: &'a Brief,
    /// How long its phases may take.
    pub(super) timeouts: Timeouts,
    /// When all must be over.
    pub(super) deadline: Deadline,
    /// How long it may take while another target could serve the call instead.
    pub(super) patience: Option<Patience>,
}

impl Upcall<'_> {
    /// Makes the call and holds its items back until the first that is content.
    pub(super) async fn run(self, mut held: Held, heard: &Heard) -> Outcome {
        let Self { candidate, request, brief, deadline, patience, .. } = self;
        let started = now();
        let (first_token, is_callers) = longest(candidate, self.timeouts, brief);
        let until = started.checked_add(first_token).map_or(deadline.at, |at| at.min(deadline.at));
        let work = pin!(async {
            let mut answer = heard.reach.follow(send(candidate, brief, request)).await?;
            heard.answered(answer.http_status, &answer.upstream_request_id);
            failpoint::pass("answered");
            let first = heard.until_content(&mut answer.items).await?;
            Ok((answer, first))
        });
        let done = within(work, (started, until), patience, heard).await;
        if done.is_err() {
            held.ticket.silent(now().saturating_duration_since(started), brief.streamed, now());
        }
        let done = match done {
            Ok(done) => done,
            Err(Some(patience)) if patience.is_overdue => Err(patience.failure()),
            // Too slow for the caller alone, which says nothing against the target.
            Err(Some(patience)) => return Err(Failed::Upstream(patience.failure())),
            Err(None) if until == deadline.at => return Err(Failed::Deadline(deadline_error(deadline))),
            Err(None) if is_callers => return Err(Failed::Upstream(too_slow(first_token, true))),
            Err(None) => Err(too_slow(first_token, false)),
        };
        let (answer, first) = match done {
            Ok(done) => done,
            Err(failure) => {
                held.failed(&failure, now());
                return Err(Failed::Upstream(failure));
            }
        };
        let at = now();
        held.ticket.first_content(at.saturating_duration_since(started), brief.streamed, at);
        held.place.answered();
        let target = &candidate.target;
        tracing::debug!(call = %brief.call_id, target = %target.name, "upstream answers");
        let items = stream::iter(first.into_iter().map(Ok)).chain(answer.items);
        let idle = shorter(self.timeouts.idle, brief.idle);
        let guarded = Guarded::new(Box::pin(items), target.clone(), brief.streamed, idle, deadline, held);
        Ok(Dispatched {
            target: Some(target.clone()),
            warnings: answer.warnings,
            headers: answer.headers,
            upstream_request_id: answer.upstream_request_id,
            drains: candidate.provider.drains,
            items: Box::pin(guarded),
        })
    }
}

/// Waits for what an attempt does from then until then; not so long if others can serve the call instead, unless one of
/// them was asked beside it already and still runs.
///
/// # Errors
/// The patience if that is at an end, `None` if all time is.
async fn within<T>(
    mut work: Pin<&mut impl Future<Output = T>>,
    (started, until): (Instant, Instant),
    patience: Option<Patience>,
    heard: &Heard,
) -> Result<T, Option<Patience>> {
    if let Some(patience) = patience.filter(|patience| started + patience.wait < until) {
        if let Ok(done) = timeout_at((started + patience.wait).into(), work.as_mut()).await {
            return Ok(done);
        }
        let is_alone = pin!(heard.is_alone());
        return match timeout_at(until.into(), select(work, is_alone)).await {
            Ok(Either::Left((done, _))) => Ok(done),
            Ok(Either::Right(_)) => Err(Some(patience)),
            Err(_) => Err(None),
        };
    }
    timeout_at(until.into(), work).await.map_err(|_| None)
}

/// Returns how long a target may take to its first content, and whether only the caller wants it so short.
pub(super) fn longest(candidate: &Candidate, timeouts: Timeouts, brief: &Brief) -> (Duration, bool) {
    shorter(candidate.first_token.unwrap_or(timeouts.first_token), brief.first_token)
}

/// Returns how long to wait, and whether only the caller wants it so short: it can shorten a wait, not lengthen it.
fn shorter(ours: Duration, theirs: Option<Duration>) -> (Duration, bool) {
    theirs.filter(|theirs| *theirs < ours).map_or((ours, false), |theirs| (theirs, true))
}

fn too_slow(first_token: Duration, is_callers: bool) -> provider::Error {
    let remedy = if is_callers {
        "as the call's `first_token_timeout` has it"
    } else {
        "a larger `timeouts.first_token` waits longer"
    };
    let message = format!("no content within first_token = {first_token:?} ({remedy})");
    provider::Error::new(Kind::Timeout, message)
}

async fn send(candidate: &Candidate, brief: &Brief, request: &Request) -> Result<Answer, provider::Error> {
    let adapter = &candidate.provider.adapter;
    match request {
        Request::Chat(payload) => adapter.chat(outgoing(candidate, brief, payload)).await,
        Request::Embed(payload) => adapter.embed(outgoing(candidate, brief, payload)).await,
        Request::CountTokens(payload) => adapter.count_tokens(outgoing(candidate, brief, payload)).await,
        Request::Forward(forward) => adapter.forward(forwarding(candidate, brief, forward)).await,
    }
}

fn outgoing<'a, T>(candidate: &'a Candidate, brief: &'a Brief, payload: &'a Payload<T>) -> Outgoing<'a, T> {
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
        output_cap: candidate.output_cap,
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
