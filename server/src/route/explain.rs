//! A plan in words: each target, its place and why, what the call would cost there, how it is now.

use std::time::Instant;

use tollgate_api::v1;

use super::{
    Asking, Candidate, Plan, Strategy,
    health::{State, View},
    strategy::is_unwell,
};
use crate::call::Target;

/// Tells a plan as `ExplainRoute` does. Nothing is sent, and nothing changes.
pub fn explain(plan: &Plan, asking: &Asking<'_>) -> v1::ExplainRouteResponse {
    let tried = plan.candidates.iter().zip(1..).map(|(candidate, rank)| {
        let view = view(&candidate.target, asking);
        let reason = match waits(&view, asking.now) {
            Some(why) => format!("{}; {why}, so that it comes after those that are well", candidate.reason),
            None => candidate.reason.to_string(),
        };
        told(candidate, &view, rank, reason, asking)
    });
    let after = |list: &[Candidate], when: &str| -> Vec<v1::RouteCandidate> {
        let one = |candidate: &Candidate| {
            let reason = format!("{}; only after {when}", candidate.reason);
            told(candidate, &view(&candidate.target, asking), 0, reason, asking)
        };
        list.iter().map(one).collect()
    };
    let passed_over = plan.passed_over.iter().map(|passed| v1::RouteCandidate {
        reason: passed.reason.to_string(),
        eligible: false,
        fallback: passed.fallback,
        ..facts(&passed.target, &view(&passed.target, asking), asking)
    });
    v1::ExplainRouteResponse {
        candidates: tried
            .chain(after(&plan.on_context_length, "a prompt that was too long"))
            .chain(after(&plan.on_content_policy, "a refusal by a provider's filter"))
            .chain(passed_over)
            .collect(),
        rule: plan.rule.clone(),
        strategy: strategy_name(plan.strategy).to_owned(),
    }
}

/// Returns the name that the configuration and the contract use.
fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Ordered => "ordered",
        Strategy::Weighted => "weighted",
        Strategy::Cheapest => "cheapest",
        Strategy::Fastest => "fastest",
        Strategy::LeastBusy => "least_busy",
    }
}

fn view(target: &Target, asking: &Asking<'_>) -> View {
    asking.health.of(target).view(asking.now)
}

/// Says why a target has to wait, if it has to.
fn waits(view: &View, now: Instant) -> Option<&'static str> {
    if !is_unwell(view, now) {
        return None;
    }
    Some(match view.state {
        State::CoolingDown => "it asked for a pause",
        State::Ejected => "it fails more often than its siblings",
        _ => "it failed too often",
    })
}

fn told(
    candidate: &Candidate,
    view: &View,
    rank: i32,
    reason: String,
    asking: &Asking<'_>,
) -> v1::RouteCandidate {
    v1::RouteCandidate {
        rank,
        eligible: !is_unwell(view, asking.now),
        reason,
        fallback: candidate.fallback,
        ..facts(&candidate.target, view, asking)
    }
}

/// Returns what holds of a target whatever its place.
fn facts(target: &Target, view: &View, asking: &Asking<'_>) -> v1::RouteCandidate {
    let cost = |amount_nanos| v1::Cost {
        currency_code: "USD".to_owned(),
        amount_nanos,
        estimated: true,
        ..Default::default()
    };
    // The call knows one moment by both clocks.
    let call = asking.call;
    let time = |at: Instant| (call.create_time + at.saturating_duration_since(call.started)).into();
    v1::RouteCandidate {
        target: target.name.to_string(),
        provider: target.provider.to_string(),
        model: target.model.to_string(),
        estimated_cost: asking.models.at_most(call, target).map(cost),
        health: view.state.as_str().to_owned(),
        retry_time: view.retry_at.filter(|at| *at > asking.now).map(time),
        first_token_duration: view.first_token.and_then(|wait| wait.try_into().ok()),
        running_count: i64::try_from(view.running).unwrap_or(i64::MAX),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
