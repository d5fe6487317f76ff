//! The number of tokens of a prompt where the vendor does not tell: an upper bound.

use ::http::HeaderMap;
use futures_util::stream;
use prost::Message as _;
use tollgate_api::v1::{ChatInput, CountTokensResponse};

use super::{Answer, Error};
use crate::call::Item;

/// No tokenizer in use packs ordinary text tighter than this.
const BYTES_PER_TOKEN: usize = 2;
/// What framing adds to each message.
const TOKENS_PER_MESSAGE: usize = 8;

/// Answers with an upper bound. The encoded length counts every text, tool and schema once; media count as their
/// bytes, which is far more than any vendor charges.
pub(super) fn count_tokens(input: &ChatInput, model: &str) -> Result<Answer, Error> {
    let most = input.encoded_len() / BYTES_PER_TOKEN + input.messages.len() * TOKENS_PER_MESSAGE;
    let counted = CountTokensResponse {
        input_tokens: i64::try_from(most).unwrap_or(i64::MAX),
        estimated: true,
        model: model.to_owned(),
    };
    Ok(Answer {
        http_status: 200,
        upstream_request_id: String::new(),
        headers: HeaderMap::new(),
        warnings: Vec::new(),
        items: Box::pin(stream::iter([Ok(Item::Counted(Box::new(counted)))])),
    })
}
