//! Sums by the hour. There may be several rows of one hour and group: each step adds its own.

use rusqlite::Connection;

/// Records that are folded at once: the more, the fewer sums there are; the fewer, the less a report has to add.
pub(super) const STEP: i64 = 10_000;

const FOLD: &str = "
    INSERT INTO rollups
    SELECT create_ms / 3600000 * 3600000, key_id, team_id, requested_model, provider, target, surface, status,
        count(*), sum(cache_status IN (3, 4, 5)), min(source), max(source), sum(input_tokens), sum(output_tokens),
        sum(cache_read), sum(cache_write), sum(reasoning), sum(cost_nanos), sum(saved_nanos), min(price_version),
        max(price_version), max(estimated)
    FROM records WHERE seq > ?1 AND seq <= ?2
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8";

/// Folds the records after one number up to another.
pub(super) fn fold(connection: &Connection, after: i64, until: i64) -> rusqlite::Result<()> {
    connection.prepare_cached(FOLD)?.execute([after, until])?;
    Ok(())
}
