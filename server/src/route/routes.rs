//! From the name that a caller asks for to the targets behind it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Instant};

use tollgate_api::v1::RouteHints;

use super::{
    Health,
    alias::{Alias, LeadsTo},
    entry::{Entry, Line},
    failure,
    plan::{Candidate, Models, Plan},
    planner::{self, MOST_NESTED},
    star::{star_part, with_star},
    words::Words,
};
use crate::{
    call::{Call, Rule, glob_matches},
    error::{Error, Reason},
};

/// All aliases of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: BTreeMap<String, Entry>,
    /// Aliases with a `*`, the most specific first.
    patterns: Vec<Entry>,
    /// What hints may name.
    words: Words,
}

/// A call that asks where it may go, and all that the answer depends on.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The call.
    pub call: &'a Call,
    /// What is known of models.
    pub models: &'a dyn Models,
    /// How the targets are.
    pub health: &'a Health,
    /// The moment.
    pub now: Instant,
}

impl Routes {
    /// Sorts the aliases for look-up.
    pub fn new(aliases: impl IntoIterator<Item = (String, Alias)>) -> Self {
        let mut routes = Self::default();
        for (name, alias) in aliases {
            let entry = Entry::new(&name, alias);
            entry.every_line().for_each(|line| routes.words.add(line));
            if name.contains('*') {
                routes.patterns.push(entry);
            } else {
                routes.exact.insert(name, entry);
            }
        }
        routes.patterns.sort_by(|a, b| b.name.len().cmp(&a.name.len()).then_with(|| a.name.cmp(&b.name)));
        routes
    }

