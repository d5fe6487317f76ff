//! The connections to one host: as many as its running streams need.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use http::Uri;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::oneshot;

use super::{
    super::{IDLE, Pieces, connect::Connector, failure::Failed, line::PAUSE},
    link::{Link, MOST_STREAMS, Running},
};

/// The most connections to one host. Who needs more waits for a stream to end.
const MOST_LINKS: usize = 1024;

/// One host.
pub(super) struct Host {
    connector: Connector,
    origin: Uri,
    connect_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    slots: Vec<Slot>,
    opening: usize,
    waiting: VecDeque<Waiter>,
    /// How many streams the next connection will take, as far as the last one tells.
    presumed: usize,
    next_id: u64,
}

struct Slot {
    link: Arc<Link>,
    running: usize,
    idle_since: Instant,
}

struct Waiter {
    /// The connection that refused it.
    not: Option<u64>,
    place: Place,
}

type Place = oneshot::Sender<Result<Lease, Failed>>;

/// The right to run one stream on a connection, until it is dropped.
pub(in super::super) struct Lease {
    host: Arc<Host>,
    link: Arc<Link>,
}

impl Lease {
    pub(super) fn id(&self) -> u64 {
        self.link.id
    }

    pub(super) fn sender(&self) -> SendRequest<Pieces> {
        self.link.sender.clone()
    }

    /// Takes the connection out of use: it takes no more streams. Those that run on it go on.
    pub(super) fn retire(self) {
        self.host.remove(self.link.id);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.host.release(self.link.id);
    }
}

impl Host {
    pub(super) fn new(connector: Connector, origin: Uri, connect_timeout: Duration) -> Self {
        let state = State {
            slots: Vec::new(),
            opening: 0,
            waiting: VecDeque::new(),
            presumed: MOST_STREAMS,
            next_id: 0,
        };
        Self { connector, origin, connect_timeout, state: Mutex::new(state) }
    }

    /// Waits for room on a connection other than `not`, opening one if there is none.
    pub(super) async fn lease(self: &Arc<Self>, not: Option<u64>) -> Result<Lease, Failed> {
        let waiting = {
            let mut state = self.state();
            if let Some(link) = state.take(not) {
                return Ok(Lease { host: self.clone(), link });
            }
            let (place, waiting) = oneshot::channel();
            state.waiting.push_back(Waiter { not, place });
            waiting
        };
        self.open_as_needed();
        waiting.await.unwrap_or_else(|_| Err(Failed::unsent("the connection was given up")))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens as many connections as those that wait will fill.
    fn open_as_needed(self: &Arc<Self>) {
        let mut state = self.state();
        state.waiting.retain(|waiter| !waiter.place.is_closed());
        while state.opening * state.presumed < state.waiting.len()
            && state.opening + state.slots.len() < MOST_LINKS
        {
            state.opening += 1;
            state.next_id += 1;
            // Its own task: the caller who happens to need it may go, others wait for it too.
            tokio::spawn(open(Arc::downgrade(self), state.next_id, self.opening(state.next_id)));
        }
    }

    fn opening(&self, id: u64) -> impl Future<Output = Result<(Link, Running), Failed>> + Send + use<> {
        Link::open(id, self.connector.clone(), self.origin.clone(), self.connect_timeout)
    }

    fn opened(self: &Arc<Self>, link: Link) {
        let mut state = self.state();
        state.opening -= 1;
        state.presumed = link.streams().max(1);
        state.slots.push(Slot { link: Arc::new(link), running: 0, idle_since: Instant::now() });
        self.hand_out(state);
        self.open_as_needed();
    }

    /// Tells those for whom the connection was meant that there is none.
    fn failed(self: &Arc<Self>, failed: &Failed) {
        let mut state = self.state();
        state.opening -= 1;
        let count = state.presumed.min(state.waiting.len());
        let waiters: Vec<Waiter> = state.waiting.drain(..count).collect();
        drop(state);
        for waiter in waiters {
            let _ = waiter.place.send(Err(failed.clone()));
        }
        self.open_as_needed();
    }

    fn release(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        let Some(slot) = state.slots.iter_mut().find(|slot| slot.link.id == id) else { return };
        slot.running -= 1;
        slot.idle_since = Instant::now();
        self.hand_out(state);
    }

    fn remove(self: &Arc<Self>, id: u64) {
        self.state().slots.retain(|slot| slot.link.id != id);
        self.open_as_needed();
    }

    /// Gives what room there is to those who wait, in their order.
    fn hand_out(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut given = Vec::new();
        let mut at = 0;
        while at < state.waiting.len() {
            let not = state.waiting[at].not;
            if state.waiting[at].place.is_closed() {
                state.waiting.remove(at);
            } else if let Some(link) = state.take(not) {
                given.extend(state.waiting.remove(at).map(|waiter| (waiter.place, link)));
            } else if not.is_some() {
                at += 1;
            } else {
                break;
            }
        }
        // Without the lock: a lease whose waiter has gone is dropped here, which gives it to the next.
        drop(state);
        for (place, link) in given {
            let _ = place.send(Ok(Lease { host: self.clone(), link }));
        }
    }

    /// Takes a connection out of use that nobody has used for long.
    fn trim(&self, id: u64) {
        let is_stale = |slot: &Slot| slot.running == 0 && slot.idle_since.elapsed() >= IDLE;
        self.state().slots.retain(|slot| slot.link.id != id || !is_stale(slot));
    }
}

impl State {
    /// Takes room on the oldest connection that has some, so that the others become idle and are closed.
    fn take(&mut self, not: Option<u64>) -> Option<Arc<Link>> {
        self.slots.retain(|slot| !slot.link.is_closed());
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| Some(slot.link.id) != not && slot.running < slot.link.streams())?;
        if slot.running == 0 && slot.idle_since.elapsed() >= PAUSE {
            slot.link.watch();
        }
        slot.running += 1;
        Some(slot.link.clone())
    }
}

/// Opens a connection and runs it to its end.
async fn open(
    host: Weak<Host>,
    id: u64,
    opening: impl Future<Output = Result<(Link, Running), Failed>> + Send,
) {
    let opened = opening.await;
    let Some(live) = host.upgrade() else { return };
    let mut running = match opened {
        Ok((link, running)) => {
            live.opened(link);
            running
        }
        Err(failed) => return live.failed(&failed),
    };
    drop(live);
    let mut look = tokio::time::interval(IDLE / 2);
    loop {
        tokio::select! {
            () = &mut running => break,
            _ = look.tick() => if let Some(host) = host.upgrade() { host.trim(id) },
        }
    }
    if let Some(host) = host.upgrade() {
        host.remove(id);
    }
}
