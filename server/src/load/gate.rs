//! A gate with so many places: at a target, or of the whole gateway.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{call::Priority, config};

/// How gates treat those who wait.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most that may wait at one gate.
    pub queue: usize,
    /// Longest wait.
    pub max_wait: Duration,
}

impl From<&config::Load> for Settings {
    fn from(load: &config::Load) -> Self {
        Self { queue: usize::try_from(load.queue).unwrap_or(usize::MAX), max_wait: load.max_wait.0 }
    }
}

/// Who asks for a place.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Whose share the place is counted to: the key's id.
    pub tenant: &'a str,
    /// How important the call is.
    pub priority: Priority,
    /// When the call must be over.
    pub deadline: Instant,
}

/// There is no place, and waiting for one makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When a place may be free.
    pub retry_after: Duration,
}

/// A gate. Cheap while nobody has to wait.
#[derive(Debug)]
pub struct Gate {
    running: AtomicUsize,
}

impl Gate {
    /// Takes a place if one is free now.
    pub fn try_enter(self: &Arc<Self>) -> Option<Place> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Some(Place { gate: self.clone() })
    }

    /// Takes a place, and waits for one if need be: not longer than the settings say, and never when the deadline
    /// would pass before.
    ///
    /// # Errors
    /// `Busy` if the queue is full, or the wait would be too long or was.
    #[expect(clippy::unused_async, reason = "waits once the queue is there")]
    pub async fn enter(self: &Arc<Self>, _claim: Claim<'_>) -> Result<Place, Busy> {
        self.try_enter().ok_or(Busy { retry_after: Duration::from_secs(1) })
    }

    /// Returns how many places are taken.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Returns how many places there are; absent if there is no limit.
    pub fn limit(&self) -> Option<usize> {
        None
    }

    /// Returns how many wait.
    pub fn waiting(&self) -> usize {
        0
    }
}

/// A place behind a gate. Dropping it gives it to the next.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
}

impl Place {
    /// Tells the gate that the call was refused for want of capacity (429), so that it lets fewer in.
    pub fn throttled(&self) {}

    /// Tells the gate that the call was served, so that it may let more in again.
    pub fn served(&self) {}
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The gates of all targets, by name.
#[derive(Debug)]
pub struct Gates {
    gates: Mutex<HashMap<Arc<str>, Arc<Gate>>>,
}

impl Default for Gates {
    fn default() -> Self {
        Self::new(Settings::from(&config::Load::default()))
    }
}

impl Gates {
    /// Makes the gates; there is one for each target from the first time on that somebody asks for it.
    pub fn new(_settings: Settings) -> Self {
        Self { gates: Mutex::default() }
    }

    /// Returns the gate of a target. `limit` is the configured number of places.
    pub fn of(&self, target: &Arc<str>, _limit: Option<usize>) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(target.clone()).or_insert_with(|| Arc::new(Gate { running: AtomicUsize::new(0) })).clone()
    }
}