    /// Lets hints name these providers too, though no alias leads there.
    pub fn knowing<'p>(mut self, providers: impl IntoIterator<Item = &'p str>) -> Self {
        providers.into_iter().for_each(|name| self.words.add_provider(name));
        self
    }

    /// Checks that hints name what there is.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the word that nothing has, and the nearest.
    pub(super) fn check(&self, hints: &RouteHints) -> Result<(), Error> {
        self.words.check(hints)
    }

    /// Returns every alias, patterns included, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(String::as_str).chain(self.patterns.iter().map(|entry| &*entry.name))
    }

    /// Returns the limits of every alias that has some, by its name.
    pub fn limits(&self) -> impl Iterator<Item = (&str, &[Arc<Rule>])> {
        let all = self.exact.values().chain(&self.patterns);
        all.filter(|entry| !entry.limits.is_empty()).map(|entry| (&*entry.name, &*entry.limits))
    }

    /// Returns the limits of all targets that have some, each once.
    pub fn limits_of_targets(&self) -> Vec<Arc<Rule>> {
        let entries = self.exact.values().chain(&self.patterns);
        let all = entries.flat_map(Entry::every_line).flat_map(Line::limits);
        let by_counter: BTreeMap<(&str, i64), &Arc<Rule>> =
            all.map(|rule| ((&*rule.counter, rule.limit.amount), rule)).collect();
        by_counter.into_values().cloned().collect()
    }

    /// Returns every target that a model name stands for, its fallbacks left out: an alias of that name, else the longest
    /// pattern that matches.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` with the nearest alias.
    pub fn targets(&self, model: &str) -> Result<Vec<Candidate>, Error> {
        let (entry, star) = self.find(model).ok_or_else(|| self.not_found(model))?;
        Ok(self.every_target(entry, star))
    }

    /// Makes the plan of a call to the model that it asks for.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` with the nearest alias, `NO_TARGET_AVAILABLE` if conditions and hints leave no target; what else
    /// is wrong with the hints.
    pub fn plan(&self, asking: &Asking<'_>) -> Result<Plan, Error> {
        some_left(asking, self.consider(asking)?)
    }

    /// Makes the plan of a call, with no candidates if conditions and hints leave none: whoever asks why is told all the
    /// same.
    ///
    /// # Errors
    /// As `plan`, `NO_TARGET_AVAILABLE` aside.
    pub fn consider(&self, asking: &Asking<'_>) -> Result<Plan, Error> {
        let model = &asking.call.asked.model;
        let (entry, star) = self.find(model).ok_or_else(|| self.not_found(model))?;
        planner::plan(self, entry, star, asking)
    }

    /// Makes the plan of a call that names a target in place of a model, because it is written for it.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` if no alias is called so, or it leads elsewhere.
    pub fn plan_of_target(&self, asking: &Asking<'_>) -> Result<Plan, Error> {
        let name = &asking.call.asked.model;
        let (entry, star) = self.find(name).ok_or_else(|| no_target(name))?;
        let mut plan = some_left(asking, planner::plan(self, entry, star, asking)?)?;
        plan.candidates.retain(|Candidate { target, .. }| {
            let model = name.strip_prefix(&*target.provider).and_then(|rest| rest.strip_prefix('/'));
            model == Some(&*target.model)
        });
        plan.on_context_length.clear();
        plan.on_content_policy.clear();
        if plan.candidates.is_empty() { Err(no_target(name)) } else { Ok(plan) }
    }

    pub(super) fn find<'m>(&self, model: &'m str) -> Option<(&Entry, &'m str)> {
        if let Some(entry) = self.exact.get(model) {
            return Some((entry, model));
        }
        self.patterns
            .iter()
            .find(|entry| glob_matches(entry.name.as_bytes(), model.as_bytes()))
            .map(|entry| (entry, star_part(&entry.name, model)))
    }

    /// Returns every target of an alias, whatever the call, each once.
    pub(super) fn every_target(&self, entry: &Entry, star: &str) -> Vec<Candidate> {
        let mut all = Vec::new();
        entry.every_line().for_each(|line| self.collect(entry, line, star, 0, &mut all));
        all
    }

    /// Returns every target behind a line of an alias, whatever the call, each once.
    pub(super) fn behind(&self, entry: &Entry, line: &Line, star: &str) -> Vec<Candidate> {
        let mut all = Vec::new();
        self.collect(entry, line, star, 0, &mut all);
        all
    }

    fn collect(&self, entry: &Entry, line: &Line, star: &str, depth: usize, all: &mut Vec<Candidate>) {
        for candidate in line.candidates(&entry.alias, star) {
            if all.iter().all(|other| other.target.name != candidate.target.name) {
                all.push(candidate);
            }
        }
        let LeadsTo::Alias(name) = &line.target.leads_to else { return };
        let name: Cow<'_, str> = with_star(name, star);
        let Some((inner, star)) = self.find(&name).filter(|_| depth < MOST_NESTED) else { return };
        let before = all.len();
        inner.every_line().for_each(|line| self.collect(inner, line, star, depth + 1, all));
        all[before..].iter_mut().for_each(|candidate| entry.hand_down(candidate));
    }

    pub(super) fn not_found(&self, model: &str) -> Error {
        let shown: String = model.chars().take(100).collect();
        let nearest = self
            .names()
            .map(|name| (strsim::jaro_winkler(name, &shown), name))
            .filter(|(score, _)| *score > 0.7)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, name)| name);
        let error = match nearest {
            Some(name) => Error::new(
                Reason::ModelNotFound,
                format!(
                    "the model `{shown}` does not exist here; did you mean `{name}`? GET /v1/models lists all"
                ),
            )
            .with("nearest", name),
            None => Error::new(
                Reason::ModelNotFound,
                format!("the model `{shown}` does not exist here; GET /v1/models lists those that do"),
            ),
        };
        error.with("model", shown)
    }
}

fn some_left(asking: &Asking<'_>, plan: Plan) -> Result<Plan, Error> {
    if plan.candidates.is_empty() {
        if let Some(error) = failure::too_dear(asking.call, &plan.passed_over) {
            return Err(error);
        }
        return Err(failure::none_left(&asking.call.asked.model, &plan.passed_over));
    }
    Ok(plan)
}

fn no_target(target: &str) -> Error {
    let shown: String = target.chars().take(100).collect();
    let provider = shown.split('/').next().unwrap_or_default();
    let message = format!(
        "`{shown}` is no target of its own here: a provider `{provider}` and an alias `{provider}/*` that leads to its models as they are must be configured"
    );
    Error::new(Reason::ModelNotFound, message).with("model", shown)
}

#[cfg(test)]
mod tests;
