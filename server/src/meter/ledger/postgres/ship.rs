//! The thread that brings the local ledger's records to PostgreSQL.
//!
//! A batch is one transaction: the records that are not there yet, and the number up to which this replica's are. Only
//! then is that number noted in the local ledger. So a batch whose end was not heard of is sent again, and changes
//! nothing; and a PostgreSQL that was restored from a backup says itself what it lacks.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    Signals,
    batch::Batch,
    fold,
    local::Local,
    partition::{self, Partitions},
};
use crate::{
    config::Days,
    postgres::{Postgres, Session, SqlState, Trouble},
    telemetry::metrics::LEDGER_UNSHIPPED,
};

/// Records of one batch at most.
const BATCH: usize = 5_000;
/// Time in which records gather before they are sent together, unless a report waits for them.
const GATHER: Duration = Duration::from_millis(100);
/// Longest that a batch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wait after a failure. PostgreSQL's room waits longer by itself before it connects again.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a PostgreSQL that there is nothing to say to is asked whether it is there.
const PROBE: Duration = Duration::from_secs(2);
/// Longest wait for its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How often partitions are made and dropped.
const UPKEEP: Duration = Duration::from_secs(60 * 60);
/// How long records stay in the local ledger when PostgreSQL has them: as long as its last backup may be old.
const KEEP_SHIPPED: Duration = Duration::from_secs(24 * 60 * 60);
/// Local records that are deleted at once.
const FORGET: i64 = 2_000;

/// What the thread knows.
pub(super) struct Shipper {
    postgres: Postgres,
    runtime: Handle,
    local: Local,
    committed: watch::Receiver<i64>,
    shipped: watch::Sender<i64>,
    signals: Arc<Signals>,
    closing: watch::Receiver<bool>,
    retain: Option<Days>,
    partitions: Partitions,
    /// Whether PostgreSQL said up to where it has this replica's records, since the last trouble.
    agreed: bool,
    failures: u32,
    unfolded: i64,
    upkeep: Instant,
}

impl Shipper {
    pub(super) fn new(
        postgres: Postgres,
        local: Local,
        committed: watch::Receiver<i64>,
        shipped: watch::Sender<i64>,
        signals: Arc<Signals>,
        retain: Option<Days>,
    ) -> Self {
        Self {
            runtime: postgres.runtime(),
            closing: signals.closing.subscribe(),
            postgres,
            local,
            committed,
            shipped,
            signals,
            retain,
            partitions: Partitions::default(),
            agreed: false,
            failures: 0,
            // Whoever was here before may have left some.
            unfolded: fold::STEP,
            upkeep: Instant::now(),
        }
    }

    /// Ships until the process ends.
    pub(super) fn run(mut self) {
        while !*self.closing.borrow() {
            let behind = self.show();
            let outcome = if behind > 0 || !self.agreed {
                self.ship()
            } else if self.wait_for_more() {
                continue;
            } else {
                self.postgres.run(ANSWER, |session| session.batch("SELECT 1"))
            };
            let outcome = outcome.and_then(|()| self.look_after());
            self.note(outcome);
        }
    }

    /// Returns how many records PostgreSQL does not have, and shows it.
    fn show(&mut self) -> i64 {
        let behind = *self.committed.borrow_and_update() - self.local.shipped();
        #[expect(clippy::cast_precision_loss, reason = "a gauge need not be exact")]
        metrics::gauge!(LEDGER_UNSHIPPED).set(behind.max(0) as f64);
        behind
    }

    /// Waits until there are records, and then for some more; false if there were none for a while.
    fn wait_for_more(&mut self) -> bool {
        let (committed, closing, signals) = (&mut self.committed, &mut self.closing, &self.signals);
        self.runtime.block_on(async {
            let more = async {
                tokio::select! {
                    // The writer is gone when the process ends.
                    more = committed.changed() => more.is_ok(),
                    _ = closing.changed() => true,
                }
            };
            let more = timeout(PROBE, more).await.unwrap_or(false);
            if more && !*closing.borrow() {
                let _ = timeout(GATHER, signals.hurry.notified()).await;
            }
            more
        })
    }

    /// Ships one batch.
    fn ship(&mut self) -> Result<(), Trouble> {
        if !self.agreed {
            self.agree()?;
        }
        let batch = self.local.next(BATCH).map_err(|error| unreadable(&error))?;
        if batch.len() == 0 {
            return Ok(());
        }
        let (replica, partitions) = (self.local.replica(), &mut self.partitions);
        let began = Instant::now();
        let inserted = self.postgres.run(PATIENCE, |session| {
            session.transaction(|session| {
                session.bound()?;
                partition::lock(session)?;
                partitions.ensure(session, batch.months())?;
                let inserted = batch.insert(session)?;
                mark(session, replica, batch.last())?;
                Ok::<_, Trouble>(inserted)
            })
        })?;
        self.done(&batch, inserted, began.elapsed());
        Ok(())
    }

