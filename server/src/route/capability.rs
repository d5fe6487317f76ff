//! What targets surely cannot do: the configuration says so, or else the catalog.

use super::{Asking, alias::AliasTarget, reason::Why};
use crate::call::{Call, Need, Operation, Target};

/// Text of more bytes a token than that is not to be expected, so that a prompt has at least so many tokens.
const BYTES_PER_TOKEN_AT_MOST: usize = 8;
/// The catalog knows no chat model that takes less: shorter prompts need no look-up.
const SMALLEST_CONTEXT: i64 = 1_024;

/// Tells why a target surely cannot serve the call; `None` if it may be able to.
pub(super) fn lack(target: &Target, line: &AliasTarget, asking: &Asking<'_>) -> Option<Why> {
    let call = asking.call;
    let needs = call.asked.needs;
    let tokens = least_tokens(call);
    let needs_something = needs != crate::call::Needs::default();
    let may_be_long = tokens > line.context_tokens.unwrap_or(SMALLEST_CONTEXT);
    if !needs_something && !may_be_long {
        return None;
    }
    let known = match (line.can, line.context_tokens) {
        (Some(_), Some(_)) => super::Known::default(),
        _ => asking.models.known(target),
    };
    if let Some(need) = line.can.or(known.can).and_then(|can| needs.beyond(can).next()) {
        return Some(Why::Cannot(need));
    }
    let context_tokens = line.context_tokens.or(known.context_tokens)?;
    (tokens > context_tokens).then_some(Why::TooLong { context_tokens })
}

/// Returns how many tokens the prompt has at least. Pictures, sound and documents stand in it as text of a length that
/// says nothing.
fn least_tokens(call: &Call) -> i64 {
    let media = [Need::Vision, Need::Audio, Need::Documents];
    if call.operation != Operation::Chat || media.into_iter().any(|need| call.asked.needs.has(need)) {
        return 0;
    }
    i64::try_from(call.asked.input_bytes / BYTES_PER_TOKEN_AT_MOST).unwrap_or(i64::MAX)
}
