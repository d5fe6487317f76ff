//! The plan of one call: the targets it may be sent to, in order, and those it may not, with the reason.

use std::{sync::Arc, time::Duration};

use super::{
    alias::{Policy, Strategy},
    reason::{Placed, Why},
};
use crate::{
    call::{Call, Endpoint, Needs, Rule, Target},
    error::{Error, Reason},
    provider::Named,
};

/// The targets a call may be sent to, best first.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Those of the model itself, then its fallbacks; never empty.
    pub candidates: Vec<Candidate>,
    /// Where the call goes on when the prompt is too long for a target.
    pub on_context_length: Vec<Candidate>,
    /// Where the call goes on when a provider's filter refuses it.
    pub on_content_policy: Vec<Candidate>,
    /// Targets that were considered and are not tried.
    pub passed_over: Vec<PassedOver>,
    /// What happens when the call does not succeed at once.
    pub policy: Arc<Policy>,
    /// The strategy that made the order.
    pub strategy: Strategy,
    /// The rule that decided, as `RouteInfo.rule` tells it; empty if none.
    pub rule: String,
    /// Tags that the choice adds to the call: the arm of an experiment.
    pub tags: Vec<(String, String)>,
    /// How much the calls to the model may use that is asked for.
    pub limits: Arc<[Arc<Rule>]>,
}

/// A target and the adapter that reaches it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where.
    pub target: Arc<Target>,
    /// How.
    pub provider: Named,
    /// Overrides `timeouts.first_token`.
    pub first_token: Option<Duration>,
    /// Calls at a time that the target takes; absent if nobody said.
    pub concurrent: Option<usize>,
    /// How much the calls that it serves may use, and those to the other models by which it is reached.
    pub limits: Arc<[Arc<Rule>]>,
    /// Most output that is asked of it for a call that names no bound itself.
    pub output_cap: Option<i64>,
    /// Whether it is of another model than the one that was asked for.
    pub fallback: bool,
    /// Why it has its place.
    pub reason: Placed,
}

/// A target that is not tried.
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// Which.
    pub target: Arc<Target>,
    /// Why.
    pub reason: Why,
    /// Whether it is of another model than the one that was asked for.
    pub fallback: bool,
}

/// What the catalog knows of a target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Most input tokens of one call.
    pub context_tokens: Option<i64>,
    /// What the model can do; absent if the model is not known.
    pub can: Option<Needs>,
}

/// What the rest of the house knows of models, as far as the choice needs it.
pub trait Models: Sync {
    /// Returns what the catalog knows of a target.
    fn known(&self, target: &Target) -> Known;

    /// Returns the most that the call may cost at a target, in nano-USD; absent if no price is known.
    fn at_most(&self, call: &Call, target: &Target) -> Option<i64>;
}

impl Plan {
    /// Returns every target that the call may be sent to, for reservations.
    pub fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().chain(&self.on_context_length).chain(&self.on_content_policy)
    }

    /// Returns every target to change it.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        let Self { candidates, on_context_length, on_content_policy, .. } = self;
        candidates.iter_mut().chain(on_context_length).chain(on_content_policy)
    }

    /// Keeps only these targets.
    pub fn retain(&mut self, mut keep: impl FnMut(&Candidate) -> bool) {
        for list in [&mut self.candidates, &mut self.on_context_length, &mut self.on_content_policy] {
            list.retain(&mut keep);
        }
    }

    /// Keeps the targets that have the endpoint, so that one without it is not in the way of the next.
    ///
    /// # Errors
    /// `UNSUPPORTED_PARAMETER` if none has it.
    pub fn having(mut self, endpoint: Endpoint) -> Result<Self, Error> {
        let names: Vec<String> =
            self.candidates.iter().map(|candidate| format!("`{}`", candidate.target.name)).collect();
        self.retain(|Candidate { target, provider, .. }| {
            provider.adapter.place(endpoint, &target.model).is_some()
        });
        if self.candidates.is_empty() {
            let message = format!(
                "no target of this model has an endpoint for `{}` ({}): ask for a model of a provider that has one",
                endpoint.operation(),
                names.join(", "),
            );
            return Err(Error::new(Reason::UnsupportedParameter, message).at_field("model".to_owned()));
        }
        Ok(self)
    }
}
