//! From a provider's settings to its adapter.

use std::{sync::Arc, time::Duration};

use ::http::Uri;
use secrecy::SecretString;

use super::{
    Named, Provider, anthropic, azure, bedrock, cohere, echo::Echo, gemini, http, http::Http, vendors,
};

/// The dialect of the built-in provider.
pub const ECHO: &str = "echo";

/// One provider as it is configured.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Its name, by which targets and `provider_options` refer to it.
    pub name: String,
    /// The name of a dialect: an entry of the registry, or of the table of vendors.
    pub dialect: String,
    /// Where its API is, as the vendor's own SDK takes it; the vendor's own if absent.
    pub base_url: Option<String>,
    /// The credential, sent to `base_url` only; absent for servers that need none.
    pub api_key: Option<SecretString>,
    /// The name of the credential, where the provider has several; else empty.
    pub credential: String,
    /// How long making a connection (name, TCP, TLS) may take.
    pub connect_timeout: Duration,
    /// Whether a parameter that the vendor does not know refuses a call that says nothing about it.
    pub rejects_unsupported: bool,
    /// Whether it bills an answer to its end though nobody hears it, so that it is read to its end.
    pub drains: bool,
    /// The version of HTTP it is spoken to by.
    pub protocol: http::Protocol,
    /// What only some dialects need.
    pub cloud: Cloud,
    /// Tells of a vendor's model whether the Responses API is the only one it answers by; absent: of none.
    pub responses_only: Option<fn(&str, &str) -> bool>,
}

/// Settings of the clouds' own dialects, under the names they have in the configuration.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// Which of its wires a vendor of OpenAI's family is spoken to by: `chat` or `responses`.
    pub api: Option<String>,
    /// Azure: version of the API by date, or `v1`.
    pub api_version: Option<String>,
    /// AWS region, or Google Cloud location.
    pub region: Option<String>,
    /// Google Cloud project.
    pub project: Option<String>,
    /// Google: file with a service account's key, or the JSON itself.
    pub credentials: Option<SecretString>,
    /// AWS: name of a profile of the shared configuration files.
    pub profile: Option<String>,
    /// AWS: static key.
    pub access_key_id: Option<String>,
    /// AWS: secret of the static key.
    pub secret_access_key: Option<SecretString>,
    /// AWS: session of a temporary static key.
    pub session_token: Option<SecretString>,
    /// AWS: role to assume with the web identity token.
    pub role_arn: Option<String>,
    /// AWS: file with the web identity token.
    pub web_identity_token_file: Option<String>,
    /// Azure: Entra tenant.
    pub tenant_id: Option<String>,
    /// Azure: Entra application.
    pub client_id: Option<String>,
    /// Azure: secret of the application.
    pub client_secret: Option<SecretString>,
}

/// Reads an environment variable; empty counts as unset.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A dialect that is not OpenAI's. One row of `DIALECTS`.
pub struct Dialect {
    /// What `dialect` says in the configuration.
    pub name: &'static str,
    /// The catalog's name of the vendor.
    pub vendor: &'static str,
    /// Keys of `Cloud` that mean something to it.
    pub keys: &'static [&'static str],
    /// Makes the adapter. Sends nothing.
    pub build: fn(&Settings) -> Result<Arc<dyn Provider>, String>,
    /// Finds what the vendor's own SDK would use, and makes a provider of the dialect's name of it.
    pub from_environment: fn(&Environment<'_>) -> Option<Settings>,
}

/// Every dialect that is not OpenAI's.
static DIALECTS: &[Dialect] = &[
    Dialect {
        name: ECHO,
        vendor: ECHO,
        keys: &[],
        build: |_| Ok(Arc::new(Echo)),
        from_environment: |_| None,
    },
    azure::DIALECT,
    Dialect {
        name: "gemini",
        vendor: "gemini",
        keys: &[],
        build: gemini::place::build_studio,
        from_environment: gemini::place::studio_from_environment,
    },
    Dialect {
        name: "vertex",
        vendor: "vertex",
        keys: &["project", "region", "credentials"],
        build: gemini::place::build_vertex,
        from_environment: gemini::place::vertex_from_environment,
    },
    Dialect {
        name: bedrock::FAMILY,
        vendor: "bedrock",
        keys: bedrock::KEYS,
        build: bedrock::build,
        from_environment: bedrock::from_environment,
    },
    bedrock::mantle::DIALECT,
    cohere::DIALECT,
    anthropic::place::OWN,
    anthropic::place::VERTEX,
];

/// Lists what `Settings::dialect` may say.
pub fn dialects() -> impl Iterator<Item = &'static str> {
    let own = DIALECTS.iter().map(|dialect| dialect.name);
    own.chain(vendors::VENDORS.iter().map(|vendor| vendor.name))
}

