//! Azure: OpenAI's dialect at Azure's endpoints, with Azure's credentials.
//!
//! Which endpoints is told by `base_url` and `api_version`:
//!
//! | `base_url` | `api_version` | a chat goes to |
//! |---|---|---|
//! | the resource | absent, `v1` | `{base}/openai/v1/chat/completions` |
//! | the resource | `preview`, `latest` | the same, with `?api-version=` |
//! | the resource | a date | `{base}/openai/deployments/{model}/chat/completions?api-version=` |
//! | ends in `/models` (Foundry's model inference) | a date, or absent | `{base}/chat/completions?api-version=` |

use std::sync::Arc;

use ::http::{HeaderName, Uri};
use secrecy::SecretString;

use super::{
    Provider, Settings,
    credential::Credential,
    entra::{AUTHORITY, Application, Entra},
    http::Http,
    openai::{
        OpenAi, Wire,
        endpoints::{Endpoints, Layout},
    },
    registry::{self, Dialect, Environment},
    upstream::Upstream,
    vendors::{COMPATIBLE, OPENAI, Vendor},
};

/// The row of the registry.
pub const DIALECT: Dialect = Dialect {
    name: "azure",
    vendor: "azure",
    keys: &["api", "api_version", "tenant_id", "client_id", "client_secret"],
    build,
    from_environment,
};

/// What callers' SDKs read of Azure's head and that is safe to forward.
const FORWARDED: &[&str] =
    &["openai-processing-ms", "openai-version", "azureml-model-session", "x-ms-region"];
/// The key's own header.
const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// The one version of Foundry's model inference.
const INFERENCE_VERSION: &str = "2024-05-01-preview";
/// From this version on Azure knows `max_completion_tokens`.
const COMPLETION_TOKENS_SINCE: &str = "2024-09-01";

/// OpenAI's models under the v1 API and current versions by date.
static CURRENT: Vendor = Vendor { name: "azure", end_user: "user", ..OPENAI };
/// OpenAI's models under older versions by date.
static OLD: Vendor =
    Vendor { name: "azure", max_tokens: "max_tokens", end_user: "user", responses: None, ..OPENAI };
/// Everybody's models behind Foundry's model inference.
static INFERENCE: Vendor = Vendor { name: "azure", ..COMPATIBLE };

fn build(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let (base, http) = registry::connect(settings, "")?;
    let credential = credential(settings)?;
    let (base, layout, vendor) = place(&base, settings.cloud.api_version.as_deref())?;
    let endpoints = Endpoints::new(&base, layout)?;
    let upstream = Upstream::new(http, credential, FORWARDED);
    Ok(Arc::new(OpenAi::new(upstream, vendor, endpoints, Wire::of(settings))?))
}

fn credential(settings: &Settings) -> Result<Credential, String> {
    let cloud = &settings.cloud;
    match (&cloud.tenant_id, &cloud.client_id, &cloud.client_secret) {
        (None, None, None) => Credential::header(API_KEY, "", settings.api_key.as_ref()),
        (Some(_), Some(_), Some(_)) if settings.api_key.is_some() => {
            Err("`api_key` and an Entra application exclude each other".to_owned())
        }
        (Some(tenant), Some(client), Some(secret)) => {
            // The upstream itself may be plain http on loopback; the issuer of tokens never is.
            let issuer = Http::new(settings.connect_timeout, true)?;
            let application = Application::new(issuer, AUTHORITY, tenant, client, secret.clone())?;
            Ok(Credential::Signed(Arc::new(Entra::new(application))))
        }
        _ => Err("an Entra application needs `tenant_id`, `client_id` and `client_secret`".to_owned()),
    }
}

