//! Bedrock's endpoint for OpenAI's dialect (`bedrock-mantle`): chat completions and the Responses API, with a Bedrock API
//! key or signed. Most models lie below `/v1`; those whose card says `/openai/v1` need that `base_url`.

use std::sync::Arc;

use crate::provider::{
    Provider, Settings,
    aws::chain,
    openai::{
        self, OpenAi, Wire,
        endpoints::{Endpoints, Layout},
    },
    registry::{self, Dialect},
    upstream::Upstream,
    vendors::{COMPATIBLE, ResponsesApi, Vendor},
};

/// The row of the registry. It never makes itself: `bedrock` is what the environment's credentials are for.
pub const DIALECT: Dialect = Dialect {
    name: "bedrock-mantle",
    vendor: "bedrock",
    keys: &[
        "api",
        "region",
        "profile",
        "access_key_id",
        "secret_access_key",
        "session_token",
        "role_arn",
        "web_identity_token_file",
    ],
    build,
    from_environment: |_| None,
};

/// The name that requests are signed for.
const SERVICE: &str = "bedrock-mantle";
/// What is different about it as a server of the dialect.
static MANTLE: Vendor = Vendor {
    name: "bedrock",
    open_sampling: false,
    completions: false,
    responses: Some(ResponsesApi { counts: false, encrypted_reasoning: true }),
    ..COMPATIBLE
};

fn build(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let (region, credential) = chain::resolve(settings, SERVICE, &|name| std::env::var(name).ok())?;
    let (base, http) = registry::connect(settings, &format!("https://{SERVICE}.{region}.api.aws/v1"))?;
    let endpoints = Endpoints::new(&base, Layout::default())?;
    let upstream = Upstream::new(http, credential, openai::FORWARDED);
    Ok(Arc::new(OpenAi::new(upstream, &MANTLE, endpoints, Wire::of(settings))?))
}
