//! A failed attempt in the caller's words: provider kinds to error reasons.

use std::time::{Duration, Instant};

use tollgate_api::v1;

use super::{
    health::{Refused, State},
    plan::PassedOver,
    reason::Why,
};
use crate::{
    call::{Attempt, Call, Target},
    error::{Error, Reason, Upstream},
    load::Busy,
    provider::{self, Kind},
};

/// The longest wait we hand on: SDKs give up or ignore hints beyond a minute.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Most targets that an error lists.
const MOST_LISTED: usize = 8;

/// Ends an attempt with a provider's failure.
pub(super) fn note(attempt: &mut Attempt, failure: &provider::Error, now: Instant) {
    attempt.end(failure.kind.as_str(), now);
    attempt.unsent = failure.unsent;
    if failure.http_status != 0 {
        attempt.http_status = failure.http_status;
    }
    if attempt.upstream_request_id.is_empty() {
        attempt.upstream_request_id.clone_from(&failure.request_id);
    }
}

/// Turns the failure of the last attempt into the caller's error. `delivered` says that content is already out.
pub(super) fn to_caller(failure: provider::Error, target: &Target, delivered: bool) -> Error {
    if let Some(error) = failure.caller {
        return error;
    }
    let who = format!("provider `{}` (target {})", target.provider, target.name);
    let reason = if delivered { Reason::StreamInterrupted } else { reason_of(failure.kind) };
    let message = match failure.kind {
        _ if delivered => format!("the stream of {who} broke off: {}", failure.message),
        Kind::Unsupported => failure.message.clone(),
        Kind::Denied => format!("{who} refused the gateway's own credential; tell whoever runs the gateway"),
        _ => format!("{who}: {}", failure.message),
    };
    let mut error = Error::new(reason, message)
        .with("provider", &*target.provider)
        .with("target", &*target.name)
        .with("kind", failure.kind.as_str());
    if failure.http_status != 0 {
        error = error.with("upstream_status", failure.http_status.to_string());
    }
    if let Some(field) = &failure.field {
        error = error.at_field(field.clone());
    }
    if !delivered {
        error = error.retry_after(failure.retry_after.map(|wait| wait.min(MAX_RETRY_AFTER)));
    }
    error.upstream(Upstream {
        kind: failure.kind.as_str(),
        failure: v1::UpstreamFailure {
            provider: target.provider.to_string(),
            target: target.name.to_string(),
            http_status: i32::from(failure.http_status),
            r#type: failure.upstream_type,
            code: failure.upstream_code,
            message: failure.message,
            request_id: failure.request_id,
        },
        body: if delivered || failure.kind == Kind::Denied { None } else { failure.body },
    })
}

fn reason_of(kind: Kind) -> Reason {
    match kind {
        Kind::RateLimited { .. } => Reason::UpstreamRateLimited,
        Kind::ContextLength => Reason::ContextLengthExceeded,
        Kind::ContentPolicy => Reason::ContentBlocked,
        Kind::Timeout => Reason::UpstreamTimeout,
        Kind::Unavailable => Reason::UpstreamUnavailable,
        Kind::Denied => Reason::UpstreamAuthFailed,
        Kind::Invalid => Reason::UpstreamRejected,
        Kind::Unsupported => Reason::UnsupportedParameter,
        Kind::BadResponse => Reason::UpstreamBadResponse,
    }
}

/// Tells when a call may be made again, as far as SDKs listen.
pub(super) fn wait_until(at: Option<Instant>, now: Instant) -> Option<Duration> {
    at.map(|at| at.saturating_duration_since(now).min(MAX_RETRY_AFTER))
}

/// A target that is left alone, why, and what its last attempt failed with.
pub(super) type Resting<'t> = (&'t Target, Refused, Option<&'static str>);

