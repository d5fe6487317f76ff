//! Small questions of the gateway itself: who called of late, and since when there are records.

use rusqlite::OptionalExtension as _;

use super::{Meter, central};
use crate::{error::Error, meter::ledger::reader::unreadable};

/// How far back the first look goes, in milliseconds: what a crash may have kept from being looked at.
const FIRST_LOOK_MS: i64 = 3_600_000;

impl Meter {
    /// Returns the ids of the keys that called after a record of this number, and the number of the last record. A
    /// negative number asks for those of the last hour.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn keys_since(&self, number: i64) -> Result<(Vec<String>, i64), Error> {
        if let Some(central) = self.ledger.central_up_to_date().await? {
            return central::keys_since(&central, number, first_look_ms()).await;
        }
        let reads = self.ledger.reads();
        reads
            .run(move |connection| {
                let read = || -> rusqlite::Result<_> {
                    let last =
                        connection
                            .query_row("SELECT COALESCE(max(seq), 0) FROM records", [], |row| row.get(0))?;
                    let first = "SELECT COALESCE(min(seq), ?2) - 1 FROM records WHERE create_ms >= ?1";
                    let after: i64 = if number >= 0 {
                        number
                    } else {
                        connection.query_row(first, [first_look_ms(), last + 1], |row| row.get(0))?
                    };
                    let keys = "SELECT DISTINCT key_id FROM records NOT INDEXED WHERE seq > ?1 AND seq <= ?2";
                    let mut statement = connection.prepare_cached(keys)?;
                    let keys = statement.query_map([after, last], |row| row.get(0))?;
                    Ok((keys.collect::<rusqlite::Result<_>>()?, last))
                };
                read().map_err(|error| unreadable(&error))
            })
            .await
    }

    /// Returns when the first record was made, in seconds since 1970.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn oldest(&self) -> Result<Option<i64>, Error> {
        if let Some(central) = self.ledger.central_up_to_date().await? {
            return central::oldest(&central).await;
        }
        let reads = self.ledger.reads();
        reads
            .run(|connection| {
                let oldest = "SELECT create_ms / 1000 FROM records ORDER BY create_ms LIMIT 1";
                let oldest = connection.query_row(oldest, [], |row| row.get(0)).optional();
                oldest.map_err(|error| unreadable(&error))
            })
            .await
    }
}

fn first_look_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond() - FIRST_LOOK_MS
}
