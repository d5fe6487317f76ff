//! Why an answer of Cohere's ended.

use tollgate_api::v1::FinishReason;

use crate::provider::{Error, Kind, refusal};

/// Maps Cohere's word. `error` is what stands beside it; `called` says that the answer calls a tool.
///
/// # Errors
/// The failure that the word is: an answer that broke off is none.
pub(super) fn reason(word: &str, error: &str, called: bool) -> Result<FinishReason, Error> {
    Ok(match word {
        "TIMEOUT" => return Err(failed(Kind::Timeout, word, error)),
        "ERROR" => return Err(failed(Kind::Unavailable, word, error)),
        "" if !error.is_empty() => return Err(failed(Kind::Unavailable, word, error)),
        "COMPLETE" | "STOP_SEQUENCE" if called => FinishReason::ToolCalls,
        "COMPLETE" | "STOP_SEQUENCE" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "TOOL_CALL" => FinishReason::ToolCalls,
        "ERROR_TOXIC" => FinishReason::ContentFilter,
        "ERROR_LIMIT" => FinishReason::ContextLength,
        _ => FinishReason::Other,
    })
}

fn failed(kind: Kind, word: &str, error: &str) -> Error {
    let said = refusal::clean(error);
    let mut failed = Error::new(kind, format!("the provider broke its answer off ({word}) {said}"));
    word.clone_into(&mut failed.upstream_code);
    failed
}
