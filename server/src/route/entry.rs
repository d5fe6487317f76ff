//! An alias made ready for calls: what can be known before one comes is worked out once.

use std::sync::Arc;

use super::{
    alias::{Alias, AliasTarget, LeadsTo},
    plan::Candidate,
    reason::Placed,
};
use crate::{
    call::{Limit, Rates, Rule, Subject, Target},
    provider::Named,
};

/// An alias and the targets behind its lines.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The name in the configuration, `*` included.
    pub(super) name: Arc<str>,
    /// What is configured.
    pub(super) alias: Alias,
    /// Its own targets.
    pub(super) lines: Vec<Line>,
    /// Those of the arms of its experiment, in the same order; empty where an arm uses the alias's own.
    pub(super) arms: Vec<Vec<Line>>,
    /// How much the calls to it may use.
    pub(super) limits: Arc<[Arc<Rule>]>,
}

/// One configured target, resolved as far as possible.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What is configured.
    pub(super) target: AliasTarget,
    /// One for each credential; none where it leads to another alias.
    pub(super) ready: Vec<Ready>,
}

/// A provider's model by one credential.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    provider: Named,
    /// With the `*` still in it, if there is one.
    target: Arc<Target>,
    /// Those of a target with a `*` hold for all that it stands for together.
    limits: Arc<[Arc<Rule>]>,
}

impl Entry {
    pub(super) fn new(name: &str, mut alias: Alias) -> Self {
        let rates = alias.rates;
        let ready = |targets: Vec<AliasTarget>| -> Vec<Line> {
            targets.into_iter().map(|target| Line::new(target, rates)).collect()
        };
        let lines = ready(std::mem::take(&mut alias.targets));
        let arms = alias.experiment.iter_mut().flat_map(|experiment| &mut experiment.arms);
        let arms = arms.map(|(_, _, targets)| ready(std::mem::take(targets))).collect();
        let name: Arc<str> = name.into();
        let limits = rules(&Subject::Model(name.clone()), &std::mem::take(&mut alias.limits));
        Self { name, alias, lines, arms, limits }
    }

    /// Returns every line, those of all arms included.
    pub(super) fn every_line(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().chain(self.arms.iter().flatten())
    }

    /// Has the limits of this alias, to which a call comes by another one, hold for a target as its own do.
    pub(super) fn limit(&self, candidate: &mut Candidate) {
        if !self.limits.is_empty() {
            candidate.limits = candidate.limits.iter().chain(self.limits.iter()).cloned().collect();
        }
    }

    /// Gives a target of another alias that takes a place in this one what is set here for all of them.
    pub(super) fn hand_down(&self, candidate: &mut Candidate) {
        candidate.first_token = self.alias.first_token.or(candidate.first_token);
        if self.alias.rates.is_some() {
            candidate.target = Arc::new(Target {
                name: candidate.target.name.clone(),
                provider: candidate.target.provider.clone(),
                model: candidate.target.model.clone(),
                vendor: candidate.target.vendor.clone(),
                rates: self.alias.rates,
            });
        }
    }
}

impl Line {
    fn new(target: AliasTarget, rates: Option<Rates>) -> Self {
        let ready = match &target.leads_to {
            LeadsTo::Alias(_) => Vec::new(),
            LeadsTo::Model { credentials, model } => {
                let ready = |provider: &Named| Ready::new(provider.clone(), model, rates, &target.limits);
                credentials.iter().map(ready).collect()
            }
        };
        Self { target, ready }
    }

    /// Returns the limits of its targets.
    pub(super) fn limits(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.ready.iter().flat_map(|ready| ready.limits.iter())
    }

    /// Returns the candidates that the line itself has, one for each credential.
    pub(super) fn candidates<'l>(
        &'l self,
        alias: &'l Alias,
        star: &'l str,
    ) -> impl Iterator<Item = Candidate> + 'l {
        self.ready.iter().map(move |ready| Candidate {
            target: ready.target(star),
            provider: ready.provider.clone(),
            first_token: alias.first_token,
            concurrent: self.target.concurrent,
            limits: ready.limits.clone(),
            output_cap: None,
            fallback: false,
            reason: Placed::default(),
        })
    }
}

impl Ready {
    fn new(provider: Named, model: &str, rates: Option<Rates>, limits: &[Limit]) -> Self {
        let target = Arc::new(named(&provider, model, rates));
        let limits = rules(&Subject::Target(target.name.clone()), limits);
        Self { provider, target, limits }
    }

    /// Returns the target; `star` is what the alias's `*` matched.
    fn target(&self, star: &str) -> Arc<Target> {
        if !self.target.model.contains('*') {
            return self.target.clone();
        }
        Arc::new(named(&self.provider, &self.target.model.replacen('*', star, 1), self.target.rates))
    }
}

fn rules(subject: &Subject, limits: &[Limit]) -> Arc<[Arc<Rule>]> {
    limits.iter().map(|limit| Rule::new(subject.clone(), limit.clone())).collect()
}

fn named(provider: &Named, model: &str, rates: Option<Rates>) -> Target {
    let name = match &*provider.credential {
        "" => format!("{}/{model}", provider.name),
        credential => format!("{}:{credential}/{model}", provider.name),
    };
    Target {
        name: name.into(),
        provider: provider.name.clone(),
        model: model.into(),
        vendor: provider.vendor.clone(),
        rates,
    }
}
