//! Sums of the records in PostgreSQL, so that a report over years need not look at every record: the tables and rules of
//! `ledger/rollup`, in PostgreSQL's words.
//!
//! Some thousands of records are folded at a time, long after they were inserted, by whichever replica sees that there
//! are enough; the number up to which that was done is in the same transaction. A report adds what is not folded yet,
//! in the same snapshot.

use super::partition::lock;
pub(super) use crate::meter::ledger::rollup::totals::STEP;
use crate::{
    meter::ledger::rollup::totals::MOST,
    postgres::{Session, Trouble},
};

const HOUR: &str = "create_ms / 3600000 * 3600000";
const DAY: &str = "create_ms / 86400000 * 86400000";
const HIT: &str = "cache_status IN (3, 4, 5)";
/// What groups the sums by day and month.
const GROUP: &str = "team_id, requested_model, provider, key_id, target, surface, status";
const TAG_GROUP: &str = "team_id, requested_model, provider, value";
/// What is added up, where a record may not tell it.
const ADDED: [&str; 7] =
    ["input_tokens", "output_tokens", "cache_read", "cache_write", "reasoning", "cost_nanos", "saved_nanos"];

/// Folds one step if there are enough records for it, and tells whether there are enough for more.
pub(super) fn advance(session: &mut Session) -> Result<bool, Trouble> {
    session.transaction(|session| {
        lock(session)?;
        let row = session.query_one(
            "SELECT (SELECT seq FROM tollgate.totalled), (SELECT COALESCE(max(seq), 0) FROM tollgate.records)",
            &[],
        )?;
        let (folded, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if last - folded < STEP {
            return Ok(false);
        }
        up_to(session, folded + STEP)?;
        Ok(last - folded >= 2 * STEP)
    })
}

/// Folds everything up to a number. Holds the ledger's lock, in a transaction.
pub(super) fn up_to(session: &mut Session, until: i64) -> Result<(), Trouble> {
    let row = session
        .query_one("SELECT (SELECT seq FROM tollgate.rolled), (SELECT seq FROM tollgate.totalled)", &[])?;
    let (rolled, totalled): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if rolled < until {
        session.batch(&hours(rolled, until))?;
    }
    if totalled < until {
        session.batch(&totals(totalled, until))?;
        give_up_long_ones(session)?;
        session.batch("DROP TABLE pg_temp.step; DROP TABLE pg_temp.tag_step")?;
    }
    Ok(())
}

fn hours(after: i64, until: i64) -> String {
    let sums = ADDED.map(|column| format!("sum({column})")).join(", ");
    let columns = ADDED.join(", ");
    format!(
        "INSERT INTO tollgate.rollups (hour_ms, key_id, team_id, requested_model, provider, target, surface, status,
            calls, hits, source_min, source_max, version_min, version_max, estimated, {columns})
         SELECT {HOUR}, key_id, team_id, requested_model, provider, target, surface, status, count(*),
            count(*) FILTER (WHERE {HIT}), min(source), max(source), min(price_version), max(price_version),
            max(estimated), {sums}
         FROM tollgate.records WHERE seq > {after} AND seq <= {until} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
         UPDATE tollgate.rolled SET seq = {until};"
    )
}

/// Sums up the records by day, and adds that to the sums of their days and months.
fn totals(after: i64, until: i64) -> String {
    let sums = ADDED.map(|column| format!("sum({column})::bigint AS {column}")).join(", ");
    let sums = format!(
        "count(*) AS calls, count(*) FILTER (WHERE status <> 'OK') AS errors, count(*) FILTER (WHERE {HIT}) AS hits,
         {sums}, min(source) AS source_min, max(source) AS source_max, min(price_version) AS version_min,
         max(price_version) AS version_max, max(estimated) AS estimated"
    );
    let range = format!("seq > {after} AND seq <= {until}");
    let names = "COALESCE((SELECT ',' || string_agg(name, ',' ORDER BY name COLLATE \"C\") || ','
        FROM jsonb_object_keys(records.tags) AS names (name)), '') COLLATE \"C\"";
    let month_of_record = month("create_ms");
    format!(
        "CREATE TEMPORARY TABLE step ON COMMIT DROP AS
            SELECT {DAY} AS start_ms, {GROUP}, {sums} FROM tollgate.records WHERE {range}
            GROUP BY start_ms, {GROUP};
         CREATE TEMPORARY TABLE tag_step ON COMMIT DROP AS
            SELECT tag, {DAY} AS start_ms, {TAG_GROUP}, {sums} FROM (
                SELECT pair.key COLLATE \"C\" AS tag, pair.value COLLATE \"C\" AS value, records.*
                FROM tollgate.records, jsonb_each_text(records.tags) AS pair (key, value) WHERE {range}
                UNION ALL
                SELECT '' COLLATE \"C\", {names}, records.* FROM tollgate.records WHERE {range}
            ) AS tagged
            WHERE NOT EXISTS (SELECT 1 FROM tollgate.tag_gaps AS gap WHERE gap.tag IN ('', tagged.tag)
                AND gap.since_ms <= create_ms AND gap.month_ms = {month_of_record})
            GROUP BY tag, start_ms, {TAG_GROUP};
         {}
         {}
         UPDATE tollgate.totalled SET seq = {until};",
        add("totals", "step", GROUP, ""),
        add("tag_totals", "tag_step", TAG_GROUP, "tag, "),
    )
}

