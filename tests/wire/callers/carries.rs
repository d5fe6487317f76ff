//! What a caller's dialect cannot carry, in one table, each with its reason.

use serde_json::{Map, Value, json};

use crate::{
    family::Family,
    read::{Expected, Finish},
};

/// Takes out of what an answer says what a dialect has no place for.
pub fn reduced(family: Family, expected: &Expected) -> Expected {
    let mut kept = expected.clone();
    match family {
        // A legacy completion is text and nothing else.
        Family::Completions => {
            for choice in kept.choices.values_mut() {
                choice.thoughts.clear();
                choice.calls.clear();
            }
        }
        // One answer holds one choice.
        Family::Messages | Family::Responses => kept.choices.retain(|index, _| *index == 0),
        _ => {}
    }
    if matches!(family, Family::Messages | Family::Completions) {
        for choice in kept.choices.values_mut() {
            // A refusal has no place of its own; its words are text.
            let refusal = std::mem::take(&mut choice.refusal);
            choice.text.push_str(&refusal);
            if family == Family::Messages && !refusal.is_empty() {
                choice.finish = Finish::Refusal;
            }
            // Anthropic's input is an object, so that free text stands in one.
            for call in &mut choice.calls {
                if !call.input.is_empty() && serde_json::from_str::<Map<String, Value>>(&call.input).is_err()
                {
                    call.input = json!({"input": call.input}).to_string();
                }
            }
        }
    }
    kept
}

/// Whether a dialect may tell this reason for an end as that one.
pub fn may_say(family: Family, meant: Finish, said: Finish) -> bool {
    if meant == said || matches!(meant, Finish::Unknown | Finish::Other) {
        return true;
    }
    match family {
        // OpenAI's clients look for calls under `tool_calls`, and know no refusal, pause, or window that is full.
        Family::Chat => matches!(
            (meant, said),
            (Finish::Stop, Finish::ToolCalls)
                | (Finish::Refusal, Finish::Stop | Finish::ContentFilter)
                | (Finish::Paused, Finish::Stop)
                | (Finish::ContextLength, Finish::Length)
        ),
        Family::Responses => match meant {
            Finish::Refusal | Finish::ContentFilter => matches!(said, Finish::Stop | Finish::ContentFilter),
            Finish::Paused | Finish::Stop | Finish::ToolCalls => {
                matches!(said, Finish::Stop | Finish::ToolCalls | Finish::Unknown)
            }
            Finish::ContextLength => said == Finish::Length,
            _ => false,
        },
        Family::Completions => matches!(
            (meant, said),
            (Finish::ToolCalls | Finish::Refusal | Finish::Paused, _)
                | (Finish::ContextLength, Finish::Length)
        ),
        // A filter is told as a refusal.
        Family::Messages => (meant, said) == (Finish::ContentFilter, Finish::Refusal),
        _ => false,
    }
}
