//! What the tests of this room share: a call, a plan, and models of which nothing is known.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, pending};
use tollgate_api::v1;

use super::{
    Asking, Candidate, Health, Known, Models, Placed, Plan, Policy, Routes, Strategy, Timeouts, Way,
    health::Settings,
};
use crate::{
    call::{Call, Deadline, Payload, Request, Target, now},
    error::Error,
    provider::{self, Answer, Named, Outgoing, Provider},
};

/// Long enough to mean never.
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A target `<provider>/m` that this adapter serves.
pub(super) fn candidate(provider: &str, adapter: Arc<dyn Provider>) -> Candidate {
    let target = Target {
        name: format!("{provider}/m").into(),
        provider: provider.into(),
        model: "m".into(),
        vendor: provider.into(),
        rates: None,
    };
    Candidate {
        target: Arc::new(target),
        provider: Named::new(provider, provider, adapter),
        first_token: None,
        concurrent: None,
        limits: Arc::default(),
        output_cap: None,
        fallback: false,
        reason: Placed::default(),
    }
}

/// A plan of these targets, in this order.
pub(super) fn plan(candidates: Vec<Candidate>, policy: Policy) -> Plan {
    Plan {
        candidates,
        on_context_length: Vec::new(),
        on_content_policy: Vec::new(),
        passed_over: Vec::new(),
        policy: Arc::new(policy),
        strategy: Strategy::Ordered,
        rule: String::new(),
        tags: Vec::new(),
        limits: Arc::default(),
    }
}

/// A way that takes as long as it takes.
pub(super) fn way(plan: Plan) -> Way {
    Way {
        plan,
        request: Request::Chat(Payload::typed(v1::ChatInput::default())),
        timeouts: Timeouts { first_token: HOUR, idle: HOUR },
        deadline: Deadline { at: now() + HOUR, by_caller: true },
        health: Arc::new(Health::new(Settings::default())),
        gates: Arc::default(),
        spending: None,
    }
}

/// Knows no model.
pub(super) struct Unknown;

impl Models for Unknown {
    fn known(&self, _: &Target) -> Known {
        Known::default()
    }
    fn at_most(&self, _: &Call, _: &Target) -> Option<i64> {
        None
    }
}

/// Plans a call to a model of that name.
pub(super) fn plan_for(routes: &Routes, model: &str) -> Result<Plan, Error> {
    let health = Health::new(Settings::default());
    routes.plan(&Asking { call: &Call::for_test(model), models: &Unknown, health: &health, now: now() })
}

/// Is never asked.
pub(super) struct Silent;

impl Provider for Silent {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        Box::pin(pending())
    }

    fn embed<'a>(
        &'a self,
        _: Outgoing<'a, v1::EmbedRequest>,
    ) -> BoxFuture<'a, Result<Answer, provider::Error>> {
        Box::pin(pending())
    }
}
