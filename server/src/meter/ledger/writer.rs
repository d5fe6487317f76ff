//! The one writer: commits whatever is queued in one transaction, and never lets go of a row it could not write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use prost::Message as _;
use rusqlite::{Connection, params};
use tokio::sync::watch;
use tollgate_api::v1;
use uuid::Uuid;

use super::{Message, retention::Retention, rollup::Rollup};
use crate::{config::Days, failpoint};

/// Rows of one transaction at most, so that readers see them soon.
const BATCH: usize = 4_096;
/// Time in which rows gather before they are committed together. A commit costs as much as several rows, and waking
/// the writer costs the call that does it; nobody waits for either, since the journal has the row. Reads wait it out.
const GATHER: Duration = Duration::from_millis(20);
/// How long the writer waits for records before it goes on summing up earlier ones, and before it looks again whether
/// there are any.
const IDLE: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(60);
/// Shortest and longest wait before a failed commit is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// A process that is told to end does not wait for a full disk for ever; the journal still has the rows.
const LAST_TRIES: u32 = 5;

const INSERT: &str = "
    INSERT OR IGNORE INTO records (
        id, create_ms, key_id, team_id, requested_model, model, provider, target, operation, surface, status,
        error_reason, streamed, cache_status, recovered, source, input_tokens, output_tokens, cache_read, cache_write,
        reasoning, cost_nanos, saved_nanos, price_version, estimated, unpriced, tags, record
    ) VALUES (
        ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
        ?25, ?26, ?27, ?28
    )";

/// A token count above this is a mistake of the upstream; in sums it counts as this, so that millions of rows still
/// add up. The record itself keeps what was told.
const MOST_TOKENS: i64 = 1 << 40;
/// As `MOST_TOKENS`, for the cost of one call in nano-USD.
const MOST_NANOS: i64 = 1 << 46;

/// What was taken from the queue together.
#[derive(Default)]
struct Batch {
    rows: Vec<Arc<v1::UsageRecord>>,
    then: Vec<Box<dyn FnOnce() + Send>>,
}

impl Batch {
    fn add(&mut self, message: Message) {
        match message {
            Message::Row(record) => self.rows.push(record),
            Message::Then(action) => self.then.push(action),
        }
    }

    /// The rows are committed: does what waited for that.
    fn finish(&mut self) {
        self.rows.clear();
        self.then.drain(..).for_each(|action| action());
    }
}

/// Writes until every sender is gone.
pub(super) fn run(
    mut connection: Connection,
    queue: &Receiver<Message>,
    committed: &watch::Sender<i64>,
    closing: &AtomicBool,
    retain: Option<Days>,
) {
    let mut retention = Retention::new(retain);
    let mut batch = Batch::default();
    let mut buffer = Vec::new();
    let mut rollup = Rollup::new();
    // Not before the records of the last run, for which the start waits.
    let mut behind = true;
    loop {
        // What an older version left is summed up while there is nothing else to do.
        let wait = if behind { IDLE } else { LONG };
        match queue.recv_timeout(wait) {
            Ok(first) => batch.add(first),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                behind = rollup.advance(&mut connection, *committed.borrow());
                behind |= retention.advance(&mut connection, &mut rollup);
                continue;
            }
        }
        if batch.then.is_empty() && !closing.load(Ordering::Relaxed) {
            thread::sleep(GATHER);
        }
        while batch.rows.len() < BATCH
            && let Ok(message) = queue.try_recv()
        {
            batch.add(message);
        }
        if !batch.rows.is_empty() {
            let Some(last) = persist(&mut connection, &batch.rows, &mut buffer, closing) else { return };
            committed.send_replace(last);
            batch.finish();
            behind = rollup.advance(&mut connection, last);
            behind |= retention.advance(&mut connection, &mut rollup);
        }
        batch.finish();
    }
}

/// Commits the rows, however long it takes. Returns the number of the last one, or `None` if the process wants to
/// end and it still did not work.
fn persist(
    connection: &mut Connection,
    rows: &[Arc<v1::UsageRecord>],
    buffer: &mut Vec<u8>,
    closing: &AtomicBool,
) -> Option<i64> {
    let mut wait = BACKOFF.0;
    let mut failures = 0;
    loop {
        match commit(connection, rows, buffer) {
            Ok(last) => {
                if failures > 0 {
                    tracing::info!(failures, "the ledger can be written again; nothing was lost");
                }
                return Some(last);
            }
            Err(error) if failures == 0 => {
                tracing::error!(%error, rows = rows.len(), "the ledger cannot be written; trying again");
            }
            Err(_) => {}
        }
        failures += 1;
        if failures >= LAST_TRIES && closing.load(Ordering::Relaxed) {
            tracing::error!(rows = rows.len(), "records stay in the journal until the next start");
            return None;
        }
        thread::sleep(wait);
        wait = (wait * 2).min(BACKOFF.1);
    }
}

fn commit(
    connection: &mut Connection,
    rows: &[Arc<v1::UsageRecord>],
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<i64> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached(INSERT)?;
        for record in rows {
            insert_row(&mut insert, record, buffer)?;
        }
    }
    let last = transaction
        .prepare_cached("SELECT COALESCE(max(seq), 0) FROM records")?
        .query_row([], |row| row.get(0))?;
    failpoint::pass("commit:before");
    transaction.commit()?;
    failpoint::pass("commit:after");
    Ok(last)
}

fn insert_row(
    insert: &mut rusqlite::CachedStatement<'_>,
    record: &v1::UsageRecord,
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let Ok(id) = Uuid::parse_str(&record.id) else {
        tracing::error!(id = %record.id, "a record without a proper id cannot be stored");
        return Ok(());
    };
    buffer.clear();
    record.encode_raw(buffer);
    let usage = record.usage.as_ref();
    let cost = usage.and_then(|usage| usage.cost.as_ref());
    let tokens = |count: Option<i64>| count.map(|count| count.clamp(0, MOST_TOKENS));
    let nanos = |amount: i64| amount.clamp(0, MOST_NANOS);
    // Tags are few and small; as JSON they can be asked for by name.
    let tags = (!record.tags.is_empty()).then(|| serde_json::to_string(&record.tags).unwrap_or_default());
    insert.execute(params![
        id.as_bytes().as_slice(),
        create_ms(record),
        record.key_id,
        record.team_id,
        record.requested_model,
        record.model,
        record.provider,
        record.target,
        record.operation,
        record.surface,
        record.status,
        record.error_reason,
        record.streamed,
        record.cache_status,
        record.recovered,
        usage.map(|usage| usage.source),
        tokens(usage.and_then(|usage| usage.input_tokens)),
        tokens(usage.and_then(|usage| usage.output_tokens)),
        tokens(usage.and_then(|usage| usage.cache_read_input_tokens)),
        tokens(usage.and_then(|usage| usage.cache_write_input_tokens)),
        tokens(usage.and_then(|usage| usage.reasoning_output_tokens)),
        cost.map(|cost| nanos(cost.amount_nanos)),
        cost.map(|cost| nanos(cost.saved_nanos)),
        cost.map(|cost| cost.price_version.as_str()),
        cost.map(|cost| cost.estimated),
        record.unpriced,
        tags,
        buffer.as_slice(),
    ])?;
    Ok(())
}

fn create_ms(record: &v1::UsageRecord) -> i64 {
    record.create_time.as_ref().map_or(0, |time| {
        time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000)
    })
}
