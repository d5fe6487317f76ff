//! New records as they are committed. The store itself is the queue: a watcher reads on from the number it had.

use std::sync::Arc;

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use rusqlite::{OptionalExtension as _, params_from_iter};
use tollgate_api::v1;

use super::{
    filter::Conditions,
    read_record,
    sql::{SQLITE, Sql},
    words::Rows,
};
use crate::{
    error::Error,
    meter::ledger::{Reads, reader::unreadable},
};

/// Records looked through in one read, so that a watch of few among millions never keeps a reader for long.
const STEP: i64 = 2_000;
/// Records are numbered as they are committed and timed a moment before: by at most this, in milliseconds.
const DISORDER_MS: i64 = 60_000;

struct Watch {
    reads: Reads,
    conditions: Arc<Conditions>,
    from_ms: i64,
    /// Number of the last record that was looked at.
    last: i64,
}

/// Starts a watch, from a time on or from now on.
pub(super) async fn start(
    mut reads: Reads,
    conditions: Arc<Conditions>,
    from_ms: Option<i64>,
) -> Result<BoxStream<'static, Result<v1::WatchUsageResponse, Error>>, Error> {
    let last = match from_ms {
        None => reads.committed(),
        Some(from_ms) => before(&reads, from_ms).await?,
    };
    let watch = Watch { reads, conditions, from_ms: from_ms.unwrap_or(i64::MIN), last };
    let steps = stream::try_unfold(watch, Watch::step);
    Ok(steps.map_ok(|records| stream::iter(records.into_iter().map(Ok))).try_flatten().boxed())
}

/// Returns the number before the first record that can be of that time or later; all of them if there is none.
async fn before(reads: &Reads, from_ms: i64) -> Result<i64, Error> {
    let first = "SELECT create_ms FROM records WHERE create_ms >= ?1 ORDER BY create_ms LIMIT 1";
    let lowest = "SELECT min(seq) FROM records WHERE create_ms >= ?1 AND create_ms <= ?2";
    let newest = "SELECT COALESCE(max(seq), 0) FROM records";
    reads
        .run(move |connection| {
            let find = || -> rusqlite::Result<i64> {
                // In this order: what is committed after the first question has a higher number.
                let newest: i64 = connection.query_row(newest, [], |row| row.get(0))?;
                let Some(first) =
                    connection.query_row(first, [from_ms], |row| row.get::<_, i64>(0)).optional()?
                else {
                    return Ok(newest);
                };
                let until = first.saturating_add(DISORDER_MS);
                let lowest: i64 = connection.query_row(lowest, [first, until], |row| row.get(0))?;
                Ok(lowest - 1)
            };
            find().map_err(|error| unreadable(&error))
        })
        .await
}

impl Watch {
    /// Waits for more and reads the next few; `None` when the ledger is closed.
    async fn step(mut self) -> Result<Option<(Vec<v1::WatchUsageResponse>, Self)>, Error> {
        while self.reads.committed() <= self.last {
            if !self.reads.more().await {
                return Ok(None);
            }
        }
        let until = self.reads.committed().min(self.last.saturating_add(STEP));
        let (conditions, last, from_ms) = (self.conditions.clone(), self.last, self.from_ms);
        let records = self.reads.run(move |connection| {
            // By number alone: the index by key would find all that the key ever did.
            let mut sql = Sql::new(&SQLITE);
            sql.push("SELECT record FROM records ").push(SQLITE.unindexed).push(" WHERE seq > ").bind(last);
            sql.push(" AND seq <= ").bind(until).push(" AND create_ms >= ").bind(from_ms).push(" AND ");
            conditions.write(Rows::Plain, &mut sql);
            sql.push(" ORDER BY seq");
            let read = || -> rusqlite::Result<Vec<_>> {
                let mut statement = connection.prepare_cached(&sql.text)?;
                let rows = statement.query_map(params_from_iter(&sql.values), read_record)?;
                rows.map(|record| Ok(v1::WatchUsageResponse { record: Some(record?) })).collect()
            };
            read().map_err(|error| unreadable(&error))
        });
        let records = records.await?;
        self.last = until;
        Ok(Some((records, self)))
    }
}
