//! Who calls and what they may do: virtual keys, scopes, allowed models, teams.
//!
//! Place in the path: first, at header time. Config: `keys`, `teams`, `admin_key`, `pepper`. Metrics:
//! `tollgate_auth_failures_total`, `tollgate_auth_lookups_total`. A call costs one keyed hash and one look into memory;
//! the store is only asked by `KeyService`, `TeamService` and `BudgetService`, and for keys that are not known here if
//! replicas share it. What is stored are hashes keyed with a pepper that lies beside the database, or is the
//! configuration's. Tests: in each file and `tests.rs`, `tests/e2e/{keys,teams,shared_keys,unknown_keys}.rs`.

mod access;
mod adjustment;
mod admin;
mod authority;
mod budgets;
mod check;
mod credential;
mod declared;
mod declared_teams;
mod follow;
mod index;
mod key;
mod lookup;
mod making;
mod mask;
mod page;
mod pepper;
mod record;
mod service;
mod start;
mod store;
mod team;
mod teams;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::HeaderMap;
use secrecy::SecretString;

pub use access::{permit, permit_model};
pub use budgets::Measured;
pub use declared::DeclaredKey;
pub use declared_teams::DeclaredTeam;

use crate::{
    call::Caller,
    error::{Error, Reason},
};
use index::Index;
use lookup::{Absent, Lookup};
use pepper::{Hash, Pepper};
use store::{Store, keys};

/// The key id of calls that are made with the configuration's `admin_key`.
pub const ADMIN_KEY: &str = "admin_key";
/// Who made declared keys and teams.
const CONFIG: &str = "config";
/// How often last uses are written, in seconds.
const FLUSH_EVERY: u64 = 60;
/// When a key is asked for again of which it could not be told whether it is one.
const AGAIN: Duration = Duration::from_secs(1);

/// What the configuration says of keys and teams.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// `keys`.
    pub keys: Vec<DeclaredKey>,
    /// `teams`.
    pub teams: Vec<DeclaredTeam>,
    /// `admin_key`; empty is none.
    pub admin_key: Option<SecretString>,
}

/// Is shown the first key, this one time.
pub type Announce = Box<dyn Fn(&SecretString) + Send + Sync>;

/// Who calls: known at once but for keys that have to be asked for.
pub type Knock = Either<Ready<Result<Arc<Caller>, Error>>, BoxFuture<'static, Result<Arc<Caller>, Error>>>;

/// The room: every key that opens the door.
pub struct Auth {
    room: Arc<Room>,
    /// Asks for keys that are not known here; absent if nobody else makes any.
    lookup: Option<Lookup>,
    /// When last uses are to be written next, in seconds since 1970.
    next_flush: AtomicU64,
}

/// What the RPCs and the calls share.
struct Room {
    store: Box<dyn Store>,
    index: Index,
    /// Known from the first time on that the store was read.
    pepper: OnceLock<Pepper>,
    declared: RwLock<Declared>,
    /// Whether changes that others make are heard of.
    in_touch: AtomicBool,
    absent: Absent,
}

impl Auth {
    /// Finds out who calls, from the request's headers and query alone.
    ///
    /// # Errors
    /// `API_KEY_MISSING`, `API_KEY_INVALID` or `API_KEY_EXPIRED`; their messages never hold the key.
    /// `STORE_UNAVAILABLE` for a key that is not known while the store is away.
    pub fn authenticate(&self, headers: &HeaderMap, query: Option<&str>) -> Knock {
        let now = SystemTime::now();
        let known = match self.room.find(headers, query, now) {
            Ok(Found::Caller(caller)) => {
                self.flush_now_and_then(index::seconds(now));
                Ok(caller)
            }
            Ok(Found::Unknown(hash)) => match &self.lookup {
                Some(lookup) => return Either::Right(lookup.find(self.room.clone(), hash)),
                None => Err(credential::refused()),
            },
            Err(refused) => Err(refused),
        };
        Either::Left(ready(known))
    }

    /// Tells whether the keys are known: from the first time on that the store was read.
    pub fn is_ready(&self) -> bool {
        self.room.pepper.get().is_some()
    }

    /// Tells whether changes that other replicas make are heard of.
    pub fn is_in_touch(&self) -> bool {
        self.room.in_touch.load(Relaxed)
    }

    /// Returns the ids of a team and of all that belong to it.
    pub fn teams_below(&self, id: &str) -> Vec<String> {
        self.room.index.below(id)
    }

    /// Returns who calls with the key of that id, revoked or not.
    pub fn caller(&self, id: &str) -> Option<Arc<Caller>> {
        self.room.index.caller(id)
    }

    /// Returns the name of a key, revoked or not, for messages to people.
    pub fn key_name(&self, id: &str) -> Option<String> {
        self.room.index.by_id(id).map(|entry| entry.caller.key_name.clone())
    }

    /// Writes when keys were last used. For a clean exit; while calls come it happens by itself, once a minute.
    pub async fn flush(&self) {
        let room = self.room.clone();
        if tokio::task::spawn_blocking(move || room.flush()).await.is_err() {
            tracing::error!("writing the last use of keys failed");
        }
    }

    fn flush_now_and_then(&self, seconds: u64) {
        let due = self.next_flush.load(Relaxed);
        if seconds < due {
            return;
        }
        let won = self.next_flush.compare_exchange(due, seconds + FLUSH_EVERY, Relaxed, Relaxed).is_ok();
        // The first call only starts the clock.
        if let (true, true, Ok(runtime)) = (won, due > 0, tokio::runtime::Handle::try_current()) {
            let room = self.room.clone();
            runtime.spawn_blocking(move || room.flush());
        }
    }
}

/// Whose a key is, as far as is known here.
enum Found {
    Caller(Arc<Caller>),
    /// Of nobody who is known.
    Unknown(Hash),
}

impl Room {
    fn find(&self, headers: &HeaderMap, query: Option<&str>, now: SystemTime) -> Result<Found, Error> {
        let key = credential::find(headers, query)?;
        let hash = self.pepper()?.hash(key);
        Ok(self.index.enter(&hash, now)?.map_or(Found::Unknown(hash), Found::Caller))
    }

    fn pepper(&self) -> Result<&Pepper, Error> {
        self.pepper.get().ok_or_else(away)
    }

    fn declared(&self) -> Declared {
        self.declared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn flush(&self) {
        let uses = self.index.unstored_uses();
        if uses.is_empty() {
            return;
        }
        let stored =
            self.store.change(|store| keys::set_last_use(store, &uses), |()| self.index.uses_stored(&uses));
        if let Err(trouble) = stored {
            // Nobody waits for it, and the next flush tries again.
            trouble.into_error();
        }
    }
}

/// Makes the error for a key of which it cannot be told now whether it is one.
fn away() -> Error {
    let message =
        "the store of the keys is away, and this key is not among those that were known before; try again";
    Error::new(Reason::StoreUnavailable, message).retry_after(Some(AGAIN))
}