/// Says why none of the targets may be tried now.
pub(super) fn refused(refusals: &[Resting<'_>], model: &str, now: Instant) -> Error {
    let words: Vec<String> = refusals.iter().map(|resting| why(resting, now)).collect();
    let reason = if refusals.iter().all(|(_, refused, _)| refused.state == State::CoolingDown) {
        Reason::UpstreamRateLimited
    } else {
        Reason::NoTargetAvailable
    };
    let soonest = refusals.iter().map(|(_, refused, _)| refused.until).min();
    Error::new(reason, format!("no target of `{model}` may be tried now: {}", words.join("; ")))
        .with("model", model)
        .retry_after(wait_until(soonest, now))
}

fn why((target, refused, last_failure): &Resting<'_>, now: Instant) -> String {
    let seconds = refused.until.saturating_duration_since(now).as_secs_f64();
    let state = match refused.state {
        State::Closed => "has had all the tries that one that fails may have",
        State::Open => "failed too often of late",
        State::HalfOpen => "is being tried by another call after it failed too often",
        State::CoolingDown => "asked for a pause",
        State::Ejected => "fails far more often than the others",
    };
    let last = last_failure.map(|kind| format!("last failure: {kind}; ")).unwrap_or_default();
    format!("{} {state} ({last}again in {seconds:.1} s)", target.name)
}

/// Says why no target is left.
pub(super) fn none_left(model: &str, passed_over: &[PassedOver]) -> Error {
    let model: String = model.chars().take(100).collect();
    let mut hints: Vec<&str> = Vec::new();
    for passed in passed_over {
        if let Why::Hinted(hint) = passed.reason
            && !hints.contains(&hint.as_str())
        {
            hints.push(hint.as_str());
        }
    }
    let one = |passed: &PassedOver| format!("`{}`: {}", passed.target.name, passed.reason);
    let mut list: Vec<String> = passed_over.iter().take(MOST_LISTED).map(one).collect();
    if passed_over.len() > MOST_LISTED {
        list.push(format!("and {} more", passed_over.len() - MOST_LISTED));
    }
    let message = format!("no target of the model `{model}` may serve this call ({})", list.join("; "));
    let error = Error::new(Reason::NoTargetAvailable, message).with("model", model);
    if hints.is_empty() { error } else { error.with("hints", hints.join(", ")) }
}

/// Says that every target that is left may cost more than the caller allows; `None` if that is not why none is.
pub(super) fn too_dear(call: &Call, passed_over: &[PassedOver]) -> Option<Error> {
    let cap = call.options.max_cost_nanos?;
    let dear = |passed: &&PassedOver| matches!(passed.reason, Why::TooDear { .. } | Why::Unpriced);
    let least = passed_over.iter().filter_map(|passed| match passed.reason {
        Why::TooDear { most } => Some(most),
        _ => None,
    });
    passed_over.iter().find(dear)?;
    let known = match least.min() {
        Some(most) => format!("it may cost {most} nano-USD at the cheapest target"),
        None => "no price is known of its targets".to_owned(),
    };
    let model: String = call.asked.model.chars().take(100).collect();
    let message = format!(
        "the call is capped at {cap} nano-USD (`max_cost_nanos`), and {known}; lower `max_output_tokens`, raise the cap, or use a cheaper model"
    );
    let error = Error::new(Reason::CostCapExceeded, message).with("model", model);
    Some(error.with("limit", cap.to_string()))
}

/// Says that a target has no room, and that waiting for it makes no sense.
pub(super) fn busy(target: &Target, concurrent: Option<usize>, busy: Busy) -> Error {
    let limit = concurrent.map_or_else(String::new, |limit| format!(" (`concurrent` = {limit})"));
    let message = format!("target {} has no room{limit} and too many calls wait for it already", target.name);
    Error::new(Reason::GatewayOverloaded, message)
        .with("target", &*target.name)
        .retry_after(Some(busy.retry_after.min(MAX_RETRY_AFTER)))
}

/// Tells whether an answer that was broken off by a failure of that name may go on at another target.
pub(super) fn may_go_on(kind: &str) -> bool {
    matches!(kind, "rate_limited" | "timeout" | "unavailable" | "denied" | "bad_response")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::now;

    fn target(name: &str) -> Target {
        let (provider, model, vendor) = ("up".into(), "m".into(), "none".into());
        Target { name: name.into(), provider, model, vendor, rates: None }
    }

    #[test]
    fn each_kind_has_its_reason_and_after_content_it_is_an_interruption() {
        let limited = Kind::RateLimited { retry_after: None };
        for (kind, reason) in [
            (limited, Reason::UpstreamRateLimited),
            (Kind::ContextLength, Reason::ContextLengthExceeded),
            (Kind::ContentPolicy, Reason::ContentBlocked),
            (Kind::Timeout, Reason::UpstreamTimeout),
            (Kind::Unavailable, Reason::UpstreamUnavailable),
            (Kind::Denied, Reason::UpstreamAuthFailed),
            (Kind::Invalid, Reason::UpstreamRejected),
            (Kind::Unsupported, Reason::UnsupportedParameter),
            (Kind::BadResponse, Reason::UpstreamBadResponse),
        ] {
            let failure = || provider::Error {
                retry_after: Some(Duration::from_secs(3_600)),
                body: Some("{}".into()),
                ..provider::Error::new(kind, "sk-secret is wrong")
            };
            let before = to_caller(failure(), &target("up/m"), false);
            assert_eq!(before.reason(), reason);
            assert_eq!(before.facts().retry_after, Some(MAX_RETRY_AFTER), "{kind:?}");
            let upstream = before.facts().upstream.clone().unwrap();
            assert_eq!(upstream.body.is_none(), kind == Kind::Denied, "our credential is nobody's business");
            assert_eq!(before.to_string().contains("sk-secret"), kind != Kind::Denied, "{before}");
            let after = to_caller(failure(), &target("up/m"), true);
            assert_eq!((after.reason(), after.facts().retry_after), (Reason::StreamInterrupted, None));
        }
    }

    #[test]
    fn targets_that_all_asked_for_a_pause_are_a_rate_limit_and_the_soonest_is_told() {
        let (at, one, other) = (now(), target("up/one"), target("up/other"));
        let refusal = |state, seconds| Refused { state, until: at + Duration::from_secs(seconds) };
        for (state, reason) in
            [(State::CoolingDown, Reason::UpstreamRateLimited), (State::Open, Reason::NoTargetAvailable)]
        {
            let refusals = [(&one, refusal(State::CoolingDown, 9), None), (&other, refusal(state, 5), None)];
            let error = refused(&refusals, "m", at);
            assert_eq!(error.reason(), reason);
            assert_eq!(error.facts().retry_after, Some(Duration::from_secs(5)));
            assert!(error.to_string().contains("up/one asked for a pause (again in 9.0 s)"), "{error}");
        }
    }
}
