//! Sums by day and by month: of everything but tags, and of each tag by team, model and provider.
//!
//! A tag may have any number of values, and callers may make up names. Where that would give more sums than records are
//! saved, the tag has none until the end of the month: reports read its records. Why these groups: a month of ten
//! million calls of fifty teams, forty models and twenty values of a tag is forty thousand sums a tag; with the key it
//! would be as many as there are records. Of the names that a record has, all together, one row is kept too (the tag
//! without a name, with the names as its value), so that a report knows what does *not* have a tag.

use rusqlite::Connection;

/// Records that are folded at once. Every step touches most rows of a day again, so it is larger than that of the hours.
pub(in crate::meter) const STEP: i64 = 32_768;
/// How many sums of one tag are worth keeping.
pub(in crate::meter) const MOST: Most = Most { day: 65_536, month: 262_144 };

/// Most sums of one tag in a day, and in a month.
#[derive(Clone, Copy)]
pub(in crate::meter) struct Most {
    pub(in crate::meter) day: i64,
    pub(in crate::meter) month: i64,
}

/// Start of the day, and of its month.
const DAY: &str = "(create_ms / 86400000 * 86400000)";
const MONTH_OF_RECORD: &str = "unixepoch(create_ms / 1000, 'unixepoch', 'start of month') * 1000";
const MONTH_OF: &str = "unixepoch(start_ms / 1000, 'unixepoch', 'start of month') * 1000";

/// What every sum holds, from records.
const FROM_RECORDS: &str = "sum(cache_status IN (3, 4, 5)), sum(input_tokens), sum(output_tokens), sum(cache_read),
    sum(cache_write), sum(reasoning), sum(cost_nanos), sum(saved_nanos), min(source), max(source), min(price_version),
    max(price_version), max(estimated)";
/// The same of sums, in the order of their columns.
pub(in crate::meter) const SUMS: &str =
    "calls, errors, hits, input_tokens, output_tokens, cache_read, cache_write, reasoning, cost_nanos,
    saved_nanos, source_min, source_max, version_min, version_max, estimated";
/// Adds to a sum that is there.
const ADD: &str = "DO UPDATE SET calls = calls + excluded.calls, errors = errors + excluded.errors,
    hits = hits + excluded.hits,
    input_tokens = COALESCE(input_tokens + excluded.input_tokens, input_tokens, excluded.input_tokens),
    output_tokens = COALESCE(output_tokens + excluded.output_tokens, output_tokens, excluded.output_tokens),
    cache_read = COALESCE(cache_read + excluded.cache_read, cache_read, excluded.cache_read),
    cache_write = COALESCE(cache_write + excluded.cache_write, cache_write, excluded.cache_write),
    reasoning = COALESCE(reasoning + excluded.reasoning, reasoning, excluded.reasoning),
    cost_nanos = COALESCE(cost_nanos + excluded.cost_nanos, cost_nanos, excluded.cost_nanos),
    saved_nanos = COALESCE(saved_nanos + excluded.saved_nanos, saved_nanos, excluded.saved_nanos),
    source_min = COALESCE(min(source_min, excluded.source_min), source_min, excluded.source_min),
    source_max = COALESCE(max(source_max, excluded.source_max), source_max, excluded.source_max),
    version_min = COALESCE(min(version_min, excluded.version_min), version_min, excluded.version_min),
    version_max = COALESCE(max(version_max, excluded.version_max), version_max, excluded.version_max),
    estimated = COALESCE(max(estimated, excluded.estimated), estimated, excluded.estimated)";

/// The sums of one step, in memory.
const STEPS: &str = "
    CREATE TEMP TABLE IF NOT EXISTS step AS SELECT * FROM main.totals WHERE FALSE;
    CREATE TEMP TABLE IF NOT EXISTS tag_step AS SELECT * FROM main.tag_totals WHERE FALSE;
    DELETE FROM temp.step; DELETE FROM temp.tag_step;";

/// Folds the records after one number up to another.
pub(super) fn fold(connection: &Connection, after: i64, until: i64) -> rusqlite::Result<()> {
    fold_at_most(connection, after, until, MOST)
}

/// As `fold`, with other bounds.
pub(super) fn fold_at_most(
    connection: &Connection,
    after: i64,
    until: i64,
    most: Most,
) -> rusqlite::Result<()> {
    connection.execute_batch(STEPS)?;
    gather(connection, after, until)?;
    add(connection, "totals", "step", "team_id, provider, key_id, target, surface, status, requested_model")?;
    add(connection, "tag_totals", "tag_step", "team_id, provider, value, requested_model")?;
    bound(connection, most)?;
    connection.execute_batch("DELETE FROM temp.step; DELETE FROM temp.tag_step;")
}

