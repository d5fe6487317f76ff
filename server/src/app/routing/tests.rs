//! Which aliases there are, from the file and from the environment.

use super::*;
use crate::{config::Surroundings, route::Routes};

fn found(names: &[&str]) -> Vec<Settings> {
    let settings = |name: &&str| Settings {
        name: (*name).to_owned(),
        dialect: "openai".to_owned(),
        base_url: Some("http://127.0.0.1:9/v1".to_owned()),
        ..echo()
    };
    names.iter().map(settings).collect()
}

/// Two dialects, and providers that the environment names.
pub(super) fn surroundings(environment: &[&str]) -> Surroundings<'static> {
    Surroundings {
        env: &|_| None,
        dialects: vec!["openai", ECHO],
        keys_of: provider::keys_of,
        discovered: environment.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub(super) fn routes(yaml: &str, environment: &[&str]) -> Routes {
    let config = config::parse("t.yaml", yaml, &surroundings(environment)).unwrap();
    Routes::new(resolve(&config, found(environment)).unwrap())
}

fn names(routes: &Routes) -> Vec<&str> {
    let mut names: Vec<&str> = routes.names().collect();
    names.sort_unstable();
    names
}

fn target(routes: &Routes, model: &str) -> String {
    routes.targets(model).map_or_else(|error| error.to_string(), |targets| targets[0].target.name.to_string())
}

#[tokio::test]
async fn nothing_at_all_still_has_echo() {
    let routes = routes("", &[]);
    assert_eq!(names(&routes), ["echo", "echo-*"]);
    assert_eq!(target(&routes, "echo"), "echo/echo");
    assert_eq!(target(&routes, "echo-slow"), "echo/echo-slow");
}

#[tokio::test]
async fn names_without_an_alias_go_to_openai_if_it_is_found() {
    let routes = routes("", &["groq", "openai"]);
    assert_eq!(names(&routes), ["*", "echo", "echo-*", "groq/*", "openai/*"]);
    assert_eq!(target(&routes, "gpt-4o"), "openai/gpt-4o");
    assert_eq!(target(&routes, "groq/llama"), "groq/llama");
}

#[tokio::test]
async fn a_familys_models_go_to_who_makes_them() {
    let routes = routes("", &["huggingface", "openai", "anthropic"]);
    assert_eq!(
        names(&routes),
        ["*", "anthropic/*", "claude-*", "echo", "echo-*", "huggingface/*", "openai/*"]
    );
    assert_eq!(target(&routes, "claude-sonnet-4-5"), "anthropic/claude-sonnet-4-5");
    assert_eq!(target(&routes, "gpt-5"), "openai/gpt-5");
    assert_eq!(target(&routes, "anthropic/claude-sonnet-4-5"), "anthropic/claude-sonnet-4-5");
}

#[tokio::test]
async fn a_file_with_models_has_these_and_echo() {
    let yaml = "providers: { p: { dialect: openai, base_url: 'http://127.0.0.1:9/v1' } }\nmodels: { m: { targets: [{ provider: p, model: x }], price: { input_per_million: 0.15 } } }\n";
    let declared = routes(yaml, &["openai"]);
    assert_eq!(names(&declared), ["echo", "echo-*", "m"]);
    let targets = declared.targets("m").unwrap();
    let rates = targets[0].target.rates.unwrap();
    assert_eq!((rates.input, rates.output, rates.cache_read), (150_000_000, 0, None));
    assert_eq!(names(&routes(&format!("{yaml}echo: false\n"), &[])), ["m"]);
}

#[tokio::test]
async fn every_provider_that_is_wrong_is_told() {
    let wrong = |name: &str| Settings { base_url: Some("http://x?y".to_owned()), ..found(&[name]).remove(0) };
    let all = vec![wrong("a"), found(&["b"]).remove(0), wrong("c")];
    let Err(message) = resolve(&Config::default(), all) else { panic!("two are wrong") };
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("provider `a`: ") && lines[1].starts_with("provider `c`: "), "{message}");
}

#[tokio::test]
async fn what_the_file_calls_echo_wins() {
    let yaml = "providers: { echo: { dialect: openai, base_url: 'http://127.0.0.1:9/v1' } }\nmodels: { m: { targets: [{ provider: echo, model: x }] } }\n";
    assert_eq!(names(&routes(yaml, &[])), ["m"]);
    let yaml = "models: { echo: { targets: [{ provider: openai, model: x }] } }\n";
    let routes = routes(yaml, &["openai"]);
    assert_eq!(target(&routes, "echo"), "openai/x");
    assert_eq!(target(&routes, "echo-2"), "echo/echo-2");
}
