//! A gate with so many places: at a target, or of the whole gateway.

mod place;
mod waiting;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};

pub use self::place::Place;
pub(super) use self::waiting::Waiting;
use super::{
    aimd::Aimd,
    queue::Queue,
    thaw::{Pause, Thaw},
};
use crate::{
    call::{Priority, now},
    config,
};

/// What stands for "no limit", so that one comparison is enough.
const UNLIMITED: usize = usize::MAX;
/// Least pause that somebody who found no place is asked for.
const PAUSE: Duration = Duration::from_secs(1);
/// Spreads the pauses over the thousandths of a second more, so that those who were sent away together do not come
/// back together.
const SPREAD: usize = 617;

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

/// A gate. Cheap while nobody has to wait: then it is two atomic numbers.
#[derive(Debug)]
pub struct Gate {
    /// How it stands in the metrics.
    name: Arc<str>,
    settings: Settings,
    running: AtomicUsize,
    /// Places there are now.
    limit: AtomicUsize,
    /// As the queue's length, for those who do not look into it. Whoever gives a place back reads it after having given,
    /// and whoever queues looks for a place after having written it, so that one of them sees the other.
    waiting: AtomicUsize,
    /// As often as the limit was cut by a target's refusals.
    cuts: AtomicU64,
    sent_away: AtomicUsize,
    /// Somebody who looked at the clock for those who wait is gone.
    watch_gone: Notify,
    inside: Mutex<Inside>,
}

/// What only those look at who wait, and those who meet a target that refuses.
#[derive(Debug)]
struct Inside {
    configured: Option<usize>,
    found: Aimd,
    thaw: Thaw,
    queue: Queue<oneshot::Sender<Place>>,
}

