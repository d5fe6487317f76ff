//! Which alerts were made and which were delivered: in the store file, so that neither a restart nor another process on
//! the same file tells anything twice or forgets it.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rusqlite::Connection;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS alerts (
        id TEXT PRIMARY KEY,
        destination TEXT NOT NULL,
        made_ms INTEGER NOT NULL,
        body TEXT NOT NULL,
        done_ms INTEGER
    ) STRICT, WITHOUT ROWID;";
/// How long an alert is remembered: longer than the longest window that ends.
const MEMORY_MS: i64 = 400 * 86_400_000;
/// How long one that could not be delivered is tried again after a restart.
const NEWS_MS: i64 = 86_400_000;

/// The table.
pub(super) struct Store(Mutex<Connection>);

impl Store {
    /// Opens the store file and makes the table if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.execute_batch(TABLE)?;
            Ok(connection)
        };
        let connection =
            open().map_err(|error| format!("cannot use the store {} for alerts: {error}", path.display()))?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Writes an alert down. Only the first to do so is told that it is new.
    pub(super) fn claim(
        &self,
        id: &str,
        destination: &str,
        body: &str,
        now_ms: i64,
    ) -> rusqlite::Result<bool> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute("DELETE FROM alerts WHERE made_ms < ?1", [now_ms - MEMORY_MS])?;
        let insert = "INSERT OR IGNORE INTO alerts VALUES (?1, ?2, ?3, ?4, NULL)";
        Ok(connection.execute(insert, (id, destination, now_ms, body))? == 1)
    }

    /// Lists what was written down and not delivered.
    pub(super) fn waiting(&self, destination: &str, now_ms: i64) -> rusqlite::Result<Vec<(String, String)>> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting =
            "SELECT id, body FROM alerts WHERE destination = ?1 AND done_ms IS NULL AND made_ms > ?2
            ORDER BY made_ms";
        let mut statement = connection.prepare(waiting)?;
        let rows =
            statement.query_map((destination, now_ms - NEWS_MS), |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// Notes that there is no more to be done for an alert.
    pub(super) fn done(&self, id: &str, now_ms: i64) -> rusqlite::Result<()> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute("UPDATE alerts SET done_ms = ?2 WHERE id = ?1", (id, now_ms))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_new_once_also_for_another_process_and_waits_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tollgate.db");
        let (one, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        assert!(one.claim("a", "here", "{}", 1_000).unwrap());
        assert!(!one.claim("a", "here", "{}", 1_001).unwrap());
        assert!(!other.claim("a", "here", "{}", 1_002).unwrap());
        assert_eq!(other.waiting("here", 1_003).unwrap(), [("a".to_owned(), "{}".to_owned())]);
        assert!(other.waiting("there", 1_003).unwrap().is_empty());
        assert!(other.waiting("here", 1_001 + NEWS_MS).unwrap().is_empty(), "old news");
        one.done("a", 1_004).unwrap();
        assert!(other.waiting("here", 1_005).unwrap().is_empty());
        assert!(!other.claim("a", "here", "{}", MEMORY_MS).unwrap(), "still remembered");
    }
}
