//! Which alias a name stands for, and what a name that stands for none is told.

use futures_util::future::BoxFuture;
use tollgate_api::v1;

use super::*;
use crate::{
    call::Endpoint,
    provider::{Answer, Error as ProviderError, Named, Outgoing, Provider, Settings, registry},
    route::{AliasTarget, testing},
};

struct Nobody;

impl Provider for Nobody {
    fn chat<'a>(&'a self, _: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, ProviderError>> {
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
