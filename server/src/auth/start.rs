//! How the room starts: the pepper, what the configuration declares, and everything that the store holds.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ADMIN_KEY, Auth, Declared, Room, declared, declared_teams,
    index::{Everything, Index},
    key,
    lookup::{Absent, Lookup},
    pepper::{Hash, Pepper},
    store::{self, Sql, Sqlite, Store, Trouble, adjustments, keys, teams},
};
use crate::{
    call::{Caller, ModelGlobs, Priority, Scope},
    error::Error,
};

/// Shortest `admin_key` that is accepted; below the length of a real key there is a warning.
const MIN_ADMIN_KEY: usize = 8;

impl Auth {
    /// Opens the store file, reads or makes the pepper in `data_dir` unless the configuration has one, and takes over the
    /// keys and teams of the configuration.
    ///
    /// # Errors
    /// A message for the operator, one problem a line, that names the key or the path and never holds a secret.
    pub fn start(
        data_dir: &Path,
        store: &Path,
        declared: Declared,
        pepper: Option<&SecretString>,
    ) -> Result<Arc<Self>, String> {
        for dir in [Some(data_dir), store.parent()].into_iter().flatten() {
            if !dir.as_os_str().is_empty() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
            }
        }
        let store: Box<dyn Store> = Box::new(Sqlite::open(store)?);
        let has_keys = store.read(keys::any).map_err(Trouble::into_message)?;
        let (pepper, place) = match pepper {
            Some(secret) => (Pepper::of(secret), "the configuration's `pepper`".to_owned()),
            None => (Pepper::open(data_dir, has_keys)?, data_dir.join("pepper").display().to_string()),
        };
        let checked = store.change(|store| check_pepper(store, &pepper, &place), |()| ());
        checked.map_err(Trouble::into_message)?;
        let room = Room::new(store, declared);
        room.take_over(pepper, SystemTime::now()).map_err(Trouble::into_message)?;
        room.in_touch.store(true, Ordering::Relaxed);
        Ok(Self::of(Arc::new(room), None))
    }

    pub(super) fn of(room: Arc<Room>, lookup: Option<Lookup>) -> Arc<Self> {
        Arc::new(Self { room, lookup, next_flush: AtomicU64::new(0) })
    }

    /// Takes over the keys and teams of a new configuration; nothing changes if they cannot be. Blocks on the store.
    ///
    /// # Errors
    /// As `start`.
    pub fn reload(&self, declared: &Declared) -> Result<(), String> {
        let pepper = self.room.pepper().map_err(|error| error.to_string())?;
        self.room.declare(pepper, declared, SystemTime::now()).map_err(Trouble::into_message)?;
        *self.room.declared.write().unwrap_or_else(PoisonError::into_inner) = declared.clone();
        Ok(())
    }

    /// Makes a key with every scope if there is no key and never was, and returns its secret, this one time. Revoked
    /// and declared keys count; so does an `admin_key`. Blocks on the store.
    ///
    /// # Errors
    /// A message for the operator.
    pub fn mint_first(&self) -> Result<Option<SecretString>, String> {
        self.room.mint_first(SystemTime::now())
    }
}

impl Room {
    pub(super) fn new(store: Box<dyn Store>, declared: Declared) -> Self {
        Self {
            store,
            index: Index::default(),
            pepper: OnceLock::new(),
            declared: RwLock::new(declared),
            in_touch: false.into(),
            absent: Absent::default(),
        }
    }

    /// As `Auth::mint_first`.
    pub(super) fn mint_first(&self, now: SystemTime) -> Result<Option<SecretString>, String> {
        if self.index.has_admin() || self.pepper.get().is_none() {
            return Ok(None);
        }
        self.create_first(now)
    }

    /// Brings the store in line with the configuration, and reads all of it. From then on the keys are known.
    pub(super) fn take_over(&self, pepper: Pepper, now: SystemTime) -> Result<(), Trouble> {
        self.declare(&pepper, &self.declared(), now)?;
        // The first one stays; it is the same.
        let _ = self.pepper.set(pepper);
        Ok(())
    }

    fn declare(&self, pepper: &Pepper, declared: &Declared, now: SystemTime) -> Result<(), Trouble> {
        let told = |message: String| Error::internal(message);
        let records = declared::read(&declared.keys, pepper, now).map_err(told)?;
        let teams = declared_teams::read(&declared.teams, now).map_err(told)?;
        let admin = declared.admin_key.as_ref().filter(|key| !key.expose_secret().is_empty());
        let admin = admin.map(|key| admin_caller(key, pepper)).transpose().map_err(told)?;
        if let Some((hash, _)) = &admin
            && let Some(same) = records.iter().find(|record| record.hash == *hash)
        {
            let message = format!("admin_key: it is the same as the key `{}`; give each its own", same.name);
            return Err(Error::internal(message).into());
        }
        let publish = |all: &Everything| {
            self.index.replace(all, now);
            self.index.set_admin(admin);
        };
        let changed = self.store.change(
            |store| {
                declared_teams::apply(store, teams)?;
                declared::apply(store, records, now)?;
                everything(store, now)
            },
            publish,
        );
        changed.map(drop)
    }
}

/// Reads all that the store holds.
pub(super) fn everything(store: &mut dyn Sql, now: SystemTime) -> Result<Everything, Trouble> {
    Ok(Everything {
        keys: keys::all(store)?,
        teams: teams::all(store)?,
        adjustments: adjustments::holding(store, now)?,
    })
}

/// Checks that the pepper is the one that the stored keys were hashed with; `place` says where it came from.
pub(super) fn check_pepper(store: &mut dyn Sql, pepper: &Pepper, place: &str) -> Result<(), Trouble> {
    let check = pepper.check();
    let known = store::meta(store, "pepper_check")?;
    if known.is_some_and(|known| known != check) && keys::any(store)? {
        let message = format!(
            "{place} is not the pepper that the keys in the store were made with, so none of them would work; put the \
             right one back from your backup"
        );
        return Err(Error::internal(message).into());
    }
    store::set_meta(store, "pepper_check", &check)
}

fn admin_caller(key: &SecretString, pepper: &Pepper) -> Result<(Hash, Arc<Caller>), String> {
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
    Ok((pepper.hash(key), Arc::new(caller)))
}
