//! Keys in memory: what every call looks at. No disk, one short read lock, one hash.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tollgate_api::admin;

use super::{check, credential, pepper::Hash, record::Record};
use crate::{
    call::{Caller, ModelGlobs, Subject},
    error::{Error, Reason},
};

/// When a key was last used, in seconds since 1970; 0 is never.
#[derive(Default)]
struct Used {
    last: AtomicU64,
    stored: AtomicU64,
}

/// What is known of a key in memory.
pub(super) struct Entry {
    pub(super) caller: Arc<Caller>,
    pub(super) limits: Vec<admin::Limit>,
    hash: Hash,
    old_hash: Option<Hash>,
    expire_time: Option<SystemTime>,
    disabled: bool,
    revoked: bool,
    used: Arc<Used>,
}

/// A way in: the hash of a secret leads here.
struct Door {
    entry: Arc<Entry>,
    /// Until when a secret works that a rotation replaced.
    until: Option<SystemTime>,
}

#[derive(Default)]
struct Maps {
    doors: HashMap<Hash, Door>,
    entries: HashMap<String, Arc<Entry>>,
    /// The configuration's `admin_key`, which is no key of the store.
    admin: Option<(Hash, Arc<Caller>)>,
}

/// Every key, by the keyed hash of its secret and by its id.
#[derive(Default)]
pub(super) struct Index(RwLock<Maps>);

impl Index {
    /// Finds out whose secret this hash is of.
    ///
    /// # Errors
    /// `API_KEY_INVALID` or `API_KEY_EXPIRED`.
    pub(super) fn enter(&self, hash: &Hash, now: SystemTime) -> Result<Arc<Caller>, Error> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // A plain comparison tells nothing: without the pepper nobody can aim at a prefix of a hash.
        if let Some((admin, caller)) = &maps.admin
            && admin == hash
        {
            return Ok(caller.clone());
        }
        let door = maps.doors.get(hash).ok_or_else(credential::refused)?;
        let entry = &door.entry;
        let name = &entry.caller.key_name;
        if entry.revoked {
            return Err(Error::new(
                Reason::ApiKeyInvalid,
                format!("the key `{name}` was revoked; use another"),
            ));
        }
        if entry.disabled {
            let message = format!("the key `{name}` is disabled; ask an admin to enable it");
            return Err(Error::new(Reason::ApiKeyInvalid, message));
        }
        if let Some(at) = entry.expire_time.filter(|at| *at <= now) {
            let message = format!("the key `{name}` expired at {}; ask an admin for another", shown(at));
            return Err(Error::new(Reason::ApiKeyExpired, message));
        }
        if let Some(at) = door.until.filter(|at| *at <= now) {
            let message =
                format!("this secret of the key `{name}` was rotated out at {}; use the new one", shown(at));
            return Err(Error::new(Reason::ApiKeyExpired, message));
        }
        let seconds = seconds(now);
        // Most calls fall into a second that is already there; they must not fight over the cache line.
        if entry.used.last.load(Relaxed) < seconds {
            entry.used.last.fetch_max(seconds, Relaxed);
        }
        Ok(entry.caller.clone())
    }

    /// Takes over a new or changed key.
    pub(super) fn put(&self, record: &Record) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).put(record, None);
    }

    /// Replaces everything; when keys were used is kept.
    pub(super) fn replace(&self, records: &[Record], admin: Option<(Hash, Arc<Caller>)>) {
        let mut fresh = Maps { admin, ..Maps::default() };
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            let used = maps.entries.get(&record.id).map(|entry| entry.used.clone());
            fresh.put(record, used);
        }
        *maps = fresh;
    }

    /// Tells whether the configuration has an `admin_key`.
    pub(super) fn has_admin(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).admin.is_some()
    }

    /// Returns the key of that id, revoked or not.
    pub(super) fn by_id(&self, id: &str) -> Option<Arc<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).entries.get(id).cloned()
    }

    /// Returns when the key was last used, in seconds since 1970; 0 is never.
    pub(super) fn last_use(&self, record: &Record) -> u64 {
        self.by_id(&record.id).map_or(record.last_use, |entry| entry.used.last.load(Relaxed))
    }

    /// Returns the last uses that the store does not know.
    pub(super) fn unstored_uses(&self) -> Vec<(String, u64)> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let used = maps.entries.iter().map(|(id, entry)| (id, &entry.used));
        used.filter(|(_, used)| used.last.load(Relaxed) > used.stored.load(Relaxed))
            .map(|(id, used)| (id.clone(), used.last.load(Relaxed)))
            .collect()
    }

    /// Notes that the store knows these uses.
    pub(super) fn uses_stored(&self, uses: &[(String, u64)]) {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (id, seconds) in uses {
            if let Some(entry) = maps.entries.get(id) {
                entry.used.stored.fetch_max(*seconds, Relaxed);
            }
        }
    }
}

impl Maps {
    fn put(&mut self, record: &Record, used: Option<Arc<Used>>) {
        let before = self.entries.get(&record.id).cloned();
        let used = used.or_else(|| before.as_ref().map(|entry| entry.used.clone())).unwrap_or_else(|| {
            Arc::new(Used { last: record.last_use.into(), stored: record.last_use.into() })
        });
        if let Some(before) = before {
            self.doors.remove(&before.hash);
            before.old_hash.map(|hash| self.doors.remove(&hash));
        }
        let entry = Arc::new(Entry {
            caller: Arc::new(Caller {
                key_id: record.id.clone(),
                key_name: record.name.clone(),
                team_id: record.team_id.clone(),
                scopes: record.scopes,
                allowed_models: ModelGlobs::new(record.allowed_models.clone()),
                default_tags: record.default_tags.clone(),
                limits: check::rules(&Subject::Key(record.id.as_str().into()), &record.limits),
                teams: Arc::default(),
                priority: record.priority,
            }),
            limits: record.limits.clone(),
            hash: record.hash,
            old_hash: record.old.as_ref().map(|old| old.hash),
            expire_time: record.expire_time,
            disabled: record.disabled,
            revoked: record.revoke_time.is_some(),
            used,
        });
        if let Some(old) = &record.old {
            self.doors.insert(old.hash, Door { entry: entry.clone(), until: Some(old.until) });
        }
        self.doors.insert(record.hash, Door { entry: entry.clone(), until: None });
        self.entries.insert(record.id.clone(), entry);
    }
}

/// Returns whole seconds since 1970.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs())
}

/// Shows a moment to people, in UTC and to the second.
fn shown(at: SystemTime) -> String {
    let at = i64::try_from(seconds(at)).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.map_or_else(|| "an earlier time".to_owned(), |at| at.to_string())
}
