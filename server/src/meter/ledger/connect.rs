//! Opening the store: settings, schema and its versions, and errors in an operator's words.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::meter::private;

/// Each step takes the schema from its index to the next version.
///
/// `records` is numbered in the order of commits, so that inserting only ever appends, and a watcher can go on
/// exactly where it was. Columns hold what is filtered, grouped and summed; `record` holds all of it. `rollups` holds
/// sums of the records up to `rolled.seq`, by hour; there may be several rows of one hour and group.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE records (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        create_ms INTEGER NOT NULL,
        key_id TEXT NOT NULL,
        team_id TEXT NOT NULL,
        requested_model TEXT NOT NULL,
        model TEXT NOT NULL,
        provider TEXT NOT NULL,
        target TEXT NOT NULL,
        operation TEXT NOT NULL,
        surface TEXT NOT NULL,
        status TEXT NOT NULL,
        error_reason TEXT NOT NULL,
        streamed INTEGER NOT NULL,
        cache_status INTEGER NOT NULL,
        recovered INTEGER NOT NULL,
        source INTEGER,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read INTEGER,
        cache_write INTEGER,
        reasoning INTEGER,
        cost_nanos INTEGER,
        saved_nanos INTEGER,
        price_version TEXT,
        estimated INTEGER,
        unpriced INTEGER NOT NULL,
        tags TEXT,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX records_time ON records (create_ms);
    CREATE INDEX records_key_time ON records (key_id, create_ms);
    CREATE TABLE rollups (
        hour_ms INTEGER NOT NULL,
        key_id TEXT NOT NULL,
        team_id TEXT NOT NULL,
        requested_model TEXT NOT NULL,
        provider TEXT NOT NULL,
        target TEXT NOT NULL,
        surface TEXT NOT NULL,
        status TEXT NOT NULL,
        calls INTEGER NOT NULL,
        hits INTEGER NOT NULL,
        source_min INTEGER,
        source_max INTEGER,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read INTEGER,
        cache_write INTEGER,
        reasoning INTEGER,
        cost_nanos INTEGER,
        saved_nanos INTEGER,
        version_min TEXT,
        version_max TEXT,
        estimated INTEGER
    ) STRICT;
    CREATE INDEX rollups_time ON rollups (hour_ms);
    CREATE TABLE rolled (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq INTEGER NOT NULL) STRICT;
    INSERT INTO rolled VALUES (1, 0);
"];

/// What was added later. It is made if it is not there, at every start, and changes nothing that was there before, so
/// that an older version goes on working with the same file.
///
/// `totals` and `tag_totals` hold sums of the records up to `totalled.seq`, by day (level 1) and month (level 2): one row
/// for each group. `tag_gaps` says from which day on a tag has none for the rest of the month; the tag `''` is all of
/// them.
const ADDITIONS: &str = "
    CREATE TABLE IF NOT EXISTS totals (
        level INTEGER NOT NULL,
        start_ms INTEGER NOT NULL,
        team_id TEXT NOT NULL,
        requested_model TEXT NOT NULL,
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        target TEXT NOT NULL,
        surface TEXT NOT NULL,
        status TEXT NOT NULL,
        calls INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        hits INTEGER NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read INTEGER,
        cache_write INTEGER,
        reasoning INTEGER,
        cost_nanos INTEGER,
        saved_nanos INTEGER,
        source_min INTEGER,
        source_max INTEGER,
        version_min TEXT,
        version_max TEXT,
        estimated INTEGER,
        PRIMARY KEY (level, start_ms, team_id, requested_model, provider, key_id, target, surface, status)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tag_totals (
        tag TEXT NOT NULL,
        level INTEGER NOT NULL,
        start_ms INTEGER NOT NULL,
        team_id TEXT NOT NULL,
        requested_model TEXT NOT NULL,
        provider TEXT NOT NULL,
        value TEXT NOT NULL,
        calls INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        hits INTEGER NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read INTEGER,
        cache_write INTEGER,
        reasoning INTEGER,
        cost_nanos INTEGER,
        saved_nanos INTEGER,
        source_min INTEGER,
        source_max INTEGER,
        version_min TEXT,
        version_max TEXT,
        estimated INTEGER,
        PRIMARY KEY (tag, level, start_ms, team_id, requested_model, provider, value)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tag_gaps (
        tag TEXT NOT NULL,
        month_ms INTEGER NOT NULL,
        since_ms INTEGER NOT NULL,
        PRIMARY KEY (tag, month_ms)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS totalled (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq INTEGER NOT NULL) STRICT;
    INSERT OR IGNORE INTO totalled VALUES (1, 0);
";

/// Opens the store for writing and brings its schema up to date.
pub(super) fn writer(store: &Path) -> Result<Connection, String> {
    if let Some(folder) = store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private::make_dir(folder).map_err(|error| {
            format!(
                "cannot make the folder {} for the store: {error}; check its permissions",
                folder.display()
            )
        })?;
    }
    // SQLite gives `-wal` and `-shm` the mode of the database, so the first to make that decides. If it cannot be made
    // here, SQLite says why not.
    let _ = private::file().create(true).append(true).open(store);
    let mut connection = Connection::open(store).map_err(|error| explain(store, &error))?;
    configure(&connection)
        .and_then(|()| read_version(&connection))
        .map_err(|error| explain(store, &error))?;
    migrate(&mut connection, store)?;
    connection
        .execute_batch(&format!("BEGIN IMMEDIATE; {ADDITIONS} COMMIT;"))
        .map_err(|error| explain(store, &error))?;
    Ok(connection)
}

/// Opens the store for reading only.
pub(super) fn reader(store: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(store, flags)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // A commit need not reach the disk at once: what it holds is in the journal too until the file is deleted, and
    // both survive kill -9. WAL keeps readers and the writer out of each other's way.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    connection.execute_batch("PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;")?;
    // The sums of a step are gathered in memory.
    connection.execute_batch("PRAGMA temp_store = MEMORY;")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn read_version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL) STRICT;",
    )?;
    let version: i64 =
        connection.query_row("SELECT COALESCE(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn migrate(connection: &mut Connection, store: &Path) -> Result<(), String> {
    let explained = |error| explain(store, &error);
    let version = read_version(connection).map_err(explained)?;
    let newest = MIGRATIONS.len();
    if version > newest {
        return Err(format!(
            "{} was written by a newer tollgate (schema {version}, this one knows {newest}); run that version, or \
             give another file as `store`",
            store.display()
        ));
    }
    for (at, step) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(explained)?;
        transaction.execute_batch(step).map_err(explained)?;
        transaction
            .execute(
                "INSERT INTO migrations VALUES (?1, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
                [i64::try_from(at + 1).unwrap_or(i64::MAX)],
            )
            .map_err(explained)?;
        transaction.commit().map_err(explained)?;
    }
    Ok(())
}

/// Says what is wrong with the store, and what to do.
pub(super) fn explain(store: &Path, error: &rusqlite::Error) -> String {
    let place = store.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => format!(
            "{place} is not a sound SQLite database ({error}); give another file as `store`, or restore it"
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            format!(
                "cannot write the store {place} ({error}); check the permissions of the file and its folder"
            )
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("the store {place} is locked by another program ({error}); stop it, or give another file")
        }
        Some(ErrorCode::DiskFull) => format!("the disk of the store {place} is full ({error}); make room"),
        _ => format!("cannot use the store {place}: {error}"),
    }
}
