//! What a schedule keeps of a failure.

use std::time::Duration;

use crate::provider::{self, Kind};

/// A failure, as far as it decides what is tried next.
#[derive(Clone, Copy, Debug)]
pub(in crate::route) struct Lesson {
    /// What it means.
    pub(in crate::route) kind: Kind,
    /// The upstream's HTTP status; 0 if none came.
    pub(in crate::route) http_status: u16,
    /// The upstream's own hint when to try again.
    pub(in crate::route) retry_after: Option<Duration>,
    /// Whether it is about the request itself, as the contract has it.
    pub(in crate::route) is_callers: bool,
}

impl From<&provider::Error> for Lesson {
    fn from(failure: &provider::Error) -> Self {
        Self {
            kind: failure.kind,
            http_status: failure.http_status,
            retry_after: failure.retry_after,
            is_callers: failure.caller.is_some(),
        }
    }
}
