//! Records that are older than `ledger.retain` go, some at a time; their sums are made first, and stay.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::rollup::Rollup;
use crate::config::Days;

/// How often the writer looks for old records.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// Records that are deleted between two commits.
const STEP: i64 = 2_000;

/// What the writer knows of it.
pub(super) struct Retention {
    retain: Option<Days>,
    look: Instant,
    /// Records up to this number are to go.
    doomed: i64,
}

impl Retention {
    pub(super) fn new(retain: Option<Days>) -> Self {
        Self { retain, look: Instant::now(), doomed: 0 }
    }

    /// Deletes a few of the records that are too old, and tells whether there may be more. What cannot be deleted now is
    /// tried again later.
    pub(super) fn advance(&mut self, connection: &mut Connection, rollup: &mut Rollup) -> bool {
        let Some(Days(days)) = self.retain else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = i64::try_from(now.as_millis()).unwrap_or(i64::MAX) - i64::from(days) * 86_400_000;
        if let Err(error) = self.try_advance(connection, rollup, before) {
            tracing::warn!(%error, "old records cannot be deleted; trying again later");
            (self.doomed, self.look) = (0, Instant::now() + LOOK);
        }
        self.doomed > 0
    }

    fn try_advance(
        &mut self,
        connection: &mut Connection,
        rollup: &mut Rollup,
        before_ms: i64,
    ) -> rusqlite::Result<()> {
        if self.doomed == 0 {
            if Instant::now() < self.look {
                return Ok(());
            }
            self.look = Instant::now() + LOOK;
            // The newest one stays in any case: the numbers of the next go on from it.
            self.doomed = connection.query_row(
                "SELECT COALESCE((SELECT min(seq) FROM records WHERE create_ms >= ?1),
                    (SELECT max(seq) FROM records), 1) - 1",
                [before_ms],
                |row| row.get(0),
            )?;
            rollup.up_to(connection, self.doomed)?;
        }
        let delete = "DELETE FROM records WHERE seq IN
            (SELECT seq FROM records WHERE seq <= ?1 ORDER BY seq LIMIT ?2)";
        if connection.prepare_cached(delete)?.execute([self.doomed, STEP])? == 0 {
            self.doomed = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{
        Ledger,
        testing::{NOON, record, rows},
    };

    #[test]
    fn old_records_go_their_sums_stay_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("tollgate.db");
        let ledger = Ledger::open(&store).unwrap();
        for number in 1..=4 {
            let mut record = record(number);
            let day = i64::try_from(number).unwrap() * 86_400;
            record.create_time = Some(prost_types::Timestamp { seconds: NOON + day, nanos: 0 });
            ledger.append(record);
        }
        assert_eq!(rows(&ledger, &store).len(), 4);
        let mut connection = Connection::open(&store).unwrap();
        let (mut retention, mut rollup) = (Retention::new(Some(Days(1))), Rollup::new());
        retention.try_advance(&mut connection, &mut rollup, (NOON + 3 * 86_400) * 1_000).unwrap();
        let ids: Vec<_> = rows(&ledger, &store).into_iter().map(|record| record.id).collect();
        assert_eq!(ids, [record(3).id, record(4).id]);
        // All of it is too old by now, and one is left.
        retention.advance(&mut connection, &mut rollup);
        retention.look = Instant::now();
        retention.advance(&mut connection, &mut rollup);
        ledger.append(record(5));
        assert_eq!(rows(&ledger, &store).len(), 2);
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("SELECT max(seq) FROM records"), 5);
        assert_eq!(number("SELECT sum(calls) FROM rollups"), 3);
        assert_eq!(number("SELECT sum(calls) FROM totals WHERE level = 2"), 3);
    }
}
