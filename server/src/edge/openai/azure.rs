//! Azure's way of naming a model: in the path (`/openai/deployments/{deployment}/…`), not in the body. The path wins
//! over a `model` in the body, which OpenAI's own client sends along as the model that the deployment is thought to be.

use axum::{
    Router,
    extract::{Path, Request},
    middleware::{Next, from_fn},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use http::request::Parts;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Shared, chat::Chat, completions::Completions, embeddings, only, serve::complete};

/// The deployment that a path names.
#[derive(Clone, Debug)]
struct Deployment(String);

/// Builds the routes that name their model.
pub(super) fn deployments() -> Router<Shared> {
    let at = |path: &str| format!("/openai/deployments/{{deployment}}/{path}");
    Router::new()
        .route(&at("chat/completions"), only("POST", post(complete::<Chat>)))
        .route(&at("completions"), only("POST", post(complete::<Completions>)))
        .route(&at("embeddings"), only("POST", post(embeddings::embed)))
        .route_layer(from_fn(remember))
}

/// Keeps the deployment of the path with the request.
async fn remember(Path(deployment): Path<String>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Deployment(deployment));
    next.run(request).await
}

/// Returns the body with the deployment of the path, if it names one, as its `model`.
pub(super) fn addressed(request: &Parts, body: Bytes) -> Bytes {
    match request.extensions.get::<Deployment>() {
        Some(Deployment(deployment)) => with_model(&body, deployment).unwrap_or(body),
        None => body,
    }
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default, deserialize_with = "even_null")]
    model: Option<&'a RawValue>,
}

fn even_null<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Puts a model into a body, in the place of its own if it has one. None if the body cannot be read, which the scan
/// then tells.
fn with_model(body: &[u8], model: &str) -> Option<Bytes> {
    // A list would be read as the members of an object in their order.
    let named: Named<'_> =
        serde_json::from_slice(body).ok().filter(|_| body.trim_ascii_start().starts_with(b"{"))?;
    let model = serde_json::to_string(model).ok()?;
    let (span, patch) = if let Some(own) = named.model {
        let start = own.get().as_ptr().addr().checked_sub(body.as_ptr().addr())?;
        (start..start + own.get().len(), model)
    } else {
        let inside = memchr::memchr(b'{', body)? + 1;
        let comma = if body.get(inside..)?.trim_ascii_start().starts_with(b"}") { "" } else { "," };
        (inside..inside, format!("\"model\":{model}{comma}"))
    };
    let mut patched = Vec::with_capacity(body.len() + patch.len());
    patched.extend_from_slice(body.get(..span.start)?);
    patched.extend_from_slice(patch.as_bytes());
    patched.extend_from_slice(body.get(span.end..)?);
    Some(patched.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_model_whatever_the_body_says() {
        for (body, told) in [
            (r#" { "a": 1 }"#, Some(r#" {"model":"d\"1", "a": 1 }"#)),
            ("{ }", Some(r#"{"model":"d\"1" }"#)),
            (r#"{"a":{"model":"x"},"model" : null}"#, Some(r#"{"a":{"model":"x"},"model" : "d\"1"}"#)),
            (r#"{"model":"gpt-4o","n":1}"#, Some(r#"{"model":"d\"1","n":1}"#)),
            (r#"{"model":"a","model":"b"}"#, None),
            ("[1]", None),
            ("{", None),
        ] {
            let patched = with_model(body.as_bytes(), "d\"1");
            assert_eq!(patched.as_deref(), told.map(str::as_bytes), "{body}");
        }
    }
}
