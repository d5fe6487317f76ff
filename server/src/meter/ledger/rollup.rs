//! Sums of records, so that a report over years need not look at every record: by hour, by day, by month, by tag.
//!
//! The writer folds records some thousands at a time, long after they were committed. A report adds what is not folded
//! yet, in the same snapshot, so that it is exact at any moment and after any crash.

mod hours;
pub(in crate::meter) mod totals;

use rusqlite::Connection;

use crate::failpoint;

/// A length of time over which there are sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::meter) enum Level {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A calendar month.
    Month,
}

impl Level {
    /// Returns its number in the store.
    pub(in crate::meter) fn number(self) -> i64 {
        match self {
            Self::Hour => 0,
            Self::Day => 1,
            Self::Month => 2,
        }
    }
}

/// One kind of sums: how far it is, how much is folded at once, and how.
struct Fold {
    watermark: &'static str,
    step: i64,
    fold: fn(&Connection, i64, i64) -> rusqlite::Result<()>,
}

const FOLDS: [Fold; 2] = [
    Fold { watermark: "rolled", step: hours::STEP, fold: hours::fold },
    Fold { watermark: "totalled", step: totals::STEP, fold: totals::fold },
];

/// What the writer knows of the folding.
pub(super) struct Rollup {
    failed: bool,
    folded: [Option<i64>; FOLDS.len()],
}

impl Rollup {
    pub(super) fn new() -> Self {
        Self { failed: false, folded: [None; FOLDS.len()] }
    }

    /// Folds one step of each kind if there are enough records for it, and tells whether there are enough for more. If
    /// that fails, reports are slower and still right.
    pub(super) fn advance(&mut self, connection: &mut Connection, last: i64) -> bool {
        match self.try_advance(connection, last) {
            Ok(more) => {
                self.failed = false;
                more
            }
            Err(error) => {
                if !self.failed {
                    tracing::warn!(%error, "the ledger cannot sum up its records; trying again");
                }
                self.failed = true;
                false
            }
        }
    }

    /// Folds everything up to a number, however little that is.
    pub(super) fn up_to(&mut self, connection: &mut Connection, until: i64) -> rusqlite::Result<()> {
        for (kind, known) in FOLDS.iter().zip(&mut self.folded) {
            let mut folded = kind.watermark(connection)?;
            while folded < until {
                folded = kind.fold(connection, folded, until.min(folded + kind.step))?;
            }
            *known = Some(folded);
        }
        Ok(())
    }

    fn try_advance(&mut self, connection: &mut Connection, last: i64) -> rusqlite::Result<bool> {
        let mut more = false;
        for (kind, known) in FOLDS.iter().zip(&mut self.folded) {
            let folded = match *known {
                Some(folded) => folded,
                None => kind.watermark(connection)?,
            };
            *known = Some(folded);
            let step = failpoint::step(kind.step, 10);
            if last - folded >= step {
                *known = Some(kind.fold(connection, folded, folded + step)?);
                more |= last - folded >= 2 * step;
            }
        }
        Ok(more)
    }
}

impl Fold {
    fn watermark(&self, connection: &Connection) -> rusqlite::Result<i64> {
        connection.query_row(&format!("SELECT seq FROM {}", self.watermark), [], |row| row.get(0))
    }

    fn fold(&self, connection: &mut Connection, folded: i64, until: i64) -> rusqlite::Result<i64> {
        let transaction = connection.transaction()?;
        (self.fold)(&transaction, folded, until)?;
        transaction.execute(&format!("UPDATE {} SET seq = ?1", self.watermark), [until])?;
        failpoint::pass("rollup:before");
        transaction.commit()?;
        failpoint::pass("rollup:after");
        Ok(until)
    }
}

/// Sums up the records up to a number by day and month, in steps of this size, as the writer would with more of them.
#[cfg(test)]
pub(in crate::meter) fn total(connection: &mut Connection, until: i64, step: i64) {
    let kind = Fold { step, ..FOLDS[1] };
    let mut folded = kind.watermark(connection).expect("it is there");
    while folded + step <= until {
        folded = kind.fold(connection, folded, folded + step).expect("the records can be summed up");
    }
}

#[cfg(test)]
mod tests;
