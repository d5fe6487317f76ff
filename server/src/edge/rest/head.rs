//! The headers of every answer of this surface, good or bad.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, request::Parts};
use tollgate_api::v1;
use uuid::Uuid;

use super::{names, paths};
use crate::{
    call::{NANOS_PER_USD, Reply, Settled, new_id},
    edge::rate_limits,
};

/// Longest `x-client-request-id` that is echoed.
const MAX_ECHO: usize = 128;
/// Longest value made from text of others, in bytes.
const MAX_VALUE: usize = 1024;
/// Headers that are added to most answers.
const MOST_HEADERS: usize = 20;

/// What the headers of an answer need to know of its request.
pub(in crate::edge) struct Head {
    /// Our id of the call, or a fresh one where there is no call.
    pub(in crate::edge) id: Uuid,
    /// Whether the rest of the request was left unread, so that the connection cannot go on.
    pub(in crate::edge) close: bool,
    started: Instant,
    version: Version,
    uri: Uri,
    client_request_id: Option<HeaderValue>,
}

impl Head {
    /// Starts the clock and reads what is echoed.
    pub(in crate::edge) fn of(request: &Parts) -> Self {
        let sane = |value: &&HeaderValue| {
            value.len() <= MAX_ECHO && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        Self {
            id: new_id(),
            close: false,
            started: Instant::now(),
            version: request.version,
            uri: request.uri.clone(),
            client_request_id: request.headers.get(&names::CLIENT_REQUEST_ID).filter(sane).cloned(),
        }
    }

    /// Tells whether the request has its connection for itself until it is answered.
    pub(in crate::edge) fn is_http_1(&self) -> bool {
        self.version < Version::HTTP_2
    }

    /// Makes the headers that every answer has.
    pub(in crate::edge) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(16);
        self.stamp(&mut headers);
        headers
    }

    /// Makes the headers of an answer of the pipeline. Upstream's come first, so that ours win.
    pub(in crate::edge) fn of_reply(&self, reply: &Reply) -> HeaderMap {
        let mut headers = reply.headers.clone();
        headers.reserve(MOST_HEADERS);
        for hop in
            [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING, header::CONNECTION]
        {
            headers.remove(hop);
        }
        self.stamp(&mut headers);
        if let Some(target) = &reply.target {
            put(&mut headers, &names::PROVIDER, &target.provider);
            put(&mut headers, &names::MODEL, &target.model);
            put(&mut headers, &names::TARGET, &target.name);
        }
        // With neither nobody has answered yet, and a number of attempts would be a guess.
        if reply.target.is_some() || reply.attempt_count > 0 {
            headers.insert(&names::ATTEMPTS, reply.attempt_count.into());
        }
        put(&mut headers, &names::TRIED, &reply.tried);
        put(&mut headers, &names::RULE, &reply.rule);
        put(&mut headers, &names::UPSTREAM_REQUEST_ID, &reply.upstream_request_id);
        if let Some(first) = reply.repeats {
            headers.insert(&names::CACHE, HeaderValue::from_static("coalesced"));
            put(&mut headers, &names::ORIGINAL_REQUEST_ID, &first.to_string());
        }
        put(&mut headers, &names::WARNINGS, &warnings(&reply.warnings, self.uri.path()));
        rate_limits::put(&mut headers, &reply.rate_limits);
        if paths::is_anthropic(self.uri.path()) {
            rate_limits::put_anthropic(&mut headers, &reply.rate_limits);
        }
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        headers.entry(&names::PROCESSING_MS).or_insert_with(|| elapsed_ms.into());
        headers
    }