/// Lists the keys of `Cloud` that mean something to a dialect.
pub fn keys_of(dialect: &str) -> &'static [&'static str] {
    let own = DIALECTS.iter().find(|own| own.name == dialect).map(|own| own.keys);
    own.unwrap_or(vendors::KEYS)
}

/// Finds the providers for which the environment has what their own SDKs would use.
pub fn from_environment(get: &dyn Fn(&str) -> Option<String>) -> Vec<Settings> {
    let get = |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let mut found = vendors::from_environment(&get);
    found.extend(DIALECTS.iter().filter_map(|dialect| (dialect.from_environment)(&get)));
    for settings in &mut found {
        settings.connect_timeout = Duration::from_secs(1);
    }
    found
}

/// Builds a provider. Sends nothing.
///
/// # Errors
/// A message for operators that names the provider and what to correct.
pub fn build(settings: &Settings) -> Result<Named, String> {
    let wrong = |what: String| format!("provider `{}`: {what}", settings.name);
    let (vendor, adapter) = match DIALECTS.iter().find(|dialect| dialect.name == settings.dialect) {
        Some(dialect) => (dialect.vendor, (dialect.build)(settings)),
        None => {
            let vendor = vendors::find(&settings.dialect)
                .ok_or_else(|| wrong(format!("there is no dialect `{}`", settings.dialect)))?;
            (vendor.catalogs_name(), vendors::build(settings, vendor))
        }
    };
    let adapter = adapter.map_err(wrong)?;
    let named = Named::new(&settings.name, vendor, adapter);
    let credential = settings.credential.as_str().into();
    let Settings { rejects_unsupported, drains, .. } = *settings;
    Ok(Named { credential, rejects_unsupported, drains, ..named })
}

/// Makes the connections to a provider's base URL, or to the vendor's own if it has none.
///
/// # Errors
/// A message for operators.
pub fn connect(settings: &Settings, vendors_own: &str) -> Result<(Uri, Http), String> {
    let base = parse_base_url(settings.base_url.as_deref().unwrap_or(vendors_own))?;
    let https = base.scheme_str() == Some("https");
    Ok((base, Http::speaking(settings.protocol, settings.connect_timeout, https)?))
}

/// Reads a base URL: absolute, http or https, without credentials, query or trailing slashes.
fn parse_base_url(text: &str) -> Result<Uri, String> {
    if text.is_empty() {
        return Err("`base_url` is missing: this dialect has no address of its own".to_owned());
    }
    let uri: Uri = text
        .trim()
        .trim_end_matches('/')
        .parse()
        .map_err(|error| format!("`base_url` is no URL: {error}"))?;
    let Some(authority) = uri.authority() else {
        return Err("`base_url` must begin with http:// or https://".to_owned());
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("`base_url` must begin with http:// or https://".to_owned());
    }
    if authority.as_str().contains('@') {
        return Err("`base_url` must not hold credentials; use `api_key`".to_owned());
    }
    if uri.query().is_some() {
        return Err("`base_url` must not have a query".to_owned());
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dialect: &str, base_url: Option<&str>) -> Settings {
        Settings {
            name: "mine".to_owned(),
            dialect: dialect.to_owned(),
            base_url: base_url.map(str::to_owned),
            connect_timeout: Duration::from_secs(1),
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn a_custom_host_keeps_the_dialects_vendor() {
        let named = build(&settings("openai", Some("http://127.0.0.1:9/v1/"))).unwrap();
        assert_eq!((&*named.name, &*named.vendor), ("mine", "openai"));
        assert_eq!(&*build(&settings("echo", None)).unwrap().vendor, "echo");
    }

    #[tokio::test]
    async fn every_mistake_is_named() {
        for (dialect, base_url, said) in [
            ("opena", None, "no dialect `opena`"),
            ("compatible", None, "`base_url` is missing"),
            ("openai", Some("127.0.0.1:9"), "must begin with http"),
            ("openai", Some("ftp://x/v1"), "must begin with http"),
            ("openai", Some("http://u:p@x/v1"), "must not hold credentials"),
            ("openai", Some("http://x/v1?a=b"), "must not have a query"),
            ("openai", Some("http://x y"), "is no URL"),
        ] {
            let Err(message) = build(&settings(dialect, base_url)) else { panic!("{dialect} {base_url:?}") };
            assert!(message.contains(said) && message.contains("`mine`"), "{message}");
        }
    }

    #[test]
    fn every_vendor_of_the_table_is_a_dialect() {
        assert!(dialects().any(|dialect| dialect == "openai"));
        assert!(dialects().any(|dialect| dialect == "groq"));
        assert_eq!(dialects().next(), Some("echo"));
    }
}