/// Decides which endpoints are asked, and what they understand.
fn place(base: &Uri, version: Option<&str>) -> Result<(Uri, Layout, &'static Vendor), String> {
    let text = base.to_string();
    let root = text.trim_end_matches('/');
    let query = |version: &str| format!("?api-version={version}");
    if root.ends_with("/models") {
        let layout = Layout { query: query(version.unwrap_or(INFERENCE_VERSION)), ..Layout::default() };
        return Ok((base.clone(), layout, &INFERENCE));
    }
    if root.contains("/openai/deployments/") {
        let resource = root.split("/openai/").next().unwrap_or_default();
        return Err(format!("`base_url` must be the resource, `{resource}`; targets name the deployment"));
    }
    let root = root.strip_suffix("/v1").unwrap_or(root);
    let root = root.strip_suffix("/openai").unwrap_or(root);
    let base = root.parse().map_err(|error| format!("`base_url` is no URL: {error}"))?;
    match version {
        None | Some("v1") => Ok((base, Layout { before: "openai/v1/", ..Layout::default() }, &CURRENT)),
        Some(version @ ("preview" | "latest")) => {
            let layout = Layout { before: "openai/v1/", query: query(version), ..Layout::default() };
            Ok((base, layout, &CURRENT))
        }
        Some(version) if is_date(version) => {
            let vendor = if version < COMPLETION_TOKENS_SINCE { &OLD } else { &CURRENT };
            let layout =
                Layout { before: "openai/", by_model: true, query: query(version), ..Layout::default() };
            Ok((base, layout, vendor))
        }
        Some(version) => {
            Err(format!("`api_version` `{version}` is neither `v1` nor a date like `2025-04-01-preview`"))
        }
    }
}

/// Tells whether a version is a date, with or without a word behind it.
fn is_date(version: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 | 10 => byte == b'-',
        0..10 => byte.is_ascii_digit(),
        _ => byte.is_ascii_lowercase(),
    };
    version.len() >= 10 && version.bytes().enumerate().all(shape)
}