    fn stamp(&self, headers: &mut HeaderMap) {
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let id: &str = self.id.hyphenated().encode_lower(&mut id);
        put(headers, &names::X_REQUEST_ID, id);
        put(headers, &names::REQUEST_ID, id);
        if let Some(echo) = &self.client_request_id {
            headers.insert(&names::CLIENT_REQUEST_ID, echo.clone());
        }
        headers.insert(&names::CACHE, HeaderValue::from_static("bypass"));
        // HTTP/2 has no such header; there the stream ends by itself.
        if self.close && self.is_http_1() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Adds a header unless its value is empty or would not be one. Text of upstreams and callers may hold anything.
pub(in crate::edge) fn put(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(char::is_control) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Adds what a whole answer cost, in US dollars.
pub(in crate::edge) fn put_cost(headers: &mut HeaderMap, settled: Option<&Settled>) {
    if let Some(cost) = settled.and_then(|settled| settled.usage.cost.as_ref()) {
        put(headers, &names::COST_USD, &dollars(cost.amount_nanos));
    }
}

/// Writes nano-USD as dollars with as many places as needed.
fn dollars(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, part) = ((nanos / NANOS_PER_USD).unsigned_abs(), (nanos % NANOS_PER_USD).unsigned_abs());
    let text = format!("{sign}{whole}.{part:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes warnings as `code field, code field` in printable ASCII, the fields as callers of that path know them.
fn warnings(warnings: &[v1::Warning], request_path: &str) -> String {
    let mut list = String::new();
    for warning in warnings {
        let mut one = warning.code.clone();
        if !warning.field.is_empty() {
            one.push(' ');
            one.push_str(&paths::of_caller(&warning.field, request_path));
        }
        one.retain(|c| c == ' ' || (c.is_ascii_graphic() && c != ','));
        if list.len() + one.len() + 2 > MAX_VALUE {
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&one);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_no_trailing_zeros_and_no_rounding() {
        for (nanos, text) in
            [(0, "0"), (20, "0.00000002"), (1_500_000_000, "1.5"), (3_000_000_000, "3"), (-5, "-0.000000005")]
        {
            assert_eq!(dollars(nanos), text);
        }
        assert_eq!(dollars(i64::MIN), "-9223372036.854775808");
    }

    #[test]
    fn values_that_would_split_headers_are_left_out() {
        let mut headers = HeaderMap::new();
        for bad in ["a\r\nset-cookie: x", "a\nb", "\u{0}", "", "a\tb", &"x".repeat(1025)] {
            put(&mut headers, &names::MODEL, bad);
            assert!(headers.is_empty(), "{bad:?}");
        }
        put(&mut headers, &names::MODEL, "gpt-4o");
        assert_eq!(headers["x-tollgate-model"], "gpt-4o");
    }

    #[test]
    fn warnings_are_one_line_of_ascii() {
        let warning = |code: &str, field: &str| v1::Warning {
            code: code.to_owned(),
            field: field.to_owned(),
            message: String::new(),
        };
        let list = [warning("parameter_dropped", "top_k"), warning("x\r\ny", "é,z")];
        assert_eq!(warnings(&list, "/"), "parameter_dropped top_k, xy z");
    }

    #[test]
    fn only_a_sane_client_id_is_echoed() {
        let head = |value: &[u8]| {
            let mut request = http::Request::new(()).into_parts().0;
            request.headers.insert("x-client-request-id", HeaderValue::from_bytes(value).unwrap());
            Head::of(&request).headers()
        };
        assert_eq!(head(b"abc-1")["x-client-request-id"], "abc-1");
        assert!(head(b"a b").get("x-client-request-id").is_none());
        assert!(head("é".as_bytes()).get("x-client-request-id").is_none());
        assert!(head(&[b'a'; 129]).get("x-client-request-id").is_none());
    }

    #[test]
    fn the_connection_is_closed_after_an_unread_body_on_http_1_only() {
        for (version, closes) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
            let mut request = http::Request::new(()).into_parts().0;
            request.version = version;
            let head = Head { close: true, ..Head::of(&request) };
            assert_eq!(head.headers().contains_key("connection"), closes);
        }
    }
}
