//! What an answer is that is none: an error in a 200, a web page, a stream that ended before its end.

use super::{members::Members, refusal};
use crate::provider::{Error, Kind};

/// Checks that a whole body is a message.
pub(super) fn checked(body: &[u8]) -> Result<Members<'_>, Error> {
    let message: Members<'_> = serde_json::from_slice(body).map_err(|_| refusal::not_json(body))?;
    let failed = message.get("type").is_some_and(|kind| kind.get() == "\"error\"")
        || message.get("error").is_some_and(|error| error.get() != "null");
    if failed {
        return Err(refusal::of_payload(body));
    }
    if message.get("content").is_none() {
        return Err(Error::new(Kind::BadResponse, "the answer is a JSON object without `content`"));
    }
    Ok(message)
}

/// Says what a body is that came where an event stream was asked for.
pub(super) fn in_place_of_events(body: &[u8]) -> Error {
    match checked(body) {
        Ok(_) => {
            Error::new(Kind::BadResponse, "the answer is a whole JSON object, not the event stream asked for")
        }
        Err(error) => error,
    }
}

/// Says what an answer is that has a line no event stream has.
pub(super) fn stray(raw: &[u8]) -> Error {
    match raw.trim_ascii().first() {
        Some(b'{' | b'<') => in_place_of_events(raw),
        _ => Error::new(Kind::BadResponse, "the answer is no event stream"),
    }
}

/// Says why a stream that has ended before its own end is no answer.
pub(super) fn cut_short(any_event: bool) -> Error {
    if any_event {
        Error::new(Kind::Unavailable, "the stream ended without message_stop: the answer is cut short")
    } else {
        Error::new(Kind::BadResponse, "the answer is no event stream")
    }
}
