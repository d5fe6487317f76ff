//! The store as tables of the SQLite file.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{
    Connection, ToSql, TransactionBehavior, params_from_iter,
    types::{Null, ToSqlOutput, ValueRef},
};

use super::{Change, Row, SCHEMA, Sql, Store, Trouble, Value, Work, meta, set_meta};

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
);
CREATE TABLE IF NOT EXISTS teams (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    allowed_models TEXT NOT NULL, -- JSON, as the next two
    limits TEXT NOT NULL,
    default_key_limits TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    declared INTEGER NOT NULL,
    version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS adjustments (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of the list
    id TEXT NOT NULL UNIQUE,
    create_time INTEGER NOT NULL,
    kind TEXT NOT NULL, -- top_up, reset_at, or reset of earlier versions
    subject TEXT NOT NULL,
    metric TEXT NOT NULL,
    period TEXT NOT NULL,
    amount INTEGER NOT NULL,
    used TEXT NOT NULL, -- JSON: what each counter had come to (reset_at) or was set back by (reset)
    end_time INTEGER, -- of the window that it holds for; absent: for ever
    created_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS adjustments_by_request ON adjustments (created_by, request_id);
CREATE INDEX IF NOT EXISTS adjustments_by_subject ON adjustments (subject, seq);";

/// The open file.
pub(in crate::auth) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    /// Opens the store file and makes the tables that are not there.
    ///
    /// # Errors
    /// A message for the operator.
    pub(in crate::auth) fn open(path: &Path) -> Result<Self, String> {
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
        let shown = path.display();
        let store = open().map_err(|error| format!("cannot open the store {shown}: {error}"))?;
        let found = meta(&mut &store, "schema_keys").map_err(Trouble::into_message)?;
        let version = found.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
        match version {
            Some(SCHEMA) => {}
            Some(other) => {
                return Err(format!(
                    "the keys in {shown} have version {other}, and this Tollgate knows {SCHEMA}; use a newer one"
                ));
            }
            None => {
                set_meta(&mut &store, "schema_keys", &SCHEMA.to_be_bytes()).map_err(Trouble::into_message)?
            }
        }
        Ok(Self(Mutex::new(store)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held has rolled its transaction back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Sqlite {
    fn reading(&self, work: Work<'_>) -> Result<(), Trouble> {
        work(&mut &*self.lock())
    }

    fn changing(&self, work: Work<'_>, publish: &mut dyn FnMut()) -> Result<(), Trouble> {
        let mut store = self.lock();
        let transaction = store.transaction_with_behavior(TransactionBehavior::Immediate)?;
        work(&mut &*transaction)?;
        transaction.commit()?;
        publish();
        Ok(())
    }
}

impl Sql for &Connection {
    fn rows(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>, Trouble> {
        let mut statement = self.prepare_cached(statement)?;
        let width = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            (0..width).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>().map(Row::new)
        };
        let rows = statement.query_map(params_from_iter(values), read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<(), Trouble> {
        self.prepare_cached(statement)?.execute(params_from_iter(values))?;
        Ok(())
    }

    /// There are no other replicas.
    fn tell(&mut self, _: &Change) -> Result<(), Trouble> {
        Ok(())
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(ToSqlOutput::from(Null)),
            Self::Bool(yes) => yes.to_sql(),
            Self::Int(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Blob(bytes) => bytes.to_sql(),
        }
    }
}

fn value(read: ValueRef<'_>) -> Value {
    match read {
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        // No column holds fractions.
        ValueRef::Null | ValueRef::Real(_) => Value::Null,
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
