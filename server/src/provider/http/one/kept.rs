//! The connections that nobody uses, kept open for the next calls.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    super::{IDLE, MOST_IDLE},
    Origin,
    link::Link,
};

/// How often is looked which of them have ended. Besides, each is looked at before it is used.
const LOOK: Duration = Duration::from_secs(1);

/// The connections of one provider.
#[derive(Default)]
pub(super) struct Kept(Mutex<State>);

#[derive(Default)]
struct State {
    /// By host. There are few, so that going through them costs less than the hash of a name.
    hosts: Vec<(Origin, Vec<Idle>)>,
    /// Somebody looks after them.
    is_watched: bool,
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

impl State {
    fn of(&mut self, origin: &Origin) -> Option<&mut Vec<Idle>> {
        self.hosts.iter_mut().find(|(host, _)| host == origin).map(|(_, idle)| idle)
    }
}

impl Idle {
    fn is_good(&mut self) -> bool {
        self.since.elapsed() < IDLE && self.link.is_free()
    }
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection to a host that was used last, so that the others can age.
    pub(super) fn take(&self, origin: &Origin) -> Option<Box<Link>> {
        loop {
            let mut idle = self.state().of(origin)?.pop()?;
            if idle.is_good() {
                return Some(idle.link);
            }
        }
    }

    /// Keeps a connection, unless there are enough.
    pub(super) fn put(self: &Arc<Self>, origin: Origin, link: Box<Link>) {
        // Outside of the runtime nobody can look after it.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut state = self.state();
        let kept = Idle { link, since: Instant::now() };
        match state.of(&origin) {
            None => state.hosts.push((origin, vec![kept])),
            Some(idle) if idle.len() < MOST_IDLE => idle.push(kept),
            Some(_) => {}
        }
        if !std::mem::replace(&mut state.is_watched, true) {
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Closes those that have ended, or that nobody has used for long. Tells whether any is left.
    fn sweep(&self) -> bool {
        let mut state = self.state();
        state.hosts.retain_mut(|(_, idle)| {
            idle.retain_mut(Idle::is_good);
            !idle.is_empty()
        });
        state.is_watched = !state.hosts.is_empty();
        state.is_watched
    }
}

async fn watch(kept: Weak<Kept>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !kept.upgrade().is_some_and(|kept| kept.sweep()) {
            return;
        }
    }
}
