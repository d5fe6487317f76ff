//! Sums over the records of all replicas, by PostgreSQL.

use tollgate_api::v1;

use super::{
    Report,
    plan::Gap,
    source::{Facts, Kind},
};
use crate::{
    meter::{
        ledger::postgres::Failure,
        query::{
            central::{POSTGRES, find},
            sql::Columns as _,
        },
    },
    postgres::{Session, Trouble},
};

impl Report {
    /// Answers it from PostgreSQL, in one snapshot.
    pub(in crate::meter::query) fn run_central(
        &self,
        session: &mut Session,
    ) -> Result<v1::QueryUsageResponse, Failure> {
        let facts = read_facts(session, &self.kind())?;
        let rows = find(session, &self.sql(&POSTGRES, &facts))?;
        Ok(self.page(rows.iter().map(|row| self.read(row)).collect::<Result<_, Trouble>>()?))
    }
}

fn read_facts(session: &mut Session, kind: &Kind) -> Result<Facts, Trouble> {
    let newest = session.query_one("SELECT max(create_ms) FROM records", &[])?.int(0)?;
    let mut gaps = Vec::new();
    if let Kind::Tag(tag) = kind {
        // Without a name: all tags.
        let sql = "SELECT month_ms, min(since_ms) FROM tag_gaps WHERE tag IN ($1, '') GROUP BY 1 ORDER BY 1";
        for row in session.query(sql, &[tag])? {
            let (month_ms, since_ms) = (row.int(0)?, row.int(1)?);
            gaps.extend(month_ms.zip(since_ms).map(|(month_ms, since_ms)| Gap { month_ms, since_ms }));
        }
    }
    Ok(Facts::of(kind, newest, gaps))
}
