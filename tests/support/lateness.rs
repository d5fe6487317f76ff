//! How late the machine wakes whoever sleeps. Promises of the gateway are about its own lateness; on a machine that is
//! busy with other things a test adds this to them, and on one that is not, nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const TICK: Duration = Duration::from_millis(2);
/// A timer's ordinary lateness.
const USUAL: Duration = Duration::from_millis(2);

/// When the provider sees of a caller that left, in 99 of 100 cases.
const PROMISE: Duration = Duration::from_millis(100);

/// Checks how long after their callers left the provider saw it. Calls run beside each other and beside other tests on a
/// machine that may be busy, so the promise is held by the quicker ones: they show that nothing in the gateway waits. None
/// may be far off.
pub fn assert_prompt(mut lags: Vec<Duration>, lateness: &Lateness) {
    lags.sort_unstable();
    let (quick, last) = (lags[lags.len() / 4], lags[lags.len() - 1]);
    let allowed = lateness.allows(PROMISE, 5);
    assert!(quick < allowed && last < Duration::from_secs(60), "{lags:?}, of {allowed:?}");
}

/// Measures from its start until it is dropped.
pub struct Lateness(Arc<AtomicU64>);

impl Lateness {
    /// Starts to measure.
    pub fn measure() -> Self {
        let worst = Arc::new(AtomicU64::new(0));
        let kept = Arc::downgrade(&worst);
        thread::spawn(move || {
            loop {
                let slept = Instant::now();
                thread::sleep(TICK);
                let late = slept.elapsed().saturating_sub(TICK + USUAL);
                let Some(worst) = kept.upgrade() else { return };
                worst.fetch_max(u64::try_from(late.as_micros()).unwrap(), Ordering::SeqCst);
            }
        });
        Self(worst)
    }

    /// Returns the worst so far.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }

    /// Returns this promise with room for so many wakes, one after the other, as late as the worst was.
    pub fn allows(&self, promise: Duration, wakes: u32) -> Duration {
        promise + self.worst() * wakes
    }
}
