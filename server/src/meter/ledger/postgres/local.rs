//! The local side: which records are in PostgreSQL already, which come next, and which may go.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::batch::{self, Batch};

/// Made beside the tables of the local ledger if it is not there; versions that do not know it go on without.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS shipping (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        replica BLOB NOT NULL,
        seq INTEGER NOT NULL
    ) STRICT";

/// The local ledger, as the shipper sees it.
pub(super) struct Local {
    connection: Connection,
    replica: Uuid,
    shipped: i64,
}

impl Local {
    /// Opens the store beside its writer.
    pub(super) fn open(store: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(store)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch("PRAGMA synchronous = NORMAL;")?;
        connection.execute_batch(TABLE)?;
        let known = connection
            .query_row("SELECT replica, seq FROM shipping", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (replica, shipped) = match known {
            Some((replica, shipped)) => (Uuid::from_bytes(replica), shipped),
            None => (Uuid::now_v7(), 0),
        };
        let known = "INSERT OR IGNORE INTO shipping VALUES (1, ?1, 0)";
        connection.execute(known, params![replica.as_bytes().as_slice()])?;
        Ok(Self { connection, replica, shipped })
    }

    /// Returns what this replica is called in PostgreSQL.
    pub(super) fn replica(&self) -> Uuid {
        self.replica
    }

    /// Returns the number up to which records are in PostgreSQL.
    pub(super) fn shipped(&self) -> i64 {
        self.shipped
    }

    /// Notes up to which number records are in PostgreSQL. Should that fail, they are sent again, and not counted again.
    pub(super) fn set_shipped(&mut self, seq: i64) -> rusqlite::Result<()> {
        self.shipped = seq;
        self.connection.prepare_cached("UPDATE shipping SET seq = ?1")?.execute([seq])?;
        Ok(())
    }

    /// Reads the records after those that are in PostgreSQL, so many at most.
    pub(super) fn next(&self, most: usize) -> rusqlite::Result<Batch> {
        let columns = batch::names();
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT seq, {columns} FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        ))?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = statement.query([self.shipped, most])?;
        let mut batch = Batch::new(self.shipped);
        while let Some(row) = rows.next()? {
            batch.add(row)?;
        }
        Ok(batch)
    }

    /// Deletes some of the records from before that time that are in PostgreSQL, and returns how many. The last one stays:
    /// the numbers of the next go on from it.
    pub(super) fn forget(&self, before_ms: i64, most: i64) -> rusqlite::Result<usize> {
        self.connection
            .prepare_cached(
                "DELETE FROM records WHERE seq IN (SELECT seq FROM records WHERE seq <= ?1
                    AND seq < (SELECT max(seq) FROM records) AND create_ms < ?2 ORDER BY seq LIMIT ?3)",
            )?
            .execute([self.shipped, before_ms, most])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{
        Ledger,
        testing::{record, rows},
    };

    #[test]
    fn a_replica_keeps_its_name_and_its_place_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("tollgate.db");
        let ledger = Ledger::open(&store).unwrap();
        (1..=5).for_each(|number| ledger.append(record(number)));
        assert_eq!(rows(&ledger, &store).len(), 5);
        let mut local = Local::open(&store).unwrap();
        let (replica, batch) = (local.replica(), local.next(3).unwrap());
        assert_eq!((local.shipped(), batch.len(), batch.last()), (0, 3, 3));
        local.set_shipped(batch.last()).unwrap();
        drop(local);
        let local = Local::open(&store).unwrap();
        assert_eq!((local.replica(), local.shipped()), (replica, 3));
        assert_eq!(local.next(10).unwrap().len(), 2);
    }

    #[test]
    fn what_is_shipped_and_old_goes_and_the_last_record_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("tollgate.db");
        let ledger = Ledger::open(&store).unwrap();
        (1..=5).for_each(|number| ledger.append(record(number)));
        assert_eq!(rows(&ledger, &store).len(), 5);
        let mut local = Local::open(&store).unwrap();
        assert_eq!(local.forget(i64::MAX, 10).unwrap(), 0, "nothing is shipped");
        local.set_shipped(3).unwrap();
        assert_eq!(local.forget(0, 10).unwrap(), 0, "nothing is old");
        assert_eq!(local.forget(i64::MAX, 2).unwrap(), 2, "some at a time");
        local.set_shipped(5).unwrap();
        assert_eq!(local.forget(i64::MAX, 10).unwrap(), 2);
        assert_eq!(rows(&ledger, &store), [record(5)]);
    }
}
