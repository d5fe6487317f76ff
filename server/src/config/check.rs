//! What a well-formed configuration can still get wrong: names that point nowhere, twice the same, values out of range.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use secrecy::ExposeSecret as _;

use super::{
    Config, Surroundings,
    decode::path_of,
    problem::{Problem, with_suggestion},
    routing::Model,
    sections::{Key, Provider},
    tree::{Node, Value, shown},
};
use crate::{
    call::{Scope, check_tags},
    telemetry,
};

/// Shortest and longest declared key, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=512;

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

/// Adds what is wrong with `config`, which was read from `root`. `providers` are the names that the file declares,
/// those whose settings could not be read included.
pub(super) fn check(
    config: &Config,
    root: &Node,
    providers: &BTreeSet<String>,
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
    let mut known = providers.clone();
    if config.providers.is_none() {
        known.extend(around.discovered.iter().cloned());
    }
    if config.echo {
        known.insert(super::ECHO.to_owned());
    }
    for (alias, model) in config.models.iter().flatten() {
        checker.model(alias, model, &known);
    }
    checker.keys(&config.keys);
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
        if let Err(message) = config.store_path(Path::new("")) {
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

    fn provider(&mut self, name: &str, provider: &Provider, around: &Surroundings<'_>) {
        let here = [Name("providers"), Name(name)];
        let plain = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
        self.require(
            !name.is_empty() && name.chars().all(plain),
            &here,
            "a provider's name is made of letters, digits, `_`, `.` and `-`",
        );
        if around.dialects.contains(&provider.dialect.as_str()) {
            let understood = (around.keys_of)(&provider.dialect);
            for key in provider.cloud_keys().filter(|key| !understood.contains(key)) {
                let message = format!("`{key}` means nothing to the dialect `{}`", provider.dialect);
                self.report(&[here[0], here[1], Name(key)], message);
            }
        } else {
            let message = format!("there is no dialect `{}`", shown(&provider.dialect));
            let message = with_suggestion(message, &provider.dialect, around.dialects.iter().copied());
            self.report(&[here[0], here[1], Name("dialect")], message);
        }
        if let Some(Err(message)) = provider.base_url.as_deref().map(check_url) {
            self.report(&[here[0], here[1], Name("base_url")], message);
        }
        if let Some(key) = provider.api_key.as_ref().and_then(super::Secret::filled) {
            let visible = key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
            self.require(
                visible,
                &[here[0], here[1], Name("api_key")],
                "must be visible ASCII characters without spaces or line breaks",
            );
        }
    }

    fn model(&mut self, alias: &str, model: &Model, providers: &BTreeSet<String>) {
        let here = [Name("models"), Name(alias)];
        if let Err(message) = check_glob(alias, true) {
            self.report(&here, message);
        }
        let targets = [here[0], here[1], Name("targets")];
        self.require(!model.targets.is_empty(), &targets, "an alias needs at least one target");
        for (number, target) in model.targets.iter().enumerate() {
            let target_at = |field| [here[0], here[1], Name("targets"), Item(number), Name(field)];
            if !providers.contains(&target.provider) {
                let message = format!("there is no provider `{}`", shown(&target.provider));
                let message =
                    with_suggestion(message, &target.provider, providers.iter().map(String::as_str));
                self.report(&target_at("provider"), message);
            }
            if let Err(message) = check_glob(&target.model, true) {
                self.report(&target_at("model"), message);
            }
            self.require(
                !target.model.contains('*') || alias.contains('*'),
                &target_at("model"),
                "a `*` stands for what the alias's `*` matched, but the alias has none",
            );
        }
        self.require(
            model.first_token.is_none_or(|span| !span.0.is_zero()),
            &[here[0], here[1], Name("first_token")],
            "must be longer than nothing, or every call fails",
        );
        self.require(
            (1..=10).contains(&model.retry.attempts),
            &[here[0], here[1], Name("retry"), Name("attempts")],
            "must lie between 1 and 10",
        );
    }

    fn keys(&mut self, keys: &[Key]) {
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut secrets: HashMap<&str, &str> = HashMap::new();
        for (number, key) in keys.iter().enumerate() {
            let at = |field| [Name("keys"), Item(number), Name(field)];
            self.require(!key.name.trim().is_empty(), &at("name"), "a key needs a name");
            if names.insert(&key.name, number).is_some() {
                self.report(&at("name"), format!("the name `{}` is taken by a key above", shown(&key.name)));
            }
            let secret = key.key.filled().map_or("", |key| key.expose_secret());
            let sound =
                KEY_BYTES.contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
            self.require(sound, &at("key"), "must be 32 to 512 visible ASCII characters without spaces");
            if let Some(other) = secrets.insert(secret, &key.name).filter(|_| sound) {
                self.report(&at("key"), format!("is the same as that of the key `{}`", shown(other)));
            }
            self.key_rights(number, key);
        }
    }

    fn key_rights(&mut self, number: usize, key: &Key) {
        let here = [Name("keys"), Item(number)];
        for (index, scope) in key.scopes.iter().flatten().enumerate() {
            if Scope::from_name(scope).is_none() {
                let message = format!("there is no scope `{}`", shown(scope));
                let message = with_suggestion(message, scope, Scope::ALL.map(Scope::as_str));
                self.report(&[here[0], here[1], Name("scopes"), Item(index)], message);
            }
        }
        for (index, glob) in key.models.iter().enumerate() {
            if let Err(message) = check_glob(glob, false) {
                self.report(&[here[0], here[1], Name("models"), Item(index)], message);
            }
        }
        for (tag, value) in &key.tags {
            let one = BTreeMap::from([(tag.clone(), value.clone())]);
            if let Err(error) = check_tags("tags", &one) {
                self.report(&[here[0], here[1], Name("tags"), Name(tag)], error.facts().message.clone());
            }
        }
        if let Err(error) = check_tags("tags", &key.tags).map_err(|error| error.facts().message.clone())
            && key.tags.len() > 1
            && error.starts_with("at most")
        {
            self.report(&[here[0], here[1], Name("tags")], error);
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
