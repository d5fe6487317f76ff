//! Counts of a prompt's tokens.

use serde_json::Value;

use super::{Expected, count_at};

/// Reads a count in any vendor's words.
pub fn answer(messages: &[Value]) -> Expected {
    let mut expected = Expected::default();
    for message in messages {
        let told = ["/input_tokens", "/inputTokens", "/totalTokens"];
        expected.counted = told.iter().find_map(|place| count_at(message, place));
        expected.failed |= expected.counted.is_none();
    }
    expected
}
