//! `POST /providers/{provider}/{path}`: a provider's own wire, for SDKs and endpoints that have no other way. The model
//! is found in the path or the body, so that it is limited and recorded under `provider/model`; nothing is rewritten.
//! Needs the scope `route:pin`. A refusal is answered in the provider's own words; a stream that fails is torn off.

use std::{collections::BTreeMap, sync::Mutex};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use serde::Deserialize;

use super::{fingerprint, headers_of, open, run};
use crate::{
    call::{Asked, Endpoint, Forward, Slot},
    edge::{
        Edge,
        openai::error,
        rest::{body, head::Head},
    },
    error::Error,
};

/// Parts of a path that stand before the name of a model.
const BEFORE_MODEL: [&str; 4] = ["models", "model", "deployments", "guardrail"];
/// What a call is recorded under that names no model.
const NAMELESS: &str = "default";

pub(super) async fn pass(
    State(edge): State<Edge>,
    Path(params): Path<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    // Some servers answer at their root, where there is no further path.
    let provider = params.get("provider").map_or("", String::as_str);
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    match answer(&edge, provider, &parts, body, &mut head).await {
        Ok(response) => response,
        Err(failed) => error::respond_natively(&head, &failed),
    }
}

async fn answer(
    edge: &Edge,
    provider: &str,
    request: &Parts,
    body: Body,
    head: &mut Head,
) -> Result<Response, Error> {
    let (mut open, body) = open(edge, request, body, head, Endpoint::Native).await?;
    let body = match body::read(&request.headers, body, edge.limits.body).await {
        Ok(body) => body,
        Err(failed) => {
            head.close = true;
            return Err(open.refuse(failed));
        }
    };
    let native_path = match native_path(request, provider) {
        Ok(path) => path,
        Err(failed) => return Err(open.refuse(failed)),
    };
    let model = model_in_path(&native_path).or_else(|| model_in_body(&body));
    let model = model.unwrap_or_else(|| NAMELESS.to_owned());
    open.call.asked = Asked {
        model: format!("{provider}/{model}"),
        max_output_tokens: None,
        choice_count: 1,
        input_bytes: body.len(),
        ..Asked::default()
    };
    let forward = Forward {
        endpoint: Endpoint::Native,
        native_path,
        headers: plain(headers_of(&request.headers)),
        before: body,
        slot: Slot::None,
        after: Bytes::new(),
        tail: Mutex::new(None),
        has_tail: false,
        units: Vec::new(),
    };
    open.call.fingerprint = fingerprint(&open.call, request, &forward);
    run(edge, head, open, forward).await
}

/// The body was unpacked here.
fn plain(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(header::CONTENT_ENCODING);
    headers
}

/// Returns the path below the provider with its query, exactly as they are escaped.
fn native_path(request: &Parts, provider: &str) -> Result<String, Error> {
    let wrong = || Error::invalid("path", "the path below the provider must be a plain one, without `..`");
    let path = request.uri.path();
    let below =
        path.strip_prefix("/providers/").and_then(|rest| rest.split_once('/')).map(|(_, below)| below);
    let below = below.filter(|_| !provider.is_empty()).ok_or_else(wrong)?;
    let lower = below.to_ascii_lowercase();
    if lower.split('/').any(|part| matches!(part, "." | ".." | "%2e" | "%2e%2e" | ".%2e" | "%2e.")) {
        return Err(wrong());
    }
    // A query with a key in it has been refused with the key.
    Ok(request.uri.query().map_or_else(|| below.to_owned(), |query| format!("{below}?{query}")))
}

fn model_in_path(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().rposition(|part| BEFORE_MODEL.contains(part))?;
    // Google's verbs stand behind a colon.
    let name = parts.get(at + 1)?.split(':').next()?;
    let name = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    (!name.is_empty()).then(|| name.into_owned())
}

fn model_in_body(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "model_id")]
        model: String,
    }
    serde_json::from_slice::<Body>(body).ok().map(|body| body.model).filter(|model| !model.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_where_vendors_put_it() {
        for (path, body, model) in [
            ("v1beta/models/gemini-2.5-flash:generateContent?alt=sse", "{}", Some("gemini-2.5-flash")),
            ("model/us.meta.llama3%3A0/invoke", "{}", Some("us.meta.llama3:0")),
            ("guardrail/abc/version/1/apply", "{}", Some("abc")),
            ("v1/chat", r#"{"model":"command-r"}"#, Some("command-r")),
            ("ml/v1/text/generation", r#"{"model_id":"granite"}"#, Some("granite")),
            ("generate", r#"{"inputs":"x"}"#, None),
        ] {
            let found = model_in_path(path).or_else(|| model_in_body(body.as_bytes()));
            assert_eq!(found.as_deref(), model, "{path}");
        }
    }

    #[test]
    fn a_path_stays_below_the_provider() {
        let path = |uri: &str| {
            let request = http::Request::get(uri).body(()).unwrap().into_parts().0;
            native_path(&request, "p").ok()
        };
        assert_eq!(path("/providers/p/a%2Fb:c?alt=sse").unwrap(), "a%2Fb:c?alt=sse");
        assert_eq!(path("/providers/p/").unwrap(), "");
        for bad in ["/providers/p/../x", "/providers/p/a/%2E%2e/b", "/providers/p"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
