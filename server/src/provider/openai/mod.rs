//! OpenAI's dialect, spoken by OpenAI and by every vendor of `provider/vendors.rs`.
//!
//! Two lanes. Bytes of the same dialect take `express`: patched, watched by `tap`, otherwise untouched. Everything
//! else is built from the contract by `request` and read back into its events by `response`.

mod choice;
mod chunk;
mod content;
mod embed;
mod error;
mod express;
mod json;
mod members;
mod message;
mod notes;
mod options;
mod request;
pub mod response;
mod tap;
mod toolcalls;
mod tools;
mod usage;
mod write;

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use futures_util::{future::BoxFuture, stream};
use hyper::body::Incoming;
use secrecy::{ExposeSecret as _, SecretString};
use tollgate_api::v1;
use uuid::Uuid;

use super::{
    Answer, Error, Outgoing, Provider,
    follow::Follow,
    http::{self, Http, MAX_ANSWER_BYTES, Pieces},
    vendors::Vendor,
};
use crate::call::{Dialect, Item, Items};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));

/// Where vendors tell their own id of a request, the first that is there.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid"];
/// What callers' SDKs read of the upstream's head and that is safe to forward.
const FORWARDED: [&str; 2] = ["openai-processing-ms", "openai-version"];

/// The adapter of one provider.
pub struct OpenAi {
    http: Http,
    vendor: &'static Vendor,
    chat: Uri,
    embeddings: Uri,
    api_key: Option<SecretString>,
}

/// What goes upstream.
struct Upstream {
    body: Pieces,
    headers: HeaderMap,
    streamed: bool,
    call_id: Uuid,
    traceparent: Option<HeaderValue>,
}

impl OpenAi {
    /// Makes the adapter for a vendor at a base URL, which is used as it is.
    ///
    /// # Errors
    /// A message for operators if the URL or the key cannot be used in a request.
    pub fn new(
        http: Http,
        vendor: &'static Vendor,
        base: &Uri,
        api_key: Option<SecretString>,
    ) -> Result<Self, String> {
        let base = base.to_string();
        let endpoint = |path: &str| {
            let url = format!("{}/{path}", base.trim_end_matches('/'));
            url.parse::<Uri>().map_err(|error| format!("`base_url` is no URL: {error}"))
        };
        let (chat, embeddings) = (endpoint("chat/completions")?, endpoint("embeddings")?);
        let adapter = Self { http, vendor, chat, embeddings, api_key };
        adapter
            .authorization()
            .map_err(|_| "`api_key` holds characters that no header may have".to_owned())?;
        Ok(adapter)
    }

