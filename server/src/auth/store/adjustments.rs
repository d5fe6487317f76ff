//! The table `adjustments`.

use std::time::SystemTime;

use super::{Change, Sql, Trouble, Value};
use crate::auth::{adjustment::Record, record::to_micros};

/// The columns of an entry, in the order in which `Record` reads and writes them.
const COLUMNS: &str = "id, create_time, kind, subject, metric, period, amount, used, end_time, created_by, reason, \
    request_id";

/// Returns the entries whose window runs.
///
/// # Errors
/// The database's, as everywhere here.
pub(in crate::auth) fn holding(sql: &mut dyn Sql, now: SystemTime) -> Result<Vec<Record>, Trouble> {
    let statement = format!("SELECT {COLUMNS} FROM adjustments WHERE end_time IS NULL OR end_time > $1");
    sql.rows(&statement, &[to_micros(now).into()])?.iter_mut().map(Record::read).collect()
}

/// Returns those of this subject whose window runs.
pub(in crate::auth) fn holding_for(
    sql: &mut dyn Sql,
    subject: &str,
    now: SystemTime,
) -> Result<Vec<Record>, Trouble> {
    let statement = format!(
        "SELECT {COLUMNS} FROM adjustments WHERE subject = $1 AND (end_time IS NULL OR end_time > $2)"
    );
    sql.rows(&statement, &[subject.into(), to_micros(now).into()])?.iter_mut().map(Record::read).collect()
}

/// Returns the entry of that id.
pub(in crate::auth) fn by_id(sql: &mut dyn Sql, id: &str) -> Result<Option<Record>, Trouble> {
    let row = sql.row(&format!("SELECT {COLUMNS} FROM adjustments WHERE id = $1"), &[id.into()])?;
    row.map(|mut row| Record::read(&mut row)).transpose()
}

/// Returns what a request of that caller and id made.
pub(in crate::auth) fn of_request(
    sql: &mut dyn Sql,
    created_by: &str,
    request_id: &str,
) -> Result<Option<Record>, Trouble> {
    let statement = format!("SELECT {COLUMNS} FROM adjustments WHERE created_by = $1 AND request_id = $2");
    let row = sql.row(&statement, &[created_by.into(), request_id.into()])?;
    row.map(|mut row| Record::read(&mut row)).transpose()
}

/// Returns up to `most` entries that come before `before` in the list, the newest first, with their places; those of this
/// subject only, unless it is empty.
pub(in crate::auth) fn page(
    sql: &mut dyn Sql,
    before: i64,
    subject: &str,
    most: usize,
) -> Result<Vec<(i64, Record)>, Trouble> {
    let mut values: Vec<Value> = vec![before.into(), i64::try_from(most).unwrap_or(i64::MAX).into()];
    let mut only = "";
    if !subject.is_empty() {
        values.insert(1, subject.into());
        only = "AND subject = $2";
    }
    let last = values.len();
    let statement = format!(
        "SELECT seq, {COLUMNS} FROM adjustments WHERE seq < $1 {only} ORDER BY seq DESC LIMIT ${last}"
    );
    let rows = sql.rows(&statement, &values)?;
    rows.into_iter().map(|mut row| Ok((row.int()?, Record::read(&mut row)?))).collect()
}

/// Writes a new entry.
pub(in crate::auth) fn add(sql: &mut dyn Sql, record: &Record) -> Result<(), Trouble> {
    let places = "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12";
    sql.execute(&format!("INSERT INTO adjustments ({COLUMNS}) VALUES ({places})"), &record.values()?)?;
    sql.tell(&Change::Adjustment(record.id.clone()))
}
