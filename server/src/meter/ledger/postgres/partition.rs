//! Partitions of `records`: one for each month, made before it begins, and dropped when retention is over.

use std::collections::BTreeSet;

use super::{LOCK, batch::Month, fold};
use crate::postgres::{Session, Trouble};

/// Months for which there is a partition before they begin.
const AHEAD: i64 = 2;

impl Month {
    fn partition(self) -> String {
        format!("records_{:04}_{:02}", self.year, self.month)
    }

    fn from_partition(name: &str) -> Option<Self> {
        let (year, month) = name.strip_prefix("records_")?.split_once('_')?;
        Some(Self { year: year.parse().ok()?, month: month.parse().ok()? })
    }
}

/// The months that there is a partition for, as far as was looked.
#[derive(Default)]
pub(super) struct Partitions(BTreeSet<Month>);

impl Partitions {
    /// Forgets what was seen.
    pub(super) fn doubt(&mut self) {
        self.0.clear();
    }

    /// Makes the partitions of these months that are not there. Holds the ledger's lock.
    pub(super) fn ensure(
        &mut self,
        session: &mut Session,
        months: impl Iterator<Item = Month>,
    ) -> Result<(), Trouble> {
        for month in months {
            if self.0.contains(&month) {
                continue;
            }
            let name = month.partition();
            let there = session
                .query_one("SELECT to_regclass('tollgate.' || $1::text) IS NOT NULL", &[&name])?
                .try_get::<_, bool>(0)?;
            if !there {
                // Made beside and then attached, so that reports that run need not end first.
                session.batch(&format!(
                    "CREATE TABLE tollgate.{name} (LIKE tollgate.records INCLUDING DEFAULTS);
                     ALTER TABLE tollgate.records ATTACH PARTITION tollgate.{name}
                        FOR VALUES FROM ({}) TO ({})",
                    month.start_ms(),
                    month.later(1).start_ms()
                ))?;
            }
            self.0.insert(month);
        }
        Ok(())
    }

    /// Makes those of this month and the next ones.
    pub(super) fn ensure_ahead(&mut self, session: &mut Session, now_ms: i64) -> Result<(), Trouble> {
        let this = Month::of(now_ms);
        session.transaction(|session| {
            lock(session)?;
            self.ensure(session, (0..=AHEAD).map(|months| this.later(months)))
        })
    }
}

/// Waits for the turn to change the ledger.
pub(super) fn lock(session: &mut Session) -> Result<(), Trouble> {
    session.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).map(drop)
}

/// Drops the partitions of months that were over by then, and returns how many. Their sums are made first, and stay.
pub(super) fn drop_before(session: &mut Session, before_ms: i64) -> Result<usize, Trouble> {
    let found = session.query(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'tollgate.records'::regclass",
        &[],
    )?;
    let mut names = Vec::new();
    for row in found {
        let name: String = row.try_get(0)?;
        if Month::from_partition(&name).is_some_and(|month| month.later(1).start_ms() <= before_ms) {
            names.push(name);
        }
    }
    for name in &names {
        session.transaction(|session| {
            lock(session)?;
            let last: Option<i64> =
                session.query_one(&format!("SELECT max(seq) FROM tollgate.{name}"), &[])?.try_get(0)?;
            fold::up_to(session, last.unwrap_or(0))?;
            // Reports that run are not waited for long: the next round tries again.
            session.batch(&format!("SET LOCAL lock_timeout = '2s'; DROP TABLE IF EXISTS tollgate.{name}"))
        })?;
        tracing::info!(partition = name, "store: records older than `ledger.retain` are deleted");
    }
    Ok(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_called_by_its_month() {
        let month = Month { year: 2026, month: 3 };
        assert_eq!(month.partition(), "records_2026_03");
        assert_eq!(Month::from_partition("records_2026_03"), Some(month));
        for other in ["records", "records_2026", "records_2026_x", "notes_2026_03"] {
            assert_eq!(Month::from_partition(other), None, "{other}");
        }
    }
}
