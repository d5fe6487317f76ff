//! Tests of the store: opening it, and writing to it exactly once.

use std::fs;

use rusqlite::Connection;
use tempfile::tempdir;

use super::Ledger;
use crate::meter::testing::{record, rows};

#[test]
fn the_folders_above_the_store_are_made_and_rows_outlive_the_ledger() {
    let dir = tempdir().unwrap();
    let store = dir.path().join("a/b/tollgate.db");
    let ledger = Ledger::open(&store).unwrap();
    ledger.append(record(1));
    ledger.append(record(2));
    drop(ledger);
    let ledger = Ledger::open(&store).unwrap();
    assert_eq!(rows(&ledger, &store), [record(1), record(2)]);
}

#[test]
fn a_record_that_is_there_is_not_written_again() {
    let dir = tempdir().unwrap();
    let store = dir.path().join("tollgate.db");
    let ledger = Ledger::open(&store).unwrap();
    ledger.append(record(1));
    let mut other = record(1);
    other.recovered = true;
    ledger.append(other);
    assert_eq!(rows(&ledger, &store), [record(1)]);
}

#[test]
fn a_file_goes_only_after_the_rows_before_it_are_committed() {
    let dir = tempdir().unwrap();
    let (store, file) = (dir.path().join("tollgate.db"), dir.path().join("segment"));
    fs::write(&file, "x").unwrap();
    let ledger = Ledger::open(&store).unwrap();
    let blocker = Connection::open(&store).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    ledger.append(record(1));
    ledger.delete_after_commit(file.clone());
    assert!(!ledger.flush_within(std::time::Duration::from_millis(50)));
    assert!(file.exists());
    blocker.execute_batch("ROLLBACK").unwrap();
    assert_eq!(rows(&ledger, &store).len(), 1);
    assert!(!file.exists());
}

#[test]
fn a_file_that_is_no_database_is_named_with_what_to_do() {
    let dir = tempdir().unwrap();
    let store = dir.path().join("notes.txt");
    fs::write(&store, "these are not the pages of a database, however long one looks at them").unwrap();
    let message = Ledger::open(&store).err().unwrap();
    assert!(message.contains("notes.txt") && message.contains("not a sound SQLite database"), "{message}");
    let message = Ledger::open(&store.join("tollgate.db")).err().unwrap();
    assert!(message.contains("cannot make the folder"), "{message}");
    let message = Ledger::open(dir.path()).err().unwrap();
    assert!(message.contains("cannot write the store"), "{message}");
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let dir = tempdir().unwrap();
    let store = dir.path().join("tollgate.db");
    drop(Ledger::open(&store).unwrap());
    let connection = Connection::open(&store).unwrap();
    connection.execute("INSERT INTO migrations VALUES (999, 0)", []).unwrap();
    let message = Ledger::open(&store).err().unwrap();
    assert!(message.contains("newer tollgate (schema 999"), "{message}");
}

#[test]
fn a_count_beyond_all_measure_is_kept_in_the_record_and_capped_in_sums() {
    let dir = tempdir().unwrap();
    let store = dir.path().join("tollgate.db");
    let ledger = Ledger::open(&store).unwrap();
    let mut mad = record(1);
    let usage = mad.usage.as_mut().unwrap();
    (usage.input_tokens, usage.output_tokens) = (Some(i64::MAX), Some(-3));
    ledger.append(mad.clone());
    assert_eq!(rows(&ledger, &store), [mad]);
    let connection = Connection::open(&store).unwrap();
    let sums: (i64, i64) = connection
        .query_row("SELECT sum(input_tokens), sum(output_tokens) FROM records", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(sums, (1 << 40, 0));
}
