//! Alias to plan: which targets a model name stands for, in order.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    call::{Endpoint, Rates, Target, glob_matches},
    error::{Error, Reason},
    provider::Named,
};

/// One entry of `models`, resolved against `providers`.
#[derive(Clone)]
pub struct Alias {
    /// Where calls go, in order of preference.
    pub targets: Vec<AliasTarget>,
    /// Prices that override the catalog's.
    pub rates: Option<Rates>,
    /// Upstream calls one call may make over all targets.
    pub attempts: usize,
    /// Overrides `timeouts.first_token`.
    pub first_token: Option<Duration>,
}

/// A provider and its model; `*` in the model stands for what the alias's `*` matched.
#[derive(Clone)]
pub struct AliasTarget {
    /// The provider.
    pub provider: Named,
    /// The vendor's model id, or a pattern with one `*`.
    pub model: String,
}

/// All aliases of a configuration.
#[derive(Clone, Default)]
pub struct Routes {
    exact: BTreeMap<String, Alias>,
    /// Aliases with a `*`, the most specific first.
    patterns: Vec<(String, Alias)>,
}

/// The targets a call may be sent to, best first.
pub struct Plan {
    /// Never empty.
    pub candidates: Vec<Candidate>,
    /// Upstream calls the call may make.
    pub attempts: usize,
    /// Overrides `timeouts.first_token`.
    pub first_token: Option<Duration>,
}

/// A target and the adapter that reaches it.
#[derive(Clone)]
pub struct Candidate {
    /// Where.
    pub target: Arc<Target>,
    /// How.
    pub provider: Named,
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

    /// Finds what a model name stands for: an alias of that name, else the longest pattern that matches.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` with the nearest alias.
    pub fn plan(&self, model: &str) -> Result<Plan, Error> {
        let (alias, star) = self.find(model).ok_or_else(|| self.not_found(model))?;
        let candidates = alias.targets.iter().map(|target| target.resolve(star, alias.rates)).collect();
        Ok(Plan { candidates, attempts: alias.attempts, first_token: alias.first_token })
    }

    /// Returns the plan of a target by its own name, for calls that are written for it.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` if no alias is called so, or it leads elsewhere.
    pub fn plan_of(&self, target: &str) -> Result<Plan, Error> {
        self.plan(target).map_err(|_| no_target(target))?.pinned(target)
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

impl Plan {
    /// Keeps the target of that name alone.
    fn pinned(mut self, target: &str) -> Result<Self, Error> {
        self.candidates.retain(|candidate| &*candidate.target.name == target);
        if self.candidates.is_empty() { Err(no_target(target)) } else { Ok(self) }
    }

    /// Keeps the targets that have the endpoint, so that one without it is not in the way of the next.
    ///
    /// # Errors
    /// `UNSUPPORTED_PARAMETER` if none has it.
    pub fn having(mut self, endpoint: Endpoint) -> Result<Self, Error> {
        let names: Vec<String> =
            self.candidates.iter().map(|candidate| format!("`{}`", candidate.target.name)).collect();
        self.candidates.retain(|Candidate { target, provider }| {
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

impl AliasTarget {
    fn resolve(&self, star: &str, rates: Option<Rates>) -> Candidate {
        let model =
            if self.model.contains('*') { self.model.replacen('*', star, 1) } else { self.model.clone() };
        Candidate {
            target: Arc::new(Target {
                name: format!("{}/{model}", self.provider.name).into(),
                provider: self.provider.name.clone(),
                model: model.into(),
                vendor: self.provider.vendor.clone(),
                rates,
            }),
            provider: self.provider.clone(),
        }
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
    use crate::provider::{Answer, Error as ProviderError, Outgoing, Provider, Settings, registry};

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
        Routes::new(entries.iter().map(|(alias, model)| {
            let target = AliasTarget { provider: provider.clone(), model: (*model).to_owned() };
            (
                (*alias).to_owned(),
                Alias { targets: vec![target], rates: None, attempts: 3, first_token: None },
            )
        }))
    }

    fn model_of(routes: &Routes, alias: &str) -> String {
        routes.plan(alias).unwrap().candidates[0].target.model.to_string()
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
            let error = routes(&entries).plan_of("openai/m").err().unwrap();
            assert_eq!(error.reason(), Reason::ModelNotFound);
            assert!(error.to_string().contains("an alias `openai/*`"), "{error}");
        }
        assert!(routes(&[("openai/*", "*")]).plan_of("openai/m").is_ok());
    }

    #[test]
    fn a_model_without_the_endpoint_names_its_targets() {
        let plan = routes(&[("m", "x")]).plan("m").unwrap();
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
        let target = |dialect: &str| AliasTarget {
            provider: registry::build(&settings(dialect)).unwrap(),
            model: "x".to_owned(),
        };
        let targets = vec![target("anthropic"), target("openai")];
        let alias = Alias { targets, rates: None, attempts: 3, first_token: None };
        let plan = Routes::new([("m".to_owned(), alias)]).plan("m").unwrap();
        let plan = plan.having(Endpoint::Moderations).unwrap();
        let names: Vec<&str> = plan.candidates.iter().map(|candidate| &*candidate.target.name).collect();
        assert_eq!(names, ["openai/x"]);
    }

    #[test]
    fn an_unknown_model_names_the_nearest_alias() {
        let error = routes(&[("chat-fast", "m"), ("embeddings", "e")]).plan("chat-fats").err().unwrap();
        assert_eq!(error.reason(), Reason::ModelNotFound);
        assert!(error.to_string().contains("`chat-fast`"), "{error}");
    }
}
