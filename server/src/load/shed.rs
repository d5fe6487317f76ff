//! How many new calls the gateway refuses because it does not keep up, and which.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::call::Priority;

/// Time between two measurements.
const EVERY: Duration = Duration::from_millis(20);
/// Least time over which a lag must last: less is a hiccup, which passes by itself.
const INTERVAL: Duration = Duration::from_millis(100);
/// Least measurements in an interval: a single one, however long it took, is a hiccup too.
const MEASUREMENTS: u32 = 2;
/// With fewer running calls than this nobody is refused for the lag. So few cannot be its cause, as each is work for much
/// less than a millisecond at a time: others starve the machine then, and refusing calls would not help it.
const FEW: usize = 64;
/// The least share of calls that is let in. With none the gateway would learn nothing.
const LEAST: f64 = 0.01;
/// The lag that is aimed at while calls are refused, in limits.
const TARGET: f64 = 0.75;
/// How much the share answers to how far the lag is from there, and to how far it moved since the last interval. What is
/// decided shows in the lag only when those who wait already are done, so without the second the share would swing.
/// RFC 8033 (PIE) steers queues of packets alike.
const ANSWER: (f64, f64) = (0.1, 1.0);
/// What the share shrinks to and grows to in one interval, at most.
const STEP: (f64, f64) = (0.3, 1.2);

/// Whether a call is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is.
    Yes,
    /// It is one of those that are refused.
    No,
}

/// The controller. It looks at the least lag of each interval, and moves the share of calls that are let in.
#[derive(Debug)]
pub(super) struct Shed {
    max_lag: Duration,
    began: Instant,
    measurements: u32,
    least: Duration,
    /// Most calls that were seen running in this interval.
    running: usize,
    /// The last measurement, and when it was taken.
    last: (Duration, Instant),
    /// When the task that measures wants to be woken.
    due: Instant,
    /// The least lag of the last interval.
    lag: Duration,
    /// The same, in limits, as far as our calls can be its cause.
    ours: f64,
    /// Share of calls that are let in.
    share: f64,
    tenants: HashMap<Box<str>, [Arrivals; Priority::ALL.len()]>,
}

/// What one tenant asks for at one priority.
#[derive(Clone, Copy, Debug)]
struct Arrivals {
    /// Calls in this interval.
    count: u32,
    /// Share of them that is let in.
    share: f64,
    /// What of a call has been saved up.
    credit: f64,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { count: 0, share: 1.0, credit: 0.0 }
    }
}

impl Shed {
    /// Makes a controller that refuses nobody as long as the lag is below that; zero is never.
    pub(super) fn new(max_lag: Duration, now: Instant) -> Self {
        Self {
            max_lag,
            began: now,
            measurements: 0,
            least: Duration::MAX,
            running: 0,
            last: (Duration::ZERO, now),
            due: now + EVERY,
            lag: Duration::ZERO,
            ours: 0.0,
            share: 1.0,
            tenants: HashMap::new(),
        }
    }

    /// Returns the share of calls that are refused.
    pub(super) fn ratio(&self) -> f64 {
        1.0 - self.share
    }

    /// Returns the lag that lasted over the last interval.
    pub(super) fn lag(&self) -> Duration {
        self.lag
    }

    /// Tells whether calls have to ask.
    pub(super) fn is_alert(&self) -> bool {
        !self.max_lag.is_zero() && (self.share < 1.0 || self.last.0 > self.max_lag)
    }

    /// Notes that the task that measures was woken while so many calls were running, and returns when it wants to be woken
    /// again.
    pub(super) fn woken(&mut self, running: usize, now: Instant) -> Instant {
        self.measured(now.saturating_duration_since(self.due), running, now);
        self.due = now + EVERY;
        self.due
    }

    /// Notes that a call came while so many were running. If the task that measures is overdue, that tells as much as its
    /// being woken late.
    pub(super) fn called(&mut self, running: usize, now: Instant) {
        let overdue = now.saturating_duration_since(self.due);
        if overdue > self.max_lag && now.saturating_duration_since(self.last.1) >= EVERY {
            self.measured(overdue, running, now);
        }
    }

    fn measured(&mut self, lag: Duration, running: usize, now: Instant) {
        self.last = (lag, now);
        self.running = self.running.max(running);
        self.least = self.least.min(lag);
        self.measurements += 1;
        let interval = now.saturating_duration_since(self.began);
        if interval < INTERVAL || self.measurements < MEASUREMENTS {
            return;
        }
        self.lag = self.least;
        if !self.max_lag.is_zero() {
            self.steer();
            self.divide();
        }
        (self.began, self.measurements, self.least, self.running) = (now, 0, Duration::MAX, 0);
    }

    /// Decides on a call that comes while so many are running.
    pub(super) fn asks(&mut self, tenant: &str, priority: Priority, running: usize) -> Answer {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.into(), Default::default());
        }
        // A newcomer is let in until the interval has shown what it asks for.
        let Some(all) = self.tenants.get_mut(tenant) else { return Answer::Yes };
        let arrivals = &mut all[priority as usize];
        arrivals.count = arrivals.count.saturating_add(1);
        if running < FEW {
            return Answer::Yes;
        }
        arrivals.credit += arrivals.share;
        if arrivals.credit < 1.0 {
            return Answer::No;
        }
        arrivals.credit -= 1.0;
        Answer::Yes
    }

    fn steer(&mut self) {
        let lag = if self.running < FEW { Duration::ZERO } else { self.lag };
        let lag = lag.as_secs_f64() / self.max_lag.as_secs_f64();
        let moved = lag - std::mem::replace(&mut self.ours, lag);
        if self.share < 1.0 || lag > 1.0 {
            let push = ANSWER.0 * (lag - TARGET) + ANSWER.1 * moved;
            let step = (-push).exp().clamp(STEP.0, STEP.1);
            self.share = (self.share * step).clamp(LEAST, 1.0);
        }
    }

    /// Divides what is let in among those who asked in the last interval: the more important get all they ask for
    /// first, and within a priority nobody gets more than others who are refused.
    fn divide(&mut self) {
        self.tenants.retain(|_, all| all.iter().any(|arrivals| arrivals.count > 0));
        let asked = |all: &[Arrivals; 3]| all.iter().map(|arrivals| f64::from(arrivals.count)).sum::<f64>();
        let mut left = self.share * self.tenants.values().map(asked).sum::<f64>();
        for priority in Priority::ALL.into_iter().rev() {
            let counts = self.tenants.values().map(|all| f64::from(all[priority as usize].count));
            let mut counts: Vec<f64> = counts.filter(|count| *count > 0.0).collect();
            counts.sort_by(f64::total_cmp);
            let most = level(&counts, left);
            for all in self.tenants.values_mut() {
                let arrivals = &mut all[priority as usize];
                let count = f64::from(std::mem::take(&mut arrivals.count));
                if self.share >= 1.0 {
                    arrivals.share = 1.0;
                } else if count > 0.0 {
                    arrivals.share = (most / count).min(1.0);
                    left -= count.min(most);
                } else if left <= 0.0 {
                    // It asked for nothing of this priority lately, and there is nothing to give.
                    arrivals.share = 0.0;
                }
            }
        }
    }
}

/// Returns the most that each may get, so that all get no more than `total` together. `counts` are sorted.
fn level(counts: &[f64], total: f64) -> f64 {
    let mut left = total.max(0.0);
    for (at, count) in counts.iter().enumerate() {
        let others = f64::from(u32::try_from(counts.len() - at).unwrap_or(u32::MAX));
        if count * others >= left {
            return left / others;
        }
        left -= count;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests;
