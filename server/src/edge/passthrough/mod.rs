//! Endpoints that pass through (`/v1/images/*`, `/v1/audio/*`, `/v1/moderations`, `/v1/rerank`, and a provider's own
//! wire below `/providers/{provider}/`): authenticated, limited and recorded like every call, and otherwise untouched.
//! Bodies are streamed both ways. Responses of other than 2xx become errors in OpenAI's envelope.

mod form;
mod json;
mod native;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::{
    Edge, arrival,
    openai::{error, only},
    rest::{
        body::admit,
        head::{Head, put_cost},
    },
};
use crate::{
    call::{self, Call, Endpoint, Fingerprint, Forward, Item, Operation, Reply, Surface},
    error::{Error, Reason},
    meter::Open,
};

/// One endpoint.
struct Row {
    endpoint: Endpoint,
    /// Below `/v1`, and without it.
    paths: &'static [&'static str],
    /// Whether it takes a form with a file instead of JSON.
    form: bool,
    /// The model that OpenAI documents for requests that name none; empty: it must be named.
    default_model: &'static str,
}

const fn json(endpoint: Endpoint, path: &'static [&'static str], default_model: &'static str) -> Row {
    Row { endpoint, paths: path, form: false, default_model }
}

const fn form(endpoint: Endpoint, path: &'static [&'static str], default_model: &'static str) -> Row {
    Row { endpoint, paths: path, form: true, default_model }
}

/// Every endpoint that passes through under a path of OpenAI's, or of Cohere's for `rerank`.
static ROWS: &[Row] = &[
    json(Endpoint::Moderations, &["/moderations"], "omni-moderation-latest"),
    json(Endpoint::Rerank, &["/rerank"], ""),
    json(Endpoint::ImageGenerations, &["/images/generations"], "dall-e-2"),
    form(Endpoint::ImageEdits, &["/images/edits"], "dall-e-2"),
    form(Endpoint::ImageVariations, &["/images/variations"], "dall-e-2"),
    json(Endpoint::Speech, &["/audio/speech"], ""),
    form(Endpoint::Transcriptions, &["/audio/transcriptions"], ""),
    form(Endpoint::Translations, &["/audio/translations"], ""),
    json(Endpoint::CompactResponses, &["/responses/compact"], ""),
];

/// What callers may say of a body and of the answer they want, beside what the dialect itself has.
const FORWARDED: [HeaderName; 2] = [header::CONTENT_TYPE, header::ACCEPT];

/// Builds the routes of what passes through.
pub(super) fn router(edge: &Edge) -> Router {
    let mut router = Router::new();
    for row in ROWS {
        for (prefix, path) in
            row.paths.iter().flat_map(|path| ["", "/v1", "/openai/v1"].map(|prefix| (prefix, path)))
        {
            let handler = move |State(edge): State<Edge>, request: Request| pass(edge, row, request);
            router = router.route(&format!("{prefix}{path}"), only("POST", post(handler)));
        }
    }
    for row in ROWS.iter().filter(|row| row.endpoint == Endpoint::Rerank) {
        // Cohere's own path.
        let handler = move |State(edge): State<Edge>, request: Request| pass(edge, row, request);
        router = router.route("/v2/rerank", only("POST", post(handler)));
    }
    router
        .route("/providers/{provider}/{*path}", only("POST", post(native::pass)))
        .route("/providers/{provider}/", only("POST", post(native::pass)))
        .with_state(edge.clone())
}

async fn pass(edge: Edge, row: &'static Row, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = Head::of(&parts);
    match answer(&edge, row, &parts, body, &mut head).await {
        Ok(response) => response,
        Err(failed) => error::respond(&head, &failed),
    }
}

