//! Keys that are not known here: they are asked for in PostgreSQL before anybody is told that they are none, for another
//! replica may have made them a moment ago.
//!
//! One question at a time holds every key that came up since the one before, so that made-up keys cost the database some
//! twenty questions a second, however many there are. Whoever gets no answer in time is told to come again. Nothing here
//! looks at the form of a key: a guess takes as long whatever it begins with.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    Room, away, credential,
    pepper::Hash,
    store::{HASTE, Shared, Sql, Trouble, adjustments, keys, teams},
};
use crate::{
    call::{Caller, Subject},
    error::Error,
    telemetry::metrics,
};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// How long PostgreSQL is not asked after it did not answer.
const REST: Duration = Duration::from_millis(500);
/// Keys that may wait for the next question, and that it may hold.
const QUEUE: usize = 1_024;
/// With so many waiting, what was found to be no key a moment ago is not asked for again.
const CROWD: usize = 32;
/// How long that is remembered, and of how many.
const MEMORY: Duration = Duration::from_secs(5);
const REMEMBERED: usize = 16_384;

/// A key that somebody calls with, and where the answer goes. Without an answer, there was none.
type Asked = (Hash, oneshot::Sender<()>);

/// The way to ask for keys.
pub(super) struct Lookup {
    queue: mpsc::Sender<Asked>,
    resting: Arc<AtomicBool>,
}

impl Lookup {
    /// Starts the task that asks; it ends when this is dropped.
    pub(super) fn start(room: Arc<Room>, store: Shared) -> Self {
        let (queue, asked) = mpsc::channel(QUEUE);
        let resting = Arc::<AtomicBool>::default();
        tokio::spawn(run(room, Arc::new(store), asked, resting.clone()));
        Self { queue, resting }
    }

    /// Finds out who calls with a key that is not known here.
    ///
    /// # Errors
    /// `API_KEY_INVALID` or `API_KEY_EXPIRED` if that is certain, `STORE_UNAVAILABLE` if not.
    pub(super) fn find(&self, room: Arc<Room>, hash: Hash) -> BoxFuture<'static, Result<Arc<Caller>, Error>> {
        let (queue, resting) = (self.queue.clone(), self.resting.load(Relaxed));
        Box::pin(async move {
            if QUEUE - queue.capacity() >= CROWD && room.absent.has(&hash) {
                return Err(credential::refused());
            }
            let (sender, answer) = oneshot::channel();
            if resting || queue.try_send((hash, sender)).is_err() {
                return Err(away());
            }
            match timeout(HASTE, answer).await {
                Ok(Ok(())) => room.index.enter(&hash, SystemTime::now())?.ok_or_else(credential::refused),
                Ok(Err(_)) | Err(_) => Err(away()),
            }
        })
    }
}

async fn run(
    room: Arc<Room>,
    store: Arc<Shared>,
    mut asked: mpsc::Receiver<Asked>,
    resting: Arc<AtomicBool>,
) {
    let mut waiting: Vec<Asked> = Vec::new();
    while asked.recv_many(&mut waiting, QUEUE).await > 0 {
        let hashes = to_ask(&waiting);
        let (room, store) = (room.clone(), store.clone());
        let asking = tokio::task::spawn_blocking(move || room.look_up(&store, hashes));
        let answered = match asking.await {
            Ok(Ok(())) => true,
            Ok(Err(trouble)) => {
                let trouble = trouble.into_message();
                tracing::debug!(trouble, "keys that are not known here cannot be asked for");
                false
            }
            Err(_) => false,
        };
        metrics::keys_asked_for(answered);
        for (_, answer) in waiting.drain(..).filter(|_| answered) {
            // Whoever does not wait any more has been told to come again.
            let _ = answer.send(());
        }
        resting.store(!answered, Relaxed);
        sleep(if answered { PAUSE } else { REST }).await;
        resting.store(false, Relaxed);
    }
}

/// Returns what is asked for: also for who does not wait any more, and will find the answer when coming again.
fn to_ask(waiting: &[Asked]) -> Vec<Hash> {
    let hashes: HashSet<Hash> = waiting.iter().map(|(hash, _)| *hash).collect();
    hashes.into_iter().collect()
}

