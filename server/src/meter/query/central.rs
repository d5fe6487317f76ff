//! The same questions to PostgreSQL, where the records of all replicas are.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use bytes::{BufMut as _, BytesMut};
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use prost::Message as _;
use tokio::time::timeout;
use tollgate_api::v1;

use super::{
    Listed,
    filter::Conditions,
    sql::{Columns, Dialect, Sql, Value},
    watch::{DISORDER_MS, STEP},
    words::Rows,
};
use crate::{
    error::Error,
    meter::ledger::postgres::{Central, Failure},
    postgres::{
        Row, Session, Trouble,
        types::{IsNull, ToSql, Type, to_sql_checked},
    },
};

/// How often a watch looks for records of other replicas.
const LOOK: Duration = Duration::from_millis(250);

/// PostgreSQL.
pub(super) const POSTGRES: Dialect = Dialect {
    place: |number| format!("${number}"),
    tag: [("COALESCE(tags ->> ", "::text, '') COLLATE \"C\""); 2],
    position: "strpos",
    month: (
        "(extract(epoch FROM date_trunc('month', to_timestamp(",
        " / 1000) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') * 1000)::bigint",
    ),
    sum: "::bigint",
    unindexed: "",
};

impl ToSql for Value {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Int(number) if *to == Type::INT4 => i32::try_from(*number)?.to_sql(to, out),
            Self::Int(number) => number.to_sql(to, out),
            // As in the columns, which cannot hold it.
            Self::Text(text) => text.replace('\0', "\u{fffd}").to_sql(to, out),
            // A UUID is its bytes, too.
            Self::Bytes(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT4, Type::INT8, Type::TEXT, Type::UUID, Type::BYTEA].contains(ty)
    }

    to_sql_checked!();
}

impl Columns for Row {
    type Error = Trouble;

    fn int(&self, at: usize) -> Result<Option<i64>, Trouble> {
        if self.columns()[at].type_() == &Type::INT4 {
            return Ok(self.try_get::<_, Option<i32>>(at)?.map(i64::from));
        }
        Ok(self.try_get(at)?)
    }

    fn text(&self, at: usize) -> Result<Option<String>, Trouble> {
        Ok(self.try_get(at)?)
    }
}

/// Reads what a statement finds.
pub(super) fn find(session: &mut Session, sql: &Sql) -> Result<Vec<Row>, Trouble> {
    let values: Vec<_> = sql.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    session.query(&sql.text, &values)
}

/// Reads the records, with their places in the list, that a statement finds.
pub(super) async fn list(central: &Central, sql: Sql) -> Result<Vec<Listed>, Error> {
    let read = move |session: &mut Session| {
        let rows = find(session, &sql)?;
        rows.iter().map(|row| Ok((record(row)?, number(row, 1)?, number(row, 2)?))).collect()
    };
    central.read(read).await
}

/// Reads the first record that a statement finds.
pub(super) async fn one(central: &Central, sql: Sql) -> Result<Option<v1::UsageRecord>, Error> {
    central.read(move |session| find(session, &sql)?.first().map(record).transpose()).await
}

/// Returns the ids of the keys that called, on any replica, after the record of this number, or since a time if it is
/// negative; and the number of the last record.
pub(super) async fn keys_since(
    central: &Central,
    number: i64,
    from_ms: i64,
) -> Result<(Vec<String>, i64), Error> {
    let first = "SELECT COALESCE(min(seq), $2) - 1 FROM records WHERE create_ms >= $1";
    let keys = "SELECT DISTINCT key_id FROM records WHERE seq > $1 AND seq <= $2";
    let read = move |session: &mut Session| {
        let last = newest(session)?;
        let after = if number >= 0 {
            number
        } else {
            self::number(&session.query_one(first, &[&from_ms, &(last + 1)])?, 0)?
        };
        let rows = session.query(keys, &[&after, &last])?;
        Ok((rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(Trouble::from)?, last))
    };
    central.read(read).await
}

/// Returns when the first record was made, in seconds since 1970.
pub(super) async fn oldest(central: &Central) -> Result<Option<i64>, Error> {
    let oldest = "SELECT create_ms / 1000 FROM records ORDER BY create_ms LIMIT 1";
    central.read(move |session| session.query_opt(oldest, &[])?.map(|row| number(&row, 0)).transpose()).await
}

/// Reads a number that is always there.
fn number(row: &Row, at: usize) -> Result<i64, Failure> {
    Ok(row.int(at)?.unwrap_or(0))
}

/// Reads the record from the first column.
fn record(row: &Row) -> Result<v1::UsageRecord, Failure> {
    let bytes: &[u8] = row.try_get(0).map_err(Trouble::from)?;
    let decoded = v1::UsageRecord::decode(bytes);
    decoded.map_err(|_| Failure::Refused(Error::internal("a record in the shared ledger cannot be read")))
}

struct Watch {
    central: Arc<Central>,
    conditions: Arc<Conditions>,
    from_ms: i64,
    /// Number of the last record that was looked at.
    last: i64,
}

/// Starts a watch of the records of all replicas, from a time on or from now on.
pub(super) async fn watch(
    central: Arc<Central>,
    conditions: Arc<Conditions>,
    from_ms: Option<i64>,
) -> Result<BoxStream<'static, Result<v1::WatchUsageResponse, Error>>, Error> {
    let last = central.read(move |session| before(session, from_ms)).await?;
    let watch = Watch { central, conditions, from_ms: from_ms.unwrap_or(i64::MIN), last };
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

fn newest(session: &mut Session) -> Result<i64, Failure> {
    number(&session.query_one("SELECT max(seq) FROM records", &[])?, 0)
}

impl Watch {
    /// Waits for more and reads the next few.
    async fn step(mut self) -> Result<Option<(Vec<v1::WatchUsageResponse>, Self)>, Error> {
        let mut shipped = self.central.shipped();
        loop {
            let (conditions, last, from_ms) = (self.conditions.clone(), self.last, self.from_ms);
            shipped.mark_unchanged();
            let read = move |session: &mut Session| {
                let until = newest(session)?.min(last.saturating_add(STEP));
                let mut sql = Sql::new(&POSTGRES);
                sql.push("SELECT record FROM records WHERE seq > ").bind(last);
                sql.push(" AND seq <= ").bind(until).push(" AND create_ms >= ").bind(from_ms).push(" AND ");
                conditions.write(Rows::Plain, &mut sql);
                sql.push(" ORDER BY seq");
                let rows = if until > last { find(session, &sql)? } else { Vec::new() };
                let told = |row| Ok(v1::WatchUsageResponse { record: Some(record(row)?) });
                Ok((until, rows.iter().map(told).collect::<Result<Vec<_>, Failure>>()?))
            };
            let (until, records) = self.central.read(read).await?;
            if until > last {
                self.last = until;
                return Ok(Some((records, self)));
            }
            // Own records are known of at once.
            if let Ok(Err(_)) = timeout(LOOK, shipped.changed()).await {
                return Ok(None);
            }
        }
    }
}
