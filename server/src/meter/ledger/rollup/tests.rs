//! Tests of the sums by day, month and tag: bounded, whatever callers name their tags.

use rusqlite::Connection;
use tempfile::tempdir;

use super::totals::{Most, fold_at_most};
use crate::meter::{
    Ledger,
    testing::{NOON, record, rows},
};

#[test]
fn a_tag_with_too_many_values_has_no_sums_until_the_month_ends_and_others_keep_theirs() {
    let dir = tempdir().unwrap();
    let store = dir.path().join("tollgate.db");
    let ledger = Ledger::open(&store).unwrap();
    for number in 0..200_u32 {
        let mut record = record(u128::from(number));
        // Four days, and then the next month.
        let day = if number < 160 { i64::from(number) / 40 } else { 31 };
        record.create_time = Some(prost_types::Timestamp { seconds: NOON + day * 86_400, nanos: 0 });
        record.tags.insert("env".to_owned(), format!("env-{}", number % 2));
        // Few on the first day, many from the second on, few in the next month.
        let values = if (40..160).contains(&number) { 1_000 } else { 3 };
        record.tags.insert("id".to_owned(), (number % values).to_string());
        ledger.append(record);
    }
    assert_eq!(rows(&ledger, &store).len(), 200);
    let connection = Connection::open(&store).unwrap();
    for at in 0..20 {
        fold_at_most(&connection, at * 10, at * 10 + 10, Most { day: 20, month: 60 }).unwrap();
    }
    let count = |level: i64, tag: &str| -> (i64, i64) {
        let sql = "SELECT count(*), COALESCE(sum(calls), 0) FROM tag_totals WHERE level = ?1 AND tag = ?2";
        connection.query_row(sql, (level, tag), |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    assert_eq!(count(1, "env"), (10, 200));
    assert_eq!(count(2, "env"), (4, 200));
    assert_eq!(count(1, ""), (5, 200), "the names that were there");
    assert_eq!(count(1, "id"), (6, 80), "the first day and the next month");
    assert_eq!(count(2, "id"), (3, 40), "the next month");
    let gap = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let gap: (String, i64, i64) = connection.query_row("SELECT * FROM tag_gaps", [], gap).unwrap();
    let midnight = (NOON - 12 * 3_600) * 1_000;
    assert_eq!(gap, ("id".to_owned(), midnight, midnight + 86_400_000));
}

#[test]
fn names_that_callers_make_up_end_the_sums_by_tag_and_no_others() {
    let dir = tempdir().unwrap();
    let store = dir.path().join("tollgate.db");
    let ledger = Ledger::open(&store).unwrap();
    for number in 0..100_u32 {
        let mut record = record(u128::from(number));
        record.tags.insert(format!("made-up-{number}"), "x".to_owned());
        record.tags.insert("env".to_owned(), "prod".to_owned());
        ledger.append(record);
    }
    assert_eq!(rows(&ledger, &store).len(), 100);
    let connection = Connection::open(&store).unwrap();
    for at in 0..10 {
        fold_at_most(&connection, at * 10, at * 10 + 10, Most { day: 20, month: 60 }).unwrap();
    }
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM tag_totals"), 0);
    assert_eq!(count("SELECT count(*) FROM tag_gaps WHERE tag = ''"), 1);
    assert_eq!(count("SELECT sum(calls) FROM totals WHERE level = 2"), 100);
}
