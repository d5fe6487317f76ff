//! Keys in PostgreSQL: how the room starts without it, and how a change on one replica holds on all.
//!
//! A change is told (LISTEN, NOTIFY) with its id and read again. What may have been missed while nobody listened is read
//! when the connection is made again: all of it. Until then the keys that are known go on, and those that are not may
//! be new.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use secrecy::SecretString;
use tokio::sync::Notify;

use super::{
    Announce, Auth, Declared, Room,
    lookup::Lookup,
    pepper::Pepper,
    start::{check_pepper, everything},
    store::{self, CHANNEL, Change, Shared, Sql, Trouble, adjustments, keys, teams},
};
use crate::{
    error::Error,
    postgres::{Heard, Postgres},
};

/// Changes that are read one by one; if there are more at a time, all is read.
const FEW: usize = 200;
/// Pause before a store that failed is asked again.
const PAUSE: Duration = Duration::from_millis(250);

impl Auth {
    /// Starts with keys that lie in PostgreSQL. If that is away, it starts all the same, and knows the keys once it
    /// is there; until then `is_ready` says no. If it is the first to come to an empty database, it announces the first
    /// key.
    ///
    /// # Errors
    /// As `start`; that PostgreSQL is away is none.
    pub async fn start_shared(
        postgres: Postgres,
        declared: Declared,
        pepper: Option<SecretString>,
        announce: Announce,
    ) -> Result<Arc<Self>, String> {
        let room = Arc::new(Room::new(Box::new(Shared(postgres.clone())), declared));
        let lookup = Lookup::start(room.clone(), Shared(postgres.clone()));
        let auth = Self::of(room.clone(), Some(lookup));
        let (meeting, configured) = (room.clone(), pepper.clone());
        let first = tokio::task::spawn_blocking(move || meeting.meet(configured.as_ref())).await;
        match first {
            Ok(Err(trouble @ Trouble::Refused(_))) => return Err(trouble.into_message()),
            Ok(Err(trouble)) => {
                let trouble = trouble.into_message();
                tracing::warn!(trouble, "the keys are not known yet; calls are refused until they are");
            }
            Ok(Ok(())) => {}
            Err(_) => return Err("the first reading of the keys was cut off".to_owned()),
        }
        let news = Arc::<News>::default();
        let (ears, hearer) = (news.clone(), room.clone());
        // Nobody hears any more only when the process ends.
        tokio::spawn(
            async move { postgres.listen(&[CHANNEL], move |heard| ears.hear(heard, &hearer)).await },
        );
        tokio::spawn(follow(room, pepper, news, announce));
        Ok(auth)
    }
}

/// What was heard and is not read yet.
#[derive(Default)]
struct News {
    told: Mutex<Told>,
    woken: Notify,
}

#[derive(Default)]
struct Told {
    changes: Vec<Change>,
    /// Whether there is more than these: all is to be read.
    missed: bool,
    listening: bool,
}

impl News {
    fn hear(&self, heard: Heard, room: &Room) {
        let mut told = self.told();
        match heard {
            Heard::Connected => (told.missed, told.listening) = (true, true),
            Heard::Lost => {
                told.listening = false;
                room.in_touch.store(false, Relaxed);
            }
            Heard::Told { payload, .. } => match payload.parse() {
                Ok(change) if told.changes.len() < FEW => told.changes.push(change),
                Ok(_) => told.missed = true,
                // A newer Tollgate may tell of more.
                Err(()) => return tracing::debug!(payload, "a change of another kind was told"),
            },
        }
        drop(told);
        room.absent.forget();
        self.woken.notify_one();
    }

