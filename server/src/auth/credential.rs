//! Where a caller's key stands in a request: in one of four headers, and never in the URL.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use super::key::MAX_LEN;
use crate::error::{Error, Reason};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// Google's SDKs send their key here.
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Finds the one key of a request.
///
/// # Errors
/// `API_KEY_MISSING` if there is none; `API_KEY_INVALID` if it is ambiguous, malformed or in the URL.
pub(super) fn find<'h>(headers: &'h HeaderMap, query: Option<&str>) -> Result<&'h str, Error> {
    if query.is_some_and(has_key) {
        return Err(Error::new(
            Reason::ApiKeyInvalid,
            "there is an API key in the URL, and keys in the URL end up in logs: send it as \
             `authorization: Bearer <key>`, and rotate this one, for it must be considered leaked",
        ));
    }
    let mut found: Option<&str> = None;
    let mut authorizations = 0;
    for value in headers.get_all(AUTHORIZATION) {
        authorizations += 1;
        let value = value.to_str().map_err(|_| refused())?;
        take(&mut found, bearer(value)?)?;
    }
    if authorizations > 1 {
        return Err(ambiguous());
    }
    for name in [X_API_KEY, API_KEY, X_GOOG_API_KEY] {
        for value in headers.get_all(name) {
            take(&mut found, value.to_str().map_err(|_| refused())?.trim())?;
        }
    }
    let key = found.ok_or_else(missing)?;
    if key.len() > MAX_LEN { Err(refused()) } else { Ok(key) }
}

/// Makes the error for every key that is not one of ours, malformed or unknown: the two must look the same.
pub(super) fn refused() -> Error {
    Error::new(
        Reason::ApiKeyInvalid,
        "the API key is not one of this gateway's; check that it is complete, was not rotated, and is not the \
         provider's own key",
    )
}

fn missing() -> Error {
    Error::new(
        Reason::ApiKeyMissing,
        "no API key was sent: send it as `authorization: Bearer <key>`, `x-api-key: <key>` or `api-key: <key>`",
    )
}

fn ambiguous() -> Error {
    Error::new(
        Reason::ApiKeyInvalid,
        "several API keys were sent, and it is not clear which is meant; send one",
    )
}

/// Takes a value over unless another one was there; an empty value is none, as SDKs send it for an unset key.
fn take<'h>(found: &mut Option<&'h str>, value: &'h str) -> Result<(), Error> {
    if value.is_empty() {
        return Ok(());
    }
    match found {
        Some(other) if *other != value => Err(ambiguous()),
        _ => {
            *found = Some(value);
            Ok(())
        }
    }
}

fn bearer(value: &str) -> Result<&str, Error> {
    let (scheme, rest) = value.trim().split_once([' ', '\t']).unwrap_or((value.trim(), ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(rest.trim());
    }
    Err(Error::new(Reason::ApiKeyInvalid, "the header `authorization` must be `Bearer <key>`"))
}

/// Tells whether a query string looks as if it carried a key.
fn has_key(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let names_key = ["key", "api_key", "api-key", "access_token"];
        value.starts_with("tg_")
            || (!value.is_empty() && names_key.iter().any(|known| name.eq_ignore_ascii_case(known)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        map
    }

    fn reason(list: &[(&'static str, &str)], query: Option<&str>) -> Reason {
        find(&headers(list), query).unwrap_err().reason()
    }

    #[test]
    fn each_header_carries_a_key_and_the_scheme_is_in_any_case() {
        for list in [
            [("authorization", "Bearer k1")],
            [("authorization", "bEARER   k1 ")],
            [("x-api-key", "k1")],
            [("api-key", " k1")],
        ] {
            assert_eq!(find(&headers(&list), None).unwrap(), "k1");
        }
    }

    #[test]
    fn the_same_key_in_several_headers_is_one_key() {
        let list = [("authorization", "Bearer k1"), ("x-api-key", "k1"), ("api-key", "")];
        assert_eq!(find(&headers(&list), None).unwrap(), "k1");
    }

    #[test]
    fn two_keys_or_two_authorizations_are_ambiguous() {
        let two = [("authorization", "Bearer k1"), ("x-api-key", "k2")];
        assert_eq!(reason(&two, None), Reason::ApiKeyInvalid);
        let same = [("authorization", "Bearer k1"), ("authorization", "Bearer k1")];
        assert_eq!(reason(&same, None), Reason::ApiKeyInvalid);
    }

    #[test]
    fn no_key_is_missing_and_another_scheme_is_invalid() {
        assert_eq!(reason(&[], None), Reason::ApiKeyMissing);
        assert_eq!(reason(&[("authorization", "Bearer ")], None), Reason::ApiKeyMissing);
        assert_eq!(reason(&[("authorization", "Basic azE6")], None), Reason::ApiKeyInvalid);
        assert!(find(&headers(&[]), None).unwrap_err().to_string().contains("authorization: Bearer"));
    }

    #[test]
    fn a_key_in_the_url_is_refused_even_beside_a_good_header() {
        let good = [("authorization", "Bearer k1")];
        for query in ["key=abc", "a=b&api_key=x", "API-KEY=x", "access_token=x", "q=tg_abc", "a=1;key=2"] {
            assert_eq!(reason(&good, Some(query)), Reason::ApiKeyInvalid, "{query}");
        }
        for query in ["", "key=", "filters[key]=abc", "api-version=2025", "group_by=key"] {
            assert!(find(&headers(&good), Some(query)).is_ok(), "{query}");
        }
    }

    #[test]
    fn malformed_keys_read_like_unknown_ones() {
        let long = "k".repeat(513);
        let error = find(&headers(&[("x-api-key", &long)]), None).unwrap_err();
        assert_eq!(error.to_string(), refused().to_string());
    }
}
