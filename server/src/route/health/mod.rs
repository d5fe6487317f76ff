//! How targets are: what their attempts came to, and whether the next call may go there. Shared by all aliases that lead
//! to the same target, and kept over a reload.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{call::Target, config, provider::Kind};

/// When a target is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Failures in a row that open the breaker.
    pub failures: u32,
    /// Share of failures within `window` that opens it, 0 to 1.
    pub failure_ratio: f64,
    /// Least calls within `window` for the share to count.
    pub min_calls: u32,
    /// How far back failures count.
    pub window: Duration,
    /// How long it stays open the first time.
    pub open: Duration,
    /// The longest it stays open.
    pub max_open: Duration,
    /// The longest pause that `Retry-After` can cause.
    pub max_cool_down: Duration,
}

impl From<&config::Breaker> for Settings {
    fn from(breaker: &config::Breaker) -> Self {
        Self {
            failures: breaker.failures,
            failure_ratio: breaker.failure_ratio.ratio(),
            min_calls: breaker.min_calls,
            window: breaker.window.0,
            open: breaker.open.0,
            max_open: breaker.max_open.0,
            max_cool_down: breaker.max_cool_down.0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&config::Breaker::default())
    }
}

/// Whether a target is tried, in the contract's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is well.
    #[default]
    Closed,
    /// It failed too often.
    Open,
    /// One call finds out whether it is well again.
    HalfOpen,
    /// It asked for a pause.
    CoolingDown,
    /// It fails more often than its siblings.
    Ejected,
}

/// How a target is at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Whether it is tried.
    pub state: State,
    /// When it is tried again; absent if it is tried now.
    pub retry_at: Option<Instant>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Share of failures of late, 0 to 1; absent if too few calls were made to tell.
    pub failure_ratio: Option<f64>,
    /// Typical time to the first token of late.
    pub first_token: Option<Duration>,
    /// Typical output tokens per second of late.
    pub tokens_per_second: Option<f64>,
    /// Attempts that are running.
    pub running: usize,
    /// The last failure, and when it was.
    pub last_failure: Option<(&'static str, Instant)>,
    /// Whether another replica found out.
    pub told_by_replica: bool,
}

/// Why a target is not tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How it is.
    pub state: State,
    /// When it is tried again.
    pub until: Instant,
}

/// The health of all targets.
#[derive(Debug)]
pub struct Health {
    targets: Mutex<HashMap<Arc<str>, Arc<TargetHealth>>>,
}

impl Health {
    /// Starts with every target well.
    pub fn new(_settings: Settings) -> Self {
        Self { targets: Mutex::default() }
    }

    /// Returns the health of a target.
    pub fn of(&self, target: &Target) -> Arc<TargetHealth> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.entry(target.name.clone()).or_default().clone()
    }

    /// Tells whether a retry may be made at a target: not if retries are already more than their share of its calls.
    /// Counts it if so.
    pub fn may_retry(&self, _target: &Target, _share: f64, _now: Instant) -> bool {
        true
    }
}

/// The health of one target.
#[derive(Debug, Default)]
pub struct TargetHealth {}

impl TargetHealth {
    /// Tells how the target is.
    pub fn view(&self, _now: Instant) -> View {
        View::default()
    }

    /// Starts an attempt. `last_resort` says that there is no other target: one that is not well is then still tried
    /// now and then.
    ///
    /// # Errors
    /// Why it is not tried now.
    pub fn admit(self: &Arc<Self>, _last_resort: bool, _now: Instant) -> Result<Ticket, Refused> {
        Ok(Ticket { _health: self.clone() })
    }
}

/// An attempt in the eyes of its target's health. Dropped without a word it counts neither for nor against the target:
/// the caller went away.
#[derive(Debug)]
pub struct Ticket {
    _health: Arc<TargetHealth>,
}

impl Ticket {
    /// The first content came so long after the request.
    pub fn first_content(&mut self, _after: Duration, _now: Instant) {}

    /// The attempt came to its end, with so many output tokens in the time since its first content.
    pub fn complete(&mut self, _output_tokens: i64, _now: Instant) {}

    /// The attempt failed. Mistakes of the caller are neutral, 429 is a pause.
    pub fn failed(&mut self, _kind: Kind, _now: Instant) {}
}
