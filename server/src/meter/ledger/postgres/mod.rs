//! The ledger of all replicas, in PostgreSQL. The local one stays the first to have a record; from there a thread brings
//! it to PostgreSQL, in order, in batches that can be repeated. While PostgreSQL is away records wait in the local
//! ledger, and nothing else changes. Reports read PostgreSQL, once it has what was settled here before.

mod batch;
mod fold;
mod local;
mod newest;
mod partition;
mod ship;
mod survey;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::{Notify, watch};

pub(in crate::meter) use newest::{Newest, newest};
pub use survey::{Survey, make_partitions, survey, waiting};

use crate::{
    config::Days,
    error::{Error, Reason},
    postgres::{Postgres, Session, SqlState, Trouble},
};

/// Longest that a report waits for what was settled here to be in PostgreSQL.
const CATCHING_UP: Duration = Duration::from_secs(5);
/// Longest that a read may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest that the end of the process waits for the last records to be in PostgreSQL.
const LAST_WORDS: Duration = Duration::from_millis(800);

/// Number of the advisory lock under which records are inserted and summed up, so that they are numbered in the order of
/// their commits: `ledger` in ASCII.
const LOCK: i64 = 0x6c65_6467_6572;

/// The ledger of all replicas. Dropping it ends the thread; what is not in PostgreSQL by then waits for the next start.
pub(in crate::meter) struct Central {
    postgres: Postgres,
    shipped: watch::Receiver<i64>,
    signals: Arc<Signals>,
    looking: newest::Looking,
    /// Ends when the thread does.
    ended: Mutex<mpsc::Receiver<()>>,
}

/// What the thread is told.
#[derive(Default)]
struct Signals {
    /// Somebody waits: do not gather any longer.
    hurry: Notify,
    /// The process ends.
    closing: watch::Sender<bool>,
}

impl Central {
    /// Starts to bring what is committed to the local store to PostgreSQL.
    ///
    /// # Errors
    /// A message for the operator: the local store cannot be used.
    pub(super) fn start(
        postgres: Postgres,
        store: &Path,
        committed: watch::Receiver<i64>,
        retain: Option<Days>,
    ) -> Result<Self, String> {
        let local = local::Local::open(store).map_err(|error| super::connect::explain(store, &error))?;
        let (shipped_sender, shipped) = watch::channel(local.shipped());
        let signals = Arc::<Signals>::default();
        let shipper =
            ship::Shipper::new(postgres.clone(), local, committed, shipped_sender, signals.clone(), retain);
        let (ending, ended) = mpsc::channel();
        thread::Builder::new()
            .name("ledger-ship".to_owned())
            .spawn(move || {
                shipper.run();
                drop(ending);
            })
            .map_err(|error| format!("cannot start the thread of the shared ledger: {error}"))?;
        let looking = newest::Looking::default();
        Ok(Self { postgres, shipped, signals, looking, ended: Mutex::new(ended) })
    }

    /// Waits until the records up to this number of the local ledger are in PostgreSQL.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if it is away or too far behind.
    pub(in crate::meter) async fn up_to_date(&self, committed: i64) -> Result<(), Error> {
        let mut shipped = self.shipped.clone();
        if *shipped.borrow() >= committed {
            return Ok(());
        }
        self.signals.hurry.notify_one();
        let waiting = shipped.wait_for(|shipped| *shipped >= committed);
        let away = !self.postgres.is_reachable();
        let patience = if away { Duration::ZERO } else { CATCHING_UP };
        match tokio::time::timeout(patience, waiting).await {
            Ok(_) => Ok(()),
            Err(_) if away => Err(unavailable("PostgreSQL is away; reports are made again when it is back")),
            Err(_) => {
                Err(unavailable("the latest records are still on their way to PostgreSQL; try again soon"))
            }
        }
    }

    /// Returns the number up to which this replica's records are there, as it grows.
    pub(in crate::meter) fn shipped(&self) -> watch::Receiver<i64> {
        self.shipped.clone()
    }

    /// Reads in one snapshot.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if PostgreSQL cannot be read, or not in time, and what `read` returns.
    pub(in crate::meter) async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, Failure> + Send + 'static,
    {
        let done = self.postgres.call(PATIENCE, move |session| {
            session.transaction(|session| {
                // The tables are named as those of the local ledger are.
                session.batch(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL search_path = tollgate",
                )?;
                session.bound()?;
                read(session)
            })
        });
        done.await.map_err(|failure| self.explain(failure))
    }

    /// Waits a moment, if PostgreSQL answers, until it has the records up to this number, for a clean exit.
    pub(in crate::meter) async fn flush(&self, committed: i64) {
        if self.postgres.is_reachable() {
            // What is missing then is shipped at the next start.
            let _ = tokio::time::timeout(LAST_WORDS, self.up_to_date(committed)).await;
        }
    }

    fn explain(&self, failure: Failure) -> Error {
        match failure {
            Failure::Refused(error) => error,
            Failure::Trouble(trouble) if trouble.is(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE) => Error::new(
                Reason::InvalidRequest,
                "the sums do not fit into 64 bits; ask for a shorter span of time",
            ),
            Failure::Trouble(trouble) => {
                if trouble.is(&SqlState::UNDEFINED_TABLE) || trouble.is(&SqlState::INVALID_SCHEMA_NAME) {
                    self.postgres.doubt();
                }
                tracing::warn!(%trouble, "the shared ledger cannot be read");
                unavailable("the gateway cannot read the shared ledger in PostgreSQL at present")
            }
        }
    }
}

impl Drop for Central {
    fn drop(&mut self) {
        self.signals.closing.send_replace(true);
        // One that waits for a PostgreSQL that hangs is left behind: what it does can be cut anywhere.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(LAST_WORDS);
    }
}

/// Why a read failed.
pub(in crate::meter) enum Failure {
    /// PostgreSQL did not do it.
    Trouble(Trouble),
    /// The caller asked for something that cannot be.
    Refused(Error),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(Reason::StoreUnavailable, message)
}
