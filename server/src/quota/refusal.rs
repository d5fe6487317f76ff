//! What a caller who was refused is told: which limit, by how much, and when to come back.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, Unit};

use super::{Denied, Standing};
use crate::{
    call::{Caller, Metric, RateLimits, Rule, Subject, dollars},
    config::BudgetStatus,
    error::{Error, Reason},
    telemetry,
};

/// When a call may try again that only counters that are away could have admitted.
const AWAY: Duration = Duration::from_secs(1);

/// Makes the error of a claim that was not granted, and counts it.
pub(super) fn refusal(caller: &Caller, denied: Denied, budget_status: BudgetStatus) -> Error {
    let (standing, amount, wait, is_away) = match denied {
        Denied::Full { standing, amount, wait } => (standing, amount, wait, false),
        Denied::Away { standing, amount, .. } => (standing, amount, Some(AWAY), true),
        Denied::Unknown(error) => return error,
    };
    let Standing { rule, limit, used, reserved, reset, .. } = &standing;
    telemetry::metrics::limit_rejected(rule.limit.metric.label(), rule.subject.label());
    let is_budget = rule.limit.metric == Metric::CostNanos;
    let is_never = amount > *limit;
    let wait = wait.filter(|_| !is_never && (is_away || !is_budget));
    let again = if is_never && *limit > 0 {
        "; that is more than the whole limit: ask for less (`max_tokens`, a shorter prompt) or raise it"
            .to_owned()
    } else {
        when(wait, reset.filter(|_| !is_never))
    };
    let known = if is_away && !is_never {
        "; the counters that replicas share (Redis) are away, and what this replica holds of the limit is spent"
    } else {
        ""
    };
    let shown_amount = |amount| shown_amount(rule.limit.metric, amount);
    let message = format!(
        "{}; {} are used, {} reserved by running calls, and this call may need {}{known}{again}",
        in_words(rule, *limit, &caller.key_name),
        shown_amount(*used),
        shown_amount(*reserved),
        shown_amount(amount),
    );
    let mut limits = RateLimits::default();
    standing.note(&mut limits);
    let reason = if is_budget { Reason::BudgetExhausted } else { Reason::RateLimited };
    let window = if rule.limit.metric == Metric::Concurrent { "" } else { rule.limit.period.as_str() };
    let mut error = Error::new(reason, message)
        .with("subject", rule.subject.to_string())
        .with("metric", rule.limit.metric.as_str())
        .with("window", window)
        .with("limit", limit.to_string())
        .with("used", used.to_string())
        .with("reserved_amount", reserved.to_string())
        .rate_limits(limits)
        .retry_after(wait);
    if let Some(reset) = reset.and_then(shown) {
        error = error.with("reset_time", reset);
    }
    if is_never {
        error = error.for_good();
    }
    // What is refused for a moment only is no spent budget.
    if is_budget && !is_away { error.http_status(budget_status.code()) } else { error }
}

/// Says whose limit it is, and which; `amount` is what it is now.
pub(super) fn in_words(rule: &Rule, amount: i64, key_name: &str) -> String {
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
        Metric::Concurrent => format!("at most {amount} calls at a time"),
        Metric::CostNanos => format!("{} per {period}", dollars(amount)),
        _ => format!("{amount} {metric} per {period}"),
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

/// Shows so much of a metric.
fn shown_amount(metric: Metric, amount: i64) -> String {
    if metric == Metric::CostNanos { dollars(amount) } else { amount.to_string() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Limit, Period},
        edge::status::is_worth_repeating,
    };

    /// What is told of a limit of 100 of which 70 are used and 20 reserved: the words, whether to try again, and when.
    fn told(metric: Metric, amount: i64, is_away: bool) -> (Error, bool, Option<Duration>) {
        let rule = Rule::new(Subject::Team("t".into()), Limit::new(metric, Period::Day, 100));
        let standing = Standing::new(&rule, (70, 20), None, SystemTime::now());
        let wait = Some(Duration::from_secs(7_200));
        let denied = if is_away {
            Denied::Away { standing, amount, wait }
        } else {
            Denied::Full { standing, amount, wait }
        };
        let error = refusal(&Caller::for_test(), denied, BudgetStatus::PaymentRequired);
        let (repeats, after) = (is_worth_repeating(error.facts()), error.facts().retry_after);
        (error, repeats, after)
    }

    #[test]
    fn whether_and_when_to_try_again_depends_on_what_is_known() {
        let (hours, second) = (Some(Duration::from_secs(7_200)), Some(Duration::from_secs(1)));
        for (metric, amount, is_away, repeats, after) in [
            (Metric::Tokens, 30, false, true, hours),
            (Metric::CostNanos, 30, false, false, None),
            (Metric::Tokens, 30, true, true, second),
            (Metric::CostNanos, 30, true, true, second),
            (Metric::Tokens, 101, false, false, None),
            (Metric::CostNanos, 101, false, false, None),
            (Metric::Tokens, 101, true, false, None),
        ] {
            let (error, told_repeats, told_after) = told(metric, amount, is_away);
            assert_eq!((told_repeats, told_after), (repeats, after), "{error}");
            let is_budget = metric == Metric::CostNanos;
            let reason = if is_budget { Reason::BudgetExhausted } else { Reason::RateLimited };
            assert_eq!(error.reason(), reason);
            assert_eq!(error.facts().http_status, (is_budget && !is_away).then_some(402), "{error}");
            let words = error.to_string();
            assert_eq!(words.contains("(Redis) are away"), is_away && repeats, "{words}");
            assert_eq!(words.ends_with("try again in 1s"), is_away && repeats, "{words}");
        }
    }
}