impl Room {
    /// Takes over the keys of these secrets that the store has, and remembers which are none.
    fn look_up(&self, store: &Shared, hashes: Vec<Hash>) -> Result<(), Trouble> {
        let asked = self.absent.ask();
        let found = store.seek(&hashes, |store, ids| ids.iter().try_for_each(|id| self.read_new(store, id)));
        match &found {
            Ok(()) => self.absent.note(asked, hashes.into_iter().filter(|hash| !self.index.knows(hash))),
            Err(_) => self.absent.forget(),
        }
        found
    }

    /// Reads a key with those of its teams that are not known either, and what was changed of their limits.
    fn read_new(&self, store: &mut dyn Sql, id: &str) -> Result<(), Trouble> {
        let Some(key) = keys::by_id(store, id)? else { return Ok(()) };
        let now = SystemTime::now();
        let mut new = vec![Subject::Key(key.id.as_str().into())];
        let mut next = key.team_id.clone();
        while !next.is_empty() && self.index.team(&next).is_none() {
            let Some(team) = teams::by_id(store, &next)? else { break };
            next.clone_from(&team.parent_id);
            new.push(Subject::Team(team.id.as_str().into()));
            self.index.put_team(team);
        }
        for subject in new {
            let holding = adjustments::holding_for(store, &subject.to_string(), now)?;
            holding.into_iter().for_each(|record| self.index.put_adjustment(record, now));
        }
        self.index.put(&key);
        Ok(())
    }
}

/// What was found a moment ago to be no key.
#[derive(Default)]
pub(super) struct Absent(Mutex<Known>);

#[derive(Default)]
struct Known {
    until: HashMap<Hash, Instant>,
    /// Goes up when all of it is forgotten: an answer from before that says nothing any more.
    generation: u64,
}

impl Absent {
    /// Forgets all of it: a key is new or changed, or changes may be missed.
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        known.until.clear();
        known.generation += 1;
    }

    /// Notes that a question is about to be asked.
    fn ask(&self) -> u64 {
        self.lock().generation
    }

    /// Remembers these, if nothing has changed since the question was asked.
    fn note(&self, asked: u64, hashes: impl Iterator<Item = Hash>) {
        let mut known = self.lock();
        if known.generation != asked {
            return;
        }
        let now = Instant::now();
        if known.until.len() + QUEUE > REMEMBERED {
            known.until.clear();
        }
        known.until.extend(hashes.map(|hash| (hash, now + MEMORY)));
    }

    fn has(&self, hash: &Hash) -> bool {
        self.lock().until.get(hash).is_some_and(|until| Instant::now() < *until)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: usize) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
        hash
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_key_is_remembered_for_a_moment_and_until_a_key_changes() {
        let absent = Absent::default();
        absent.note(absent.ask(), [hash(1)].into_iter());
        assert!(absent.has(&hash(1)) && !absent.has(&hash(2)));
        tokio::time::advance(MEMORY).await;
        assert!(!absent.has(&hash(1)));
        let asked = absent.ask();
        absent.forget();
        absent.note(asked, [hash(1)].into_iter());
        assert!(!absent.has(&hash(1)), "the answer may be older than the key");
        absent.note(absent.ask(), [hash(1)].into_iter());
        absent.forget();
        assert!(!absent.has(&hash(1)));
    }

    #[test]
    fn a_key_is_asked_for_though_its_caller_was_told_to_come_again() {
        let (sender, answer) = oneshot::channel();
        drop(answer);
        assert_eq!(to_ask(&[(hash(1), sender), (hash(1), oneshot::channel().0)]), [hash(1)]);
    }

    #[test]
    fn made_up_keys_fill_no_memory() {
        let absent = Absent::default();
        for batch in 0..200 {
            absent.note(absent.ask(), (0..QUEUE).map(|number| hash(batch * QUEUE + number)));
        }
        assert!(absent.lock().until.len() <= REMEMBERED && absent.has(&hash(200 * QUEUE - 1)));
    }
}
