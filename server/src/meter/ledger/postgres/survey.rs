//! What operators ask of the shared ledger: whether its sums are those of its records, and who sends to it.

use std::{collections::BTreeMap, path::Path};

use rusqlite::OptionalExtension as _;

use super::{
    batch::Month,
    local::now_ms,
    partition::{Partitions, months},
};
use crate::{
    meter::ledger::connect,
    postgres::{Session, Trouble},
};

/// What was found in PostgreSQL.
#[derive(Debug, Default)]
pub struct Survey {
    /// How the database writes text.
    pub encoding: String,
    /// Whether there are partitions for this month and the next.
    pub ahead: bool,
    /// The months that there are records of.
    pub months: Vec<MonthSurvey>,
    /// Who sends records, with how many and when last.
    pub replicas: Vec<String>,
}

/// Calls, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many.
    pub calls: i64,
    /// What they cost.
    pub cost_nanos: i64,
}

/// A month of the shared ledger.
#[derive(Debug, Default)]
pub struct MonthSurvey {
    /// Year and month.
    pub name: String,
    /// Its records.
    pub records: Sums,
    /// Those that are summed up by hour.
    pub rolled: Sums,
    /// Its sums by hour.
    pub hours: Sums,
    /// Those records that are summed up by day and month.
    pub totalled: Sums,
    /// Its sums by day.
    pub days: Sums,
    /// Its sums by month.
    pub whole: Sums,
}

/// Makes the partitions of this month and the next ones.
///
/// # Errors
/// What PostgreSQL says.
pub fn make_partitions(session: &mut Session) -> Result<(), Trouble> {
    Partitions::default().ensure_ahead(session, now_ms())
}

/// Counts the shared ledger, in one snapshot.
///
/// # Errors
/// What PostgreSQL says.
pub fn survey(session: &mut Session) -> Result<Survey, Trouble> {
    session.transaction(|session| {
        session.batch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        let encoding = session.query_one("SHOW server_encoding", &[])?.try_get(0)?;
        let found = months(session)?;
        let this = Month::of(now_ms());
        let ahead = [this, this.later(1)].iter().all(|month| found.contains(month));
        let months = found.into_iter().map(|month| survey_month(session, month)).collect::<Result<_, _>>()?;
        Ok(Survey { encoding, ahead, months, replicas: replicas(session)? })
    })
}

fn survey_month(session: &mut Session, month: Month) -> Result<MonthSurvey, Trouble> {
    let (from, until) = (month.start_ms(), month.later(1).start_ms());
    let mut sums = |table: &str, calls: &str, condition: &str| {
        let sql = format!(
            "SELECT {calls}::bigint, COALESCE(sum(cost_nanos), 0)::bigint FROM tollgate.{table} WHERE {condition}"
        );
        let row = session.query_one(&sql, &[&from, &until])?;
        Ok::<_, Trouble>(Sums { calls: row.try_get(0)?, cost_nanos: row.try_get(1)? })
    };
    let within = "create_ms >= $1 AND create_ms < $2";
    let counted = "COALESCE(sum(calls), 0)";
    let level = |level: i64| format!("level = {level} AND start_ms >= $1 AND start_ms < $2");
    let up_to = |table: &str| format!("{within} AND seq <= (SELECT seq FROM tollgate.{table})");
    Ok(MonthSurvey {
        name: month.name(),
        records: sums("records", "count(*)", within)?,
        rolled: sums("records", "count(*)", &up_to("rolled"))?,
        hours: sums("rollups", counted, "hour_ms >= $1 AND hour_ms < $2")?,
        totalled: sums("records", "count(*)", &up_to("totalled"))?,
        days: sums("totals", counted, &level(1))?,
        whole: sums("totals", counted, &level(2))?,
    })
}

fn replicas(session: &mut Session) -> Result<Vec<String>, Trouble> {
    let sql = "SELECT name, id::text, version, shipped_seq, date_trunc('second', ship_time)::text
        FROM tollgate.replicas ORDER BY ship_time DESC";
    let told = |row: &crate::postgres::Row| {
        let (name, id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (version, seq): (String, i64) = (row.try_get(2)?, row.try_get(3)?);
        let time: String = row.try_get(4)?;
        Ok(format!("{name} ({id}, {version}): {seq} records, last at {time}"))
    };
    session.query(sql, &[])?.iter().map(told).collect()
}

/// What the local ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Its records.
    pub records: i64,
    /// Those that PostgreSQL does not have.
    pub unsent: i64,
}

/// Counts the local ledger; nothing if there is none.
///
/// # Errors
/// A message for the operator that names the file.
pub fn waiting(store: &Path) -> Result<Waiting, String> {
    if !store.exists() {
        return Ok(Waiting::default());
    }
    let count = || -> rusqlite::Result<Waiting> {
        let connection = connect::reader(store)?;
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).optional();
        let known: BTreeMap<String, i64> = ["records", "shipping"]
            .into_iter()
            .map(|table| {
                let sql = "SELECT count(*) FROM sqlite_master WHERE name = ?1";
                Ok((table.to_owned(), connection.query_row(sql, [table], |row| row.get(0))?))
            })
            .collect::<rusqlite::Result<_>>()?;
        let there = |table: &str| known.get(table).is_some_and(|count| *count > 0);
        if !there("records") {
            return Ok(Waiting::default());
        }
        let records = number("SELECT count(*) FROM records")?.unwrap_or(0);
        let unsent = if there("shipping") {
            number("SELECT count(*) FROM records WHERE seq > (SELECT seq FROM shipping)")?.unwrap_or(0)
        } else {
            records
        };
        Ok(Waiting { records, unsent })
    };
    count().map_err(|error| connect::explain(store, &error))
}
