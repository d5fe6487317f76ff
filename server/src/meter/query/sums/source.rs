//! The parts of a sum as SQL: what each piece selects, with bucket and groups named alike.

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::{
    Report,
    plan::{self, Gap, Piece, Range, Watermark},
};
use crate::meter::{
    ledger::{Level, rollup::totals},
    query::{
        filter::Visible,
        sql::Sql,
        words::{Rows, Word},
    },
};

/// The columns that are added up.
pub(super) const SUMS: [&str; 10] = [
    "calls",
    "errors",
    "hits",
    "input_tokens",
    "output_tokens",
    "cache_read",
    "cache_write",
    "reasoning",
    "cost_nanos",
    "saved_nanos",
];
/// Sums by the status of the call, as columns of an answer.
const BY_STATUS: &str = "calls, CASE WHEN status = 'OK' THEN 0 ELSE calls END AS errors, hits, input_tokens,
    output_tokens, cache_read, cache_write, reasoning, cost_nanos, saved_nanos, source_min, source_max, version_min,
    version_max, estimated";
/// The same columns of a single record.
const OF_RECORD: &str = "1 AS calls, CASE WHEN status = 'OK' THEN 0 ELSE 1 END AS errors,
    CASE WHEN cache_status IN (3, 4, 5) THEN 1 ELSE 0 END AS hits, input_tokens, output_tokens, cache_read,
    cache_write, reasoning, cost_nanos, saved_nanos, source AS source_min, source AS source_max,
    price_version AS version_min, price_version AS version_max, estimated";

/// What can answer a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Sums that know no tags.
    Plain,
    /// Sums by this tag.
    Tag(String),
    /// Nothing but the records.
    Records,
}

/// What must be known of the store before it can be asked.
pub(super) struct Facts {
    kind: Kind,
    newest_ms: i64,
    gaps: Vec<Gap>,
}

impl Facts {
    /// Reads them, in the snapshot of the answer.
    pub(super) fn read(connection: &Connection, kind: &Kind) -> rusqlite::Result<Self> {
        let newest = "SELECT max(create_ms) FROM records";
        let newest: Option<i64> = connection.query_row(newest, [], |row| row.get(0)).optional()?.flatten();
        let mut gaps = Vec::new();
        if let Kind::Tag(tag) = kind {
            // Without a name: all tags.
            let sql =
                "SELECT month_ms, min(since_ms) FROM tag_gaps WHERE tag IN (:tag, '') GROUP BY 1 ORDER BY 1";
            let mut statement = connection.prepare(sql)?;
            let found = statement.query_map(named_params! { ":tag": tag }, |row| {
                Ok(Gap { month_ms: row.get(0)?, since_ms: row.get(1)? })
            })?;
            gaps = found.collect::<rusqlite::Result<_>>()?;
        }
        Ok(Self::of(kind, newest, gaps))
    }

    /// Puts them together: the time of the newest record, if there is one, and the gaps in the sums by the tag.
    pub(super) fn of(kind: &Kind, newest_ms: Option<i64>, gaps: Vec<Gap>) -> Self {
        Self { kind: kind.clone(), newest_ms: newest_ms.unwrap_or(0), gaps }
    }
}

/// Writes everything that is to be summed up.
pub(super) fn write(report: &Report, facts: &Facts, sql: &mut Sql) {
    let levels: Vec<Level> = match facts.kind {
        Kind::Plain => report.bucket.levels().to_vec(),
        Kind::Tag(_) => {
            report.bucket.levels().iter().copied().filter(|level| *level != Level::Hour).collect()
        }
        Kind::Records => Vec::new(),
    };
    let range = (report.span.start_ms, plan::rounded_end(report.span.end_ms, facts.newest_ms));
    let mut pieces = plan::pieces(range, &levels, &facts.gaps);
    if pieces.is_empty() {
        pieces.push(Piece::Records(range));
    }
    sql.join(pieces, " UNION ALL ", |sql, piece| report.write_piece(piece, facts, sql));
}

