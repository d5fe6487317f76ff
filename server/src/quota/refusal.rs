//! What a caller who was refused is told: which limit, by how much, and when to come back.

use super::Denied;
use crate::{
    call::{Caller, Metric, Subject},
    error::{Error, Reason},
    telemetry,
};

/// Makes the error of a claim that was not granted, and counts it.
pub(super) fn refusal(caller: &Caller, denied: Denied) -> Error {
    let (rule, amount, used, wait) = match denied {
        Denied::Full { rule, amount, used, wait } => (rule, amount, used, wait),
        Denied::Unknown(error) => return error,
    };
    let limit = &rule.limit;
    telemetry::metrics::limit_rejected(label(limit.metric), layer(&rule.subject));
    let (metric, period) = (limit.metric.as_str(), limit.period.as_str());
    let what = if limit.metric == Metric::Concurrent {
        format!("at most {} calls at a time", limit.amount)
    } else {
        format!("{} {metric} per {period}", limit.amount)
    };
    let whose = match &rule.subject {
        Subject::Key(_) => format!("the key `{}`", caller.key_name),
        Subject::Team(id) => format!("the team `{id}`"),
        Subject::Model(name) => format!("the model `{name}`"),
        Subject::Target(name) => format!("the target `{name}`"),
        Subject::Global => "the gateway".to_owned(),
    };
    let reason =
        if limit.metric == Metric::CostNanos { Reason::BudgetExhausted } else { Reason::RateLimited };
    let message =
        format!("{whose} is limited to {what}; {used} are used or reserved and this call may need {amount}");
    Error::new(reason, message)
        .with("subject", rule.subject.to_string())
        .with("metric", metric)
        .with("window", period)
        .with("limit", limit.amount.to_string())
        .with("used", used.to_string())
        .retry_after(wait.filter(|_| reason == Reason::RateLimited))
}

/// Returns the metric label of a limit.
fn label(metric: Metric) -> &'static str {
    match metric {
        Metric::Requests => "rpm",
        Metric::InputTokens | Metric::OutputTokens | Metric::Tokens => "tpm",
        Metric::Concurrent => "concurrency",
        Metric::CostNanos => "budget",
    }
}

/// Returns the metric label of whose limit it is.
fn layer(subject: &Subject) -> &'static str {
    match subject {
        Subject::Key(_) => "key",
        Subject::Team(_) => "team",
        Subject::Model(_) => "model",
        Subject::Target(_) => "target",
        Subject::Global => "global",
    }
}
