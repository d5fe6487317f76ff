//! Many records in a store, made by the database itself: of fifty teams, five hundred keys, forty models and six tags.

use std::path::{Path, PathBuf};

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

/// The same in PostgreSQL's words. The number of a chunk's first row, and of the first after it, stand in braces.
const INSERT_SHARED: &str = r#"
    INSERT INTO tollgate.records (
        id, create_ms, key_id, team_id, requested_model, model, provider, target, operation, surface, status,
        error_reason, streamed, cache_status, recovered, source, input_tokens, output_tokens, cache_read, cost_nanos,
        saved_nanos, price_version, estimated, unpriced, tags, record)
    SELECT lpad(n::text, 32, '0')::uuid, {start} + n * {length} / {rows}, 'key-' || (a % 500), 'team-' || (a % 50),
        'model-' || (b % 40), 'model-' || (b % 40), 'provider-' || (b % 4), 'provider-' || (b % 4) || '/model-' || (b % 40),
        'chat', 'openai-chat', CASE WHEN c % 33 = 0 THEN 'UNAVAILABLE' ELSE 'OK' END, '', n % 2, 2, 0, 1,
        c % 4000, b % 900, CASE WHEN c % 3 = 0 THEN c % 700 END, c % 4000 * 150 + b % 900 * 600, 0, 'v1', 0, 0,
        jsonb_build_object('service', 's' || (a / 50 % 20), 'env', 'e' || (b / 40 % 20), 'feature', 'f' || (c % 20),
            'region', 'r' || (a / 1000 % 20), 'version', 'v' || (b / 800 % 20), 'request', n::text),
        '\x{record}'
    FROM (SELECT n, (n * 2654435761 & 4294967295) >> 5 AS a, (n * 2246822519 & 4294967295) >> 5 AS b,
        (n * 3266489917 & 4294967295) >> 5 AS c FROM generate_series({from}::bigint, {until} - 1) AS n) AS dice"#;

/// A store with the records of one month.
pub enum Books {
    /// The file of a gateway.
    Sqlite(PathBuf),
    /// The address of a PostgreSQL with the tables in it.
    Postgres(String),
}

impl Books {
    /// Fills it with so many records, evenly over a month that starts and ends then, in milliseconds since 1970.
    pub async fn fill(&self, rows: i64, month: &str, (from_ms, until_ms): (i64, i64)) {
        match self {
            Self::Sqlite(store) => fill(store, rows, from_ms, until_ms),
            Self::Postgres(url) => fill_shared(url, rows, month, (from_ms, until_ms)).await,
        }
    }

    /// Asks for one text; the tables have no schema before their names.
    pub async fn ask(&self, sql: &str) -> String {
        match self {
            Self::Sqlite(store) => {
                Connection::open(store).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
            }
            Self::Postgres(url) => {
                let sql = format!("SET search_path = tollgate; {sql}");
                super::postgres::sql(url, &sql).await.remove(0)
            }
        }
    }

    /// Asks for numbers, which the question parts by blanks.
    pub async fn numbers<const N: usize>(&self, sql: &str) -> [i64; N] {
        let text = self.ask(sql).await;
        let numbers: Vec<i64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }

    /// How many of the records, by number, have been summed up by day and month.
    pub async fn totalled(&self) -> i64 {
        self.numbers::<1>("SELECT seq || '' FROM totalled").await[0]
    }
}

async fn fill_shared(url: &str, rows: i64, month: &str, (from_ms, until_ms): (i64, i64)) {
    let partition = format!(
        "CREATE TABLE IF NOT EXISTS tollgate.records_{month} PARTITION OF tollgate.records \
         FOR VALUES FROM ({from_ms}) TO ({until_ms})"
    );
    super::postgres::sql(url, &partition).await;
    let record = v1::UsageRecord { status: "OK".to_owned(), ..v1::UsageRecord::default() }.encode_to_vec();
    let record: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
    for from in (0..rows).step_by(usize::try_from(CHUNK).unwrap()) {
        let mut insert = INSERT_SHARED.replace("{record}", &record);
        let until = (from + CHUNK).min(rows);
        for (name, value) in [
            ("start", from_ms),
            ("length", until_ms - from_ms),
            ("rows", rows),
            ("from", from),
            ("until", until),
        ] {
            insert = insert.replace(&format!("{{{name}}}"), &value.to_string());
        }
        super::postgres::sql(url, &insert).await;
    }
    // As the server does by itself in the background.
    super::postgres::sql(url, "ANALYZE tollgate.records").await;
}

/// Fills a store that no gateway has open with so many records, evenly over a time in milliseconds since 1970.
fn fill(store: &Path, rows: i64, from_ms: i64, until_ms: i64) {
    let connection = Connection::open(store).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;").unwrap();
    let record = v1::UsageRecord { status: "OK".to_owned(), ..v1::UsageRecord::default() }.encode_to_vec();
    let mut insert = connection.prepare(INSERT).unwrap();
    for from in (0..rows).step_by(usize::try_from(CHUNK).unwrap()) {
        let until = (from + CHUNK).min(rows);
        insert.execute(params![from, until, from_ms, until_ms - from_ms, rows, record]).unwrap();
    }
}
