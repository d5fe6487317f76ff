//! The table of vendors that speak OpenAI's dialect: a row is all that a new one needs.

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    Provider, Settings,
    credential::Credential,
    openai::{self, OpenAi},
    registry::{self, Environment},
    upstream::Upstream,
};

/// What tells one vendor of the dialect from another.
#[derive(Debug)]
pub struct Vendor {
    /// Its name: the catalog's, and the `dialect` of a configured provider.
    pub name: &'static str,
    /// Where its API is, as its own SDK takes it. Empty: must be configured.
    pub base_url: &'static str,
    /// The environment variable its own SDK reads the key from.
    pub key_env: &'static str,
    /// The parameter that bounds the output.
    pub max_tokens: &'static str,
    /// The parameter that names the end user.
    pub end_user: &'static str,
    /// It takes `top_k`, `min_p` and `repetition_penalty`, as vLLM does.
    pub open_sampling: bool,
    /// It answers embeddings in base64 when asked to.
    pub base64_embeddings: bool,
    /// Its Responses API, if it has one.
    pub responses: Option<ResponsesApi>,
}

/// What a vendor's Responses API can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponsesApi {
    /// It counts the tokens of a prompt.
    pub counts: bool,
    /// It gives out the state of reasoning when asked to.
    pub encrypted_reasoning: bool,
}

/// OpenAI itself, and whatever is configured with `dialect: openai`.
pub const OPENAI: Vendor = Vendor {
    name: "openai",
    base_url: "https://api.openai.com/v1",
    key_env: "OPENAI_API_KEY",
    max_tokens: "max_completion_tokens",
    end_user: "safety_identifier",
    open_sampling: false,
    base64_embeddings: true,
    responses: Some(ResponsesApi { counts: true, encrypted_reasoning: true }),
};

const fn compatible(name: &'static str, base_url: &'static str, key_env: &'static str) -> Vendor {
    Vendor {
        name,
        base_url,
        key_env,
        max_tokens: "max_tokens",
        end_user: "user",
        open_sampling: true,
        base64_embeddings: false,
        responses: None,
    }
}

const fn with_responses(vendor: Vendor, encrypted_reasoning: bool) -> Vendor {
    Vendor { responses: Some(ResponsesApi { counts: false, encrypted_reasoning }), ..vendor }
}

/// Every vendor of the dialect.
pub const VENDORS: &[Vendor] = &[
    OPENAI,
    compatible("compatible", "", ""),
    with_responses(compatible("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"), false),
    with_responses(compatible("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"), false),
    compatible("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    compatible("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    with_responses(compatible("xai", "https://api.x.ai/v1", "XAI_API_KEY"), true),
    with_responses(compatible("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"), true),
    compatible("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    compatible("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    compatible("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    compatible("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN"),
    compatible("ollama", "http://127.0.0.1:11434/v1", ""),
];

/// Finds the vendor of that name.
pub fn find(name: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.name == name)
}

/// Keys of the cloud settings that mean something to every vendor of the table.
pub const KEYS: &[&str] = &["api"];

/// Builds the adapter of a vendor.
///
/// # Errors
/// A message for operators.
pub fn build(settings: &Settings, vendor: &'static Vendor) -> Result<Arc<dyn Provider>, String> {
    let (base, http) = registry::connect(settings, vendor.base_url)?;
    let credential = Credential::bearer(settings.api_key.as_ref())?;
    let upstream = Upstream::new(http, credential, openai::FORWARDED);
    let wire = openai::Wire { api: settings.cloud.api.as_deref(), responses_only: settings.responses_only };
    Ok(Arc::new(OpenAi::new(upstream, vendor, &base, wire)?))
}

/// Finds the vendors for which the environment has what their own SDKs would use: a key, or `OLLAMA_HOST`.
pub fn from_environment(get: &Environment<'_>) -> Vec<Settings> {
    let with_key = VENDORS.iter().filter(|vendor| !vendor.key_env.is_empty()).filter_map(|vendor| {
        let key = get(vendor.key_env)?;
        let base_url = if vendor.name == OPENAI.name { get("OPENAI_BASE_URL") } else { None };
        Some(settings(vendor.name, base_url, Some(key)))
    });
    let ollama = get("OLLAMA_HOST").map(|host| settings("ollama", Some(ollama_url(&host)), None));
    with_key.chain(ollama).collect()
}

fn settings(name: &str, base_url: Option<String>, key: Option<String>) -> Settings {
    Settings {
        name: name.to_owned(),
        dialect: name.to_owned(),
        base_url,
        api_key: key.map(SecretString::from),
        ..Settings::default()
    }
}

/// Ollama's variable is what its server listens on: perhaps without scheme or port, perhaps on all addresses.
fn ollama_url(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let authority = rest.split('/').next().unwrap_or_default();
    let authority = authority.replacen("0.0.0.0", "127.0.0.1", 1);
    let authority = match authority.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => authority,
    };
    let has_port = authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
    let port = if has_port || scheme == "https" { "" } else { ":11434" };
    format!("{scheme}://{authority}{port}/v1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_the_environment_make_providers() {
        let found = registry::from_environment(&|name| match name {
            "OPENAI_API_KEY" | "GROQ_API_KEY" => Some("k".to_owned()),
            "XAI_API_KEY" => Some("  ".to_owned()),
            _ => None,
        });
        let names: Vec<&str> = found.iter().map(|settings| settings.name.as_str()).collect();
        assert_eq!(names, ["openai", "groq"]);
        assert!(found.iter().all(|settings| settings.base_url.is_none() && settings.api_key.is_some()));
    }

    #[test]
    fn ollamas_host_may_lack_scheme_and_port() {
        for (host, url) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
            ("box", "http://box:11434/v1"),
            (":9999", "http://127.0.0.1:9999/v1"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1"),
            ("https://ollama.example/", "https://ollama.example/v1"),
            ("[::1]:1", "http://[::1]:1/v1"),
            ("[::1]", "http://[::1]:11434/v1"),
        ] {
            assert_eq!(ollama_url(host), url, "{host}");
        }
    }

    #[test]
    fn names_are_unique() {
        for vendor in VENDORS {
            assert_eq!(
                VENDORS.iter().filter(|other| other.name == vendor.name).count(),
                1,
                "{}",
                vendor.name
            );
        }
    }
}
