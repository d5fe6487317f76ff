//! How a target is, for those who choose, those who watch, and other replicas.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::telemetry::metrics::TargetGauges;

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

impl State {
    /// Returns the name that log lines use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::CoolingDown => "cooling_down",
            Self::Ejected => "ejected",
        }
    }

    fn as_number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open | Self::CoolingDown | Self::Ejected => 2,
        }
    }
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
    /// Typical time to the first token of late; where nothing was streamed, to the whole answer.
    pub first_token: Option<Duration>,
    /// Typical time of late to an answer in one piece.
    pub whole: Option<Duration>,
    /// The longest that calls waited for content in vain since the last answer: streams, and answers in one piece.
    pub silence: (Duration, Duration),
    /// Typical output tokens per second of late.
    pub tokens_per_second: Option<f64>,
    /// Attempts that are running.
    pub running: usize,
    /// The last failure, and when it was.
    pub last_failure: Option<(&'static str, Instant)>,
    /// Whether another replica found out.
    pub told_by_replica: bool,
}

impl View {
    /// Returns how long a call usually waits for what it gets first; absent if nobody knows.
    pub fn usual(&self, streamed: bool) -> Option<Duration> {
        if streamed { self.first_token } else { self.whole }
    }

    /// Returns how long calls waited for content in vain since the last answer.
    pub fn silent(&self, streamed: bool) -> Duration {
        if streamed { self.silence.0 } else { self.silence.1 }
    }

    /// Returns what metrics show of it.
    pub(super) fn gauges(&self, target: Arc<str>) -> TargetGauges {
        // A target that is left alone for long has no attempts of late that could tell.
        let is_broken = matches!(self.state, State::Open | State::HalfOpen);
        let failing = self.failure_ratio.unwrap_or(if is_broken { 1.0 } else { 0.0 });
        TargetGauges { target, circuit_state: self.state.as_number(), health: 1.0 - failing }
    }
}

/// Why a target is not tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How it is.
    pub state: State,
    /// When it is tried again.
    pub until: Instant,
}

/// A change in whether a target is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which target.
    pub target: Arc<str>,
    /// How it is now.
    pub state: State,
    /// Until when, for states that pass by themselves.
    pub until: Option<Instant>,
    /// What failed last, if anything did.
    pub last_failure: Option<&'static str>,
    /// Whether another replica found out, so that it need not be told.
    pub told_by_replica: bool,
}

impl Transition {
    /// Tells whoever reads the log.
    pub(super) fn log(&self, now: Instant) {
        let Self { target, state, until, last_failure, told_by_replica } = self;
        let (state, last_failure) = (state.as_str(), last_failure.unwrap_or_default());
        if matches!(self.state, State::Closed | State::HalfOpen) {
            tracing::info!(%target, state, told_by_replica, "a target is tried");
            return;
        }
        let again_in = until.map(|until| until.saturating_duration_since(now)).unwrap_or_default();
        tracing::warn!(%target, state, last_failure, ?again_in, told_by_replica, "a target is left alone");
    }
}