async fn answer(
    edge: &Edge,
    row: &Row,
    request: &Parts,
    body: Body,
    head: &mut Head,
) -> Result<Response, Error> {
    let (mut open, body) = open(edge, request, body, head, row.endpoint).await?;
    let read = if row.form {
        form::read(row, &request.headers, body, edge.limits.body).await
    } else {
        json::read(row, &request.headers, body, edge.limits.body).await
    };
    let (asked, forward) = match read {
        Ok(read) => read,
        Err(failed) => {
            head.close = true;
            return Err(open.refuse(failed));
        }
    };
    open.call.asked = asked;
    open.call.fingerprint = fingerprint(&open.call, request, &forward);
    run(edge, head, open, forward).await
}

/// Takes the fingerprint of a request. Of a form, which is still on its way and whose boundary is another each time, only
/// model and length are compared.
fn fingerprint(call: &Call, request: &Parts, forward: &Forward) -> Option<Fingerprint> {
    let length = request.headers.get(header::CONTENT_LENGTH).map_or(&[][..], HeaderValue::as_bytes);
    let body = if forward.has_tail { [length, &[]] } else { [&forward.before[..], &forward.after] };
    arrival::fingerprint(call, &request.uri, &[call.asked.model.as_bytes(), body[0], body[1]])
}

/// Lets a caller in and opens the record of the call.
async fn open(
    edge: &Edge,
    request: &Parts,
    body: Body,
    head: &mut Head,
    endpoint: Endpoint,
) -> Result<(Open, Body), Error> {
    let caller = edge.pipeline.authenticate(&request.headers, request.uri.query()).await?;
    let (surface, operation) = (Surface::PassThrough(endpoint), Operation::PassThrough(endpoint));
    let (call, checked) = arrival::call(&request.headers, caller, surface, operation);
    head.id = call.id;
    let (open, body) = admit(edge, call, body, head).await?;
    match checked {
        Ok(()) => Ok((open, body)),
        Err(failed) => Err(open.refuse(failed)),
    }
}

async fn run(edge: &Edge, head: &Head, open: Open, forward: Forward) -> Result<Response, Error> {
    let native = forward.endpoint == Endpoint::Native;
    let mut reply = edge.pipeline.run(open, call::Request::Forward(forward)).await?;
    let mut headers = head.of_reply(&reply);
    let first = match reply.items.next().await {
        Some(Ok(Item::Raw(bytes, seen))) if seen.last => {
            // The end is awaited: there the call is settled, and its cost is known.
            while reply.items.next().await.is_some() {}
            put_cost(&mut headers, reply.settled.get());
            let mut response = Response::new(Body::from(bytes));
            *response.headers_mut() = headers;
            return Ok(response);
        }
        Some(Ok(Item::Raw(bytes, _))) => bytes,
        Some(Err(failed)) => return Err(failed),
        _ => return Err(Error::new(Reason::UpstreamBadResponse, "the answer ended before it began")),
    };
    if is_events(&headers) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    let mut response = Response::new(rest(first, reply, is_events(&headers) && !native));
    *response.headers_mut() = headers;
    Ok(response)
}

fn is_events(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Streams the rest of an answer. A failure is told in an event stream whose words are OpenAI's; any other body is torn
/// off, so that nobody takes it for whole.
fn rest(first: Bytes, reply: Reply, events: bool) -> Body {
    let pieces = reply.items.filter_map(move |item| async move {
        match item {
            Ok(Item::Raw(bytes, _)) => (!bytes.is_empty()).then_some(Ok(bytes)),
            Ok(_) => None,
            Err(failed) if events => Some(Ok(error::in_stream(&failed))),
            Err(failed) => {
                // What came before is written meanwhile: it would be lost with the connection.
                tokio::task::yield_now().await;
                Some(Err(failed))
            }
        }
    });
    Body::from_stream(stream::iter([Ok(first)]).chain(pieces))
}

/// Takes over what the caller says of its body.
fn headers_of(request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in FORWARDED {
        if let Some(value) = request.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers
}

fn model_missing() -> Error {
    Error::invalid("model", "`model` is required: it says which provider the call goes to")
}
