//! Why an answer of Gemini ended, in the contract's words.

use tollgate_api::v1::FinishReason;

/// Reads a finish reason. A call of a tool ends with a plain `STOP`. Enums are numbers if somebody between asked for
/// that; from 6 on the two APIs number them differently, so that only the word tells.
pub(super) fn reason(word: &str, called_tool: bool) -> FinishReason {
    match word {
        "STOP" | "1" if called_tool => FinishReason::ToolCalls,
        "STOP" | "1" => FinishReason::Stop,
        "MAX_TOKENS" | "2" => FinishReason::Length,
        "SAFETY"
        | "3"
        | "RECITATION"
        | "4"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        // MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, TOO_MANY_TOOL_CALLS, LANGUAGE, NO_IMAGE, OTHER, …
        _ => FinishReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_a_meaning() {
        for (word, called, meaning) in [
            ("STOP", false, FinishReason::Stop),
            ("STOP", true, FinishReason::ToolCalls),
            ("MAX_TOKENS", true, FinishReason::Length),
            ("SAFETY", false, FinishReason::ContentFilter),
            ("RECITATION", false, FinishReason::ContentFilter),
            ("PROHIBITED_CONTENT", false, FinishReason::ContentFilter),
            ("BLOCKLIST", false, FinishReason::ContentFilter),
            ("SPII", false, FinishReason::ContentFilter),
            ("IMAGE_SAFETY", false, FinishReason::ContentFilter),
            ("MODEL_ARMOR", false, FinishReason::ContentFilter),
            ("MALFORMED_FUNCTION_CALL", true, FinishReason::Other),
            ("UNEXPECTED_TOOL_CALL", true, FinishReason::Other),
            ("LANGUAGE", false, FinishReason::Other),
            ("OTHER", false, FinishReason::Other),
            ("A_NEW_WORD", false, FinishReason::Other),
        ] {
            assert_eq!(reason(word, called), meaning, "{word}");
        }
    }

    #[test]
    fn ge_enum_int_reasons_are_read() {
        assert_eq!(reason("1", true), FinishReason::ToolCalls);
        assert_eq!(reason("2", false), FinishReason::Length);
    }
}
