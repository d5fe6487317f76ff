//! The same questions to PostgreSQL, where the records of all replicas are.

mod watch;

use std::error::Error as StdError;

use bytes::{BufMut as _, BytesMut};
use prost::Message as _;
use tollgate_api::v1;

use super::{
    Listed,
    sql::{Columns, Dialect, Sql, Value},
};
use crate::{
    error::Error,
    meter::ledger::postgres::{Central, Failure, newest},
    postgres::{
        Row, Session, Trouble,
        types::{IsNull, ToSql, Type, to_sql_checked},
    },
};

pub(super) use self::watch::watch;

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