    fn done(&mut self, batch: &Batch, inserted: u64, took: Duration) {
        tracing::debug!(
            rows = batch.len(),
            inserted,
            bytes = batch.bytes(),
            ?took,
            "records are in PostgreSQL"
        );
        if let Err(error) = self.local.set_shipped(batch.last()) {
            tracing::warn!(%error, "the ledger cannot note what PostgreSQL has; it is sent again after a restart");
        }
        self.shipped.send_replace(batch.last());
        self.unfolded = self.unfolded.saturating_add(i64::try_from(inserted).unwrap_or(i64::MAX));
        self.show();
    }

    /// Asks PostgreSQL up to where it has this replica's records, and goes back to there.
    fn agree(&mut self) -> Result<(), Trouble> {
        let replica = self.local.replica();
        let known = self.postgres.run(PATIENCE, |session| {
            let sql = "SELECT shipped_seq FROM tollgate.replicas WHERE id = $1";
            let row = session.query_opt(sql, &[&replica])?;
            Ok::<_, Trouble>(row.map(|row| row.try_get::<_, i64>(0)).transpose()?)
        })?;
        let (known, shipped) = (known.unwrap_or(0), self.local.shipped());
        if known < shipped {
            tracing::warn!(
                known,
                shipped,
                "store: PostgreSQL lacks records it had; those still here are sent again"
            );
            self.local.set_shipped(known).map_err(|error| unreadable(&error))?;
            self.shipped.send_replace(known);
        }
        self.agreed = true;
        Ok(())
    }

    /// Does what is due beside shipping.
    fn look_after(&mut self) -> Result<(), Trouble> {
        if self.unfolded >= fold::STEP / 8 {
            while self.postgres.run(PATIENCE * 3, fold::advance)? {}
            self.unfolded = 0;
        }
        if Instant::now() < self.upkeep {
            return Ok(());
        }
        let (retain, partitions) = (self.retain, &mut self.partitions);
        self.postgres.run(PATIENCE * 6, |session| {
            partitions.ensure_ahead(session, now_ms())?;
            if let Some(Days(days)) = retain {
                let before = now_ms() - i64::from(days) * 86_400_000;
                if partition::drop_before(session, before)? > 0 {
                    partitions.doubt();
                }
            }
            Ok::<_, Trouble>(())
        })?;
        self.forget();
        self.upkeep = Instant::now() + UPKEEP;
        Ok(())
    }

    /// Deletes what PostgreSQL has had for long.
    fn forget(&self) {
        let keep = self.retain.map_or(KEEP_SHIPPED, |Days(days)| {
            KEEP_SHIPPED.min(Duration::from_secs(u64::from(days) * 86_400))
        });
        let before = now_ms() - i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        loop {
            match self.local.forget(before, FORGET) {
                Ok(0) => return,
                Ok(_) if *self.closing.borrow() => return,
                // The writer has its turn between two of these.
                Ok(_) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => {
                    return tracing::warn!(%error, "old records cannot be deleted from the local ledger");
                }
            }
        }
    }

    /// Logs the first failure and the end of them, and waits a moment after each.
    fn note(&mut self, outcome: Result<(), Trouble>) {
        match outcome {
            Ok(()) => {
                if self.failures > 0 {
                    let (failures, waiting) = (self.failures, self.show());
                    tracing::info!(failures, waiting, "records go to PostgreSQL again; none was lost");
                }
                self.failures = 0;
            }
            Err(trouble) => {
                if self.failures == 0 {
                    let waiting = self.show();
                    tracing::warn!(%trouble, waiting, "records cannot be brought to PostgreSQL; they wait in the local ledger");
                }
                self.failures = self.failures.saturating_add(1);
                self.agreed = false;
                self.partitions.doubt();
                if trouble.is(&SqlState::UNDEFINED_TABLE) || trouble.is(&SqlState::INVALID_SCHEMA_NAME) {
                    self.postgres.doubt();
                }
                let closing = &mut self.closing;
                let _ = self.runtime.block_on(async { timeout(PAUSE, closing.changed()).await });
            }
        }
    }
}

/// Writes down up to where PostgreSQL has this replica's records.
fn mark(session: &mut Session, replica: uuid::Uuid, seq: i64) -> Result<(), Trouble> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    session
        .execute(
            "INSERT INTO tollgate.replicas AS kept (id, name, version, shipped_seq) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version,
                shipped_seq = excluded.shipped_seq, ship_time = now()",
            &[&replica, &name, &env!("CARGO_PKG_VERSION"), &seq],
        )
        .map(drop)
}

fn unreadable(error: &rusqlite::Error) -> Trouble {
    Trouble::Away(format!("the local ledger cannot be read or written: {error}"))
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
