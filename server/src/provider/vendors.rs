//! The table of vendors that speak OpenAI's dialect: a row is all that a new one needs.

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    Provider, Settings,
    credential::Credential,
    openai::{
        self, OpenAi, Wire,
        endpoints::{Endpoints, Layout},
    },
    registry::{self, Environment},
    upstream::Upstream,
};

mod table;

pub use table::{COMPATIBLE, OPENAI, VENDORS};

/// What tells one vendor of the dialect from another.
#[derive(Debug)]
pub struct Vendor {
    /// Its name: the catalog's, and the `dialect` of a configured provider.
    pub name: &'static str,
    /// Where its API is, as its own SDK takes it. Empty: must be configured.
    pub base_url: &'static str,
    /// The environment variable its own SDK reads the key from. Empty: none is looked for.
    pub key_env: &'static str,
    /// Paths that it names otherwise: OpenAI's, then its own.
    pub paths: &'static [(&'static str, &'static str)],
    /// It is OpenAI's own API, with developer messages and `allowed_tools`.
    pub native: bool,
    /// Its wire is so close to OpenAI's that callers' bytes may pass as they are.
    pub express: bool,
    /// It takes `stream_options`; without them it tells usage anyway.
    pub stream_options: bool,
    /// Some versions of it send neither usage nor `[DONE]`: its streams may end with a finish reason.
    pub ends_bare: bool,
    /// The parameter that bounds the output.
    pub max_tokens: &'static str,
    /// The parameter that names the end user. Empty: it has none.
    pub end_user: &'static str,
    /// The parameter that makes sampling repeatable.
    pub seed: &'static str,
    /// The word of `tool_choice` for "call some tool".
    pub required: &'static str,
    /// It takes `top_k`, `min_p` and `repetition_penalty`, as vLLM does.
    pub open_sampling: bool,
    /// Fields of `ChatInput` that it refuses the call for; rows of `openai/refused.rs`.
    pub refuses: &'static [&'static str],
    /// How it takes documents.
    pub documents: Documents,
    /// It gives and takes thoughts as parts of the content.
    pub thinking_parts: bool,
    /// Its models may begin an answer with `<think>`: what stands there is a thought.
    pub think_tags: bool,
    /// It goes on with a last message of the assistant only if that says `prefix`.
    pub prefix: bool,
    /// How it is asked for embeddings.
    pub embeddings: Embeddings,
    /// It has the legacy `/completions`.
    pub completions: bool,
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

/// How a vendor takes documents in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Documents {
    /// As OpenAI: `file` with bytes or an id.
    File,
    /// As Mistral: `document_url`, a text.
    DocumentUrl,
    /// As Perplexity: `file_url`, an object.
    FileUrl,
}

/// How a vendor is asked for embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embeddings {
    /// The word of `encoding_format` for floats. Empty: it is left out.
    pub floats: &'static str,
    /// Where other forms than floats are asked for.
    pub forms: Forms,
    /// The parameter for the length of the vectors.
    pub dimensions: &'static str,
    /// It takes `input_type` (query or document) and a `truncation` that is true or false.
    pub input_type: bool,
}

/// Where a vendor is asked for small integers or bits in place of floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    /// It has floats only.
    None,
    /// `output_dtype`: Voyage, Mistral.
    OutputDtype,
    /// `encoding_format`: Perplexity, whose vectors are never floats.
    EncodingFormat,
}

impl Vendor {
    /// Returns the catalog's name of the vendor, which has the models and their prices.
    pub fn catalogs_name(&self) -> &'static str {
        // The other door to the same models.
        if self.name == "gemini-openai" { "gemini" } else { self.name }
    }
}

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
    let endpoints = Endpoints::new(&base, Layout { renamed: vendor.paths, ..Layout::default() })?;
    let upstream = Upstream::new(http, credential, openai::FORWARDED);
    Ok(Arc::new(OpenAi::new(upstream, vendor, endpoints, Wire::of(settings))?))
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
