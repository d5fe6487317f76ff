//! When a call that failed before its first message is sent again: only if the server asks for it.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::error::{Error, Kind};

/// Most attempts of one call, the first one included.
const MAX_ATTEMPTS: u32 = 3;
/// Longest wait that the library makes by itself; a longer one is the program's decision.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Whether a repeat of a call is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A read, or a call that the server recognises by its request id or refuses before it does anything.
    Safe,
    /// A change without a request id: a repeat might make it twice.
    Never,
}

impl Repeat {
    /// Decides for a change that carries a request id or not.
    pub(crate) fn with_request_id(id: &str) -> Self {
        if id.is_empty() { Self::Never } else { Self::Safe }
    }
}

/// Returns how long to wait before the next attempt, or `None` if there must be none.
///
/// The server decides, by RetryInfo or `grpc-retry-pushback-ms`: it alone knows whether the failed call
/// had an effect. A wait that is too long or would pass the deadline is not cut short, since the call
/// would be refused again, but given back to the caller with the error.
pub(crate) fn next_wait(
    error: &Error,
    repeat: Repeat,
    attempts_made: u32,
    now: Instant,
    deadline: Option<Instant>,
) -> Option<Duration> {
    if repeat == Repeat::Never || attempts_made >= MAX_ATTEMPTS || error.kind() != Kind::Server {
        return None;
    }
    if !matches!(error.code(), Code::Unavailable | Code::ResourceExhausted) {
        return None;
    }
    let wait = error.retry_after().filter(|wait| *wait <= MAX_WAIT)?;
    let in_time = deadline.is_none_or(|deadline| now + wait < deadline);
    in_time.then_some(wait)
}

#[cfg(test)]
mod tests {
    use tonic::{Status, metadata::MetadataMap};

    use super::*;

    fn error(code: Code, pushback: Option<&str>) -> Error {
        let mut metadata = MetadataMap::new();
        if let Some(pushback) = pushback {
            metadata.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
        }
        Error::from(Status::with_metadata(code, "no", metadata))
    }

    fn wait(error: &Error, attempts_made: u32, seconds_left: Option<u64>) -> Option<Duration> {
        let now = Instant::now();
        let deadline = seconds_left.map(|seconds| now + Duration::from_secs(seconds));
        next_wait(error, Repeat::Safe, attempts_made, now, deadline)
    }

    #[test]
    fn the_server_decides_whether_and_when() {
        let told = Some(Duration::from_millis(500));
        assert_eq!(wait(&error(Code::Unavailable, Some("500")), 1, None), told);
        assert_eq!(wait(&error(Code::ResourceExhausted, Some("500")), 2, None), told);
        assert_eq!(wait(&error(Code::Unavailable, None), 1, None), None);
        assert_eq!(wait(&error(Code::Unavailable, Some("-1")), 1, None), None);
        assert_eq!(wait(&error(Code::Internal, Some("500")), 1, None), None);
    }

    #[test]
    fn attempts_waits_and_the_deadline_bound_it() {
        let overloaded = error(Code::Unavailable, Some("2000"));
        assert_eq!(wait(&overloaded, 3, None), None);
        assert_eq!(wait(&overloaded, 1, Some(1)), None);
        assert_eq!(wait(&overloaded, 1, Some(3)), Some(Duration::from_secs(2)));
        assert_eq!(wait(&error(Code::Unavailable, Some("60000")), 1, None), None);
    }

    #[test]
    fn a_change_without_a_request_id_is_never_repeated() {
        let overloaded = error(Code::Unavailable, Some("0"));
        assert_eq!(next_wait(&overloaded, Repeat::with_request_id(""), 1, Instant::now(), None), None);
        assert!(next_wait(&overloaded, Repeat::with_request_id("a"), 1, Instant::now(), None).is_some());
    }
}
