//! The table in the store file of a gateway that is alone.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::Connection;

use super::{MEMORY, NEWS, Store, Written};

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS alerts (
        id TEXT PRIMARY KEY,
        destination TEXT NOT NULL,
        made_ms INTEGER NOT NULL,
        body TEXT NOT NULL,
        done_ms INTEGER
    ) STRICT, WITHOUT ROWID;";

/// The table.
pub(in crate::alerts) struct Local(Mutex<Inner>);

struct Inner {
    connection: Connection,
    /// What this process is about to deliver. What it is not is left from an earlier one.
    held: HashSet<String>,
}

impl Local {
    /// Opens the store file and makes the table if it is not there.
    pub(in crate::alerts) fn open(path: &Path) -> Result<Self, String> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.execute_batch(TABLE)?;
            Ok(connection)
        };
        let connection =
            open().map_err(|error| format!("cannot use the store {} for alerts: {error}", path.display()))?;
        Ok(Self(Mutex::new(Inner { connection, held: HashSet::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim_at(&self, destination: &str, alert: &Written, now_ms: i64) -> rusqlite::Result<bool> {
        let mut inner = self.lock();
        inner.connection.execute("DELETE FROM alerts WHERE made_ms < ?1", [now_ms - millis(MEMORY)])?;
        let insert = "INSERT OR IGNORE INTO alerts VALUES (?1, ?2, ?3, ?4, NULL)";
        let is_new = inner.connection.execute(insert, (&alert.id, destination, now_ms, &alert.body))? == 1;
        if is_new {
            inner.held.insert(alert.id.clone());
        }
        Ok(is_new)
    }

    fn take_over_at(&self, destination: &str, now_ms: i64) -> rusqlite::Result<Vec<Written>> {
        let mut inner = self.lock();
        let Inner { connection, held } = &mut *inner;
        let waiting =
            "SELECT id, body FROM alerts WHERE destination = ?1 AND done_ms IS NULL AND made_ms > ?2
            ORDER BY made_ms";
        let mut statement = connection.prepare(waiting)?;
        let rows = statement.query_map((destination, now_ms - millis(NEWS)), |row| {
            Ok(Written { id: row.get(0)?, body: row.get(1)? })
        })?;
        let mut waiting = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        waiting.retain(|alert| held.insert(alert.id.clone()));
        Ok(waiting)
    }
}

impl Store for Local {
    fn claim(&self, destination: &str, alert: &Written) -> Result<bool, String> {
        self.claim_at(destination, alert, now_ms()).map_err(|error| error.to_string())
    }

    fn take_over(&self, destination: &str) -> Result<Vec<Written>, String> {
        self.take_over_at(destination, now_ms()).map_err(|error| error.to_string())
    }

    fn hold(&self, _: &str, _: Duration) -> Result<bool, String> {
        Ok(true)
    }

    fn done(&self, id: &str) -> Result<(), String> {
        let mut inner = self.lock();
        let update = "UPDATE alerts SET done_ms = ?2 WHERE id = ?1";
        inner.connection.execute(update, (id, now_ms())).map_err(|error| error.to_string())?;
        inner.held.remove(id);
        Ok(())
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_new_once_also_for_another_process_and_waits_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tollgate.db");
        let (one, next) = (Local::open(&path).unwrap(), Local::open(&path).unwrap());
        let alert = Written { id: "a".to_owned(), body: "{}".to_owned() };
        let now = now_ms();
        assert!(one.claim_at("here", &alert, now).unwrap());
        assert!(!one.claim_at("here", &alert, now + 1).unwrap());
        assert!(!next.claim_at("here", &alert, now + 2).unwrap());
        assert!(one.take_over_at("here", now + 3).unwrap().is_empty(), "it is being delivered");
        assert!(next.take_over_at("there", now + 3).unwrap().is_empty());
        assert!(next.take_over_at("here", now + 1 + millis(NEWS)).unwrap().is_empty(), "old news");
        assert_eq!(next.take_over_at("here", now + 3).unwrap(), std::slice::from_ref(&alert));
        assert!(next.take_over_at("here", now + 3).unwrap().is_empty(), "once");
        next.done("a").unwrap();
        assert!(Local::open(&path).unwrap().take_over_at("here", now + 5).unwrap().is_empty());
        assert!(!next.claim_at("here", &alert, now + millis(MEMORY)).unwrap(), "still remembered");
    }
}
