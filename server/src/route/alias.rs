//! An alias as it is configured, with its providers found.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::hedge;
pub use crate::config::{OnInterrupt, Sticky, Strategy, When};
use crate::{
    call::{Limit, Needs, Rates},
    provider::Named,
};

/// One entry of `models`, resolved against `providers`.
#[derive(Clone, Debug, Default)]
pub struct Alias {
    /// How a target is chosen.
    pub strategy: Strategy,
    /// Where calls go.
    pub targets: Vec<AliasTarget>,
    /// What keeps calls together.
    pub sticky: Option<Sticky>,
    /// Arms that calls are split among.
    pub experiment: Option<Experiment>,
    /// Aliases to go on with when every target has failed.
    pub fallbacks: Vec<String>,
    /// Aliases to go on with when the prompt is too long.
    pub on_context_length: Vec<String>,
    /// Aliases to go on with when the provider's filter refuses.
    pub on_content_policy: Vec<String>,
    /// Overrides `timeouts.first_token`.
    pub first_token: Option<Duration>,
    /// Prices that override the catalog's.
    pub rates: Option<Rates>,
    /// What happens to calls that do not succeed at once.
    pub policy: Arc<Policy>,
    /// How much the calls to it may use.
    pub limits: Vec<Limit>,
}

/// What happens to calls that do not succeed at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Upstream calls that one call may make over all targets.
    pub attempts: usize,
    /// Longest pause before the second call to the same target; it doubles with each further one.
    pub backoff: Duration,
    /// Longest pause of all.
    pub max_backoff: Duration,
    /// Retries that may be made for each call of a target, 0 to 1.
    pub retry_share: f64,
    /// When a second target is asked beside the first.
    pub hedge: Option<Hedge>,
    /// How many more calls may be asked twice.
    pub hedges: Arc<hedge::Budget>,
    /// What happens when a provider breaks off within an answer.
    pub on_interrupt: OnInterrupt,
    /// Text to answer with when nothing else can.
    pub degraded: Option<Arc<str>>,
}

impl Default for Policy {
    fn default() -> Self {
        let retry = crate::config::Retry::default();
        Self {
            attempts: usize::try_from(retry.attempts).unwrap_or(usize::MAX),
            backoff: retry.backoff.0,
            max_backoff: retry.max_backoff.0,
            retry_share: retry.budget.ratio(),
            hedge: None,
            hedges: Arc::default(),
            on_interrupt: OnInterrupt::Fail,
            degraded: None,
        }
    }
}

/// When a second target is asked beside the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// Wait for the first content before that.
    pub after: Duration,
    /// Most calls that are asked twice, of all calls of the alias, 0 to 1.
    pub at_most: f64,
}

/// One place where calls may go.
#[derive(Clone, Debug)]
pub struct AliasTarget {
    /// A model or another alias.
    pub leads_to: LeadsTo,
    /// Share of the calls under `weighted`.
    pub weight: u32,
    /// Which calls it takes.
    pub when: Option<When>,
    /// Region, for callers that ask for one; empty if none.
    pub region: String,
    /// Labels, for callers that ask for some.
    pub labels: BTreeMap<String, String>,
    /// Calls at a time.
    pub concurrent: Option<usize>,
    /// What the model can do, where the catalog does not say.
    pub can: Option<Needs>,
    /// Most tokens that the model takes, where the catalog does not say.
    pub context_tokens: Option<i64>,
    /// How much the calls that it serves may use.
    pub limits: Vec<Limit>,
}

/// Where a target leads.
#[derive(Clone, Debug)]
pub enum LeadsTo {
    /// To a provider's model; `*` in it stands for what the alias's `*` matched.
    Model {
        /// The provider, once for each of its credentials.
        credentials: Vec<Named>,
        /// The vendor's model id, or a pattern with one `*`.
        model: String,
    },
    /// To the targets of another alias.
    Alias(String),
}

/// Named arms that calls are split among.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// Name, weight and targets of each arm; without targets the alias's own are used.
    pub arms: Vec<(String, u32, Vec<AliasTarget>)>,
}

impl Alias {
    /// Makes an alias with one target and the defaults for everything else.
    pub fn plain(provider: Named, model: &str) -> Self {
        Self { targets: vec![AliasTarget::plain(provider, model)], ..Self::default() }
    }
}

impl AliasTarget {
    /// Makes a target that takes every call.
    pub fn plain(provider: Named, model: &str) -> Self {
        Self::new(LeadsTo::Model { credentials: vec![provider], model: model.to_owned() })
    }

    /// Makes a target that takes every call and leads there.
    pub fn new(leads_to: LeadsTo) -> Self {
        Self {
            leads_to,
            weight: 1,
            when: None,
            region: String::new(),
            labels: BTreeMap::new(),
            concurrent: None,
            can: None,
            context_tokens: None,
            limits: Vec::new(),
        }
    }
}