impl Report {
    fn write_piece(&self, piece: Piece, facts: &Facts, sql: &mut Sql) {
        match (piece, &facts.kind) {
            (Piece::Sums(level, range), Kind::Tag(tag)) => self.write_tagged(tag, level, range, sql),
            (Piece::Sums(Level::Hour, (from, until)), _) => {
                self.write_select(Rows::Plain, "hour_ms", BY_STATUS, sql);
                sql.push("rollups WHERE hour_ms >= ").bind(from).push(" AND hour_ms < ").bind(until);
                self.write_conditions(Rows::Plain, sql);
            }
            (Piece::Sums(level, (from, until)), _) => {
                self.write_select(Rows::Plain, "start_ms", BY_STATUS, sql);
                sql.push("totals WHERE level = ").bind(level.number());
                sql.push(" AND start_ms >= ").bind(from).push(" AND start_ms < ").bind(until);
                self.write_conditions(Rows::Plain, sql);
            }
            (Piece::Fresh(watermark, ranges), _) => {
                self.write_select(Rows::Plain, "create_ms", OF_RECORD, sql);
                let table = match watermark {
                    Watermark::Hours => "rolled",
                    Watermark::Days => "totalled",
                };
                // By number alone: what is not summed up yet is little, whatever else of it an index could find.
                let unindexed = sql.dialect.unindexed;
                sql.push(&format!("records {unindexed} WHERE seq > (SELECT seq FROM {table}) AND ("));
                sql.join(ranges, " OR ", |sql, (from, until)| {
                    sql.push("create_ms >= ").bind(from).push(" AND create_ms < ").bind(until);
                });
                sql.push(")");
                self.write_conditions(Rows::Plain, sql);
            }
            (Piece::Records((from, until)), _) => {
                self.write_select(Rows::Plain, "create_ms", OF_RECORD, sql);
                sql.push("records WHERE create_ms >= ").bind(from).push(" AND create_ms < ").bind(until);
                self.write_conditions(Rows::Plain, sql);
            }
        }
    }

    /// Writes the sums by a tag: of the records that have it, and of those that do not.
    fn write_tagged(&self, tag: &str, level: Level, (from, until): Range, sql: &mut Sql) {
        for (rows, name) in [(Rows::Tagged, tag), (Rows::Untagged, "")] {
            if rows == Rows::Untagged {
                sql.push(" UNION ALL ");
            }
            self.write_select(rows, "start_ms", totals::SUMS, sql);
            sql.push("tag_totals WHERE tag = ").bind(name).push(" AND level = ").bind(level.number());
            sql.push(" AND start_ms >= ").bind(from).push(" AND start_ms < ").bind(until);
            if rows == Rows::Untagged {
                let position = sql.dialect.position;
                sql.push(&format!(" AND {position}(value, ")).bind(&*format!(",{tag},")).push(") = 0");
            }
            self.write_conditions(rows, sql);
        }
        // The sums know teams only: what a key did while it was in another one is told by its records.
        if let Visible::Teams(teams, key) = self.conditions.visible() {
            sql.push(" UNION ALL ");
            self.write_select(Rows::Plain, "create_ms", OF_RECORD, sql);
            sql.push("records WHERE create_ms >= ").bind(from).push(" AND create_ms < ").bind(until);
            sql.push(" AND +seq <= (SELECT seq FROM totalled) AND key_id = ").bind(&**key);
            sql.push(" AND NOT ").is_one_of("team_id", teams);
            self.write_conditions(Rows::Plain, sql);
        }
    }

    fn write_select(&self, rows: Rows, time: &str, columns: &str, sql: &mut Sql) {
        sql.push("SELECT ");
        self.bucket.write(time, sql);
        sql.push(" AS b, ");
        for (at, word) in self.words.iter().enumerate() {
            Word::write(word, rows, sql);
            sql.push(&format!(" AS g{at}, "));
        }
        sql.push(columns).push(" FROM ");
    }

    fn write_conditions(&self, rows: Rows, sql: &mut Sql) {
        sql.push(" AND ");
        self.conditions.write(rows, sql);
    }
}
