//! Who runs under which `request_id`, and whose answer is kept: a plain state machine. It takes the time, and neither
//! waits nor writes.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use crate::call::Fingerprint;

/// What an answer takes beside its bytes: its place here and in the store.
const OVERHEAD: u64 = 256;

/// Under what a repeat is looked for: the key, the operation and the caller's id, as one hash.
pub(super) type Scope = Fingerprint;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) keep: Duration,
    pub(super) most_answers: usize,
    pub(super) most_bytes: u64,
}

/// How a call stands under its id.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nobody has used the id: the call runs, and whoever repeats it waits for it.
    First,
    /// The same request runs, or it is being found out whether another one may. The receiver changes once that is known,
    /// and is closed once the call is over.
    Running(watch::Receiver<()>),
    /// The same request was answered.
    Kept,
    /// The id stands for another request.
    Reused,
}

/// A call that runs, or asks whether it may.
struct Running {
    fingerprint: Fingerprint,
    done: watch::Sender<()>,
    /// Whether the id is this call's: other replicas were asked, if there are any.
    is_sure: bool,
}

/// An answer that the store holds.
struct Kept {
    fingerprint: Fingerprint,
    expires: SystemTime,
    bytes: u64,
}

/// The state of all ids.
pub(super) struct Board {
    bounds: Bounds,
    running: HashMap<Scope, Running>,
    kept: HashMap<Scope, Kept>,
    /// In the order in which they expire. An entry whose time is not that of the answer is of an earlier one.
    oldest: VecDeque<(SystemTime, Scope)>,
    bytes: u64,
}

impl Board {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, running: HashMap::new(), kept: HashMap::new(), oldest: VecDeque::new(), bytes: 0 }
    }

    /// Tells how a call stands. Of those that stand first, each must be ended by `release` or `keep`.
    pub(super) fn claim(&mut self, scope: Scope, fingerprint: Fingerprint, now: SystemTime) -> Standing {
        let same = |other: &Fingerprint| *other == fingerprint;
        if let Some(Running { fingerprint, done, is_sure }) = self.running.get(&scope) {
            let reused = *is_sure && !same(fingerprint);
            return if reused { Standing::Reused } else { Standing::Running(done.subscribe()) };
        }
        if let Some(kept) = self.kept.get(&scope).filter(|kept| kept.expires > now) {
            return if same(&kept.fingerprint) { Standing::Kept } else { Standing::Reused };
        }
        self.running.insert(scope, Running { fingerprint, done: watch::Sender::new(()), is_sure: false });
        Standing::First
    }

    /// The id is that of the call that runs: whoever waits to know looks again.
    pub(super) fn confirm(&mut self, scope: &Scope) {
        if let Some(running) = self.running.get_mut(scope).filter(|running| !running.is_sure) {
            running.is_sure = true;
            running.done.send_replace(());
        }
    }

    /// Ends a call whose answer is not kept: the next one under the id stands first.
    pub(super) fn release(&mut self, scope: &Scope) {
        self.running.remove(scope);
    }

    /// Ends a call whose answer is in the store, until then.
    pub(super) fn keep(&mut self, scope: Scope, bytes: u64, expires: SystemTime) {
        if let Some(Running { fingerprint, .. }) = self.running.remove(&scope) {
            self.put(scope, fingerprint, bytes, expires);
        }
    }

    /// Adds an answer that is in the store, later ones later.
    pub(super) fn put(&mut self, scope: Scope, fingerprint: Fingerprint, bytes: u64, expires: SystemTime) {
        self.forget(&scope);
        self.bytes += bytes.saturating_add(OVERHEAD);
        self.kept.insert(scope, Kept { fingerprint, expires, bytes });
        self.oldest.push_back((expires, scope));
    }

    /// Forgets an answer that the store does not hold any more.
    pub(super) fn forget(&mut self, scope: &Scope) {
        if let Some(kept) = self.kept.remove(scope) {
            self.bytes -= kept.bytes.saturating_add(OVERHEAD);
        }
    }

    /// Forgets what has expired and, of the rest, the oldest until there is room for an answer of so many bytes.
    /// Returns what the store may delete, and until when the new answer is to be kept.
    pub(super) fn make_room(&mut self, bytes: u64, now: SystemTime) -> (Vec<Scope>, SystemTime) {
        let mut gone = self.expire(now);
        let fits = |board: &Self| {
            board.kept.len() < board.bounds.most_answers
                && board.bytes.saturating_add(bytes).saturating_add(OVERHEAD) <= board.bounds.most_bytes
        };
        while !fits(self)
            && let Some((expires, scope)) = self.oldest.pop_front()
        {
            gone.extend(self.drop_if(scope, expires));
        }
        (gone, now + self.bounds.keep)
    }

    /// Forgets what has expired, and returns it.
    pub(super) fn expire(&mut self, now: SystemTime) -> Vec<Scope> {
        let mut gone = Vec::new();
        while let Some((expires, scope)) = self.oldest.front().copied().filter(|(expires, _)| *expires <= now)
        {
            self.oldest.pop_front();
            gone.extend(self.drop_if(scope, expires));
        }
        gone
    }

    fn drop_if(&mut self, scope: Scope, expires: SystemTime) -> Option<Scope> {
        self.kept.get(&scope).filter(|kept| kept.expires == expires)?;
        self.forget(&scope);
        Some(scope)
    }
}

#[cfg(test)]
mod tests;
