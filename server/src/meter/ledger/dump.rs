//! Every record of a span of time, oldest first, one at a time, with or without a gateway beside it.

use std::{path::Path, time::Duration};

use super::connect;
use crate::postgres::{Postgres, Trouble};

/// Longest wait for the next record.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Why it ended early.
#[derive(Debug)]
pub enum Stopped {
    /// The ledger cannot be read; a message for the operator.
    Read(String),
    /// Whoever takes the records cannot go on.
    Take(std::io::Error),
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Self {
        Self::Read(trouble.to_string())
    }
}

/// Hands over the records from `from_ms` on and before `until_ms`, encoded: those of the shared ledger if there is one,
/// else those in the store file.
///
/// # Errors
/// Why it ended early.
pub fn dump(
    shared: Option<&Postgres>,
    store: &Path,
    range: (i64, i64),
    take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Stopped> {
    match shared {
        Some(shared) => dump_shared(shared, range, take),
        None => dump_local(store, range, take),
    }
}

fn dump_shared(
    postgres: &Postgres,
    (from_ms, until_ms): (i64, i64),
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Stopped> {
    let sql = "SELECT record FROM tollgate.records WHERE create_ms >= $1 AND create_ms < $2 ORDER BY create_ms, seq";
    postgres.run(PATIENCE, |session| {
        session.each(sql, &[&from_ms, &until_ms], PATIENCE, |row| {
            take(row.try_get(0).map_err(Trouble::from)?).map_err(Stopped::Take)
        })
    })
}

fn dump_local(
    store: &Path,
    (from_ms, until_ms): (i64, i64),
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Stopped> {
    let sql = "SELECT record FROM records WHERE create_ms >= ?1 AND create_ms < ?2 ORDER BY create_ms, seq";
    let unreadable = |error: rusqlite::Error| Stopped::Read(connect::explain(store, &error));
    let connection = connect::reader(store).map_err(unreadable)?;
    let mut statement = connection.prepare(sql).map_err(unreadable)?;
    let mut rows = statement.query([from_ms, until_ms]).map_err(unreadable)?;
    while let Some(row) = rows.next().map_err(unreadable)? {
        let record = row.get_ref(0).and_then(|value| Ok(value.as_blob()?)).map_err(unreadable)?;
        take(record).map_err(Stopped::Take)?;
    }
    Ok(())
}