    /// Takes the changes, and whether they are not all.
    fn take(&self) -> (Vec<Change>, bool) {
        let mut told = self.told();
        (std::mem::take(&mut told.changes), std::mem::take(&mut told.missed))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes over what is heard, for ever.
async fn follow(room: Arc<Room>, pepper: Option<SecretString>, news: Arc<News>, announce: Announce) {
    let announce = Arc::new(announce);
    let (mut stale, mut failing) = (false, false);
    loop {
        // What failed is tried again after a moment, unless something is heard before.
        let patience = if stale { PAUSE } else { Duration::MAX };
        let _ = tokio::time::timeout(patience, news.woken.notified()).await;
        let (changes, missed) = news.take();
        stale |= missed;
        if !stale && changes.is_empty() {
            continue;
        }
        let (all, own, pepper, announce) = (stale, room.clone(), pepper.clone(), announce.clone());
        let work = move || match all {
            // Whoever started without the store has not made the first key yet.
            true if own.pepper.get().is_none() => {
                own.meet(pepper.as_ref()).map(|()| own.mint_late(&announce))
            }
            true => own.meet(pepper.as_ref()),
            false => own.read_again(&changes),
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {
                (stale, failing) = (false, false);
                let told = news.told();
                room.in_touch.store(told.listening, Relaxed);
            }
            Ok(Err(trouble)) => {
                room.in_touch.store(false, Relaxed);
                let trouble = trouble.into_message();
                if !failing {
                    tracing::warn!(trouble, "the keys cannot be read now; those that are known go on");
                }
                (stale, failing) = (true, true);
            }
            // A mistake of ours; the next reading is of everything.
            Err(_) => stale = true,
        }
    }
}

impl Room {
    /// Makes the first key if there is none.
    fn mint_late(&self, announce: &Announce) {
        match self.mint_first(SystemTime::now()) {
            Ok(Some(secret)) => announce(&secret),
            Ok(None) => {}
            Err(message) => tracing::error!(message, "the first key cannot be made"),
        }
    }

    /// Reads all that the store holds; the first time it is brought in line with the configuration before.
    fn meet(&self, configured: Option<&SecretString>) -> Result<(), Trouble> {
        let now = SystemTime::now();
        if self.pepper.get().is_none() {
            let pepper = self.store.change(|store| shared_pepper(store, configured), |_| ())?;
            return self.take_over(pepper, now);
        }
        let all = self.store.read(|store| everything(store, now))?;
        self.index.replace(&all, now);
        Ok(())
    }

    /// Reads what was told to have changed.
    fn read_again(&self, changes: &[Change]) -> Result<(), Trouble> {
        let now = SystemTime::now();
        self.store.read(|store| {
            for change in changes {
                match change {
                    Change::Key(id) => keys::by_id(store, id)?.iter().for_each(|key| self.index.put(key)),
                    Change::Team(id) => match teams::by_id(store, id)? {
                        Some(team) => self.index.put_team(team),
                        None => self.index.remove_team(id),
                    },
                    Change::Adjustment(id) => {
                        let made = adjustments::by_id(store, id)?;
                        made.into_iter().for_each(|made| self.index.put_adjustment(made, now));
                    }
                }
            }
            Ok(())
        })
    }
}

/// Returns the pepper of the configuration, or the one in the database, which the first replica makes.
fn shared_pepper(store: &mut dyn Sql, configured: Option<&SecretString>) -> Result<Pepper, Trouble> {
    if let Some(secret) = configured {
        let pepper = Pepper::of(secret);
        check_pepper(store, &pepper, "the configuration's `pepper`")?;
        return Ok(pepper);
    }
    let pepper = match store::meta(store, "pepper")? {
        Some(kept) => Pepper::from_bytes(&kept),
        None if keys::any(store)? => {
            let message =
                "the keys in PostgreSQL were made with a `pepper` of the configuration; put it back";
            return Err(Error::internal(message).into());
        }
        None => {
            tracing::warn!(
                "without `pepper` in the configuration it is kept in PostgreSQL, beside the hashes that it protects"
            );
            let bytes = Pepper::draw().map_err(Error::internal)?;
            store::set_meta(store, "pepper", bytes.as_slice())?;
            Pepper::from_bytes(bytes.as_slice())
        }
    };
    let pepper = pepper.ok_or_else(|| Error::internal("the pepper in PostgreSQL is damaged"))?;
    check_pepper(store, &pepper, "the pepper in PostgreSQL")?;
    Ok(pepper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_changes_than_are_kept_become_one_reading_of_everything() {
        let dir = tempfile::tempdir().unwrap();
        let auth =
            Auth::start(dir.path(), &dir.path().join("tollgate.db"), Declared::default(), None).unwrap();
        let news = News::default();
        let tell = |payload: String| {
            news.hear(Heard::Told { channel: CHANNEL.to_owned(), payload }, &auth.room);
        };
        (0..FEW).for_each(|number| tell(format!("key:{number}")));
        tell("weather:fine".to_owned());
        assert!(!news.told().missed, "all of them are kept");
        (0..10_000).for_each(|number| tell(format!("key:{number}")));
        let (changes, missed) = news.take();
        assert!(missed && changes.len() == FEW);
        assert!(matches!(&news.take(), (changes, false) if changes.is_empty()), "once");
        news.hear(Heard::Connected, &auth.room);
        assert!(news.take().1, "before, anything may have been told");
    }
}
