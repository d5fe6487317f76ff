//! What a caller asks of the choice. Hints only narrow: they leave targets out, or order those that are left.

use tollgate_api::v1::{RouteHints, route_hints::Objective};

use super::{
    Routes,
    alias::{AliasTarget, Strategy},
    reason::Hint,
};
use crate::{
    call::{Call, Scope, Target},
    error::{Error, Reason},
};

/// The hints of a call, if it has any.
#[derive(Clone, Copy)]
pub(super) struct Hints<'c>(Option<&'c RouteHints>);

/// What decides the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// The configured strategy.
    By(Strategy),
    /// The price, as the caller wishes.
    Cost,
    /// The time to the first token, as the caller wishes.
    Latency,
    /// The output tokens per second, as the caller wishes.
    Throughput,
}

impl Measure {
    /// Returns the strategy that comes nearest.
    pub(super) fn strategy(self) -> Strategy {
        match self {
            Self::By(strategy) => strategy,
            Self::Cost => Strategy::Cheapest,
            Self::Latency | Self::Throughput => Strategy::Fastest,
        }
    }
}

impl<'c> Hints<'c> {
    /// Reads the hints of a call.
    ///
    /// # Errors
    /// `SCOPE_DENIED` if it needs more than its key has, `INVALID_REQUEST` if it names what there is not.
    pub(super) fn of(call: &'c Call, routes: &Routes) -> Result<Self, Error> {
        let Some(route) = &call.options.route else { return Ok(Self(None)) };
        let pins = !route.target.is_empty() || !route.labels.is_empty();
        if pins && !call.caller.scopes.has(Scope::RoutePin) {
            let name = Scope::RoutePin.as_str();
            let message = format!(
                "the hints `target` and `labels` need the scope `{name}`, which the key `{}` lacks; ask an admin to add it",
                call.caller.key_name
            );
            return Err(Error::new(Reason::ScopeDenied, message).with("scope", name));
        }
        routes.check(route)?;
        Ok(Self(Some(route)))
    }

    /// Tells which hint leaves the target out, if one does.
    pub(super) fn excludes(self, target: &Target, line: &AliasTarget) -> Option<Hint> {
        let route = self.0?;
        let among = |list: &[String], word: &str| list.iter().any(|one| one == word);
        let only = |list: &[String], word: &str| list.is_empty() || among(list, word);
        if !route.target.is_empty() && !is_named(target, &route.target) {
            return Some(Hint::Target);
        }
        if among(&route.denied_providers, &target.provider) {
            return Some(Hint::DeniedProviders);
        }
        if !only(&route.allowed_providers, &target.provider) {
            return Some(Hint::AllowedProviders);
        }
        if !only(&route.regions, &line.region) {
            return Some(Hint::Regions);
        }
        let labelled = route.labels.iter().all(|(label, value)| line.labels.get(label) == Some(value));
        (!labelled).then_some(Hint::Labels)
    }

    /// Returns what orders the targets of an alias with that strategy.
    pub(super) fn measure(self, strategy: Strategy) -> Measure {
        match self.0.map(RouteHints::objective) {
            None | Some(Objective::Unspecified) => Measure::By(strategy),
            Some(Objective::Cost) => Measure::Cost,
            Some(Objective::Latency) => Measure::Latency,
            Some(Objective::Throughput) => Measure::Throughput,
        }
    }

    /// Tells whether another model may serve the call.
    pub(super) fn allow_fallback(self) -> bool {
        self.0.is_none_or(|route| route.allow_fallback != Some(false))
    }

    /// Returns the models that the caller names to fall back to.
    pub(super) fn fallback_models(self) -> &'c [String] {
        self.0.map(|route| route.fallback_models.as_slice()).unwrap_or_default()
    }
}

/// Tells whether a pin names the target: by its whole name, or without the credential, which then may be any.
fn is_named(target: &Target, pin: &str) -> bool {
    let without_credential = || {
        pin.strip_prefix(&*target.provider).and_then(|rest| rest.strip_prefix('/')) == Some(&*target.model)
    };
    *target.name == *pin || without_credential()
}
