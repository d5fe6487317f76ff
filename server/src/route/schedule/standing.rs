//! How the targets of a plan stand in one call: what was learnt of each, and why one cannot be tried at the moment.

use std::time::{Duration, Instant};

use crate::{
    provider::{self, Kind},
    route::health::Refused,
};

/// Which part of the plan a call is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Ordinary,
    ContextLength,
    ContentPolicy,
}

/// Why a target cannot be tried at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    None,
    /// It is not well.
    Refused(Refused),
    Full,
    /// A wait for a place at it was in vain.
    Busy,
}

/// What the schedule keeps of a failure.
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

/// How a target stands in this call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) lane: Lane,
    /// The first place of the plan that has the same target.
    pub(super) same_as: usize,
    /// The first place of the plan that has the same model of the same provider, whatever the credential.
    pub(super) kin: usize,
    pub(super) calls: u32,
    pub(super) last: Option<(Lesson, Instant)>,
    pub(super) mark: Mark,
}
