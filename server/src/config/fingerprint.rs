//! One short name for a configuration: the same on every replica that has the same one, another as soon as anything in
//! it is another, secrets included.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Config, Provider, Secret};

/// What the hash is for; another use would have another context, and so other hashes.
const CONTEXT: &str = "tollgate 2026-11-21 hash of a configuration";
/// Length of the hash in bytes: enough to tell configurations apart, too short to find a secret by.
const LENGTH: usize = 8;

impl Config {
    /// Returns the hash of the configuration and of the providers that the environment names, with their credentials.
    /// All secrets go into one hash, so that none of them can be guessed without all the others.
    pub fn fingerprint<'a>(
        &self,
        discovered: impl IntoIterator<Item = (&'a str, Option<&'a SecretString>)>,
    ) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(self.to_json().as_bytes());
        for (name, secret) in self.secrets() {
            add(name.as_bytes());
            add(secret.and_then(Secret::filled).map_or("", |secret| secret.expose_secret()).as_bytes());
        }
        for (name, credential) in discovered {
            add(name.as_bytes());
            add(credential.map_or("", |secret| secret.expose_secret()).as_bytes());
        }
        let mut hash = [0; LENGTH];
        hasher.finalize_xof().fill(&mut hash);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns everything that `to_json` leaves out, in the order of the file; with its name where the file gives it one.
    fn secrets(&self) -> impl Iterator<Item = (&str, Option<&Secret>)> {
        let providers = self.providers.iter().flatten().flat_map(|(_, provider)| provider.secrets());
        let keys = self.keys.iter().map(|key| ("", Some(&key.key)));
        let own =
            [self.admin_key.as_ref(), self.pepper.as_ref(), self.shared.as_ref(), Some(self.store.exposed())];
        own.map(|secret| ("", secret)).into_iter().chain(providers).chain(keys)
    }
}

impl Provider {
    fn secrets(&self) -> impl Iterator<Item = (&str, Option<&Secret>)> {
        let Self { api_key, api_keys, credentials, secret_access_key, session_token, client_secret, .. } =
            self;
        let unnamed = [api_key, credentials, secret_access_key, session_token, client_secret];
        let named = api_keys.iter().map(|(name, secret)| (name.as_str(), Some(secret)));
        unnamed.map(|secret| ("", secret.as_ref())).into_iter().chain(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    fn config(admin: &str, provider: &[(&str, &str)], key: &str) -> Config {
        let mut body = serde_json::json!({ "dialect": "openai" });
        for (name, secret) in provider {
            body[*name] = (*secret).into();
        }
        if let Some(keys) = body["api_keys"].as_str().map(|name| serde_json::json!({ name: "x" })) {
            body["api_keys"] = keys;
        }
        let read = |value: serde_json::Value| serde_json::from_value::<Provider>(value).unwrap();
        let key: Key = serde_json::from_value(serde_json::json!({ "name": "k", "key": key })).unwrap();
        Config {
            admin_key: Some(serde_json::from_value(admin.into()).unwrap()),
            providers: Some([("p".to_owned(), read(body))].into()),
            keys: vec![key],
            ..Config::default()
        }
    }

    #[test]
    fn whatever_changes_changes_the_hash_and_nothing_else_does() {
        let hash = |config: &Config| config.fingerprint([]);
        let plain = config("a", &[], "k");
        assert_eq!(hash(&plain), hash(&plain.clone()));
        assert_eq!(hash(&plain).len(), 2 * LENGTH);
        let echo = Config { echo: false, ..plain.clone() };
        let shared =
            Config { shared: Some(serde_json::from_value("redis://x".into()).unwrap()), ..plain.clone() };
        let store = |url: &str| Config { store: url.into(), ..plain.clone() };
        let mut hashes = vec![
            hash(&store("postgres://u:one@h/d")),
            hash(&store("postgres://u:two@h/d")),
            hash(&plain),
            hash(&echo),
            hash(&shared),
            hash(&config("b", &[], "k")),
            hash(&config("a", &[], "l")),
        ];
        for name in ["api_key", "credentials", "secret_access_key", "session_token", "client_secret"] {
            hashes.push(hash(&config("a", &[(name, "x")], "k")));
        }
        hashes.push(hash(&config("a", &[("api_keys", "one")], "k")));
        hashes.push(hash(&config("a", &[("api_keys", "two")], "k")));
        let found = SecretString::from("sk-found");
        hashes.push(plain.fingerprint([("openai", None)]));
        hashes.push(plain.fingerprint([("openai", Some(&found))]));
        let count = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), count, "{hashes:?}");
    }
}
