//! Pages: sizes, and tokens that say where the next one starts.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;

use super::filter::Span;
use crate::{call::Caller, error::Error};

/// Rows of a page if the caller does not say.
const DEFAULT: usize = 100;
/// Rows of a page at most.
const MOST: usize = 1_000;
/// Longest token that is looked at, in bytes.
const LONGEST: usize = 16_384;

/// Where the next page starts. Opaque to callers, who may write anything into it: it is checked against the request,
/// and its values are bound, so that a forged one shows nothing that its caller could not ask for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Token {
    #[prost(fixed64, tag = "1")]
    pub(super) fingerprint: u64,
    /// End of the span as it was on the first page.
    #[prost(int64, tag = "2")]
    pub(super) end_ms: i64,
    /// Bucket of the last row of a report, or time of the last record of a list.
    #[prost(int64, tag = "3")]
    pub(super) bucket: i64,
    /// Number of the last record of a list.
    #[prost(int64, tag = "4")]
    pub(super) seq: i64,
    /// Group of the last row of a report.
    #[prost(string, repeated, tag = "5")]
    pub(super) group: Vec<String>,
}

impl Token {
    pub(super) fn of(span: Span) -> Self {
        Self { end_ms: span.end_ms, ..Self::default() }
    }

    /// Reads a token of a request with so many groups; `None` asks for the first page.
    pub(super) fn read(text: &str, fingerprint: u64, groups: usize) -> Result<Option<Self>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let token = Some(text)
            .filter(|text| text.len() <= LONGEST)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .and_then(|bytes| Self::decode(&*bytes).ok())
            .filter(|token| token.fingerprint == fingerprint && token.group.len() == groups);
        let message =
            "page_token is not one that this request, with all other fields as they were, was given";
        token.map(Some).ok_or_else(|| Error::invalid("page_token", message))
    }

    pub(super) fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.encode_to_vec())
    }
}

/// Reads a page size.
pub(super) fn size(asked: i32) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MOST)),
        Err(_) => Err(Error::invalid("page_size", "page_size must not be negative")),
    }
}

/// Returns a number that changes with what is asked and who asks, but not with the page.
pub(super) fn fingerprint(caller: &Caller, filters: &HashMap<String, String>, words: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&text.len().to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(&caller.key_id);
    words.iter().for_each(|word| add(word));
    for (name, value) in filters.iter().collect::<BTreeMap<_, _>>() {
        add(name);
        add(value);
    }
    let hash = hasher.finalize();
    hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
