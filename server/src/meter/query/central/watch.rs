//! New records of all replicas. PostgreSQL itself is the queue: a watcher reads on from the number it had, once it hears
//! that there are more.

use std::sync::Arc;

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use tollgate_api::v1;

use super::{POSTGRES, find, number, record};
use crate::{
    error::Error,
    meter::{
        ledger::postgres::{Central, Failure, Newest, newest},
        query::{
            filter::Conditions,
            sql::Sql,
            watch::{DISORDER_MS, STEP},
            words::Rows,
        },
    },
    postgres::Session,
};

struct Watch {
    central: Arc<Central>,
    conditions: Arc<Conditions>,
    from_ms: i64,
    /// Number of the last record that was looked at.
    last: i64,
    newest: Newest,
}

/// Starts a watch of the records of all replicas, from a time on or from now on.
pub(in crate::meter::query) async fn watch(
    central: Arc<Central>,
    conditions: Arc<Conditions>,
    from_ms: Option<i64>,
) -> Result<BoxStream<'static, Result<v1::WatchUsageResponse, Error>>, Error> {
    let last = central.read(move |session| before(session, from_ms)).await?;
    let newest = central.newest();
    let watch = Watch { central, conditions, from_ms: from_ms.unwrap_or(i64::MIN), last, newest };
    let steps = stream::try_unfold(watch, Watch::step);
    Ok(steps.map_ok(|records| stream::iter(records.into_iter().map(Ok))).try_flatten().boxed())
}

/// Returns the number before the first record that can be of that time or later; that of the last one if there is none, or
/// no time.
fn before(session: &mut Session, from_ms: Option<i64>) -> Result<i64, Failure> {
    let newest = newest(session)?;
    let Some(from_ms) = from_ms else { return Ok(newest) };
    let first = "SELECT create_ms FROM records WHERE create_ms >= $1 ORDER BY create_ms LIMIT 1";
    let Some(first) = session.query_opt(first, &[&from_ms])? else { return Ok(newest) };
    let first = number(&first, 0)?;
    let until = first.saturating_add(DISORDER_MS);
    let lowest = "SELECT min(seq) FROM records WHERE create_ms >= $1 AND create_ms <= $2";
    Ok(number(&session.query_one(lowest, &[&first, &until])?, 0)? - 1)
}

impl Watch {
    /// Waits for more and reads the next few; `None` when the ledger is closed.
    async fn step(mut self) -> Result<Option<(Vec<v1::WatchUsageResponse>, Self)>, Error> {
        let Some(newest) = self.newest.beyond(self.last).await? else { return Ok(None) };
        let until = newest.min(self.last.saturating_add(STEP));
        let (conditions, last, from_ms) = (self.conditions.clone(), self.last, self.from_ms);
        let read = move |session: &mut Session| {
            let mut sql = Sql::new(&POSTGRES);
            sql.push("SELECT record FROM records WHERE seq > ").bind(last);
            sql.push(" AND seq <= ").bind(until).push(" AND create_ms >= ").bind(from_ms).push(" AND ");
            conditions.write(Rows::Plain, &mut sql);
            sql.push(" ORDER BY seq");
            let rows = find(session, &sql)?;
            let told = |row| Ok(v1::WatchUsageResponse { record: Some(record(row)?) });
            rows.iter().map(told).collect::<Result<Vec<_>, Failure>>()
        };
        let records = self.central.read(read).await?;
        self.last = until;
        Ok(Some((records, self)))
    }
}
