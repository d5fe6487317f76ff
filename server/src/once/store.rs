//! The file in which answers are kept: SQLite, for this user only. It holds what callers were answered, so what has
//! expired is overwritten. Losing the file loses nothing but the repeats.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message as _;
use rusqlite::{Connection, ErrorCode, params};
use tokio::task::spawn_blocking;

use super::{Answer, board::Scope};
use crate::{call::Fingerprint, failpoint};

/// Another form of the table or of what is in it has another number, and begins anew.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE answers (
        scope BLOB PRIMARY KEY,
        fingerprint BLOB NOT NULL,
        expire_ms INTEGER NOT NULL,
        answer BLOB NOT NULL
    ) STRICT;
    CREATE INDEX answers_by_time ON answers (expire_ms);";

/// What is known of a kept answer without reading it.
pub(super) struct Row {
    pub(super) scope: Scope,
    pub(super) fingerprint: Fingerprint,
    pub(super) bytes: u64,
    pub(super) expires: SystemTime,
}

/// The file.
pub(super) struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the file, or makes it, and returns what is in it and has not expired, in the order in which it will.
    ///
    /// # Errors
    /// A message for the operator.
    pub(super) fn open(path: &Path, now: SystemTime) -> Result<(Self, Vec<Row>), String> {
        let opened = open(path, now).or_else(|error| match error.sqlite_error_code() {
            // A loss of power may leave it so, since nothing waits for the disk.
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                tracing::warn!(path = %path.display(), %error, "kept answers are unreadable; beginning anew");
                remove(path);
                open(path, now)
            }
            _ => Err(error),
        });
        let (connection, rows) = opened.map_err(|error| {
            format!(
                "cannot use {} ({error}); check its permissions and its disk, or delete it: it holds nothing but answers \
                 for repeated calls",
                path.display()
            )
        })?;
        Ok((Self { connection: Mutex::new(connection) }, rows))
    }

    /// Reads an answer; `None` if it is not there.
    pub(super) async fn get(self: &Arc<Self>, scope: Scope) -> Option<Answer> {
        let store = self.clone();
        let read = spawn_blocking(move || {
            let connection = store.connection();
            let mut select = connection.prepare_cached("SELECT answer FROM answers WHERE scope = ?1")?;
            select.query_row([scope.as_bytes().as_slice()], |row| row.get::<_, Vec<u8>>(0))
        });
        let bytes = match read.await.ok()? {
            Ok(bytes) => bytes,
            Err(rusqlite::Error::QueryReturnedNoRows) => return None,
            Err(error) => {
                tracing::warn!(%error, "a kept answer cannot be read; the call is made once more");
                return None;
            }
        };
        Answer::decode(&*bytes).ok()
    }

    /// Writes an answer, so that it survives the process, and deletes others. Returns whether it is written.
    pub(super) async fn put(self: &Arc<Self>, row: Row, answer: Arc<[u8]>, gone: Vec<Scope>) -> bool {
        let store = self.clone();
        let written = spawn_blocking(move || {
            let mut connection = store.connection();
            let transaction = connection.transaction()?;
            delete(&transaction, &gone)?;
            transaction.prepare_cached("INSERT OR REPLACE INTO answers VALUES (?1, ?2, ?3, ?4)")?.execute(
                params![
                    row.scope.as_bytes().as_slice(),
                    row.fingerprint.as_bytes().as_slice(),
                    to_ms(row.expires),
                    &*answer
                ],
            )?;
            failpoint::pass("keep:before");
            transaction.commit()?;
            failpoint::pass("keep:after");
            Ok(())
        });
        written
            .await
            .is_ok_and(|written| done(written, "an answer cannot be kept; a repeat will be a new call"))
    }

    /// Deletes answers.
    pub(super) async fn delete(self: &Arc<Self>, gone: Vec<Scope>) {
        let store = self.clone();
        let deleted = spawn_blocking(move || delete(&store.connection(), &gone));
        _ = deleted.await.is_ok_and(|deleted| done(deleted, "expired answers cannot be deleted"));
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic cut off is rolled back by SQLite.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path, now: SystemTime) -> rusqlite::Result<(Connection, Vec<Row>)> {
    // If it cannot be made here, SQLite says why not.
    let _ = fs::File::options().mode(0o600).create(true).append(true).open(path);
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    // What was written outlives the process; a loss of power may take it all, and that is only repeats.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA secure_delete = ON; \
         PRAGMA journal_size_limit = 4194304;",
    )?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        connection.execute_batch("DROP TABLE IF EXISTS answers")?;
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    connection.execute("DELETE FROM answers WHERE expire_ms <= ?1", [to_ms(now)])?;
    let rows = {
        let mut select = connection.prepare(
            "SELECT scope, fingerprint, expire_ms, length(answer) FROM answers ORDER BY expire_ms",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let (scope, fingerprint) = (row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?);
            let (expire_ms, bytes): (i64, i64) = (row.get(2)?, row.get(3)?);
            let hashes = Fingerprint::from_slice(&scope).zip(Fingerprint::from_slice(&fingerprint));
            let expires = UNIX_EPOCH + Duration::from_millis(u64::try_from(expire_ms).unwrap_or(0));
            let bytes = u64::try_from(bytes).unwrap_or(0);
            Ok(hashes.map(|(scope, fingerprint)| Row { scope, fingerprint, bytes, expires }))
        };
        let rows = select.query_map([], read)?;
        rows.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<Row>>>()?
    };
    Ok((connection, rows))
}

