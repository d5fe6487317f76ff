//! What a plan says of itself.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    call::{Call, now},
    provider::echo::Echo,
    route::{
        Health, PassedOver, Policy, health,
        reason::{Hint, Why},
        testing,
    },
};

fn explained(plan: &Plan) -> v1::ExplainRouteResponse {
    let health = Health::new(health::Settings::default());
    let call = Call::for_test("m");
    explain(plan, &Asking { call: &call, models: &testing::Unknown, health: &health, now: now() })
}

#[test]
fn each_target_has_its_place_or_its_reason() {
    let candidate = |name: &str| testing::candidate(name, Arc::new(Echo));
    let mut plan = testing::plan(vec![candidate("a"), candidate("b")], Policy::default());
    plan.candidates[1].fallback = true;
    plan.on_context_length = vec![candidate("long")];
    plan.passed_over = vec![PassedOver {
        target: candidate("c").target,
        reason: Why::Hinted(Hint::DeniedProviders),
        fallback: false,
    }];
    plan.rule = "experiment:x/y".to_owned();
    plan.strategy = Strategy::LeastBusy;
    let told = explained(&plan);
    assert_eq!((told.rule.as_str(), told.strategy.as_str()), ("experiment:x/y", "least_busy"));
    let rows: Vec<_> = told
        .candidates
        .iter()
        .map(|row| (row.target.as_str(), row.rank, row.eligible, row.fallback, row.health.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            ("a/m", 1, true, false, "closed"),
            ("b/m", 2, true, true, "closed"),
            ("long/m", 0, true, false, "closed"),
            ("c/m", 0, false, false, "closed"),
        ]
    );
    let reason = |number: usize| told.candidates[number].reason.as_str();
    assert!(reason(2).contains("only after a prompt that was too long"), "{}", reason(2));
    assert!(reason(3).contains("`denied_providers`"), "{}", reason(3));
    assert_eq!(told.candidates[0].estimated_cost, None);
}

#[test]
fn a_target_that_waits_says_until_when_by_the_clock_for_people() {
    let (health, call) = (Health::new(health::Settings::default()), Call::for_test("m"));
    let now = now();
    let asking = Asking { call: &call, models: &testing::Unknown, health: &health, now };
    let retry_at = call.started + Duration::from_secs(5);
    let view = View { state: State::CoolingDown, retry_at: Some(retry_at), running: 3, ..View::default() };
    let row = facts(&testing::candidate("a", Arc::new(Echo)).target, &view, &asking);
    assert_eq!((row.health.as_str(), row.running_count), ("cooling_down", 3));
    assert_eq!(row.retry_time, Some((call.create_time + Duration::from_secs(5)).into()));
    assert_eq!(waits(&view, now), Some("it asked for a pause"));
    assert_eq!(waits(&View::default(), now), None);
}
