//! The typed details of Google's errors: what the reason is called, and how long to wait.

use std::time::Duration;

use serde_json::Value;

use crate::provider::retry_after;

/// What the details say that the rest of the error does not.
#[derive(Debug, Default)]
pub(super) struct Details {
    /// `reason` of an `ErrorInfo`, like `API_KEY_INVALID`.
    pub(super) reason: String,
    /// `retryDelay` of a `RetryInfo`.
    pub(super) retry: Option<Duration>,
}

/// Reads the list of details.
pub(super) fn read(details: &Value) -> Details {
    let mut told = Details::default();
    for detail in details.as_array().into_iter().flatten() {
        match detail["@type"].as_str().and_then(|name| name.rsplit('.').next()) {
            Some("RetryInfo") => told.retry = wait(&detail["retryDelay"]).or(told.retry),
            Some("ErrorInfo") => told.reason = detail["reason"].as_str().unwrap_or_default().to_owned(),
            _ => {}
        }
    }
    told
}

/// Reads a duration as JSON has it (`34.4s`), or as its two members.
fn wait(delay: &Value) -> Option<Duration> {
    match delay {
        Value::String(text) => retry_after::of_text(text),
        Value::Object(_) => {
            let seconds = delay["seconds"].as_u64().or_else(|| delay["seconds"].as_str()?.parse().ok());
            retry_after::of_text(&format!("{}s", seconds?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_has_two_forms_and_garbage_is_none() {
        for (delay, millis) in [
            (r#""34.4s""#, Some(34_400)),
            (r#""0s""#, Some(0)),
            (r#"{"seconds":"7","nanos":1}"#, Some(7_000)),
            (r#"{"seconds":900}"#, Some(60_000)),
            (r#""soon""#, None),
            ("{}", None),
            ("7", None),
        ] {
            let details = format!(
                r#"[7,{{"@type":"type.googleapis.com/google.rpc.Help"}},
                {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":{delay}}}]"#
            );
            let told = read(&serde_json::from_str(&details).unwrap());
            assert_eq!(told.retry, millis.map(Duration::from_millis), "{delay}");
        }
    }
}
