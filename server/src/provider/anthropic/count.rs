//! The count of a prompt's tokens as the vendor answers it.

use serde::Deserialize;
use tollgate_api::v1::CountTokensResponse;

use super::{
    json::{Count, says_something},
    refusal,
};
use crate::{
    call::Item,
    provider::{Error, Kind},
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counted<'a> {
    input_tokens: Count,
    #[serde(borrow)]
    error: Option<&'a serde_json::value::RawValue>,
}

/// Reads the count.
///
/// # Errors
/// The error that the body tells, or `BadResponse` if it is no count.
pub(super) fn input_tokens(body: &[u8]) -> Result<i64, Error> {
    let counted: Counted<'_> = serde_json::from_slice(body).map_err(|_| refusal::not_json(body))?;
    if says_something(counted.error) {
        return Err(refusal::of_payload(body));
    }
    counted.input_tokens.0.ok_or_else(|| Error::new(Kind::BadResponse, "the answer holds no count of tokens"))
}

/// Tells the count in the contract's words.
pub(super) fn decode(body: &[u8], model: &str) -> Result<Item, Error> {
    let input_tokens = input_tokens(body)?;
    let model = model.to_owned();
    Ok(Item::Counted(Box::new(CountTokensResponse { input_tokens, estimated: false, model })))
}
