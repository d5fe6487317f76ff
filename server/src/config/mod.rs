//! The configuration: one strict YAML file, read whole or refused whole, with every mistake told at its place.
//!
//! Place in the path: none; `app` turns a `Config` into rooms. The way of a file: `tree` (YAML to nodes with places,
//! `${NAME}` replaced) → `decode` (nodes to `sections` with serde) → `check` (names, ranges). Metrics: none. Tests:
//! here and in each file.

mod alerts;
mod check;
mod decode;
mod fingerprint;
mod idempotency;
mod limits;
mod problem;
mod quota;
mod routing;
mod sections;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::path::Path;

pub use alerts::{Alert, Deviation};
pub use idempotency::Idempotency;
pub use limits::{Allowance, Budget, Limits, LimitsBy};
pub(crate) use problem::with_suggestion;
pub use problem::{Place, Problem, Problems};
pub use quota::{BudgetStatus, Queue, TimeZone, Unpriced};
pub use routing::{
    Arm, Breaker, Experiment, FallbacksOn, Hedge, Load, Model, OnInterrupt, Price, Probe, Retry, Sticky,
    Strategy, Target, When,
};
pub use sections::{
    Config, Key, Ledger, LimitsIn, LogFormat, OnCancel, Priority, Protocol, Provider, Team, Telemetry,
    Timeouts, Tls, Unsupported,
};
pub use store::Store;
pub use values::{Address, Amount, Days, Moment, Secret, Share, Size, Span, Usd};

/// Name of the built-in provider and of its alias.
pub const ECHO: &str = "echo";
/// Aliases that lead to the built-in provider.
pub const ECHO_ALIASES: [&str; 2] = [ECHO, "echo-*"];

/// What a configuration may refer to that is not in the file.
pub struct Surroundings<'s> {
    /// The environment.
    pub env: &'s dyn Fn(&str) -> Option<String>,
    /// Dialects that a provider may speak.
    pub dialects: Vec<&'s str>,
    /// Lists the keys of a provider, beside those that every one has, that mean something to a dialect.
    pub keys_of: fn(&str) -> &'static [&'static str],
    /// Providers that the environment names; they count if the file has no `providers`.
    pub discovered: Vec<String>,
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, around: &Surroundings<'_>) -> Result<Config, Problems> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(yaml) => parse(&file, &yaml, around),
        Err(error) => {
            let place = Place { line: 1, column: 1 };
            let list = vec![Problem::at(place, format!("the file cannot be read: {error}"))];
            Err(Problems { file, list })
        }
    }
}

/// Reads and checks a file's text; `file` is its name for messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, yaml: &str, around: &Surroundings<'_>) -> Result<Config, Problems> {
    let mut list = Vec::new();
    let mut failed = Vec::new();
    let mut root = tree::parse(yaml, &mut list);
    tree::substitute(&mut root, around.env, &mut failed);
    let declared = check::Declared::of(&root);
    let config: Config = decode::read(&mut root, failed, &mut list);
    check::check(&config, &root, declared, around, &mut list);
    if list.is_empty() {
        return Ok(config);
    }
    list.sort();
    list.dedup();
    Err(Problems { file: file.to_owned(), list })
}

/// Returns the JSON Schema of the file, as `tollgate schema` prints it.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Config);
    format!("{:#}\n", schema.to_value())
}

impl Config {
    /// Returns what is allowed and probably not meant, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let odd = |key: &Key| {
            let known = key.team.is_empty() || self.teams.contains_key(&key.team);
            let near =
                problem::nearest(&key.team, self.teams.keys().map(String::as_str)).filter(|_| !known)?;
            Some(format!(
                "the key `{}` belongs to the team `{}`, which is not declared and has no limits; did you mean `{near}`?",
                key.name, key.team
            ))
        };
        self.keys.iter().filter_map(odd).collect()
    }

    /// Returns the configuration as JSON, as `/config` shows it: defaults filled in, secrets left out.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
