//! Amazon Bedrock: Converse and its binary event stream, embeddings by `InvokeModel`, counts of tokens.
//!
//! Callers who speak Anthropic's dialect reach Claude by `InvokeModel` (`claude`), and `mantle` is the endpoint for
//! OpenAI's dialect. Everybody else: `request` builds what is asked (`message`, `media`, `tools`, and `extras` for what each `family` of models calls by
//! its own names), `response` reads what comes back (`blocks`, `citations`, `usage`); `embed` and `vectors` are the way of embeddings.
//! Credentials, signatures and frames are `provider/aws`'s.

mod blocks;
mod citations;
mod claude;
mod embed;
mod extras;
mod family;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod lanes;
pub mod mantle;
mod media;
mod message;
mod request;
mod response;
mod tools;
pub(in crate::provider) mod usage;
mod vectors;

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, StatusCode, Uri, header::ACCEPT};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tollgate_api::v1;

use self::family::Family;
use super::{
    Answer, Error, Kind, Outgoing, Provider, Settings, anthropic,
    aws::{self, chain},
    estimate,
    follow::Follow,
    http::{self, MAX_ANSWER_BYTES},
    json::Count,
    refusal::not_json,
    registry::{self, Environment},
    upstream::{self, Ask, Shape, Upstream, endpoint, once, path_segment},
};
use crate::call::{Dialect, Endpoint, Item, Items};

/// The dialect's name, which tokens and extensions of it carry when they come from a REST caller.
pub const FAMILY: &str = "bedrock";
/// Keys of the cloud settings that mean something to it.
pub const KEYS: &[&str] = &[
    "region",
    "profile",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "role_arn",
    "web_identity_token_file",
];

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");

/// The adapter of one provider.
pub struct Bedrock {
    upstream: Upstream,
    base: Uri,
}

/// Builds the adapter.
///
/// # Errors
/// A message for operators.
pub fn build(settings: &Settings) -> Result<Arc<dyn Provider>, String> {
    let (region, credential) = chain::resolve(settings, FAMILY, &|name| std::env::var(name).ok())?;
    let (base, http) = registry::connect(settings, &aws::address("bedrock-runtime", &region))?;
    Ok(Arc::new(Bedrock { upstream: Upstream::new(http, credential, &[]), base }))
}

/// Finds the credentials that AWS's own SDKs would use for Bedrock.
pub fn from_environment(get: &Environment<'_>) -> Option<Settings> {
    let cloud = chain::from_environment(get)?;
    Some(Settings {
        name: FAMILY.to_owned(),
        dialect: FAMILY.to_owned(),
        base_url: get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        api_key: get(chain::BEARER_ENV).map(Into::into),
        cloud,
        ..Settings::default()
    })
}

impl Bedrock {
    fn uri(&self, model: &str, operation: &str) -> Result<Uri, Error> {
        endpoint(&self.base, &format!("model/{}/{operation}", path_segment(model)?))
            .map_err(|message| Error::new(Kind::Invalid, message))
    }

    async fn converse(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let request::Chat { built, schema_tool } = request::build(request.payload.view()?, request)?;
        let decoder = response::Decoder::new(request.provider, schema_tool);
        let mut headers = built.headers;
        if request.streamed {
            headers.insert(ACCEPT, EVENT_STREAM);
        }
        let operation = if request.streamed { "converse-stream" } else { "converse" };
        let uri = self.uri(request.model, operation)?;
        let response = self.upstream.send(&uri, Ask::new(request, built.body, headers)).await?;
        let (answer, shape, body) = self.upstream.open(response, built.warnings);
        let items: Items<Error> = if request.streamed && shape == Shape::Events {
            Box::pin(Follow::new(body, decoder))
        } else {
            once(async move { decoder.whole(&http::read_all(body, MAX_ANSWER_BYTES).await?) })
        };
        Ok(Answer { items, ..answer })
    }

    async fn count(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let built = request::build_count(input, request)?;
        // Only base models can be asked for a count, and a profile counts as the model behind it.
        let uri = self.uri(family::base_id(request.model), "count-tokens")?;
        let response = match self.upstream.send(&uri, Ask::new(request, built.body, HeaderMap::new())).await {
            Ok(response) => response,
            Err(error) if counts_not(&error) => return estimate::count_tokens(input, request.model),
            Err(error) => return Err(error),
        };
        let (answer, _, body) = self.upstream.open(response, built.warnings);
        let model = request.model.to_owned();
        let items = once(async move {
            let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
            Ok(vec![Item::Counted(Box::new(counted(&body, model)?))])
        });
        Ok(Answer { items, ..answer })
    }
}

/// Many models cannot be asked for a count.
fn counts_not(error: &Error) -> bool {
    let message = error.message.to_ascii_lowercase();
    error.http_status == StatusCode::BAD_REQUEST.as_u16()
        && message.contains("count")
        && ["support", "not available"].iter().any(|word| message.contains(word))
}

fn counted(body: &[u8], model: String) -> Result<v1::CountTokensResponse, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Told {
        #[serde(default)]
        input_tokens: Count,
    }
    let told: Told = serde_json::from_slice(body).map_err(|_| not_json(body))?;
    let Some(input_tokens) = told.input_tokens.0 else {
        return Err(Error::new(Kind::BadResponse, "the answer is a JSON object without `inputTokens`"));
    };
    Ok(v1::CountTokensResponse { input_tokens, estimated: false, model })
}

impl Provider for Bedrock {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            match request.payload.as_raw(Dialect::AnthropicMessages) {
                Some(raw) if Family::of(request.model) == Family::Claude => self.invoke(&request, raw).await,
                _ => self.converse(&request).await,
            }
        })
    }

    fn embed<'a>(&'a self, request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.embeddings(&request).await })
    }

    fn continues(&self, model: &str) -> bool {
        Family::of(model) == Family::Claude && anthropic::continues(model)
    }

    fn place(&self, endpoint: Endpoint, _: &str) -> Option<super::Place<'_>> {
        upstream::native(endpoint, &self.upstream, &self.base)
    }

    fn count_tokens<'a>(
        &'a self,
        request: Outgoing<'a, v1::ChatInput>,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.count(&request).await })
    }
}

/// Translates a request, for the tests of what becomes of it.
#[cfg(test)]
pub(super) fn request_of(outgoing: &Outgoing<'_, v1::ChatInput>) -> Result<super::translate::Built, Error> {
    request::build(outgoing.payload.view()?, outgoing).map(|chat| chat.built)
}

#[cfg(test)]
mod tests;
