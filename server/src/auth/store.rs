//! Keys at rest: the tables `keys` and `key_requests` of the store file. Holds keyed hashes, never keys.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use secrecy::zeroize::Zeroizing;

use super::{
    pepper::Hash,
    record::{COLUMNS, Record, to_micros},
};
use crate::error::{Error, Reason};

/// Version of the tables below.
const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS auth_meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of the list
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    old_hash BLOB,
    old_expire_time INTEGER, -- all times but the last use: microseconds since 1970
    hint TEXT NOT NULL,
    team_id TEXT NOT NULL,
    scopes TEXT NOT NULL, -- JSON, as the next three
    allowed_models TEXT NOT NULL,
    limits TEXT NOT NULL,
    default_tags TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER,
    last_use_time INTEGER NOT NULL, -- seconds since 1970; 0: never
    disabled INTEGER NOT NULL,
    revoke_time INTEGER,
    created_by TEXT NOT NULL,
    declared INTEGER NOT NULL,
    version INTEGER NOT NULL,
    priority TEXT NOT NULL DEFAULT 'normal'
);
CREATE INDEX IF NOT EXISTS keys_by_name ON keys (name);
CREATE INDEX IF NOT EXISTS keys_by_team ON keys (team_id, seq);
CREATE TABLE IF NOT EXISTS key_requests (
    caller_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    nonce BLOB NOT NULL, -- gives the secret again, together with the pepper
    key BLOB NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (caller_id, request_id)
);";

/// Why the store did not do something.
pub(super) enum Trouble {
    /// SQLite failed.
    Store(rusqlite::Error),
    /// The caller asked for something that cannot be.
    Refused(Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Trouble {
    /// Says it to a caller; what SQLite said is for the log.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Store(error) => {
                tracing::error!(%error, "the store of the keys fails");
                Error::new(Reason::StoreUnavailable, "the store of the keys cannot be read or written now")
            }
        }
    }

    /// Says it to the operator.
    pub(super) fn into_message(self) -> String {
        match self {
            Self::Refused(error) => error.to_string(),
            Self::Store(error) => format!("the store of the keys fails: {error}"),
        }
    }
}

/// What a request with an id did, for its repeats.
pub(super) struct Done {
    pub(super) fingerprint: Hash,
    pub(super) nonce: Zeroizing<[u8; 32]>,
    /// The key as the first call returned it, encoded.
    pub(super) key: Vec<u8>,
}

/// The open store. Every method blocks on the disk.
pub(super) struct Store(Mutex<Connection>);

impl Store {
    /// Opens the store file and makes the tables that are not there.
    ///
    /// # Errors
    /// A message for the operator.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let open = || -> rusqlite::Result<Connection> {
            let store = Connection::open(path)?;
            store.busy_timeout(Duration::from_secs(5))?;
            store.pragma_update(None, "journal_mode", "WAL")?;
            // A key that was answered, or a revocation, must not be undone by a power cut.
            store.pragma_update(None, "synchronous", "FULL")?;
            // The nonces of `key_requests` are overwritten when they are deleted.
            store.pragma_update(None, "secure_delete", "ON")?;
            store.execute_batch(TABLES)?;
            add_what_came_later(&store)?;
            Ok(store)
        };
        let explain = |error| format!("cannot open the store {}: {error}", path.display());
        let store = open().map_err(explain)?;
        let found = meta(&store, "schema_keys").map_err(explain)?;
        let version = found.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
        match version {
            Some(SCHEMA) => {}
            Some(other) => {
                return Err(format!(
                    "the keys in {} have version {other}, and this Tollgate knows {SCHEMA}; use a newer one",
                    path.display()
                ));
            }
            None => set_meta(&store, "schema_keys", &SCHEMA.to_be_bytes()).map_err(explain)?,
        }
        Ok(Self(Mutex::new(store)))
    }

    /// Reads with `work`.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Trouble>) -> Result<T, Trouble> {
        work(&self.lock())
    }

    /// Changes with `work`, all of it or nothing. Once that is durable, `publish` makes it known before the next
    /// change can start.
    ///
    /// # Errors
    /// Those of `work`, and the store's.
    pub(super) fn change<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Trouble>,
        publish: impl FnOnce(&T),
    ) -> Result<T, Trouble> {
        let mut store = self.lock();
        let transaction = store.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        publish(&done);
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held has rolled its transaction back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the columns that a store of an earlier Tollgate does not have. That one goes on working with them.
fn add_what_came_later(store: &Connection) -> rusqlite::Result<()> {
    let known = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('keys') WHERE name = 'priority')";
    if store.query_row(known, [], |row| row.get(0))? {
        return Ok(());
    }
    store.execute_batch("ALTER TABLE keys ADD COLUMN priority TEXT NOT NULL DEFAULT 'normal'")
}

