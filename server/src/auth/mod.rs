//! Who calls and what they may do: virtual keys, scopes, allowed models.
//!
//! Place in the path: first, at header time. Config: `keys`, `admin_key`. Metrics: `tollgate_auth_failures_total`.
//! A call costs one keyed hash and one look into memory; the store is only asked by `KeyService`. What is stored are
//! hashes keyed with a pepper that lies beside the database, never in it. Tests: in each file and `tests.rs`,
//! `tests/e2e/keys.rs`.

mod access;
mod admin;
mod authority;
mod check;
mod credential;
mod declared;
mod index;
mod key;
mod mask;
mod pepper;
mod record;
mod service;
mod store;
#[cfg(test)]
mod tests;

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};

pub use access::{permit, permit_model};
pub use declared::DeclaredKey;

use crate::{
    call::{Caller, ModelGlobs, Priority, Scope},
    error::Error,
};
use index::Index;
use pepper::{Hash, Pepper};
use store::{Store, Trouble};

/// The key id of calls that are made with the configuration's `admin_key`.
pub const ADMIN_KEY: &str = "admin_key";
/// Shortest `admin_key` that is accepted; below the length of a real key there is a warning.
const MIN_ADMIN_KEY: usize = 8;
/// How often last uses are written, in seconds.
const FLUSH_EVERY: u64 = 60;

/// The room: every key that opens the door.
pub struct Auth {
    room: Arc<Room>,
    /// When last uses are to be written next, in seconds since 1970.
    next_flush: AtomicU64,
}

/// What the RPCs and the calls share.
struct Room {
    store: Store,
    index: Index,
    pepper: Pepper,
}

impl Auth {
    /// Opens the store, reads or makes the pepper in `data_dir`, and takes over the keys of the configuration. An
    /// empty `admin_key` is none.
    ///
    /// # Errors
    /// A message for the operator, one problem a line, that names the key or the path and never holds a secret.
    pub fn start(
        data_dir: &Path,
        store: &Path,
        declared: Vec<DeclaredKey>,
        admin_key: Option<SecretString>,
    ) -> Result<Arc<Self>, String> {
        for dir in [Some(data_dir), store.parent()].into_iter().flatten() {
            if !dir.as_os_str().is_empty() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
            }
        }
        let store = Store::open(store)?;
        let has_keys = store.read(|store| Ok(store::has_keys(store)?)).map_err(Trouble::into_message)?;
        let pepper = Pepper::open(data_dir, has_keys)?;
        check_pepper(&store, &pepper, has_keys, data_dir)?;
        let room = Arc::new(Room { store, index: Index::default(), pepper });
        let auth = Self { room, next_flush: AtomicU64::new(0) };
        auth.reload(&declared, admin_key.as_ref())?;
        Ok(Arc::new(auth))
    }

    /// Takes over the keys of a new configuration; nothing changes if they cannot be. Blocks on the disk.
    ///
    /// # Errors
    /// As `start`.
    pub fn reload(&self, declared: &[DeclaredKey], admin_key: Option<&SecretString>) -> Result<(), String> {
        self.room.declare(declared, admin_key, SystemTime::now())
    }

    /// Makes a key with every scope if there is no key and never was, and returns its secret, this one time. Revoked
    /// and declared keys count; so does an `admin_key`.
    ///
    /// # Errors
    /// A message for the operator.
    pub fn mint_first(&self) -> Result<Option<SecretString>, String> {
        if self.room.index.has_admin() {
            return Ok(None);
        }
        self.room.create_first(SystemTime::now())
    }

    /// Finds out who calls, from the request's headers and query alone.
    ///
    /// # Errors
    /// `API_KEY_MISSING`, `API_KEY_INVALID` or `API_KEY_EXPIRED`. Their messages never hold the key.
    pub fn authenticate(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Arc<Caller>, Error> {
        let now = SystemTime::now();
        let caller = self.room.authenticate(headers, query, now)?;
        self.flush_now_and_then(index::seconds(now));
        Ok(caller)
    }

    /// Returns who calls with the key of that id, revoked or not.
    pub fn caller(&self, id: &str) -> Option<Arc<Caller>> {
        self.room.index.by_id(id).map(|entry| entry.caller.clone())
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

impl Room {
    fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        now: SystemTime,
    ) -> Result<Arc<Caller>, Error> {
        let key = credential::find(headers, query)?;
        self.index.enter(&self.pepper.hash(key), now)
    }

    fn declare(
        &self,
        declared: &[DeclaredKey],
        admin_key: Option<&SecretString>,
        now: SystemTime,
    ) -> Result<(), String> {
        let records = declared::read(declared, &self.pepper, now)?;
        let admin = admin_key.filter(|key| !key.expose_secret().is_empty());
        let admin = admin.map(|key| self.admin(key)).transpose()?;
        if let Some((hash, _)) = &admin
            && let Some(same) = records.iter().find(|record| record.hash == *hash)
        {
            return Err(format!("admin_key: it is the same as the key `{}`; give each its own", same.name));
        }
        let changed = self.store.change(
            |store| {
                declared::apply(store, records, now)?;
                Ok(store::all(store)?)
            },
            |all| self.index.replace(all, admin),
        );
        changed.map(|_| ()).map_err(Trouble::into_message)
    }

    fn admin(&self, key: &SecretString) -> Result<(Hash, Arc<Caller>), String> {
        let key = key.expose_secret();
        declared::check_secret(key, MIN_ADMIN_KEY).map_err(|problem| format!("admin_key: {problem}"))?;
        if key.len() < key::MIN_LEN {
            tracing::warn!("admin_key is shorter than {} characters and can be guessed", key::MIN_LEN);
        }
        let caller = Caller {
            key_id: ADMIN_KEY.to_owned(),
            key_name: ADMIN_KEY.to_owned(),
            team_id: String::new(),
            scopes: [Scope::Admin].into_iter().collect(),
            allowed_models: ModelGlobs::default(),
            default_tags: Default::default(),
            limits: Arc::default(),
            teams: Arc::default(),
            priority: Priority::High,
        };
        Ok((self.pepper.hash(key), Arc::new(caller)))
    }

    fn flush(&self) {
        let uses = self.index.unstored_uses();
        if uses.is_empty() {
            return;
        }
        let stored = self
            .store
            .change(|store| Ok(store::set_last_use(store, &uses)?), |()| self.index.uses_stored(&uses));
        if let Err(trouble) = stored {
            // Nobody waits for it, and the next flush tries again.
            trouble.into_error();
        }
    }
}

/// Checks that the pepper is the one that the stored keys were hashed with.
fn check_pepper(store: &Store, pepper: &Pepper, has_keys: bool, data_dir: &Path) -> Result<(), String> {
    let check = pepper.check();
    let done = store.change(
        |store| {
            let known = store::meta(store, "pepper_check")?;
            if has_keys && known.is_some_and(|known| known != check) {
                return Ok(false);
            }
            store::set_meta(store, "pepper_check", &check)?;
            Ok(true)
        },
        |_| (),
    );
    if done.map_err(Trouble::into_message)? {
        return Ok(());
    }
    Err(format!(
        "{} is not the pepper that the keys in the store were made with, so none of them would work; put the right \
         one back from your backup",
        data_dir.join("pepper").display()
    ))
}