/// Adds the sums of the step to those of its days and months.
fn add(table: &str, step: &str, group: &str, tag: &str) -> String {
    let columns = ADDED.join(", ");
    let all = format!(
        "{tag}level, start_ms, {group}, calls, errors, hits, {columns}, source_min, source_max, version_min,
         version_max, estimated"
    );
    let summed = ADDED.map(|column| format!("sum({column})")).join(", ");
    let counted =
        ["calls", "errors", "hits"].map(|column| format!("{column} = kept.{column} + excluded.{column}"));
    let added = ADDED.map(|column| {
        format!("{column} = COALESCE(kept.{column} + excluded.{column}, kept.{column}, excluded.{column})")
    });
    // Unlike SQLite's, these pass over what is null.
    let bounds = [("LEAST", "source_min"), ("GREATEST", "source_max"), ("LEAST", "version_min")]
        .into_iter()
        .chain([("GREATEST", "version_max"), ("GREATEST", "estimated")])
        .map(|(function, column)| format!("{column} = {function}(kept.{column}, excluded.{column})"));
    let changes: Vec<_> = counted.into_iter().chain(added).chain(bounds).collect();
    let conflict =
        format!("ON CONFLICT ({tag}level, start_ms, {group}) DO UPDATE SET {}", changes.join(", "));
    let month = month("start_ms");
    format!(
        "INSERT INTO tollgate.{table} AS kept ({all})
            SELECT {tag}1, start_ms, {group}, calls, errors, hits, {columns}, source_min, source_max, version_min,
                version_max, estimated
            FROM pg_temp.{step} {conflict};
         INSERT INTO tollgate.{table} AS kept ({all})
            SELECT {tag}2, {month} AS month_ms, {group}, sum(calls), sum(errors), sum(hits), {summed}, min(source_min),
                max(source_max), min(version_min), max(version_max), max(estimated)
            FROM pg_temp.{step} GROUP BY {tag}month_ms, {group} {conflict};"
    )
}

/// Start of the calendar month of a time, in UTC.
fn month(ms: &str) -> String {
    format!(
        "(extract(epoch FROM date_trunc('month', to_timestamp({ms} / 1000) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
          * 1000)::bigint"
    )
}

/// Gives up the sums of tags that have too many, from that day to the end of the month: reports read the records then.
fn give_up_long_ones(session: &mut Session) -> Result<(), Trouble> {
    let month_of_day = self::month("start_ms");
    let is_long = |level: i64, most: i64| {
        format!(
            "(SELECT count(*) FROM (SELECT 1 FROM tollgate.tag_totals AS kept WHERE kept.tag = touched.tag
                AND kept.level = {level} AND kept.start_ms = touched.start_ms LIMIT {most} + 1) AS found) > {most}"
        )
    };
    // Each day and each month is counted once.
    let long = session.query(
        &format!(
            "SELECT tag, min(day_ms), month_ms FROM (
                SELECT tag, start_ms AS day_ms, {month_of_day} AS month_ms
                FROM (SELECT DISTINCT tag, start_ms FROM pg_temp.tag_step) AS touched WHERE {}
                UNION ALL
                SELECT tag, day_ms, start_ms FROM (SELECT tag, min(start_ms) AS day_ms, {month_of_day} AS start_ms
                    FROM pg_temp.tag_step GROUP BY 1, 3) AS touched WHERE {}
             ) AS long GROUP BY tag, month_ms",
            is_long(1, MOST.day),
            is_long(2, MOST.month)
        ),
        &[],
    )?;
    for row in long {
        let (tag, day, month): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        session.execute(
            "INSERT INTO tollgate.tag_gaps AS kept (tag, month_ms, since_ms) VALUES ($1, $2, $3)
             ON CONFLICT (tag, month_ms) DO UPDATE SET since_ms = LEAST(kept.since_ms, excluded.since_ms)",
            &[&tag, &month, &day],
        )?;
        let next = super::batch::Month::of(month).later(1).start_ms();
        session.execute(
            "DELETE FROM tollgate.tag_totals WHERE (tag = $1 OR $1 = '')
                AND (level = 1 AND start_ms >= $2 AND start_ms < $3 OR level = 2 AND start_ms = $4)",
            &[&tag, &day, &next, &month],
        )?;
    }
    Ok(())
}
