//! The gateway's own stage: whether a call is let in at all, and when.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    gate::{Busy, Claim, Gate, Place, Settings, Waiting},
    shed::{self, Shed},
};
use crate::{
    call::{Priority, now},
    config,
    telemetry::metrics,
};

/// The pause that callers are asked for whom the lag turned away: by then it is another lag.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is let in.
#[derive(Debug)]
pub struct Load {
    gate: Arc<Gate>,
    shed: Mutex<Shed>,
    /// Whether `shed` has anything to say, so that calls look into it only then.
    alert: AtomicBool,
    max_lag: Duration,
    began: Instant,
    /// When the task that measures is later than it may be, in microseconds since `began`. Never, if there is none.
    overdue_micros: AtomicU64,
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
        self.0.place().await
    }
}

impl Load {
    /// Makes the stage, with so many places if the configuration does not say how many.
    pub fn new(load: &config::Load, places: Option<usize>) -> Arc<Self> {
        let configured = load.concurrent.map(|places| usize::try_from(places).unwrap_or(usize::MAX));
        let now = now();
        Arc::new(Self {
            gate: Gate::new(metrics::GATEWAY.into(), Settings::from(load), configured.or(places)),
            shed: Mutex::new(Shed::new(load.max_lag.0, now)),
            alert: AtomicBool::new(false),
            max_lag: load.max_lag.0,
            began: now,
            overdue_micros: AtomicU64::new(u64::MAX),
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
            metrics::call_shed(claim.priority.as_str());
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

    /// Notes that the task that measures was woken, and returns when it wants to be woken again.
    pub(super) fn woken(&self, now: Instant) -> Instant {
        let mut shed = self.shed();
        let due = shed.woken(self.gate.running(), now);
        self.alert.store(shed.is_alert(), Relaxed);
        if !self.max_lag.is_zero() {
            self.overdue_micros.store(self.micros(due + self.max_lag), Relaxed);
        }
        metrics::load(shed.ratio(), shed.lag());
        due
    }

    fn sheds(&self, tenant: &str, priority: Priority) -> bool {
        let now = now();
        let overdue = self.micros(now) > self.overdue_micros.load(Relaxed);
        if !overdue && !self.alert.load(Relaxed) {
            return false;
        }
        let running = self.gate.running();
        let mut shed = self.shed();
        shed.called(running, now);
        self.alert.store(shed.is_alert(), Relaxed);
        shed.is_alert() && shed.asks(tenant, priority, running) == shed::Answer::No
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    fn shed(&self) -> MutexGuard<'_, Shed> {
        self.shed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_does_not_keep_up_refuses_and_soon_lets_all_in_again() {
        let load = Load::new(&config::Load::default(), None);
        let deadline = now() + Duration::from_secs(3_600);
        let claim = Claim { tenant: "a", priority: Priority::Normal, deadline };
        let running: Vec<_> = (0..100).map(|_| load.enter(claim).ok()).collect();
        load.woken(now());
        // The task that measures is not woken any more, while calls go on to come.
        let mut refused = 0;
        for _ in 0..1_000 {
            advance(Duration::from_millis(1)).await;
            refused += usize::from(load.enter(claim).is_err());
        }
        assert!(refused > 300, "{refused}");
        let status = load.status();
        assert!(status.shed_ratio > 0.5 && status.lag > Duration::from_millis(250), "{status:?}");
        assert_eq!(status.running, 100, "the places of those who were let in later were given back");
        drop(running);
        assert!((0..100).all(|_| load.enter(claim).is_ok()), "nothing runs that could be the cause");
        for _ in 0..500 {
            advance(Duration::from_millis(20)).await;
            load.woken(now());
        }
        assert_eq!(load.status().shed_ratio, 0.0);
        assert!(load.enter(claim).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_of_the_lag_nobody_is_refused() {
        let settings = config::Load { max_lag: config::Span(Duration::ZERO), ..config::Load::default() };
        let load = Load::new(&settings, Some(1));
        load.woken(now());
        advance(Duration::from_secs(10)).await;
        let deadline = now() + Duration::from_secs(1);
        let first = load.enter(Claim { tenant: "a", priority: Priority::Low, deadline }).ok().unwrap();
        assert!(matches!(first, Entry::Now(_)));
        let second = load.enter(Claim { tenant: "a", priority: Priority::Low, deadline }).ok().unwrap();
        assert!(matches!(second, Entry::Later(_)));
        assert_eq!((load.status().limit, load.status().waiting), (Some(1), 1));
    }
}
