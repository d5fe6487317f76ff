//! What a well-formed configuration can still get wrong: names that point nowhere, twice the same, values out of range.

mod aliases;
mod keys;
mod limits;
mod models;
mod providers;
mod ranges;
mod teams;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::Path};

use secrecy::ExposeSecret as _;

use super::{
    Config, Surroundings,
    decode::path_of,
    problem::Problem,
    tree::{Node, Value, shown},
};
use crate::telemetry;

/// Shortest pepper, in bytes.
const MIN_PEPPER: usize = 32;

/// Names that the file declares, those whose settings could not be read included.
pub(super) struct Declared {
    /// The entries of `providers`.
    pub(super) providers: BTreeSet<String>,
    /// The entries of `models`.
    pub(super) models: BTreeSet<String>,
}

impl Declared {
    /// Reads the names of a file.
    pub(super) fn of(root: &Node) -> Self {
        let names = |section| {
            root.entry(section).iter().flat_map(|(_, names)| names.names()).map(str::to_owned).collect()
        };
        Self { providers: names("providers"), models: names("models") }
    }
}

/// One step of the way to a node.
#[derive(Clone, Copy)]
enum Step<'s> {
    Name(&'s str),
    Item(usize),
}

use Step::{Item, Name};

struct Checker<'c> {
    root: &'c Node,
    problems: &'c mut Vec<Problem>,
}

/// Adds what is wrong with `config`, which was read from `root`.
pub(super) fn check(
    config: &Config,
    root: &Node,
    mut declared: Declared,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut checker = Checker { root, problems };
    checker.top(config);
    checker.timeouts(config);
    checker.tls(config);
    for (name, provider) in config.providers.iter().flatten() {
        checker.provider(name, provider, around);
    }
    if config.providers.is_none() {
        declared.providers.extend(around.discovered.iter().cloned());
    }
    if config.echo {
        declared.providers.insert(super::ECHO.to_owned());
        declared.models.extend(super::ECHO_ALIASES.map(str::to_owned));
    }
    for (alias, model) in config.models.iter().flatten() {
        checker.model(alias, model, &declared);
    }
    checker.cycles(config.models.iter().flatten());
    checker.ranges(config);
    checker.keys(&config.keys);
    checker.teams(&config.teams);
    checker.allowance(config.allowance(), &[]);
}

impl Checker<'_> {
    /// Reports a problem at the node that the steps lead to, or at the last one on the way that the file has.
    fn report(&mut self, steps: &[Step<'_>], message: impl Into<String>) {
        let (mut node, mut id, mut place) = (self.root, self.root.id, self.root.place);
        for step in steps {
            let next = match (step, &node.value) {
                (Name(name), _) => node.entry(name).map(|(key, value)| (value, key.place)),
                (Item(number), Value::List(items)) => items.get(*number).map(|(_, item)| (item, item.place)),
                (Item(_), _) => None,
            };
            let Some((next, start)) = next else { break };
            // A mapping starts where its first key does; its own key is the better place.
            place = if matches!(next.value, Value::Scalar { .. }) { next.place } else { start };
            (node, id) = (next, next.id);
        }
        let mut message = message.into();
        if let Value::Scalar { text, written: Some(written) } = &node.value {
            // What came from the environment may be a secret in the wrong place.
            message = message.replace(&format!("`{}`", shown(text)), &format!("`{}`", shown(written)));
        }
        self.problems.push(Problem { place, path: path_of(self.root, id), message });
    }

    fn require(&mut self, holds: bool, steps: &[Step<'_>], message: &str) {
        if !holds {
            self.report(steps, message);
        }
    }

    fn top(&mut self, config: &Config) {
        self.require(
            config.listen != config.ops_listen || config.listen.0.ends_with(":0"),
            &[Name("ops_listen")],
            "`listen` and `ops_listen` need different addresses",
        );
        if let Err(message) = config.store_path(Path::new("")).and_then(|_| config.store_postgres()) {
            self.report(&[Name("store")], message);
        }
        for (number, origin) in config.cors.iter().enumerate() {
            self.require(
                origin == "*" || is_origin(origin),
                &[Name("cors"), Item(number)],
                "not an origin; write scheme and host without a path, like `https://app.example.com`, or `\"*\"`",
            );
        }
        if let Some(key) = config.admin_key.as_ref().and_then(super::Secret::filled) {
            let visible = key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
            self.require(visible, &[Name("admin_key")], "must be visible ASCII characters without spaces");
        }
        if let Some(pepper) = config.pepper.as_ref().and_then(super::Secret::filled) {
            let long = pepper.expose_secret().len() >= MIN_PEPPER;
            self.require(long, &[Name("pepper")], "must have at least 32 characters, drawn at random");
        }
        if let Err(message) = telemetry::log::check(&config.telemetry.log) {
            self.report(&[Name("telemetry"), Name("log")], message);
        }
        let sizes = &config.limits_in;
        for (name, size) in [("header", sizes.header), ("body", sizes.body), ("message", sizes.message)] {
            let fits = (1024..=1 << 30).contains(&size.0);
            self.require(fits, &[Name("limits_in"), Name(name)], "must lie between `1KiB` and `1GiB`");
        }
    }

    fn timeouts(&mut self, config: &Config) {
        let times = &config.timeouts;
        let positive = [
            ("connect", times.connect),
            ("first_token", times.first_token),
            ("idle", times.idle),
            ("total", times.total),
            ("write", times.write),
        ];
        for (name, span) in positive {
            let steps = [Name("timeouts"), Name(name)];
            self.require(!span.0.is_zero(), &steps, "must be longer than nothing, or every call fails");
        }
    }

    fn tls(&mut self, config: &Config) {
        let Some(tls) = &config.tls else { return };
        let files =
            [("cert", Some(&tls.cert)), ("key", Some(&tls.key)), ("client_ca", tls.client_ca.as_ref())];
        for (name, file) in files.into_iter().filter_map(|(name, file)| Some((name, file?))) {
            if let Err(error) = std::fs::File::open(file) {
                let message = format!("the file `{}` cannot be read: {error}", file.display());
                self.report(&[Name("tls"), Name(name)], message);
            }
        }
    }
}

/// Checks a model name or a pattern of names.
fn check_glob(glob: &str, one_star: bool) -> Result<(), &'static str> {
    if glob.is_empty() {
        return Err("a model's name must not be empty");
    }
    if glob.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Err("a model's name has no spaces");
    }
    if glob.contains(['?', '[', ']', '{', '}']) {
        return Err("in a pattern only `*` is special; `?`, `[…]` and `{…}` are not known");
    }
    if one_star && glob.matches('*').count() > 1 {
        return Err("at most one `*` can be used here");
    }
    Ok(())
}

/// Checks a provider's address. What is wrong is not shown: it may hold credentials.
fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: http::Uri = url.parse().map_err(|_| "not a URL; write e.g. `https://api.openai.com/v1`")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err("a URL starts with `http://` or `https://` and a host, like `https://api.openai.com/v1`");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("credentials do not belong into the URL; use `api_key`");
    }
    if uri.query().is_some() || url.contains('#') {
        return Err("a base URL has neither `?` nor `#`");
    }
    Ok(())
}

fn is_origin(origin: &str) -> bool {
    check_url(origin).is_ok()
        && origin.split_once("://").is_some_and(|(_, host)| !host.contains('/'))
        && origin == origin.to_ascii_lowercase()
}