/// Sums up the records by day. Groups are told by one text; the model stands last in it, since it is the one part that may
/// hold any letter.
fn gather(connection: &Connection, after: i64, until: i64) -> rusqlite::Result<()> {
    let range = [after, until];
    let plain = format!(
        "INSERT INTO temp.step SELECT 1, {DAY}, team_id, provider, key_id, target, surface, status, requested_model,
            count(*), CASE WHEN status = 'OK' THEN 0 ELSE count(*) END, {FROM_RECORDS}
         FROM main.records WHERE seq > ?1 AND seq <= ?2
         GROUP BY {DAY} || char(1) || team_id || char(1) || provider || char(1) || key_id || char(1) || target ||
            char(1) || surface || char(1) || status || char(1) || requested_model"
    );
    connection.prepare_cached(&plain)?.execute(range)?;
    let each = "main.records, json_each(tags) AS each";
    let names = "COALESCE((SELECT ',' || group_concat(key) || ',' FROM
        (SELECT key FROM json_each(tags) ORDER BY key)), '')";
    for (tag, value, from) in [("each.key", "each.value", each), ("''", names, "main.records")] {
        let tagged = format!(
            "INSERT INTO temp.tag_step SELECT {tag}, 1, {DAY}, team_id, provider, {value} AS tag_value,
                requested_model, count(*), sum(status <> 'OK'), {FROM_RECORDS}
             FROM {from} WHERE seq > ?1 AND seq <= ?2 AND NOT ({})
             GROUP BY {tag} || char(1) || {DAY} || char(1) || team_id || char(1) || provider || char(1) || tag_value ||
                char(1) || requested_model",
            in_gap(tag)
        );
        connection.prepare_cached(&tagged)?.execute(range)?;
    }
    Ok(())
}

/// Tells of a record whether there are no sums by this tag at its time. Most tags never had a gap, which is known soon.
fn in_gap(tag: &str) -> String {
    let at = |tag: &str| {
        format!(
            "{tag} IN (SELECT tag FROM main.tag_gaps) AND EXISTS (SELECT 1 FROM main.tag_gaps AS gap
                WHERE gap.tag = {tag} AND since_ms <= create_ms AND month_ms = {MONTH_OF_RECORD})"
        )
    };
    format!("{} OR {}", at("''"), at(tag))
}

/// Adds the sums of the step to those of its days and months.
fn add(connection: &Connection, table: &str, step: &str, group: &str) -> rusqlite::Result<()> {
    let tag = if table == "tag_totals" { "tag, " } else { "" };
    for (level, start) in [(1, "start_ms"), (2, MONTH_OF)] {
        let sums = format!(
            "INSERT INTO main.{table} SELECT {tag}{level}, {start}, {group}, {SUMS} FROM temp.{step} WHERE TRUE
             ON CONFLICT ({tag}level, start_ms, {group}) {ADD}"
        );
        connection.prepare_cached(&sums)?.execute([])?;
    }
    Ok(())
}

/// Gives up the sums of tags that have too many.
fn bound(connection: &Connection, most: Most) -> rusqlite::Result<()> {
    let touched = format!("SELECT DISTINCT tag, start_ms, {MONTH_OF} FROM temp.tag_step");
    let mut statement = connection.prepare_cached(&touched)?;
    let touched = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let touched: Vec<(String, i64, i64)> = touched.collect::<rusqlite::Result<_>>()?;
    for (tag, day, month) in touched {
        let too_many = |level: i64, start: i64, most: i64| {
            let count = "SELECT count(*) FROM (SELECT 1 FROM main.tag_totals
                WHERE tag = ?1 AND level = ?2 AND start_ms = ?3 LIMIT ?4)";
            let count: i64 = connection
                .prepare_cached(count)?
                .query_row((&tag, level, start, most + 1), |row| row.get(0))?;
            Ok::<_, rusqlite::Error>(count > most)
        };
        if too_many(1, day, most.day)? || too_many(2, month, most.month)? {
            give_up(connection, &tag, day, month)?;
        }
    }
    Ok(())
}

/// From this day on to the end of the month there are no sums by this tag, nor any of the month; by none at all if it is
/// the one without a name.
fn give_up(connection: &Connection, tag: &str, day: i64, month: i64) -> rusqlite::Result<()> {
    let mark = "INSERT INTO main.tag_gaps VALUES (?1, ?2, ?3)
        ON CONFLICT (tag, month_ms) DO UPDATE SET since_ms = min(since_ms, excluded.since_ms)";
    connection.prepare_cached(mark)?.execute((tag, month, day))?;
    let next = "(unixepoch(?2 / 1000, 'unixepoch', '+1 month') * 1000)";
    let condition = if tag.is_empty() { "?1 = ''" } else { "tag = ?1" };
    let days = format!(
        "DELETE FROM main.tag_totals WHERE {condition} AND level = 1 AND start_ms >= ?3 AND start_ms < {next}"
    );
    connection.prepare_cached(&days)?.execute((tag, month, day))?;
    let months = format!("DELETE FROM main.tag_totals WHERE {condition} AND level = 2 AND start_ms = ?2");
    connection.prepare_cached(&months)?.execute((tag, month))?;
    Ok(())
}
