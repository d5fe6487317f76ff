//! From the name that a caller asks for to the targets behind it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::{
    Health,
    alias::{Alias, AliasTarget, LeadsTo},
    plan::{Candidate, Models, Plan},
};
use crate::{
    call::{Call, Target, glob_matches},
    error::{Error, Reason},
};

/// All aliases of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: BTreeMap<String, Alias>,
    /// Aliases with a `*`, the most specific first.
    patterns: Vec<(String, Alias)>,
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
            if name.contains('*') {
                routes.patterns.push((name, alias));
            } else {
                routes.exact.insert(name, alias);
            }
        }
        routes.patterns.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        routes
    }

    /// Returns every alias, patterns included, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(String::as_str).chain(self.patterns.iter().map(|(name, _)| name.as_str()))
    }

    /// Returns every target that a model name stands for, its fallbacks left out: an alias of that name, else the longest
    /// pattern that matches.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` with the nearest alias.
    pub fn targets(&self, model: &str) -> Result<Vec<Candidate>, Error> {
        let (alias, star) = self.find(model).ok_or_else(|| self.not_found(model))?;
        Ok(alias.targets.iter().filter_map(|target| target.resolve(star, alias)).collect())
    }

    /// Makes the plan of a call to the model that it asks for.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` with the nearest alias.
    pub fn plan(&self, asking: &Asking<'_>) -> Result<Plan, Error> {
        let model = &asking.call.asked.model;
        let (alias, _) = self.find(model).ok_or_else(|| self.not_found(model))?;
        Ok(Plan {
            candidates: self.targets(model)?,
            on_context_length: Vec::new(),
            on_content_policy: Vec::new(),
            passed_over: Vec::new(),
            policy: alias.policy.clone(),
            strategy: alias.strategy,
            rule: String::new(),
            tags: Vec::new(),
        })
    }

    /// Makes the plan of a call that names a target in place of a model, because it is written for it.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` if no alias is called so, or it leads elsewhere.
    pub fn plan_of_target(&self, asking: &Asking<'_>) -> Result<Plan, Error> {
        let target = &asking.call.asked.model;
        let mut plan = self.plan(asking).map_err(|_| no_target(target))?;
        plan.candidates.retain(|candidate| *candidate.target.name == **target);
        if plan.candidates.is_empty() { Err(no_target(target)) } else { Ok(plan) }
    }

    fn find<'m>(&self, model: &'m str) -> Option<(&Alias, &'m str)> {
        if let Some(alias) = self.exact.get(model) {
            return Some((alias, model));
        }
        self.patterns
            .iter()
            .find(|(pattern, _)| glob_matches(pattern.as_bytes(), model.as_bytes()))
            .map(|(pattern, alias)| (alias, star_part(pattern, model)))
    }

    fn not_found(&self, model: &str) -> Error {
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

impl AliasTarget {
    fn resolve(&self, star: &str, alias: &Alias) -> Option<Candidate> {
        let LeadsTo::Model { provider, model } = &self.leads_to else { return None };
        let model = if model.contains('*') { model.replacen('*', star, 1) } else { model.clone() };
        Some(Candidate {
            target: Arc::new(Target {
                name: format!("{}/{model}", provider.name).into(),
                provider: provider.name.clone(),
                model: model.into(),
                vendor: provider.vendor.clone(),
                rates: alias.rates,
            }),
            provider: provider.clone(),
            first_token: alias.first_token,
            concurrent: self.concurrent,
            fallback: false,
            reason: String::new(),
        })
    }
}

fn no_target(target: &str) -> Error {
    let shown: String = target.chars().take(100).collect();
    let provider = shown.split('/').next().unwrap_or_default();
    let message = format!(
        "`{shown}` is no target of its own here: a provider `{provider}` and an alias `{provider}/*` that leads to its models as they are must be configured"
    );
    Error::new(Reason::ModelNotFound, message).with("model", shown)
}

/// Returns what the first `*` of a pattern stands for in a text that it matches.
fn star_part<'m>(pattern: &str, text: &'m str) -> &'m str {
    let Some((before, after)) = pattern.split_once('*') else { return text };
    let rest = text.strip_prefix(before).unwrap_or(text);
    if after.contains('*') { rest } else { rest.strip_suffix(after).unwrap_or(rest) }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use tollgate_api::v1;

    use super::*;
    use crate::{
        call::Endpoint,
        provider::{Answer, Error as ProviderError, Named, Outgoing, Provider, Settings, registry},
        route::testing,
    };

    struct Nobody;

    impl Provider for Nobody {
        fn chat<'a>(
            &'a self,
            _: Outgoing<'a, v1::ChatInput>,
        ) -> BoxFuture<'a, Result<Answer, ProviderError>> {
            unreachable!("plans are not sent")
        }
        fn embed<'a>(
            &'a self,
            _: Outgoing<'a, v1::EmbedRequest>,
        ) -> BoxFuture<'a, Result<Answer, ProviderError>> {
            unreachable!("plans are not sent")
        }
    }

    fn routes(entries: &[(&str, &str)]) -> Routes {
        let provider = Named::new("openai", "openai", Arc::new(Nobody));
        Routes::new(
            entries.iter().map(|(alias, model)| ((*alias).to_owned(), Alias::plain(provider.clone(), model))),
        )
    }

    fn plan_of_target(routes: &Routes) -> Result<Plan, Error> {
        let health = Health::new(crate::route::health::Settings::default());
        let (call, now) = (Call::for_test("openai/m"), crate::call::now());
        routes.plan_of_target(&Asking { call: &call, models: &testing::Unknown, health: &health, now })
    }

    fn model_of(routes: &Routes, alias: &str) -> String {
        routes.targets(alias).unwrap()[0].target.model.to_string()
    }

    #[test]
    fn an_exact_alias_wins_over_a_pattern_and_a_longer_pattern_over_a_shorter() {
        let routes = routes(&[("*", "any"), ("gpt-*", "family-*"), ("gpt-4o", "exact")]);
        assert_eq!(model_of(&routes, "gpt-4o"), "exact");
        assert_eq!(model_of(&routes, "gpt-5"), "family-5");
        assert_eq!(model_of(&routes, "o3"), "any");
    }

    #[test]
    fn a_pattern_hands_on_what_its_star_matched() {
        let routes = routes(&[("openai/*", "*")]);
        assert_eq!(model_of(&routes, "openai/ft:gpt-4o:acme/x"), "ft:gpt-4o:acme/x");
    }

    #[test]
    fn a_target_without_an_alias_of_its_own_is_told_which_one_it_needs() {
        for entries in [[("mine", "m")], [("openai/*", "other")]] {
            let error = plan_of_target(&routes(&entries)).err().unwrap();
            assert_eq!(error.reason(), Reason::ModelNotFound);
            assert!(error.to_string().contains("an alias `openai/*`"), "{error}");
        }
        assert!(plan_of_target(&routes(&[("openai/*", "*")])).is_ok());
    }

    #[test]
    fn a_model_without_the_endpoint_names_its_targets() {
        let plan = testing::plan_for(&routes(&[("m", "x")]), "m").unwrap();
        let error = plan.having(Endpoint::Moderations).err().unwrap();
        assert_eq!(error.reason(), Reason::UnsupportedParameter);
        assert!(error.to_string().contains("`openai/x`"), "{error}");
    }

    #[tokio::test]
    async fn a_target_without_the_endpoint_is_passed_over() {
        let settings = |dialect: &str| Settings {
            name: dialect.to_owned(),
            dialect: dialect.to_owned(),
            base_url: Some("http://127.0.0.1:9".to_owned()),
            ..Settings::default()
        };
        let target = |dialect: &str| AliasTarget::plain(registry::build(&settings(dialect)).unwrap(), "x");
        let targets = vec![target("anthropic"), target("openai")];
        let provider = registry::build(&settings("openai")).unwrap();
        let alias = Alias { targets, ..Alias::plain(provider, "x") };
        let plan = testing::plan_for(&Routes::new([("m".to_owned(), alias)]), "m").unwrap();
        let plan = plan.having(Endpoint::Moderations).unwrap();
        let names: Vec<&str> = plan.candidates.iter().map(|candidate| &*candidate.target.name).collect();
        assert_eq!(names, ["openai/x"]);
    }

    #[test]
    fn an_unknown_model_names_the_nearest_alias() {
        let error = routes(&[("chat-fast", "m"), ("embeddings", "e")]).targets("chat-fats").err().unwrap();
        assert_eq!(error.reason(), Reason::ModelNotFound);
        assert!(error.to_string().contains("`chat-fast`"), "{error}");
    }
}
