//! `when` against a call: the first condition that does not hold.

use super::{alias::When, reason::Unmet};
use crate::call::{Call, Need, estimate_text_tokens, glob_matches};

/// Finds a condition that the call does not meet.
pub(super) fn unmet(when: &When, call: &Call) -> Option<Unmet> {
    let tokens = i64::from(estimate_text_tokens(call.asked.input_bytes));
    let tag = when.tags.iter().find(|(tag, pattern)| {
        let value = call.tags.get(*tag);
        !value.is_some_and(|value| glob_matches(pattern.as_bytes(), value.as_bytes()))
    });
    if let Some((tag, pattern)) = tag {
        return Some(Unmet::Tag(tag.clone(), pattern.clone()));
    }
    if !when.teams.is_empty() && !when.teams.contains(&call.caller.team_id) {
        return Some(Unmet::Team);
    }
    if let Some(least) = when.min_input_tokens.filter(|least| tokens < least.0) {
        return Some(Unmet::MinInputTokens(least.0));
    }
    if let Some(most) = when.max_input_tokens.filter(|most| tokens > most.0) {
        return Some(Unmet::MaxInputTokens(most.0));
    }
    let has = |need: &Need| call.asked.needs.has(*need);
    if let Some(need) = when.needs.iter().copied().find(|need| !has(need)) {
        return Some(Unmet::Needs(need));
    }
    if let Some(need) = when.lacks.iter().copied().find(has) {
        return Some(Unmet::Lacks(need));
    }
    when.streamed.filter(|streamed| *streamed != call.asked.streamed).map(Unmet::Streamed)
}
