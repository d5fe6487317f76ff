//! Once: a call that carries a `request_id` is served and charged once, however often it is sent. A repeat of a running
//! call waits for it, one of an answered call gets the answer again, and the same id with another request is refused.
//!
//! Place in the path: after `auth::permit` and before `route::plan` and `quota`, since a repeat costs nothing and
//! reserves nothing. What is kept is the whole answer of a success, for `idempotency.keep` and within bounds of size;
//! failures are not kept, so that they may be tried again. An answer is in a file before its last piece is handed on: it
//! survives kill -9, and is told to the other replicas where they share a Redis. Without an id, nothing happens here.
//! Config: `idempotency`. Metrics: none of its own; the record of a repeat says `CACHE_STATUS_COALESCED`. Tests: beside
//! each file, `tests/e2e/once.rs`.

mod answer;
mod board;
mod keeping;
mod replicas;
mod store;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;
use prost::Message as _;
use tokio::{
    sync::watch,
    time::{sleep, timeout_at},
};

pub use answer::Answer;
use board::{Board, Bounds, Scope, Standing};
use keeping::Keeping;
use replicas::{Elsewhere, Replicas};
use store::Store;

use crate::{
    call::{Call, Deadline, Fingerprint, Reply, now},
    config::Idempotency,
    error::{Error, Reason},
    shared::Shared,
};

/// Most answers that are kept. What each takes in memory is small and the same for all.
const MOST_ANSWERS: usize = 100_000;
/// When the repeat of a running call is told to come again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often expired answers are deleted, though nothing new comes.
const SWEEP: Duration = Duration::from_secs(30);
/// Pause between two looks at a call that runs at another replica.
const LOOK: Duration = Duration::from_millis(50);

/// The room.
pub struct Once {
    board: Mutex<Board>,
    store: Arc<Store>,
    replicas: Option<Arc<Replicas>>,
    keep: Duration,
    most_answer_bytes: usize,
}

/// How a call goes on.
pub enum Entered {
    /// It has no id: nothing is kept of it.
    Alone,
    /// It is the first under its id.
    First(Claim),
    /// It was answered before.
    Repeat(Box<Answer>),
}

impl Once {
    /// Opens what the last process kept, unless nothing is to be kept. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// A message for the operator that names the file and what to do.
    pub fn start(
        config: &Idempotency,
        data_dir: &Path,
        shared: Option<Arc<Shared>>,
    ) -> Result<Option<Arc<Self>>, String> {
        let keep = config.keep.0;
        if keep.is_zero() {
            return Ok(None);
        }
        let most_bytes = u64::try_from(config.max_bytes.0).unwrap_or(u64::MAX);
        let mut board = Board::new(Bounds { keep, most_answers: MOST_ANSWERS, most_bytes });
        let (store, kept) = Store::open(&data_dir.join("once.db"), SystemTime::now())?;
        for row in kept {
            board.put(row.scope, row.fingerprint, row.bytes, row.expires);
        }
        let once = Arc::new(Self {
            board: Mutex::new(board),
            store: Arc::new(store),
            replicas: shared.map(Replicas::new),
            keep,
            most_answer_bytes: config.max_answer_bytes.0,
        });
        once.sweep();
        Ok(Some(once))
    }

