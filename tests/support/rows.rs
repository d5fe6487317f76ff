//! Many records in a store, made by SQLite itself: of fifty teams, five hundred keys, forty models and six tags.

use std::path::Path;

use prost::Message as _;
use rusqlite::{Connection, params};
use tollgate_api::v1;

/// Rows of one transaction.
const CHUNK: i64 = 100_000;

/// Nothing goes with anything else, which is the worst case for sums: every key asks for every model with every tag.
const INSERT: &str = "
    INSERT INTO records (
        id, create_ms, key_id, team_id, requested_model, model, provider, target, operation, surface, status,
        error_reason, streamed, cache_status, recovered, source, input_tokens, output_tokens, cache_read, cache_write,
        reasoning, cost_nanos, saved_nanos, price_version, estimated, unpriced, tags, record)
    WITH RECURSIVE
        numbers (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?2),
        dice AS (SELECT n, (n * 2654435761 & 4294967295) >> 5 AS a, (n * 2246822519 & 4294967295) >> 5 AS b,
            (n * 3266489917 & 4294967295) >> 5 AS c FROM numbers)
    SELECT CAST(printf('%016d', n) AS BLOB), ?3 + n * ?4 / ?5, 'key-' || (a % 500), 'team-' || (a % 50),
        'model-' || (b % 40), 'model-' || (b % 40), 'provider-' || (b % 4), 'provider-' || (b % 4) || '/model-' || (b % 40),
        'chat', 'openai-chat', CASE WHEN c % 33 = 0 THEN 'UNAVAILABLE' ELSE 'OK' END, '', n % 2, 2, 0, 1,
        c % 4000, b % 900, CASE WHEN c % 3 = 0 THEN c % 700 END, NULL, NULL, c % 4000 * 150 + b % 900 * 600, 0, 'v1', 0, 0,
        printf('{\"service\":\"s%d\",\"env\":\"e%d\",\"feature\":\"f%d\",\"region\":\"r%d\",\"version\":\"v%d\",\"request\":\"%d\"}',
            a / 50 % 20, b / 40 % 20, c % 20, a / 1000 % 20, b / 800 % 20, n),
        ?6
    FROM dice";

/// Fills a store that no gateway has open with so many records, evenly over a time in milliseconds since 1970.
pub fn fill(store: &Path, rows: i64, from_ms: i64, until_ms: i64) {
    let connection = Connection::open(store).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;").unwrap();
    let record = v1::UsageRecord { status: "OK".to_owned(), ..v1::UsageRecord::default() }.encode_to_vec();
    let mut insert = connection.prepare(INSERT).unwrap();
    for from in (0..rows).step_by(usize::try_from(CHUNK).unwrap()) {
        let until = (from + CHUNK).min(rows);
        insert.execute(params![from, until, from_ms, until_ms - from_ms, rows, record]).unwrap();
    }
}

/// Returns how many of the records, by number, have been summed up by day and month.
pub fn totalled(store: &Path) -> i64 {
    let connection = Connection::open(store).unwrap();
    connection.query_row("SELECT seq FROM totalled", [], |row| row.get(0)).unwrap()
}
