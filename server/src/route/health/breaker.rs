//! The breaker of a target: closed, open, and one probe to find out which it should be. A plain state machine.
//!
//! Attempts carry a number that grows with each admission. A change of state remembers the number that is next, so that
//! what was started before is known as such when it reports: it can neither open, close nor prolong anything any more.

use std::time::Instant;

use super::{settings::Settings, window::Window};

/// The breaker of one target.
#[derive(Debug)]
pub(super) struct Breaker {
    phase: Phase,
    /// Failures since the last success.
    failures: u32,
    /// Attempts since it closed, and those that failed.
    lately: Window,
    /// How often it opened since the last success.
    openings: u32,
    /// Number of the first attempt that the last change of state has not outdated.
    since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        until: Instant,
        /// The attempt that finds out.
        probe: Option<u64>,
    },
}

/// Whether a breaker lets calls through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All.
    Closed,
    /// None until then.
    Open(Instant),
    /// The next one, as a probe.
    MayProbe,
    /// None while a probe runs.
    Probing,
}

impl Breaker {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            phase: Phase::Closed,
            failures: 0,
            lately: Window::new(settings.window),
            openings: 0,
            since: 0,
        }
    }

    /// Goes by other settings from now on.
    pub(super) fn configure(&mut self, settings: &Settings) {
        self.lately.resize(settings.window);
    }

    /// Tells how it stands.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.phase {
            Phase::Closed => Standing::Closed,
            Phase::Open { probe: Some(_), .. } => Standing::Probing,
            Phase::Open { until, .. } if now < until => Standing::Open(until),
            Phase::Open { .. } => Standing::MayProbe,
        }
    }

    /// Returns the failures since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes that an attempt is let through: it is the probe if one is wanted.
    pub(super) fn admitted(&mut self, attempt: u64, now: Instant) {
        if let Phase::Open { until, probe: probe @ None } = &mut self.phase
            && now >= *until
        {
            *probe = Some(attempt);
        }
    }

    /// Notes that an attempt is over and proves nothing: if it was the probe, the next may be.
    pub(super) fn released(&mut self, attempt: u64) {
        if let Phase::Open { probe, .. } = &mut self.phase
            && *probe == Some(attempt)
        {
            *probe = None;
        }
    }

    /// Notes that the target is alive. An open breaker closes, if the attempt was started since it opened: as its
    /// probe or as a last resort. Tells whether it did; the attempt then goes on under the number `next`.
    pub(super) fn alive(&mut self, attempt: u64, next: u64) -> bool {
        let closes = self.phase != Phase::Closed && attempt >= self.since;
        if closes {
            self.close(next);
        }
        closes
    }

    /// Notes an attempt that came to its end as it should.
    pub(super) fn succeeded(&mut self, attempt: u64, now: Instant) {
        if self.phase == Phase::Closed && attempt >= self.since {
            self.failures = 0;
            self.openings = 0;
            self.lately.add(false, now);
        }
    }

    /// Notes a failure. `jitter` is the factor for the pause, should this one open it; `next` is the number of the
    /// next attempt.
    pub(super) fn failed(&mut self, attempt: u64, next: u64, settings: &Settings, jitter: f64, now: Instant) {
        if attempt < self.since {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let opens = match self.phase {
            Phase::Closed => {
                self.lately.add(true, now);
                self.is_too_much(settings, now)
            }
            Phase::Open { probe, .. } => probe == Some(attempt),
        };
        if opens {
            let until = now + settings.pause(self.openings, jitter);
            self.openings = self.openings.saturating_add(1);
            self.open(until, next);
        }
    }

    /// Opens it until then at least, or lets it be if it is open for longer.
    pub(super) fn open(&mut self, until: Instant, next: u64) {
        if let Phase::Open { until: already, probe: None } = self.phase
            && already >= until
        {
            return;
        }
        self.phase = Phase::Open { until, probe: None };
        self.since = next;
    }

    /// Closes it if it is open.
    pub(super) fn close_if_open(&mut self, next: u64) {
        if self.phase != Phase::Closed {
            self.close(next);
        }
    }

    fn close(&mut self, next: u64) {
        self.phase = Phase::Closed;
        self.failures = 0;
        self.lately.clear();
        self.since = next;
    }

    fn is_too_much(&self, settings: &Settings, now: Instant) -> bool {
        let lately = self.lately.sum(now);
        self.failures >= settings.failures
            || lately.all >= u64::from(settings.min_calls)
                && lately.share().is_some_and(|share| share >= settings.failure_ratio)
    }
}
