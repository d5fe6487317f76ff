//! One request to an upstream and the head of its answer: what every dialect spoken over HTTP has in common.

#[cfg(test)]
mod quirks;

use std::fmt::Write as _;

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tollgate_api::v1;
use uuid::Uuid;

use super::{
    Answer, Error, Kind, Outgoing, Place,
    credential::Credential,
    follow::{Follow, Lane},
    http::{self, Http, Incoming, Pieces},
    refusal,
};
use crate::call::{self, Item, Items};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
static CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Headers that are added to most requests, with the credential and the host.
const MOST_HEADERS: usize = 8;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));

/// Where vendors tell the id of a request, the best first; the edge's own comes last, for those that tell no other.
static REQUEST_IDS: [HeaderName; 13] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("x-goog-request-id"),
    HeaderName::from_static("mistral-correlation-id"),
    HeaderName::from_static("x-debug-trace-id"),
    HeaderName::from_static("x-ds-trace-id"),
    HeaderName::from_static("nvcf-reqid"),
    HeaderName::from_static("x-ms-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("x-generation-id"),
    HeaderName::from_static("cf-ray"),
];

/// A vendor's host as an adapter sees it: the connections to it and what opens its door.
pub struct Upstream {
    http: Http,
    credential: Credential,
    /// Headers of the upstream's answer that callers' SDKs read and that are safe to forward.
    forwarded: Box<[HeaderName]>,
}

/// What is asked of an upstream.
#[derive(Debug)]
pub struct Ask {
    /// Usually POST.
    pub method: Method,
    /// The body.
    pub body: Pieces,
    /// Headers of the dialect and of the caller's `provider_options`; they win over ours but not over the credential.
    pub headers: HeaderMap,
    /// Whether an event stream is wanted.
    pub streamed: bool,
    /// Our id of the call.
    pub call_id: Uuid,
    /// The caller's `traceparent`.
    pub traceparent: Option<HeaderValue>,
}

/// What a successful answer says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An event stream, or something that may be one.
    Events,
    /// JSON.
    Json,
    /// A web page, which no API answers with.
    Html,
}

impl Ask {
    /// Makes the POST of a translated or patched request.
    pub fn new<T>(outgoing: &Outgoing<'_, T>, body: impl Into<Pieces>, headers: HeaderMap) -> Self {
        Self {
            method: Method::POST,
            body: body.into(),
            headers,
            streamed: outgoing.streamed,
            call_id: outgoing.call_id,
            traceparent: outgoing.traceparent.and_then(|value| HeaderValue::from_str(value).ok()),
        }
    }
}