    /// Deletes expired answers from time to time, for as long as the room is there.
    fn sweep(self: &Arc<Self>) {
        let room = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(room) = Weak::upgrade(&room) {
                let gone = room.board().expire(SystemTime::now());
                if !gone.is_empty() {
                    room.store.delete(gone).await;
                }
                drop(room);
                sleep(SWEEP).await;
            }
        });
    }

    /// Finds out whether a call is a repeat. One of a running call waits for that, unless it wants a stream.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED`, `REQUEST_IN_PROGRESS`, or that the deadline passed meanwhile.
    pub async fn enter(self: &Arc<Self>, call: &Call, deadline: Deadline) -> Result<Entered, Error> {
        let Some(fingerprint) = call.fingerprint else { return Ok(Entered::Alone) };
        let scope = scope_of(call);
        loop {
            let standing = self.board().claim(scope, fingerprint, SystemTime::now());
            match standing {
                Standing::Reused => return Err(reused()),
                Standing::Running(over) => wait(over, call, deadline).await?,
                Standing::Kept => match self.store.get(scope).await {
                    Some(answer) => return Ok(Entered::Repeat(Box::new(answer))),
                    // It went while it was looked for.
                    None => self.board().forget(&scope),
                },
                Standing::First => {
                    let claim =
                        Claim { once: self.clone(), scope, fingerprint, elsewhere: None, over: false };
                    return self.enter_elsewhere(claim, call, deadline).await;
                }
            }
        }
    }

    /// Finds out whether another replica has the call.
    async fn enter_elsewhere(
        &self,
        mut claim: Claim,
        call: &Call,
        deadline: Deadline,
    ) -> Result<Entered, Error> {
        let Some(replicas) = &self.replicas else { return Ok(self.first(claim)) };
        let mut runs_until = now();
        loop {
            match replicas.claim(claim.scope, claim.fingerprint).await {
                Elsewhere::First(held) => {
                    claim.elsewhere = Some(held);
                    return Ok(self.first(claim));
                }
                // What ran a moment ago still does, as far as anybody knows.
                Elsewhere::Away if now() >= runs_until => return Ok(self.first(claim)),
                Elsewhere::Away => {}
                Elsewhere::Running => {
                    // The id is this request's, wherever it runs.
                    self.board().confirm(&claim.scope);
                    runs_until = now() + replicas::LEASE;
                }
                Elsewhere::Reused => return Err(reused()),
                Elsewhere::Kept(bytes) => {
                    // What cannot be read was kept by another version: the call is made once more.
                    let Ok(answer) = Answer::decode(bytes) else { return Ok(self.first(claim)) };
                    return Ok(Entered::Repeat(Box::new(answer)));
                }
            }
            if call.asked.streamed {
                return Err(in_progress());
            }
            if now() + LOOK >= deadline.at {
                return Err(too_late(deadline));
            }
            sleep(LOOK).await;
        }
    }

    fn first(&self, claim: Claim) -> Entered {
        self.board().confirm(&claim.scope);
        Entered::First(claim)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Every change leaves the board whole before anything can panic.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be the call of an id. Dropping it lets the next one run.
pub struct Claim {
    once: Arc<Once>,
    scope: Scope,
    fingerprint: Fingerprint,
    elsewhere: Option<replicas::Held>,
    over: bool,
}

impl Claim {
    /// Has the answer of the call kept if it comes to its end.
    pub fn follow(self, reply: &mut Reply) {
        let most_bytes = self.once.most_answer_bytes;
        reply.items = Keeping::new(self, reply, most_bytes).boxed();
    }

    /// Keeps an answer, and lets those see it that wait for it.
    async fn keep(mut self, answer: Vec<u8>) {
        let bytes = u64::try_from(answer.len()).unwrap_or(u64::MAX);
        let (gone, expires) = self.once.board().make_room(bytes, SystemTime::now());
        let answer: Arc<[u8]> = answer.into();
        let row = store::Row { scope: self.scope, fingerprint: self.fingerprint, bytes, expires };
        if !self.once.store.put(row, answer.clone(), gone).await {
            return;
        }
        if let Some(held) = self.elsewhere.take() {
            held.keep(&answer, self.once.keep).await;
        }
        self.over = true;
        self.once.board().keep(self.scope, bytes, expires);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.over {
            self.once.board().release(&self.scope);
        }
    }
}

/// Returns under what repeats of a call are looked for. Keys do not see each other's.
fn scope_of(call: &Call) -> Scope {
    let parts = [&call.caller.key_id, call.operation.as_str(), &call.options.request_id];
    Fingerprint::of(&parts.map(str::as_bytes))
}

/// Waits until the first call is over.
async fn wait(mut over: watch::Receiver<()>, call: &Call, deadline: Deadline) -> Result<(), Error> {
    if call.asked.streamed {
        return Err(in_progress());
    }
    match timeout_at(deadline.at.into(), over.changed()).await {
        Ok(_) => Ok(()),
        Err(_) => Err(too_late(deadline)),
    }
}

fn reused() -> Error {
    let message = "this request_id was used for a different request; use a new one for a new request";
    Error::new(Reason::RequestIdReused, message)
}

fn in_progress() -> Error {
    let message = "a call with this request_id is still running; ask again for its answer";
    Error::new(Reason::RequestInProgress, message).retry_after(Some(AGAIN))
}

fn too_late(deadline: Deadline) -> Error {
    if !deadline.by_caller {
        return in_progress();
    }
    let message = "the caller's deadline passed while the first call with this request_id was running";
    Error::new(Reason::CallerDeadlineExceeded, message)
}
