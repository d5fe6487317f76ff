//! Cohere's dialect, version 2: `/v2/chat` and `/v2/embed`.

mod content;
mod embed;
mod finish;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod lanes;
mod notes;
mod request;
mod response;
mod shapes;
mod tools;
pub(in crate::provider) mod usage;

use std::sync::Arc;

use ::http::Uri;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tollgate_api::v1;

use super::{
    Answer, Error, Outgoing, Place, Provider, Settings,
    credential::Credential,
    follow::Follow,
    http::{self, MAX_ANSWER_BYTES},
    registry::{self, Dialect, Environment},
    upstream::{Ask, Shape, Upstream, endpoint, once},
};
use crate::call::{Endpoint, Item, Items};

/// The row of the registry.
pub const DIALECT: Dialect = Dialect { name: FAMILY, vendor: FAMILY, keys: &[], build, from_environment };

/// The dialect's name, which owns continuity tokens whatever the provider is called.
const FAMILY: &str = "cohere";
const BASE_URL: &str = "https://api.cohere.com";
/// What callers' SDKs read of the upstream's head and that is safe to forward.
const FORWARDED: &[&str] = &["num_tokens", "num-tokens"];

/// The token of a thought that was a `tool_plan`.
const MESSAGE_TOOL_PLAN: &str = "tool_plan";
/// The token of a thought that was an item of the content.
const THINKING: &str = "thinking";

/// The adapter of one provider.
struct Cohere {
    upstream: Upstream,
    base: Uri,
    chat: Uri,
    embed: Uri,
}

fn build(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let (base, http) = registry::connect(settings, BASE_URL)?;
    let base = without_version(&base)?;
    let credential = Credential::bearer(settings.api_key.as_ref())?;
    let (chat, embed) = (endpoint(&base, "v2/chat")?, endpoint(&base, "v2/embed")?);
    Ok(Arc::new(Cohere { upstream: Upstream::new(http, credential, FORWARDED), base, chat, embed }))
}

/// Tolerates one version at the end of the base URL.
fn without_version(base: &Uri) -> Result<Uri, String> {
    let text = base.to_string();
    let text = text.trim_end_matches('/');
    let root = text.strip_suffix("/v1").or_else(|| text.strip_suffix("/v2")).unwrap_or(text);
    root.parse().map_err(|error| format!("`base_url` is no URL: {error}"))
}

fn from_environment(get: &Environment<'_>) -> Option<Settings> {
    let key = get("CO_API_KEY").or_else(|| get("COHERE_API_KEY"))?;
    Some(Settings {
        name: FAMILY.to_owned(),
        dialect: FAMILY.to_owned(),
        api_key: Some(SecretString::from(key)),
        ..Settings::default()
    })
}

impl Cohere {
    async fn chat_typed(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let built = request::build(request.payload.view()?, request)?;
        let decoder = response::Decoder::new(request.provider, request.model);
        let ask = Ask::new(request, built.body, built.headers);
        let response = self.upstream.send(&self.chat, ask).await?;
        let (answer, shape, body) = self.upstream.open(response, built.warnings);
        let items: Items<Error> = if request.streamed && shape == Shape::Events {
            Box::pin(Follow::new(body, decoder))
        } else {
            once(async move { decoder.whole(&http::read_all(body, MAX_ANSWER_BYTES).await?) })
        };
        Ok(Answer { items, ..answer })
    }

    async fn embed_typed(&self, request: &Outgoing<'_, v1::EmbedRequest>) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let (built, wanted) = embed::build(input, request)?;
        let (inputs, model) = (input.inputs.len(), request.model.to_owned());
        let ask = Ask::new(request, built.body, built.headers);
        self.upstream
            .whole(&self.embed, ask, built.warnings, move |body| {
                Ok(vec![Item::Embeddings(Box::new(embed::decode(&body, inputs, wanted, model)?))])
            })
            .await
    }
}

impl Provider for Cohere {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.chat_typed(&request).await })
    }

    fn embed<'a>(&'a self, request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.embed_typed(&request).await })
    }

    fn place(&self, endpoint: Endpoint, _: &str) -> Option<Place<'_>> {
        let path = match endpoint {
            Endpoint::Rerank => "v2/rerank",
            Endpoint::Native => "",
            _ => return None,
        };
        Some(Place { upstream: &self.upstream, base: &self.base, path: path.to_owned() })
    }
}

/// Translates a request, for the tests of what becomes of it.
#[cfg(test)]
pub(super) fn request_of(outgoing: &Outgoing<'_, v1::ChatInput>) -> Result<super::translate::Built, Error> {
    request::build(outgoing.payload.view()?, outgoing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_two_variables_wins() {
        use secrecy::ExposeSecret as _;
        let key = |set: &'static [&str]| {
            let found = from_environment(&|name| set.contains(&name).then(|| name.to_owned()))?;
            found.api_key.map(|key| key.expose_secret().to_owned())
        };
        assert_eq!(key(&["COHERE_API_KEY", "CO_API_KEY"]).as_deref(), Some("CO_API_KEY"));
        assert_eq!(key(&["COHERE_API_KEY"]).as_deref(), Some("COHERE_API_KEY"));
        assert_eq!(key(&[]), None);
    }

    #[test]
    fn the_base_url_may_end_in_a_version() {
        for base in ["https://h/x", "https://h/x/v1", "https://h/x/v2/"] {
            assert_eq!(without_version(&base.parse().unwrap()).unwrap(), "https://h/x", "{base}");
        }
    }
}
