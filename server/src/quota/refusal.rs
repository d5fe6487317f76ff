//! What a caller who was refused is told: which limit, by how much, and when to come back.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, Unit};

use super::Denied;
use crate::{
    call::{Caller, Metric, RateLimit, RateLimits, Rule, Subject},
    config::BudgetStatus,
    error::{Error, Reason},
    telemetry,
};

/// Makes the error of a claim that was not granted, and counts it.
pub(super) fn refusal(caller: &Caller, denied: Denied, budget_status: BudgetStatus) -> Error {
    let (rule, amount, used, reserved, wait, reset) = match denied {
        Denied::Full { rule, amount, used, reserved, wait, reset } => {
            (rule, amount, used, reserved, wait, reset)
        }
        Denied::Unknown(error) => return error,
    };
    let limit = &rule.limit;
    telemetry::metrics::limit_rejected(limit.metric.label(), rule.subject.label());
    let is_budget = limit.metric == Metric::CostNanos;
    let reason = if is_budget { Reason::BudgetExhausted } else { Reason::RateLimited };
    let again = if amount > limit.amount && limit.amount > 0 {
        "; that is more than the whole limit: ask for less (`max_tokens`, a shorter prompt) or raise it"
            .to_owned()
    } else {
        when(wait.filter(|_| !is_budget), reset)
    };
    let message = format!(
        "{}; {} are used, {reserved} reserved by running calls, and this call may need {amount}{again}",
        in_words(&rule, &caller.key_name),
        used.saturating_sub(reserved),
    );
    let mut limits = RateLimits::default();
    limits.note(limit.metric, RateLimit::new(limit.amount, used, reset));
    let error = Error::new(reason, message)
        .with("subject", rule.subject.to_string())
        .with("metric", limit.metric.as_str())
        .with("window", if limit.metric == Metric::Concurrent { "" } else { limit.period.as_str() })
        .with("limit", limit.amount.to_string())
        .with("used", used.saturating_sub(reserved).to_string())
        .with("reserved_amount", reserved.to_string())
        .rate_limits(limits)
        .retry_after(wait.filter(|_| !is_budget));
    let error = match reset.and_then(shown) {
        Some(reset) => error.with("reset_time", reset),
        None => error,
    };
    if is_budget { error.http_status(budget_status.code()) } else { error }
}

/// Says whose limit it is, and which.
pub(super) fn in_words(rule: &Rule, key_name: &str) -> String {
    let limit = &rule.limit;
    let whose = match &rule.subject {
        Subject::Key(_) => format!("the key `{key_name}`"),
        Subject::Team(id) => format!("the team `{id}`"),
        Subject::Model(name) => format!("the model `{name}`"),
        Subject::Target(name) => format!("the target `{name}`"),
        Subject::Global => "the gateway".to_owned(),
    };
    let (metric, period) = (limit.metric.as_str(), limit.period.as_str());
    let what = match limit.metric {
        Metric::Concurrent => format!("at most {} calls at a time", limit.amount),
        _ => format!("{} {metric} per {period}", limit.amount),
    };
    let model = match limit.only.model.as_str() {
        "" => String::new(),
        model => format!(" of calls for `{model}`"),
    };
    let tag = match &limit.only.tag {
        None => String::new(),
        Some(_) => format!(" of calls tagged `{}`", limit.only.tag_text()),
    };
    format!("{whose} is limited to {what}{model}{tag}")
}

/// Says when to come back.
fn when(wait: Option<Duration>, reset: Option<SystemTime>) -> String {
    match (wait, reset.and_then(shown)) {
        // Soon enough for a caller to wait for.
        (Some(wait), _) if wait < Duration::from_secs(3_600) => {
            format!("; try again in {}s", wait.as_millis().div_ceil(1_000).max(1))
        }
        (_, Some(reset)) => format!("; it starts anew at {reset}"),
        _ => String::new(),
    }
}

/// Shows a moment to the second, rounded up.
fn shown(at: SystemTime) -> Option<String> {
    let round = jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Ceil);
    Some(Timestamp::try_from(at).ok()?.round(round).ok()?.to_string())
}
