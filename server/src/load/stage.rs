//! The gateway's own stage: whether a call is let in at all, and when.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    gate::{Busy, Claim, Gate, Place, Settings, Waiting},
    shed::{self, Shed},
};
use crate::{call::Priority, config, telemetry};

/// How the stage stands in the metrics, among the targets.
const NAME: &str = "_gateway";
/// The pause that callers are asked for whom the lag turned away: by then it is another lag.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is let in.
#[derive(Debug)]
pub struct Load {
    gate: Arc<Gate>,
    shed: Mutex<Shed>,
    /// Whether `shed` has anything to say, so that calls look into it only then.
    alert: AtomicBool,
}

/// How the stage is.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Calls that are served.
    pub running: usize,
    /// Most calls that are served at a time; absent if there is no limit.
    pub limit: Option<usize>,
    /// Calls that wait to be served.
    pub waiting: usize,
    /// Share of new calls that are refused because the gateway does not keep up, 0 to 1.
    pub shed_ratio: f64,
    /// How late the gateway's own work begins of late.
    pub lag: Duration,
}

/// How a call is let in.
pub enum Entry {
    /// At once.
    Now(Place),
    /// When a place is free.
    Later(Wait),
}

/// A call that waits for its place.
pub struct Wait(Waiting);

impl Wait {
    /// Waits for the place.
    ///
    /// # Errors
    /// `Busy` if none came in time, or a more modest tenant came instead.
    pub async fn place(self) -> Result<Place, Busy> {
        let began = crate::call::now();
        let place = self.0.place().await;
        telemetry::metrics::queue_waited(NAME, began.elapsed());
        place
    }
}

impl Load {
    /// Makes the stage, with so many places if the configuration does not say how many.
    pub fn new(load: &config::Load, places: Option<usize>) -> Arc<Self> {
        let configured = load.concurrent.map(|places| usize::try_from(places).unwrap_or(usize::MAX));
        Arc::new(Self {
            gate: Gate::new(Settings::from(load), configured.or(places)),
            shed: Mutex::new(Shed::new(load.max_lag.0, crate::call::now())),
            alert: AtomicBool::new(false),
        })
    }

    /// Lets a call in, now or when there is a place. Cheap, as it is asked before anything is read of the call but its
    /// headers.
    ///
    /// # Errors
    /// `Busy` if the gateway does not keep up and the call is among those that it can do without, or if too many wait.
    pub fn enter(&self, claim: Claim<'_>) -> Result<Entry, Busy> {
        let entered = if self.sheds(claim.tenant, claim.priority) {
            Err(Busy { retry_after: PAUSE })
        } else {
            match self.gate.try_enter() {
                Some(place) => Ok(Entry::Now(place)),
                None => self.gate.queue(claim).map(|waiting| Entry::Later(Wait(waiting))),
            }
        };
        if entered.is_err() {
            telemetry::metrics::call_shed(claim.priority.as_str());
        }
        entered
    }

    /// Tells how the stage is.
    pub fn status(&self) -> Status {
        let shed = self.shed();
        Status {
            running: self.gate.running(),
            limit: self.gate.limit(),
            waiting: self.gate.waiting(),
            shed_ratio: shed.ratio(),
            lag: shed.lag(),
        }
    }

    /// Takes a measurement of how late the gateway's own work begins.
    pub(super) fn measured(&self, lag: Duration, now: Instant) {
        let mut shed = self.shed();
        shed.measured(lag, now);
        self.alert.store(shed.is_alert(), Relaxed);
        telemetry::metrics::load(NAME, self.gate.waiting(), shed.ratio(), shed.lag());
    }

    fn sheds(&self, tenant: &str, priority: Priority) -> bool {
        self.alert.load(Relaxed) && self.shed().asks(tenant, priority) == shed::Answer::No
    }

    fn shed(&self) -> MutexGuard<'_, Shed> {
        self.shed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