impl Upstream {
    /// Makes the upstream of one provider.
    pub fn new(http: Http, credential: Credential, forwarded: &'static [&'static str]) -> Self {
        let forwarded = forwarded.iter().map(|name| HeaderName::from_static(name)).collect();
        Self { http, credential, forwarded }
    }

    /// Sends a request and returns the answer's head with its unread body.
    ///
    /// # Errors
    /// No connection, no answer, a redirect, or whatever the upstream's status and error body mean.
    pub async fn send(&self, uri: &Uri, ask: Ask) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(ask.body);
        *request.method_mut() = ask.method;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        *headers = ask.headers;
        headers.reserve(MOST_HEADERS);
        headers.entry(CONTENT_TYPE).or_insert(JSON);
        headers.entry(ACCEPT).or_insert(if ask.streamed { EVENT_STREAM } else { JSON });
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, AGENT);
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let id: &str = ask.call_id.hyphenated().encode_lower(&mut id);
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(&CLIENT_REQUEST_ID, id);
        }
        if let Some(traceparent) = ask.traceparent {
            headers.insert(&TRACEPARENT, traceparent);
        }
        self.credential.apply(&mut request).await?;
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
        let mut failed = refusal::of_response(status, &head.headers, http::read_error(body).await);
        if !request_id.is_empty() {
            failed.request_id = request_id;
        }
        Err(failed)
    }

    /// Takes what the head of an answer tells; `items` are still to be filled.
    pub fn open(
        &self,
        response: Response<Incoming>,
        warnings: Vec<v1::Warning>,
    ) -> (Answer, Shape, Incoming) {
        let (head, body) = response.into_parts();
        let mut headers = HeaderMap::new();
        for name in &self.forwarded {
            if let Some(value) = head.headers.get(name) {
                headers.insert(name, value.clone());
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

    /// Reads an answer into the contract's events: event by event, or by `whole` if it is no stream.
    pub fn translated<L: Lane + 'static>(
        &self,
        response: Response<Incoming>,
        warnings: Vec<v1::Warning>,
        streamed: bool,
        lane: L,
        whole: impl FnOnce(L, &[u8]) -> Result<Vec<Item>, Error> + Send + 'static,
    ) -> Answer
    where
        L::Frames: 'static,
    {
        let (answer, shape, body) = self.open(response, warnings);
        let items: Items<Error> = if streamed && shape == Shape::Events {
            Box::pin(Follow::new(body, lane))
        } else {
            once(async move { whole(lane, &http::read_all(body, http::MAX_ANSWER_BYTES).await?) })
        };
        Answer { items, ..answer }
    }

    /// Sends a request whose answer is read as a whole and made into items by `decode`.
    ///
    /// # Errors
    /// As `send`; what `decode` says comes as an item.
    pub async fn whole(
        &self,
        uri: &Uri,
        ask: Ask,
        warnings: Vec<v1::Warning>,
        decode: impl FnOnce(Bytes) -> Result<Vec<Item>, Error> + Send + 'static,
    ) -> Result<Answer, Error> {
        let (answer, _, body) = self.open(self.send(uri, ask).await?, warnings);
        let items = once(async move { decode(http::read_all(body, http::MAX_ANSWER_BYTES).await?) });
        Ok(Answer { items, ..answer })
    }
}

/// Returns the place of `Endpoint::Native` below a vendor's root; of no other endpoint.
pub fn native<'a>(asked: call::Endpoint, upstream: &'a Upstream, root: &'a Uri) -> Option<Place<'a>> {
    let path = String::new();
    (asked == call::Endpoint::Native).then_some(Place { upstream, base: root, path })
}

/// Appends a path to a base URL that has no trailing slash or query.
///
/// # Errors
/// A message for operators if that makes no URL.
pub fn endpoint(base: &Uri, path: &str) -> Result<Uri, String> {
    let base = base.to_string();
    let url = format!("{}/{path}", base.trim_end_matches('/'));
    url.parse().map_err(|error| format!("`base_url` is no URL: {error}"))
}

/// Writes a model's name as one segment of a path. A wildcard alias lets the caller choose it, so that whatever has a
/// meaning in a URL or to the vendor's router (`/`, `?`, `#`, `%`, `:`) is percent-encoded.
///
/// # Errors
/// `Invalid` if no segment can be made of it: it is empty, too long, or one that is resolved away (`.` and `..`).
pub fn path_segment(name: &str) -> Result<String, Error> {
    const LONGEST: usize = 512;
    if matches!(name, "" | "." | "..") || name.len() > LONGEST {
        return Err(Error::new(Kind::Invalid, "the name of the model cannot stand in the provider's URL"));
    }
    // Google's SDKs leave the `@` before a version as it is.
    Ok(percent_encode(name).replace("%40", "@"))
}

/// Encodes everything but the characters that RFC 3986 leaves unreserved.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn request_id(headers: &HeaderMap) -> String {
    let told = REQUEST_IDS.iter().find_map(|name| headers.get(name)?.to_str().ok());
    told.map(|id| id.chars().filter(|c| !c.is_control()).take(128).collect()).unwrap_or_default()
}

/// Makes items of an answer that is read as a whole.
pub fn once(work: impl Future<Output = Result<Vec<Item>, Error>> + Send + 'static) -> Items<Error> {
    Box::pin(work.into_stream().flat_map(|result| {
        let items: Vec<Result<Item, Error>> = match result {
            Ok(items) => items.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(items)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_stays_one_segment_of_the_path() {
        for (name, segment) in [
            ("gemini-2.5-flash", "gemini-2.5-flash"),
            ("claude-sonnet-4@20250514", "claude-sonnet-4@20250514"),
            ("anthropic.claude-v2:1", "anthropic.claude-v2%3A1"),
            ("a/../../v1/other", "a%2F..%2F..%2Fv1%2Fother"),
            ("x?key=1#y", "x%3Fkey%3D1%23y"),
            ("%2e%2e\\\r\n", "%252e%252e%5C%0D%0A"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(path_segment(name).unwrap(), segment, "{name}");
        }
        for name in ["", ".", "..", &"x".repeat(513)] {
            assert_eq!(path_segment(name).unwrap_err().kind, Kind::Invalid, "{name}");
        }
    }

    #[test]
    fn the_vendors_own_id_wins_over_that_of_its_edge() {
        for (headers, id) in [
            (&[("cf-ray", "9b5d-SEA"), ("request-id", "req_1")][..], "req_1"),
            (&[("cf-ray", "9b5d-SEA"), ("mistral-correlation-id", "01a0")], "01a0"),
            (&[("x-amzn-requestid", "402b")], "402b"),
            (&[("apim-request-id", "5dbe"), ("x-ms-request-id", "other")], "5dbe"),
            (&[("x-debug-trace-id", "9f02")], "9f02"),
            (&[("cf-ray", "9b5d-SEA")], "9b5d-SEA"),
            (&[], ""),
        ] {
            let headers = headers.iter().map(|(name, id)| (name.parse().unwrap(), id.parse().unwrap()));
            assert_eq!(request_id(&headers.collect()), id);
        }
    }
}
