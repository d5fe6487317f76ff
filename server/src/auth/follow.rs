//! Keys in PostgreSQL: how the room starts without it, and how a change on one replica holds on all.
//!
//! A change is told (LISTEN, NOTIFY) with its id and read again. What may have been missed while nobody listened is read
//! when the connection is made again: all of it. Until then the keys that are known go on, and those that are not may
//! be new.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use secrecy::SecretString;
use tokio::sync::mpsc::{self, UnboundedReceiver};

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

/// Changes at a time that are read one by one; more are read as a whole.
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
        let (sender, heard) = mpsc::unbounded_channel();
        let room = auth.room.clone();
        tokio::spawn(async move {
            // Nobody hears any more only when the process ends.
            postgres.listen(&[CHANNEL], move |heard| drop(sender.send(heard))).await;
        });
        tokio::spawn(follow(room, pepper, heard, announce));
        Ok(auth)
    }
}

/// What is heard, and whether that is all that there is to know.
struct Ears {
    heard: UnboundedReceiver<Heard>,
    listening: bool,
    /// Whether something may have been missed.
    stale: bool,
}

impl Ears {
    /// Waits for what is told and returns it; nothing if nobody will tell anything any more.
    async fn changes(&mut self, room: &Room) -> Option<Vec<Change>> {
        // What failed is tried again after a moment, unless something is heard before.
        let patience = if self.stale { PAUSE } else { Duration::MAX };
        let mut next = match tokio::time::timeout(patience, self.heard.recv()).await {
            Ok(None) => return None,
            Ok(next) => next,
            Err(_) => None,
        };
        let mut changes = Vec::new();
        while let Some(one) = next {
            match one {
                Heard::Connected => (self.stale, self.listening) = (true, true),
                Heard::Lost => {
                    self.listening = false;
                    room.in_touch.store(false, Relaxed);
                    room.absent.forget();
                }
                Heard::Told { payload, .. } => match payload.parse() {
                    Ok(change) => {
                        room.absent.forget();
                        changes.push(change);
                    }
                    // A newer Tollgate may tell of more.
                    Err(()) => tracing::debug!(payload, "a change of another kind was told"),
                },
            }
            next = self.heard.try_recv().ok();
        }
        self.stale |= changes.len() > FEW;
        Some(changes)
    }
}

/// Takes over what is heard, until nothing is heard any more.
async fn follow(
    room: Arc<Room>,
    pepper: Option<SecretString>,
    heard: UnboundedReceiver<Heard>,
    announce: Announce,
) {
    let announce = Arc::new(announce);
    let mut ears = Ears { heard, listening: false, stale: false };
    let mut failing = false;
    while let Some(changes) = ears.changes(&room).await {
        if !ears.stale && changes.is_empty() {
            continue;
        }
        let (all, own, pepper, announce) = (ears.stale, room.clone(), pepper.clone(), announce.clone());
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
                (ears.stale, failing) = (false, false);
                room.in_touch.store(ears.listening, Relaxed);
            }
            Ok(Err(trouble)) => {
                room.in_touch.store(false, Relaxed);
                let trouble = trouble.into_message();
                if !failing {
                    tracing::warn!(trouble, "the keys cannot be read now; those that are known go on");
                }
                (ears.stale, failing) = (true, true);
            }
            // A mistake of ours; the next reading is of everything.
            Err(_) => ears.stale = true,
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
        self.replace(&all, now);
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
                        made.into_iter().for_each(|made| self.take_adjustment(made, now));
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
