//! From a provider's settings to its adapter.

use std::{sync::Arc, time::Duration};

use ::http::Uri;
use secrecy::SecretString;

use super::{Named, Provider, echo::Echo, http::Http, openai::OpenAi, vendors};

/// The dialect of the built-in provider.
pub const ECHO: &str = "echo";

/// One provider as it is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, by which targets and `provider_options` refer to it.
    pub name: String,
    /// `openai`, `echo`, or the name of a vendor of the table.
    pub dialect: String,
    /// Where its API is, as the vendor's own SDK takes it; the vendor's own if absent.
    pub base_url: Option<String>,
    /// The credential, sent to `base_url` only; absent for servers that need none.
    pub api_key: Option<SecretString>,
    /// How long making a connection (name, TCP, TLS) may take.
    pub connect_timeout: Duration,
}

/// Lists what `Settings::dialect` may say.
pub fn dialects() -> impl Iterator<Item = &'static str> {
    std::iter::once(ECHO).chain(vendors::VENDORS.iter().map(|vendor| vendor.name))
}

/// Builds a provider. Sends nothing.
///
/// # Errors
/// A message for operators that names the provider and what to correct.
pub fn build(settings: Settings) -> Result<Named, String> {
    let name: Arc<str> = settings.name.as_str().into();
    if settings.dialect == ECHO {
        return Ok(Named { name, vendor: ECHO.into(), adapter: Arc::new(Echo) });
    }
    let wrong = |what: String| format!("provider `{}`: {what}", settings.name);
    let vendor = vendors::find(&settings.dialect)
        .ok_or_else(|| wrong(format!("there is no dialect `{}`", settings.dialect)))?;
    let base_url = settings.base_url.as_deref().unwrap_or(vendor.base_url);
    let base = parse_base_url(base_url).map_err(wrong)?;
    let https = base.scheme_str() == Some("https");
    let http = Http::new(settings.connect_timeout, https).map_err(wrong)?;
    let adapter: Arc<dyn Provider> =
        Arc::new(OpenAi::new(http, vendor, &base, settings.api_key.clone()).map_err(wrong)?);
    Ok(Named { name, vendor: vendor.name.into(), adapter })
}

/// Reads a base URL: absolute, http or https, without credentials, query or trailing slashes.
fn parse_base_url(text: &str) -> Result<Uri, String> {
    if text.is_empty() {
        return Err("`base_url` is missing".to_owned());
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
            api_key: None,
            connect_timeout: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_custom_host_keeps_the_dialects_vendor() {
        let named = build(settings("openai", Some("http://127.0.0.1:9/v1/"))).unwrap();
        assert_eq!((&*named.name, &*named.vendor), ("mine", "openai"));
        assert_eq!(&*build(settings("echo", None)).unwrap().vendor, "echo");
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
            let Err(message) = build(settings(dialect, base_url)) else { panic!("{dialect} {base_url:?}") };
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