    /// The only place where the key is exposed.
    fn authorization(&self) -> Result<Option<HeaderValue>, ::http::header::InvalidHeaderValue> {
        let Some(key) = &self.api_key else { return Ok(None) };
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn send(&self, uri: &Uri, upstream: Upstream) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(upstream.body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        *headers = upstream.headers;
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, if upstream.streamed { EVENT_STREAM } else { JSON });
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, AGENT);
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let id: &str = upstream.call_id.hyphenated().encode_lower(&mut id);
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static("x-client-request-id"), id);
        }
        if let Some(traceparent) = upstream.traceparent {
            headers.insert(HeaderName::from_static("traceparent"), traceparent);
        }
        // `new` has checked that the key makes a header.
        if let Ok(Some(authorization)) = self.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        let response = self.http.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(http::redirected(status));
        }
        let request_id = request_id(response.headers());
        let (head, body) = response.into_parts();
        let mut failed = error::of_response(status, &head.headers, http::read_error(body).await);
        failed.request_id = request_id;
        Err(failed)
    }

    async fn chat_express(&self, request: &Outgoing<'_, v1::ChatInput>) -> Option<Result<Answer, Error>> {
        let raw = request.payload.as_raw(Dialect::OpenAiChat)?;
        let sent = match express::request(raw, request.model, request.streamed) {
            Ok(body) => self.send(&self.chat, Upstream::new(request, body, HeaderMap::new())).await,
            Err(error) => Err(error),
        };
        Some(sent.map(|response| {
            let (answer, shape, body) = open(response, Vec::new());
            let items: Items<Error> = match (request.streamed, shape) {
                (true, Shape::Events) => {
                    Box::pin(Follow::new(body, express::Express::new(request.usage_wanted)))
                }
                (true, Shape::Html | Shape::Json) => once(async move {
                    let body = http::read_all(body, http::MAX_ERROR_BYTES).await?;
                    Err(response::json_in_place_of_events(&body))
                }),
                (false, _) => once(async move {
                    let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                    Ok(vec![express::whole_chat(body)?])
                }),
            };
            Answer { items, ..answer }
        }))
    }

    async fn chat_typed(&self, request: &Outgoing<'_, v1::ChatInput>) -> Result<Answer, Error> {
        let input = request.payload.view()?;
        let built = request::build(input, request, self.vendor)?;
        let decoder = response::Decoder::new(request.provider, input);
        let upstream = Upstream::new(request, built.body.into_bytes().into(), built.headers);
        let response = self.send(&self.chat, upstream).await?;
        let (answer, shape, body) = open(response, built.warnings);
        let items: Items<Error> = if request.streamed && shape == Shape::Events {
            Box::pin(Follow::new(body, decoder))
        } else {
            once(async move {
                let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                decoder.whole(&body)
            })
        };
        Ok(Answer { items, ..answer })
    }

    async fn embeddings(&self, request: &Outgoing<'_, v1::EmbedRequest>) -> Result<Answer, Error> {
        if let Some(raw) = request.payload.as_raw(Dialect::OpenAiEmbeddings) {
            let body = express::request(raw, request.model, false)?;
            let response =
                self.send(&self.embeddings, Upstream::new(request, body, HeaderMap::new())).await?;
            let (answer, _, body) = open(response, Vec::new());
            let items = once(async move {
                let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                Ok(vec![embed::whole(body)?])
            });
            return Ok(Answer { items, ..answer });
        }
        let input = request.payload.view()?;
        let inputs = input.inputs.len();
        let built = embed::build(input, request, self.vendor)?;
        let upstream = Upstream::new(request, built.body.into_bytes().into(), built.headers);
        let response = self.send(&self.embeddings, upstream).await?;
        let (answer, _, body) = open(response, built.warnings);
        let items = once(async move {
            let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
            Ok(vec![Item::Embeddings(Box::new(embed::decode(&body, inputs)?))])
        });
        Ok(Answer { items, ..answer })
    }
}

impl Upstream {
    fn new<T>(request: &Outgoing<'_, T>, body: Pieces, headers: HeaderMap) -> Self {
        Self {
            body,
            headers,
            streamed: request.streamed,
            call_id: request.call_id,
            traceparent: request.traceparent.and_then(|value| HeaderValue::from_str(value).ok()),
        }
    }
}

impl Provider for OpenAi {
    fn chat<'a>(&'a self, request: Outgoing<'a, v1::ChatInput>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            match self.chat_express(&request).await {
                Some(answer) => answer,
                None => self.chat_typed(&request).await,
            }
        })
    }

    fn embed<'a>(&'a self, request: Outgoing<'a, v1::EmbedRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { self.embeddings(&request).await })
    }
}

/// What a successful answer says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Events,
    Json,
    Html,
}

/// Takes what the head tells; `items` of the answer are still to be filled.
fn open(response: Response<Incoming>, warnings: Vec<v1::Warning>) -> (Answer, Shape, Incoming) {
    let (head, body) = response.into_parts();
    let mut headers = HeaderMap::new();
    for name in FORWARDED {
        if let Some(value) = head.headers.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let shape = if kind.starts_with(b"text/html") {
        Shape::Html
    } else if kind.starts_with(b"application/json") {
        Shape::Json
    } else {
        // Some servers name their streams text/plain or not at all; what they are shows in the first event.
        Shape::Events
    };
    let answer = Answer {
        http_status: head.status.as_u16(),
        upstream_request_id: request_id(&head.headers),
        headers,
        warnings,
        items: Box::pin(stream::empty()),
    };
    (answer, shape, body)
}

fn request_id(headers: &HeaderMap) -> String {
    let told = REQUEST_IDS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    told.map(|id| id.chars().filter(|c| !c.is_control()).take(128).collect()).unwrap_or_default()
}

/// Makes items of an answer that is read as a whole.
fn once(work: impl Future<Output = Result<Vec<Item>, Error>> + Send + 'static) -> Items<Error> {
    use futures_util::{FutureExt as _, StreamExt as _};
    Box::pin(work.into_stream().flat_map(|result| {
        let items: Vec<Result<Item, Error>> = match result {
            Ok(items) => items.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(items)
    }))
}

#[cfg(test)]
mod tests;
