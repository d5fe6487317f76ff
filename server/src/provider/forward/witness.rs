//! Watches the parts of a streamed answer that passes through, whatever wire it is: failure, end, usage.

use tollgate_api::v1::Usage;

use crate::provider::{
    Error, Kind,
    json::{Text, members::Members, read},
    refusal,
    units::Tally,
};

/// How wires tell what a part is: by a word of its own, in one of these members.
const WORDS: [&str; 3] = ["type", "event_type", "object"];
/// Words that begin an answer which has an end of its own.
const BEGINS: [&str; 7] = [
    "message_start",
    "response.created",
    "message-start",
    "stream-start",
    "interaction.created",
    "interaction.start",
    "messageStart",
];
/// Words that end one.
const ENDS: [&str; 10] = [
    "message_stop",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "message-end",
    "stream-end",
    "interaction.completed",
    "interaction.complete",
    "interaction.failed",
    "messageStop",
];

/// What was seen of one answer.
#[derive(Debug, Default)]
pub(super) struct Witness {
    tally: Tally,
    any: bool,
    begun: bool,
    complete: bool,
}

impl Witness {
    /// Starts with what is known before the answer.
    pub(super) fn new(known: Usage) -> Self {
        Self { tally: Tally::new(known), ..Self::default() }
    }

    /// Looks at one part.
    ///
    /// # Errors
    /// The failure that it tells.
    pub(super) fn part(&mut self, name: &str, json: &[u8]) -> Result<(), Error> {
        self.any = true;
        if name == "error" {
            return Err(refusal::of_payload(json));
        }
        let Ok(json) = std::str::from_utf8(json) else { return Ok(()) };
        if json.trim() == "[DONE]" {
            self.complete = true;
            return Ok(());
        }
        let members: Members<'_> = read(Some(json));
        let words = WORDS.map(|word| members.get(word).map(|told| read::<Text<'_>>(Some(told.get())).0));
        let is = |known: &[&str]| {
            known.contains(&name) || words.iter().flatten().any(|word| known.contains(&&**word))
        };
        if is(&["error"]) || says_error(&members) {
            return Err(refusal::of_payload(json.as_bytes()));
        }
        self.begun |= is(&BEGINS) || begins(&members);
        // The name of an event whose data was cut off is no end.
        let whole = || serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
        self.complete |= (is(&ENDS) || ends(&members)) && whole();
        self.tally.take(json);
        Ok(())
    }

    /// Returns the usage so far.
    pub(super) fn usage(&self) -> Usage {
        self.tally.usage()
    }

    /// Tells whether the answer's own end has been seen.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes the end of the body.
    ///
    /// # Errors
    /// If nothing came, or if the answer has an end of its own that did not come.
    pub(super) fn ended(&self) -> Result<(), Error> {
        match (self.any, self.begun && !self.complete) {
            (false, _) => Err(Error::new(Kind::BadResponse, "the answer is empty")),
            (true, true) => {
                Err(Error::new(Kind::Unavailable, "the stream ended before the answer's own end"))
            }
            (true, false) => Ok(()),
        }
    }
}

/// Tells whether a part is a failure: `error` holds words or an object.
fn says_error(members: &Members<'_>) -> bool {
    let error = members.get("error").map_or("", |error| error.get());
    error.starts_with('{') && error != "{}" || error.starts_with('"') && error != "\"\""
}

/// Tells whether a part belongs to an answer with an end of its own: Ollama's, Converse's under Nova, Gemini's, TGI's.
fn begins(members: &Members<'_>) -> bool {
    ["done", "messageStart", "candidates", "token"].iter().any(|name| members.get(name).is_some())
        || members.get("choices").is_some_and(|choices| choices.get().contains("\"delta\""))
}

/// Tells whether a part is the end of such an answer.
fn ends(members: &Members<'_>) -> bool {
    let says = |name: &str, word: &str| members.get(name).is_some_and(|told| told.get() == word);
    let told = |name: &str| members.get(name).is_some_and(|told| told.get() != "null");
    says("done", "true")
        || told("generated_text")
        || members.get("messageStop").is_some()
        || has_reason(members, "candidates", "finishReason")
        || has_reason(members, "choices", "finish_reason")
        // A prompt that is blocked has no candidate.
        || members.get("promptFeedback").is_some_and(|told| told.get().contains("blockReason"))
}

fn has_reason(members: &Members<'_>, list: &str, reason: &str) -> bool {
    let choices: Vec<Members<'_>> = read(members.get(list).map(|list| list.get()));
    choices.iter().any(|choice| choice.get(reason).is_some_and(|told| told.get() != "null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(parts: &[(&str, &str)]) -> Result<(), Kind> {
        let mut witness = Witness::default();
        for (name, json) in parts {
            witness.part(name, json.as_bytes()).map_err(|error| error.kind)?;
        }
        witness.ended().map_err(|error| error.kind)
    }

    #[test]
    fn an_answer_needs_the_end_that_its_wire_has() {
        for (begin, end) in [
            (r#"{"type":"message_start"}"#, r#"{"type":"message_stop"}"#),
            (r#"{"type":"response.created"}"#, r#"{"type":"response.incomplete"}"#),
            (r#"{"type":"message-start"}"#, r#"{"type":"message-end","delta":{}}"#),
            (r#"{"event_type":"stream-start"}"#, r#"{"event_type":"stream-end"}"#),
            (r#"{"event_type":"interaction.created"}"#, r#"{"event_type":"interaction.completed"}"#),
            (r#"{"messageStart":{"role":"assistant"}}"#, r#"{"messageStop":{}}"#),
            (r#"{"candidates":[{"content":{}}]}"#, r#"{"candidates":[{"finishReason":"STOP"}]}"#),
            (
                r#"{"choices":[{"delta":{},"finish_reason":null}]}"#,
                r#"{"choices":[{"finish_reason":"stop"}]}"#,
            ),
            (r#"{"choices":[{"delta":{}}]}"#, "[DONE]"),
            (r#"{"response":"a","done":false}"#, r#"{"response":"","done":true}"#),
            (r#"{"token":{},"generated_text":null}"#, r#"{"token":{},"generated_text":"a"}"#),
        ] {
            assert_eq!(seen(&[("", begin)]), Err(Kind::Unavailable), "{begin}");
            assert_eq!(seen(&[("", begin), ("", end)]), Ok(()), "{end}");
        }
        assert_eq!(seen(&[("", r#"{"results":[]}"#)]), Ok(()), "a wire without an end of its own");
        assert_eq!(seen(&[]), Err(Kind::BadResponse));
    }

    #[test]
    fn errors_of_every_form_are_failures() {
        for (name, json) in [
            ("error", r#"{"message":"slow down","type":"rate_limit_error"}"#),
            ("", r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#),
            ("", r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#),
        ] {
            assert_eq!(seen(&[(name, json)]), Err(Kind::RateLimited { retry_after: None }), "{json}");
        }
        assert!(seen(&[("", r#"{"error":"the model has gone"}"#)]).is_err());
        for json in [r#"{"error":null}"#, r#"{"error":""}"#, r#"{"error":{}}"#, "ü"] {
            assert_eq!(seen(&[("", json)]), Ok(()), "{json}");
        }
    }
}