impl Gate {
    /// Makes a gate. Without a limit it lets all in, until a target refuses.
    pub fn new(name: Arc<str>, settings: Settings, limit: Option<usize>) -> Arc<Self> {
        let queue = Queue::new(settings.queue);
        let inside = Inside { configured: limit, found: Aimd::default(), thaw: Thaw::default(), queue };
        Arc::new(Self {
            name,
            settings,
            running: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit.unwrap_or(UNLIMITED)),
            waiting: AtomicUsize::new(0),
            cuts: AtomicU64::new(0),
            sent_away: AtomicUsize::new(0),
            watch_gone: Notify::new(),
            inside: Mutex::new(inside),
        })
    }

    /// Takes a place if one is free now and nobody waits for it.
    pub fn try_enter(self: &Arc<Self>) -> Option<Place> {
        if self.waiting() > 0 { None } else { self.try_pass() }
    }

    /// Takes a place if one is free now, though others may wait for a pause to be over.
    pub fn try_pass(self: &Arc<Self>) -> Option<Place> {
        let free = |running: usize| (running < self.limit.load(SeqCst)).then(|| running + 1);
        self.running.fetch_update(SeqCst, SeqCst, free).ok()?;
        Some(Place::new(self.clone()))
    }

    /// Tells whether somebody who came now would find a place.
    pub fn has_room(&self) -> bool {
        self.waiting() == 0 && self.running() < self.limit.load(SeqCst)
    }

    /// Takes a place, and waits for one if need be: not longer than the settings say, and never when the deadline
    /// would pass before.
    ///
    /// # Errors
    /// `Busy` if the queue is full, or the wait would be too long or was.
    pub async fn enter(self: &Arc<Self>, claim: Claim<'_>) -> Result<Place, Busy> {
        match self.try_enter() {
            Some(place) => Ok(place),
            None => self.queue(claim)?.place().await,
        }
    }

    /// Waits for a pause of the target to be over and then for a place, in turn with all who wait: first goes one, and then
    /// two for each that the target answers.
    ///
    /// # Errors
    /// As `enter`; the longest wait begins with the end of the pause.
    pub async fn enter_after(self: &Arc<Self>, pause: Pause, claim: Claim<'_>) -> Result<Place, Busy> {
        self.join(claim, Some(pause))?.place().await
    }

    /// Has somebody wait for a place.
    ///
    /// # Errors
    /// `Busy` if the queue is full, or there is no time to wait.
    pub(super) fn queue(self: &Arc<Self>, claim: Claim<'_>) -> Result<Waiting, Busy> {
        self.join(claim, None)
    }

    fn join(self: &Arc<Self>, claim: Claim<'_>, pause: Option<Pause>) -> Result<Waiting, Busy> {
        let at = now();
        let from = pause.map_or(at, |pause| pause.until.max(at));
        let until = claim.deadline.min(from + self.settings.max_wait);
        if until <= from {
            return Err(self.busy());
        }
        let (sender, place) = oneshot::channel();
        let mut inside = self.inside();
        let joined = inside.queue.join(claim.tenant, claim.priority, until, sender);
        if let Some(pause) = pause.filter(|_| joined.is_ok()) {
            inside.thaw.wait_for(pause, at);
        }
        self.waiting.store(inside.queue.len(), SeqCst);
        drop(inside);
        // Whoever was sent away for it learns of that by the end of the sender.
        let Ok((ticket, _)) = joined else { return Err(self.busy()) };
        let waiting = Waiting { gate: self.clone(), ticket, until, place };
        self.call_next();
        Ok(waiting)
    }

    /// Returns how many places are taken.
    pub fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    /// Returns how many places there are; absent if there is no limit.
    pub fn limit(&self) -> Option<usize> {
        self.set_limit(&mut self.inside());
        Some(self.limit.load(SeqCst)).filter(|limit| *limit != UNLIMITED)
    }

    /// Returns how many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Lowers the configured number of places; never raises it.
    pub(super) fn at_most(self: &Arc<Self>, limit: usize) {
        if self.limit.load(SeqCst) <= limit {
            return;
        }
        let mut inside = self.inside();
        inside.configured = Some(inside.configured.map_or(limit, |known| known.min(limit)));
        self.set_limit(&mut inside);
    }

    /// Tells whether nobody is in or waits, and nothing was learnt that would be lost with the gate.
    pub(super) fn is_idle(&self) -> bool {
        let mut inside = self.inside();
        self.running() == 0 && inside.queue.len() == 0 && inside.found.limit(now()).is_none()
    }

    /// Returns when more of those may go who wait, by the clock alone: after a pause, or since the target refuses nobody.
    fn opens_at(&self) -> Option<Instant> {
        let (mut inside, at) = (self.inside(), now());
        self.set_limit(&mut inside);
        let opens = [inside.thaw.opens_at(at), inside.found.grows_at()];
        opens.into_iter().flatten().min()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free places to those who wait.
    fn call_next(self: &Arc<Self>) {
        let mut returned: Option<Place> = None;
        while self.waiting() > 0 {
            let mut inside = self.inside();
            self.set_limit(&mut inside);
            let at = now();
            let place = match returned.take() {
                None if inside.thaw.has_room(at) => self.try_pass(),
                returned => returned,
            };
            let Some(mut place) = place else { return };
            let next = inside.queue.next(at);
            if next.is_some() {
                place.goes(&mut inside.thaw);
            }
            self.left(&mut inside);
            drop(inside);
            // Without the lock, which a place takes on its way back.
            returned = next.and_then(|waiter| waiter.send(place).err());
        }
    }

    /// Somebody has left the queue.
    fn left(&self, inside: &mut Inside) {
        let waiting = inside.queue.len();
        if waiting == 0 {
            inside.thaw.is_over();
        }
        self.waiting.store(waiting, SeqCst);
    }

    fn set_limit(&self, inside: &mut Inside) {
        let found = inside.found.limit(now()).unwrap_or(UNLIMITED);
        self.limit.store(inside.configured.unwrap_or(UNLIMITED).min(found), SeqCst);
    }

    fn busy(&self) -> Busy {
        let nth = self.sent_away.fetch_add(1, Relaxed);
        Busy {
            retry_after: PAUSE + PAUSE * u32::try_from(nth.wrapping_mul(SPREAD) % 1_000).unwrap_or(0) / 1_000,
        }
    }
}

#[cfg(test)]
mod tests;