fn from_environment(get: &Environment<'_>) -> Option<Settings> {
    let key = get("AZURE_OPENAI_API_KEY")?;
    let base_url = get("AZURE_OPENAI_ENDPOINT")?;
    let mut settings = Settings {
        name: DIALECT.name.to_owned(),
        dialect: DIALECT.name.to_owned(),
        base_url: Some(base_url),
        api_key: Some(SecretString::from(key)),
        ..Settings::default()
    };
    settings.cloud.api_version = get("OPENAI_API_VERSION").filter(|version| is_date(version));
    Some(settings)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tollgate_api::v1;
    use uuid::Uuid;

    use super::*;
    use crate::{
        call::Payload,
        provider::{Kind, Outgoing},
    };

    fn url(base: &str, version: Option<&str>, path: &str) -> String {
        let (base, layout, _) = place(&base.parse().unwrap(), version).unwrap();
        Endpoints::new(&base, layout).unwrap().uri(path, "gpt-5.1-chat").unwrap().to_string()
    }

    #[test]
    fn the_version_decides_the_path() {
        const HOST: &str = "https://r.openai.azure.com";
        for (version, path, expected) in [
            (None, "chat/completions", "/openai/v1/chat/completions"),
            (Some("v1"), "embeddings", "/openai/v1/embeddings"),
            (Some("preview"), "responses", "/openai/v1/responses?api-version=preview"),
            (
                Some("2025-04-01-preview"),
                "chat/completions",
                "/openai/deployments/gpt-5.1-chat/chat/completions?api-version=2025-04-01-preview",
            ),
            (
                Some("2024-02-01"),
                "embeddings",
                "/openai/deployments/gpt-5.1-chat/embeddings?api-version=2024-02-01",
            ),
            (Some("2025-04-01-preview"), "responses", "/openai/responses?api-version=2025-04-01-preview"),
        ] {
            assert_eq!(url(HOST, version, path), format!("{HOST}{expected}"));
            for tail in ["/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"] {
                assert_eq!(
                    url(&format!("{HOST}{tail}"), version, path),
                    format!("{HOST}{expected}"),
                    "{tail}"
                );
            }
        }
        for odd in ["2025", "v2", "2025-04-01&x=y", "2025-04-01-preview/.."] {
            assert!(place(&HOST.parse().unwrap(), Some(odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_deployments_address_is_refused_with_the_one_to_write() {
        let odd = "https://r.openai.azure.com/openai/deployments/d/chat/completions".parse().unwrap();
        let Err(message) = place(&odd, None) else { panic!("it is a deployment's") };
        assert!(message.contains("`https://r.openai.azure.com`"), "{message}");
    }

    #[test]
    fn foundrys_inference_is_told_by_the_base_url() {
        const BASE: &str = "https://r.services.ai.azure.com/models";
        let chat = format!("{BASE}/chat/completions?api-version=2024-05-01-preview");
        assert_eq!(url(BASE, None, "chat/completions"), chat);
        assert_eq!(url(&format!("{BASE}/"), Some("2024-05-01-preview"), "chat/completions"), chat);
    }

    #[test]
    fn old_versions_do_not_know_max_completion_tokens() {
        let names = |base: &str, version| place(&base.parse().unwrap(), version).unwrap().2.max_tokens;
        assert_eq!(names("https://r", Some("2024-06-01")), "max_tokens");
        assert_eq!(names("https://r", Some("2024-12-01-preview")), "max_completion_tokens");
        assert_eq!(names("https://r", None), "max_completion_tokens");
        assert_eq!(names("https://r/models", None), "max_tokens");
    }

    #[tokio::test]
    async fn az_model_in_path_is_asked_with_the_key_in_its_own_header() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = Settings {
            base_url: Some(format!("http://{}", listener.local_addr().unwrap())),
            api_key: Some("k1".into()),
            connect_timeout: Duration::from_secs(5),
            ..Settings::default()
        };
        settings.cloud.api_version = Some("2025-04-01-preview".to_owned());
        let upstream = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = String::new();
            let mut buffer = [0; 2048];
            while !asked.ends_with('}') {
                let read = socket.read(&mut buffer).await.unwrap();
                asked.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            let body = r#"{"error":{"code":"401","message":"Access denied"}}"#;
            let head =
                format!("HTTP/1.1 401 X\r\napim-request-id: a1\r\ncontent-length: {}\r\n\r\n", body.len());
            socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            asked
        });
        let payload =
            Payload::typed(v1::ChatInput { max_output_tokens: Some(9), ..v1::ChatInput::default() });
        let request = Outgoing {
            call_id: Uuid::nil(),
            provider: "azure",
            model: "gpt-5.1-chat",
            payload: &payload,
            streamed: false,
            usage_wanted: false,
            strict: false,
            traceparent: None,
            output_cap: None,
        };
        let Err(error) = build(&settings).unwrap().chat(request).await else { panic!("it was refused") };
        assert_eq!(
            (error.kind, error.upstream_code.as_str(), error.request_id.as_str()),
            (Kind::Denied, "401", "a1")
        );
        let asked = upstream.await.unwrap();
        let path =
            "POST /openai/deployments/gpt-5.1-chat/chat/completions?api-version=2025-04-01-preview HTTP/1.1";
        assert!(asked.starts_with(path) && asked.contains("\r\napi-key: k1\r\n"), "{asked}");
        assert!(
            !asked.contains("authorization") && asked.contains(r#""max_completion_tokens":9"#),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn half_an_application_or_two_credentials_are_a_mistake() {
        let with = |change: fn(&mut Settings)| {
            let mut settings =
                Settings { base_url: Some("http://127.0.0.1:9".to_owned()), ..Settings::default() };
            change(&mut settings);
            build(&settings).err().unwrap_or_default()
        };
        assert!(with(|settings| settings.cloud.tenant_id = Some("t".into())).contains("`client_secret`"));
        assert!(
            with(|settings| {
                settings.api_key = Some("k".into());
                settings.cloud.tenant_id = Some("t".into());
                settings.cloud.client_id = Some("c".into());
                settings.cloud.client_secret = Some("s".into());
            })
            .contains("exclude")
        );
        assert_eq!(with(|settings| settings.api_key = Some("k".into())), "");
    }

    #[test]
    fn the_environment_makes_a_provider_of_key_and_endpoint() {
        let find = |names: &'static [(&str, &str)]| {
            from_environment(&|name| {
                names.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(find(&[("AZURE_OPENAI_API_KEY", "k")]).is_none());
        let found = find(&[
            ("AZURE_OPENAI_API_KEY", "k"),
            ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/"),
            ("OPENAI_API_VERSION", "2025-04-01-preview"),
        ])
        .unwrap();
        assert_eq!(found.base_url.as_deref(), Some("https://r.openai.azure.com/"));
        assert_eq!(found.cloud.api_version.as_deref(), Some("2025-04-01-preview"));
    }
}
