//! From a call to its record.

use std::time::{Duration, Instant, SystemTime};

use tollgate_api::v1;

use super::{Catalog, tally::Tally};
use crate::{
    call::{Attempt, Call, Operation, Target},
    error::Error,
};

/// How a call ended, in the record's words.
#[derive(Debug)]
pub(super) enum Ending<'a> {
    /// The caller got the whole answer.
    Complete,
    /// The caller went away.
    Cancelled,
    /// The caller was told this error.
    Failed(&'a Error),
}

/// Builds what is known before an upstream call: the record a crash would leave.
pub(super) fn begun(call: &Call) -> v1::UsageRecord {
    let target = call.attempts.last().map(|attempt| &attempt.target);
    v1::UsageRecord {
        id: call.id.to_string(),
        create_time: Some(timestamp(call.create_time)),
        key_id: call.caller.key_id.clone(),
        team_id: call.caller.team_id.clone(),
        requested_model: call.asked.model.clone(),
        model: target.map_or_else(String::new, |target| target.model.to_string()),
        provider: target.map_or_else(String::new, |target| target.provider.to_string()),
        target: target.map_or_else(String::new, |target| target.name.to_string()),
        operation: call.operation.as_str().to_owned(),
        surface: call.surface.as_str().to_owned(),
        streamed: call.asked.streamed,
        tags: call.tags.clone().into_iter().collect(),
        trace_id: call
            .traceparent
            .as_deref()
            .and_then(|parent| parent.get(3..35))
            .unwrap_or_default()
            .to_owned(),
        session_id: call.options.session_id.clone(),
        end_user_id: call.asked.end_user_id.clone(),
        cache_status: v1::CacheStatus::Bypass.into(),
        rule: call.rule.clone(),
        queue_duration: Some(call.waited)
            .filter(|wait| !wait.is_zero())
            .and_then(|wait| wait.try_into().ok()),
        attempts: call.attempts.iter().map(crate::call::Attempt::to_proto).collect(),
        usage: target.filter(|_| call.operation != Operation::CountTokens).map(|_| v1::Usage {
            input_tokens: Some(i64::from(crate::call::estimate_text_tokens(call.asked.input_bytes))),
            source: v1::usage::Source::Estimated.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Builds the record of a call that is over.
pub(super) fn settled(
    call: &Call,
    tally: &Tally,
    ending: &Ending<'_>,
    first_token: Option<Instant>,
    catalog: &Catalog,
    now: Instant,
) -> v1::UsageRecord {
    // The gateway's own answer, after all attempts failed, is nobody's.
    let nobodys = matches!(ending, Ending::Complete) && call.served_by().is_none();
    let target = call.attempts.last().map(|attempt| &*attempt.target).filter(|_| !nobodys);
    let costs = call.operation != Operation::CountTokens;
    let dispatched = costs && (tally.content_events > 0 || call.attempts.iter().any(may_be_billed));
    let mut usage = tally.usage(&call.asked, dispatched, matches!(ending, Ending::Complete));
    let unpriced = match (&mut usage, target) {
        (Some(usage), Some(target)) => !price(usage, target, &tally.model, catalog),
        _ => false,
    };
    let duration = now.saturating_duration_since(call.started);
    let upstream: Duration = call.attempts.iter().filter_map(|attempt| attempt.duration).sum();
    let mut begun = begun(call);
    if nobodys {
        (begun.target, begun.provider, begun.model) = Default::default();
    }
    v1::UsageRecord {
        // The end, not the start: a bucket of the past never changes any more.
        create_time: Some(timestamp(SystemTime::now())),
        model: if tally.model.is_empty() { begun.model } else { tally.model.clone() },
        status: crate::edge::status::grpc_code_name(match ending {
            Ending::Complete => None,
            Ending::Cancelled => Some(crate::error::Reason::Cancelled),
            Ending::Failed(error) => Some(error.reason()),
        })
        .to_owned(),
        error_reason: match ending {
            Ending::Complete => "",
            Ending::Cancelled => "CANCELLED",
            Ending::Failed(error) => error.reason_name(),
        }
        .to_owned(),
        usage,
        unpriced,
        duration: duration.try_into().ok(),
        first_token_duration: first_token
            .and_then(|at| at.saturating_duration_since(call.started).try_into().ok()),
        gateway_duration: duration.saturating_sub(upstream).saturating_sub(call.waited).try_into().ok(),
        delivered_event_count: tally.content_events,
        upstream_response_id: tally.response_id.clone(),
        finish_reason: tally.finish_reason.map_or_else(String::new, |reason| {
            reason.as_str_name().trim_start_matches("FINISH_REASON_").to_ascii_lowercase()
        }),
        ..begun
    }
}

/// Tells whether the provider may have worked for an attempt: not if it refused it or was never reached, but it may
/// if it was answering, or was given up before it said anything.
fn may_be_billed(attempt: &Attempt) -> bool {
    match attempt.outcome {
        _ if attempt.unsent => false,
        "ok" | "cancelled" | "timeout" => attempt.http_status < 400,
        _ => (200..400).contains(&attempt.http_status),
    }
}

/// Puts the cost into a usage; false if no price is known, or not for all that is billed.
pub(super) fn price(usage: &mut v1::Usage, target: &Target, model: &str, catalog: &Catalog) -> bool {
    usage.cost = catalog.cost(target, model, usage);
    usage.cost.is_some() && !catalog.is_partly_unpriced(target, model, usage)
}

fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}
