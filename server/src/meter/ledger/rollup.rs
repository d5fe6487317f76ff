//! Sums by hour, so that a report over years need not look at every record.
//!
//! The writer folds records some thousands at a time, long after they were committed. A report adds what is not folded
//! yet, in the same snapshot, so that it is exact at any moment and after any crash.

use rusqlite::Connection;

use crate::failpoint;

/// Records that are folded at once: the more, the fewer sums there are; the fewer, the less a report has to add.
pub(in crate::meter) const STEP: i64 = 10_000;

const FOLD: &str = "
    INSERT INTO rollups
    SELECT create_ms / 3600000 * 3600000, key_id, team_id, requested_model, provider, target, surface, status,
        count(*), sum(cache_status IN (3, 4, 5)), min(source), max(source), sum(input_tokens), sum(output_tokens),
        sum(cache_read), sum(cache_write), sum(reasoning), sum(cost_nanos), sum(saved_nanos), min(price_version),
        max(price_version), max(estimated)
    FROM records WHERE seq > ?1 AND seq <= ?2
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8";

/// What the writer knows of the folding.
pub(super) struct Rollup {
    failed: bool,
    rolled: Option<i64>,
}

impl Rollup {
    pub(super) fn new() -> Self {
        Self { failed: false, rolled: None }
    }

    /// Folds one step if there are enough records for it. If that fails, reports are slower and still right.
    pub(super) fn advance(&mut self, connection: &mut Connection, last: i64) {
        match self.try_advance(connection, last) {
            Ok(rolled) => {
                self.rolled = Some(rolled);
                self.failed = false;
            }
            Err(error) => {
                if !self.failed {
                    tracing::warn!(%error, "the ledger cannot sum up its records; trying again");
                }
                self.failed = true;
            }
        }
    }

    fn try_advance(&self, connection: &mut Connection, last: i64) -> rusqlite::Result<i64> {
        let rolled = match self.rolled {
            Some(rolled) => rolled,
            None => connection.query_row("SELECT seq FROM rolled", [], |row| row.get(0))?,
        };
        let step = failpoint::step(STEP, 10);
        if last - rolled < step {
            return Ok(rolled);
        }
        let until = rolled + step;
        let transaction = connection.transaction()?;
        transaction.prepare_cached(FOLD)?.execute([rolled, until])?;
        transaction.execute("UPDATE rolled SET seq = ?1", [until])?;
        failpoint::pass("rollup:before");
        transaction.commit()?;
        failpoint::pass("rollup:after");
        Ok(until)
    }
}
