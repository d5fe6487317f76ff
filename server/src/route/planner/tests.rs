//! What a cap of the cost leaves of a plan.

use std::sync::Arc;

use super::*;
use crate::{
    call::{Call, Target, now},
    provider::Named,
    route::{Alias, AliasTarget, Health, Known, Models, health::Settings, testing::Silent},
};

/// Knows what a call may cost at two models, and no third.
struct Prices;

impl Models for Prices {
    fn known(&self, _: &Target) -> Known {
        Known::default()
    }

    fn at_most(&self, _: &Call, target: &Target) -> Option<i64> {
        match &*target.model {
            "dear" => Some(100),
            "cheap" => Some(10),
            _ => None,
        }
    }
}

fn plan_of(models: &[&str], fallback: &str, cap: Option<i64>) -> Result<Plan, Error> {
    let provider = Named::new("p", "p", Arc::new(Silent));
    let target = |model: &&str| AliasTarget::plain(provider.clone(), model);
    let alias = Alias {
        targets: models.iter().map(target).collect(),
        fallbacks: vec!["other".to_owned()],
        ..Alias::plain(provider.clone(), "any")
    };
    let other = Alias::plain(provider.clone(), fallback);
    let routes = Routes::new([("m".to_owned(), alias), ("other".to_owned(), other)]);
    let (mut call, health) = (Call::for_test("m"), Health::new(Settings::default()));
    call.options.max_cost_nanos = cap;
    routes.plan(&Asking { call: &call, models: &Prices, health: &health, now: now() })
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.candidates.iter().map(|candidate| &*candidate.target.model).collect()
}

#[test]
fn targets_that_fit_under_the_cap_stay_and_the_others_say_why_not() {
    assert_eq!(names(&plan_of(&["dear", "unknown"], "cheap", None).unwrap()), ["dear", "unknown", "cheap"]);
    assert_eq!(names(&plan_of(&["dear"], "cheap", Some(100)).unwrap()), ["dear", "cheap"], "up to the cap");
    let plan = plan_of(&["cheap", "unknown"], "dear", Some(99)).unwrap();
    assert_eq!(names(&plan), ["cheap"]);
    let reasons: Vec<_> = plan.passed_over.iter().map(|passed| (&passed.reason, passed.fallback)).collect();
    assert_eq!(reasons, [(&Why::Unpriced, false), (&Why::TooDear { most: 100 }, true)]);
}

#[test]
fn a_call_that_fits_nowhere_is_refused_with_what_it_may_cost() {
    let error = plan_of(&["dear", "unknown"], "cheap", Some(9)).unwrap_err();
    assert_eq!(error.reason(), Reason::CostCapExceeded);
    assert!(error.to_string().contains("capped at 9") && error.to_string().contains("cost 10"), "{error}");
    assert!(error.facts().metadata.contains(&("limit", "9".to_owned())));
    let error = plan_of(&["unknown"], "unknown", Some(i64::MAX)).unwrap_err();
    assert_eq!(error.reason(), Reason::CostCapExceeded, "no cap holds without a price");
}
