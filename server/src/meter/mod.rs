//! What a call cost: usage, prices, one durable record per call, and the answers to who used what.
//!
//! Place in the path: opened right after `auth`, so that it sees every later outcome; does its work when the stream
//! ends. Life of a call: journal `begin` before each upstream call → journal `checkpoint`s while tokens flow →
//! journal `settle` before the caller sees the end → a row in SQLite. The journal survives kill -9; what it holds
//! and SQLite does not is written at the next start, as `recovered` if the call was cut off. Reports read SQLite, after
//! everything settled before is committed; sums over many records come from rollups by the hour. Prices are rows of
//! `data/catalog.json`. Config: `store`, `--data-dir`. Metrics: `tollgate_requests_total`, `tollgate_tokens_total`,
//! `tollgate_cost_usd_total` and kin. Tests: beside each file, `tests/e2e/ledger.rs`.

mod bill;
mod journal;
mod ledger;
mod open;
mod price;
mod private;
mod query;
mod record;
mod sum;
mod tally;
#[cfg(test)]
mod testing;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Instant,
};

use tokio::sync::Semaphore;
use tollgate_api::v1;

use journal::Earlier;
pub use journal::{Journal, Progress};
pub use ledger::{
    Ledger,
    dump::{Stopped, dump},
    postgres::{Survey, make_partitions, survey, waiting},
};
pub use open::Open;
pub(crate) use price::undated;
pub use price::{Catalog, ModelFacts, is_responses_only};

use crate::{
    call::{Attempt, Call},
    config::Days,
    error::{Error, Reason},
    postgres::Postgres,
};

/// Streams of new records at a time.
const WATCHERS: usize = 256;

/// Tells the ids of a team and of all that belong to it.
pub type TeamsBelow = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// The room: journal, ledger and prices.
pub struct Meter {
    journal: Journal,
    ledger: Ledger,
    catalog: Arc<Catalog>,
    teams_below: OnceLock<TeamsBelow>,
    watchers: Arc<Semaphore>,
    drains: open::Drains,
}

impl Meter {
    /// Opens journal and ledger, and writes what the last process could not.
    ///
    /// # Errors
    /// A message for the operator that names the path and what to do.
    pub fn start(data_dir: &Path, store: &Path, catalog: Arc<Catalog>) -> Result<Arc<Self>, String> {
        Self::start_sharing(data_dir, store, catalog, None, None)
    }

    /// Starts as `start` does, with a PostgreSQL that has the records of all replicas, and how long they are kept.
    ///
    /// # Errors
    /// As `start`. That PostgreSQL is away is none.
    pub fn start_sharing(
        data_dir: &Path,
        store: &Path,
        catalog: Arc<Catalog>,
        postgres: Option<Postgres>,
        retain: Option<Days>,
    ) -> Result<Arc<Self>, String> {
        // With PostgreSQL the local ledger keeps only what that may not have.
        let mut ledger = Ledger::open_keeping(store, retain.filter(|_| postgres.is_none()))?;
        let journal = Journal::open(&data_dir.join("journal"), &ledger, &catalog)?;
        if let Some(postgres) = postgres {
            ledger = ledger.share(store, postgres, retain)?;
        }
        let watchers = Arc::new(Semaphore::new(WATCHERS));
        let (teams_below, drains) = (OnceLock::new(), open::Drains::default());
        Ok(Arc::new(Self { journal, ledger, catalog, teams_below, watchers, drains }))
    }

    /// Has it know which teams belong to which; until then none does.
    pub fn know_teams(&self, teams_below: TeamsBelow) {
        // A second one would say the same.
        let _ = self.teams_below.set(teams_below);
    }

    /// Returns the ids of a team and of all that belong to it.
    fn teams_below(&self, id: &str) -> Vec<String> {
        self.teams_below.get().map_or_else(|| vec![id.to_owned()], |below| below(id))
    }

    /// Starts the record of a call. Whatever happens from here on ends in exactly one record.
    pub fn open(self: &Arc<Self>, call: Call) -> Open {
        Open::new(self.clone(), call)
    }

    /// Writes down, before an upstream call, that it is about to be made.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`: a call that cannot be accounted for is not made.
    pub fn dispatching(&self, call: &Call) -> Result<(), Error> {
        self.begin(call, Progress::default())
    }

    /// Writes down a further upstream call, after so much was delivered by earlier ones.
    fn begin(&self, call: &Call, delivered: Progress) -> Result<(), Error> {
        let target = call.attempts.last().map(|attempt| &*attempt.target);
        let mut record = record::begun(call, delivered.output_tokens);
        let earlier = (call.attempts.len() > 1).then(|| {
            let mut attempts = call.attempts.clone();
            let bill = bill::earlier(&mut attempts, &call.asked, &self.catalog);
            record.attempts = attempts.iter().map(Attempt::to_proto).collect();
            Earlier::new(bill, delivered)
        });
        self.journal.begin(record, target, earlier).map_err(|error| store_unavailable(&error))
    }

    /// Returns the ledger, for reading.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the model facts and prices.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Checks that the store can be written and read.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if not, or not in time.
    pub async fn check_store(&self) -> Result<(), Error> {
        self.ledger.up_to_date().await?.check().await
    }

    /// Waits until then for answers that are read on though their callers have gone, then settles what they came to.
    pub async fn end_drains(&self, until: Instant) {
        self.drains.end(until).await;
    }

    /// Waits until everything settled so far is in SQLite, and a moment for PostgreSQL, for a clean exit.
    pub async fn flush(&self) {
        self.ledger.flush_all().await;
    }

    fn settle(&self, record: v1::UsageRecord) -> Result<(), Error> {
        self.journal.settle(record, &self.ledger).map_err(|error| store_unavailable(&error))
    }
}

fn store_unavailable(error: &std::io::Error) -> Error {
    tracing::error!(%error, "the journal cannot be written");
    Error::new(
        Reason::StoreUnavailable,
        "the gateway cannot write its ledger (disk full or not writable), so it does not make billable calls",
    )
}