/// Returns a value of `auth_meta`.
pub(super) fn meta(store: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    store.query_row("SELECT value FROM auth_meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Sets a value of `auth_meta`.
pub(super) fn set_meta(store: &Connection, name: &str, value: &[u8]) -> rusqlite::Result<()> {
    store.execute("INSERT OR REPLACE INTO auth_meta (name, value) VALUES (?1, ?2)", (name, value))?;
    Ok(())
}

/// Tells whether there is or was any key.
pub(super) fn has_keys(store: &Connection) -> rusqlite::Result<bool> {
    store.query_row("SELECT EXISTS (SELECT 1 FROM keys)", [], |row| row.get(0))
}

/// Returns every key, revoked ones too.
pub(super) fn all(store: &Connection) -> rusqlite::Result<Vec<Record>> {
    let mut rows = store.prepare(&format!("SELECT {COLUMNS} FROM keys ORDER BY seq"))?;
    rows.query_map([], Record::from_row)?.collect()
}

/// Returns the keys that the configuration declared last.
pub(super) fn declared(store: &Connection) -> rusqlite::Result<Vec<Record>> {
    let mut rows =
        store.prepare(&format!("SELECT {COLUMNS} FROM keys WHERE declared AND revoke_time IS NULL"))?;
    rows.query_map([], Record::from_row)?.collect()
}

/// Returns the key of that id, revoked or not.
pub(super) fn by_id(store: &Connection, id: &str) -> rusqlite::Result<Option<Record>> {
    let mut rows = store.prepare_cached(&format!("SELECT {COLUMNS} FROM keys WHERE id = ?1"))?;
    rows.query_row([id], Record::from_row).optional()
}

/// Returns the id of a key that has the name and is not revoked, other than `except`.
pub(super) fn named(store: &Connection, name: &str, except: &str) -> rusqlite::Result<Option<String>> {
    let mut rows = store
        .prepare_cached("SELECT id FROM keys WHERE name = ?1 AND id <> ?2 AND revoke_time IS NULL LIMIT 1")?;
    rows.query_row([name, except], |row| row.get(0)).optional()
}

/// Returns up to `most` keys that are not revoked and come after `after` in the list, with their places.
pub(super) fn page(
    store: &Connection,
    after: i64,
    team_id: &str,
    most: usize,
) -> rusqlite::Result<Vec<(i64, Record)>> {
    let team = if team_id.is_empty() { "" } else { "AND team_id = :team" };
    let mut rows = store.prepare_cached(&format!(
        "SELECT seq, {COLUMNS} FROM keys WHERE revoke_time IS NULL AND seq > :after {team} ORDER BY seq LIMIT :most"
    ))?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get("seq")?, Record::from_row(row)?));
    if team.is_empty() {
        return rows.query_map(rusqlite::named_params! { ":after": after, ":most": most }, read)?.collect();
    }
    let params = rusqlite::named_params! { ":after": after, ":most": most, ":team": team_id };
    rows.query_map(params, read)?.collect()
}

/// Writes when keys were last used, in seconds since 1970; an earlier time never replaces a later one.
pub(super) fn set_last_use(store: &Connection, uses: &[(String, u64)]) -> rusqlite::Result<()> {
    let mut update =
        store.prepare_cached("UPDATE keys SET last_use_time = ?2 WHERE id = ?1 AND last_use_time < ?2")?;
    for (id, seconds) in uses {
        update.execute((id, i64::try_from(*seconds).unwrap_or(i64::MAX)))?;
    }
    Ok(())
}

/// Returns what the request of that caller and id did, if that is not too long ago.
pub(super) fn done(
    store: &Connection,
    caller_id: &str,
    request_id: &str,
    now: SystemTime,
) -> rusqlite::Result<Option<Done>> {
    let mut rows = store.prepare_cached(
        "SELECT fingerprint, nonce, key FROM key_requests \
         WHERE caller_id = ?1 AND request_id = ?2 AND expire_time > ?3",
    )?;
    rows.query_row((caller_id, request_id, to_micros(now)), |row| {
        Ok(Done { fingerprint: row.get(0)?, nonce: Zeroizing::new(row.get(1)?), key: row.get(2)? })
    })
    .optional()
}

/// Remembers until `until` what a request did, and forgets those whose time is over.
pub(super) fn remember(
    store: &Connection,
    (caller_id, request_id): (&str, &str),
    done: &Done,
    now: SystemTime,
    until: SystemTime,
) -> rusqlite::Result<()> {
    store.execute("DELETE FROM key_requests WHERE expire_time <= ?1", [to_micros(now)])?;
    store.execute(
        "INSERT INTO key_requests (caller_id, request_id, fingerprint, nonce, key, expire_time) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (caller_id, request_id, done.fingerprint, *done.nonce, &done.key, to_micros(until)),
    )?;
    Ok(())
}