fn delete(connection: &Connection, gone: &[Scope]) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM answers WHERE scope = ?1")?;
    gone.iter().try_for_each(|scope| delete.execute([scope.as_bytes().as_slice()]).map(drop))
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", path.display()));
    }
}

fn done(outcome: rusqlite::Result<()>, otherwise: &str) -> bool {
    if let Err(error) = &outcome {
        tracing::warn!(%error, "{otherwise}");
    }
    outcome.is_ok()
}

fn to_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn hash(name: &str) -> Fingerprint {
        Fingerprint::of(&[name.as_bytes()])
    }

    fn open(path: &Path, now: SystemTime) -> (Arc<Store>, Vec<Row>) {
        let (store, rows) = Store::open(path, now).unwrap();
        (Arc::new(store), rows)
    }

    async fn put(store: &Arc<Store>, name: &str, expires: SystemTime, gone: Vec<Scope>) -> bool {
        let answer =
            Answer::settled(&tollgate_api::v1::Usage { output_tokens: Some(7), ..Default::default() });
        let bytes = answer.encode_to_vec();
        let row = Row {
            scope: hash(name),
            fingerprint: hash("request"),
            bytes: u64::try_from(bytes.len()).unwrap(),
            expires,
        };
        store.put(row, bytes.into(), gone).await
    }

    #[tokio::test]
    async fn what_was_put_is_there_after_a_crash_until_it_expires() {
        let dir = tempfile::tempdir().unwrap();
        let (path, start) = (dir.path().join("once.db"), SystemTime::now());
        let (store, rows) = open(&path, start);
        assert!(rows.is_empty());
        for (name, seconds) in [("late", 20), ("early", 10)] {
            assert!(put(&store, name, start + Duration::from_secs(seconds), Vec::new()).await);
        }
        assert!(put(&store, "gone", start + Duration::from_secs(30), vec![hash("late")]).await);
        store.delete(vec![hash("gone")]).await;
        // A crash closes nothing.
        std::mem::forget(store);
        let (store, rows) = open(&path, start + Duration::from_secs(9));
        let found: Vec<_> = rows.iter().map(|row| (row.scope, row.fingerprint, row.bytes > 0)).collect();
        assert_eq!(found, [(hash("early"), hash("request"), true)]);
        let answer = store.get(hash("early")).await.unwrap();
        assert_eq!(answer.usage().unwrap().output_tokens, Some(7));
        assert!(store.get(hash("late")).await.is_none());
        drop(store);
        assert!(open(&path, start + Duration::from_secs(10)).1.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_is_no_store_is_begun_anew_for_this_user_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("once.db");
        fs::write(&path, "x".repeat(5_000)).unwrap();
        let (store, rows) = open(&path, SystemTime::now());
        assert!(rows.is_empty());
        assert!(put(&store, "a", SystemTime::now() + Duration::from_secs(60), Vec::new()).await);
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_said_in_words() {
        let error = Store::open(Path::new("/nowhere/once.db"), SystemTime::now()).err().unwrap();
        assert!(error.contains("/nowhere/once.db") && error.contains("delete it"), "{error}");
    }
}
