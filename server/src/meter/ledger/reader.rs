//! Readers: a few read-only connections, each used by one read at a time on a thread that may block.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, InterruptHandle};
use tokio::sync::Semaphore;

use super::connect;
use crate::error::{Error, Reason};

/// Reads at a time. Reports must not take the cores that calls need.
const READERS: usize = 3;
/// Longest that a read, or the wait for one, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The pool.
pub(in crate::meter) struct Readers {
    store: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// Stops the read when its future is dropped, and never one that uses the connection after it: the handle is taken
/// out, under the lock, before the connection goes back.
struct Interrupt(Arc<Mutex<Option<InterruptHandle>>>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(handle) = lock(&self.0).take() {
            handle.interrupt();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    pub(super) fn new(store: &Path) -> Self {
        Self { store: store.to_owned(), idle: Mutex::default(), permits: Arc::new(Semaphore::new(READERS)) }
    }

    /// Runs one read.
    pub(super) async fn run<T, F>(self: Arc<Self>, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let permit = match tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(busy("too many reports are being made; try again later")),
        };
        let connection = match self.take() {
            Some(connection) => connection,
            None => connect::reader(&self.store).map_err(|error| unreadable(&error))?,
        };
        let handle = Arc::new(Mutex::new(Some(connection.get_interrupt_handle())));
        let _interrupt = Interrupt(handle.clone());
        let work = tokio::task::spawn_blocking(move || {
            let result = read(&connection);
            lock(&handle).take();
            self.give_back(connection);
            drop(permit);
            result
        });
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("a read of the ledger was aborted")),
            Err(_) => Err(busy("the report took too long; ask for a shorter span of time or fewer groups")),
        }
    }

    fn take(&self) -> Option<Connection> {
        lock(&self.idle).pop()
    }

    fn give_back(&self, connection: Connection) {
        lock(&self.idle).push(connection);
    }
}

fn busy(message: &str) -> Error {
    Error::new(Reason::StoreUnavailable, message)
}

/// Makes the error of a read that SQLite could not do.
pub(in crate::meter) fn unreadable(error: &rusqlite::Error) -> Error {
    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
        return busy("the report was stopped");
    }
    if error.to_string().contains("integer overflow") {
        return Error::new(
            Reason::InvalidRequest,
            "the sums do not fit into 64 bits; ask for a shorter span of time",
        );
    }
    tracing::error!(%error, "the ledger cannot be read");
    busy("the gateway cannot read its ledger at present")
}
