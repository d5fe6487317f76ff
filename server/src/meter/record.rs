//! From a call to its record.

use std::time::{Duration, Instant, SystemTime};

use tollgate_api::v1;

use super::{Progress, bill, sum::Sum, tally::Tally};
use crate::{
    call::{Attempt, Call, Operation},
    error::Error,
};

/// How a call ended, in the record's words.
#[derive(Debug)]
pub(super) enum Ending<'a> {
    /// The caller got the whole answer.
    Complete,
    /// The caller went away.
    Cancelled,
    /// The caller went away, and the answer was read on to its end or to this error.
    ReadOn(Option<&'a Error>),
    /// The caller was told this error.
    Failed(&'a Error),
}

/// Builds what is known before an upstream call: the record a crash would leave. The call is sent along with so many
/// estimated tokens that were delivered before.
pub(super) fn begun(call: &Call, carried_tokens: i64) -> v1::UsageRecord {
    let target = call.attempts.last().map(|attempt| &attempt.target);
    v1::UsageRecord {
        id: call.id.to_string(),
        create_time: Some(timestamp(call.create_time)),
        key_id: call.caller.key_id.clone(),
        team_id: call.caller.team_id.clone(),
        requested_model: call.asked.model.clone(),
        model: target.map_or_else(String::new, |target| (*target.model).to_owned()),
        provider: target.map_or_else(String::new, |target| (*target.provider).to_owned()),
        target: target.map_or_else(String::new, |target| (*target.name).to_owned()),
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
        attempts: call.attempts.iter().map(Attempt::to_proto).collect(),
        usage: target
            .filter(|_| call.operation != Operation::CountTokens)
            .map(|_| bill::prompt(&call.asked, carried_tokens)),
        ..Default::default()
    }
}

/// What is known of a call that is over, beside the call.
pub(super) struct Over<'a> {
    /// How it ended.
    pub(super) ending: &'a Ending<'a>,
    /// When.
    pub(super) at: Instant,
    /// When its first content came.
    pub(super) first_token: Option<Instant>,
    /// What was handed on, by all attempts.
    pub(super) delivered: Progress,
    /// What all attempts are billed for.
    pub(super) bill: Sum,
}

/// Builds the record of a call that is over; `tally` is that of its last attempt.
pub(super) fn settled(call: &Call, tally: &Tally, over: Over<'_>) -> v1::UsageRecord {
    let Over { ending, at, first_token, delivered, bill } = over;
    let mut begun = begun(call, 0);
    if matches!(ending, Ending::Complete) && tally.served_by(call).is_none() {
        // The gateway's own answer, after all attempts failed, is nobody's.
        (begun.target, begun.provider, begun.model) = Default::default();
    }
    v1::UsageRecord {
        // The end, not the start: a bucket of the past never changes any more.
        create_time: Some(timestamp(SystemTime::now())),
        model: if tally.model.is_empty() { begun.model } else { tally.model.clone() },
        status: crate::edge::status::grpc_code_name(match ending {
            Ending::Complete => None,
            Ending::Cancelled | Ending::ReadOn(_) => Some(crate::error::Reason::Cancelled),
            Ending::Failed(error) => Some(error.reason()),
        })
        .to_owned(),
        error_reason: match ending {
            Ending::Complete => "",
            Ending::Cancelled | Ending::ReadOn(_) => "CANCELLED",
            Ending::Failed(error) => error.reason_name(),
        }
        .to_owned(),
        usage: bill.usage,
        unpriced: bill.unpriced,
        duration: at.saturating_duration_since(call.started).try_into().ok(),
        first_token_duration: first_token
            .and_then(|first| first.saturating_duration_since(call.started).try_into().ok()),
        gateway_duration: gateway_duration(call, at).try_into().ok(),
        delivered_event_count: delivered.content_events,
        upstream_response_id: tally.response_id.clone(),
        finish_reason: tally.finish_reason.map_or_else(String::new, |reason| {
            reason.as_str_name().trim_start_matches("FINISH_REASON_").to_ascii_lowercase()
        }),
        ..begun
    }
}

/// Returns the time that a call has spent in the gateway itself until then: without the waits for providers, of which
/// two may run at a time, and for admission.
pub(super) fn gateway_duration(call: &Call, until: Instant) -> Duration {
    let mut spans: Vec<_> = call
        .attempts
        .iter()
        .map(|attempt| {
            (attempt.started, attempt.duration.map_or(until, |duration| attempt.started + duration))
        })
        .collect();
    spans.sort_unstable();
    let (mut upstream, mut seen_until) = (Duration::ZERO, call.started);
    for (start, end) in spans {
        upstream += end.saturating_duration_since(start.max(seen_until));
        seen_until = seen_until.max(end);
    }
    until.saturating_duration_since(call.started).saturating_sub(upstream).saturating_sub(call.waited)
}

fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::meter::testing::target;

    #[test]
    fn attempts_that_run_beside_each_other_are_not_waited_for_twice() {
        let mut call = Call::for_test("m");
        let at = |ms| call.started + Duration::from_millis(ms);
        let attempts = [(10, Some(50)), (30, Some(60)), (40, Some(45)), (80, None)].map(|(from, to)| {
            let mut attempt = Attempt::start(Arc::new(target()), at(from));
            if let Some(to) = to {
                attempt.end("unavailable", at(to));
            }
            attempt
        });
        let until = at(100);
        call.attempts.extend(attempts);
        // Upstream from 10 to 60 and from 80 to 100.
        assert_eq!(gateway_duration(&call, until), Duration::from_millis(30));
        call.waited = Duration::from_millis(10);
        assert_eq!(gateway_duration(&call, until), Duration::from_millis(20));
    }
}
