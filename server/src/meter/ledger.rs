//! The store of records: SQLite with one writer that commits whatever is queued, and a few readers.

mod connect;
pub(super) mod dump;
pub(super) mod postgres;
pub(super) mod reader;
mod retention;
pub(super) mod rollup;
mod writer;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};
use tollgate_api::v1;

use self::postgres::Central;
pub(super) use self::rollup::Level;
use crate::{
    config::Days,
    error::{Error, Reason},
    failpoint,
    postgres::Postgres,
};

/// Rows that may wait for a commit. When the queue is full the sender blocks. That is right: rows wait only while
/// SQLite is slower than the calls or cannot write, and holding up new calls is the one answer that neither loses
/// a record nor grows without bound. What is in the journal waits on disk, not here.
const QUEUE: usize = 65_536;

/// The ledger. Dropping it commits what is queued.
pub struct Ledger {
    sender: Option<SyncSender<Message>>,
    writer: Option<thread::JoinHandle<()>>,
    reads: Reads,
    closing: Arc<AtomicBool>,
    central: Option<Arc<Central>>,
}

/// Reads what is committed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reads {
    readers: Arc<reader::Readers>,
    committed: watch::Receiver<i64>,
}

impl Reads {
    /// Runs a read on a connection of its own. Dropping the future stops the read.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if the store cannot be read, or not in time, and what `read` returns.
    pub(super) async fn run<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.readers.clone().run(read).await
    }

    /// Reads something small.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if the store cannot be read, or not in time.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let read = |connection: &Connection| {
            let found =
                connection.query_row("SELECT count(*) FROM (SELECT 1 FROM records LIMIT 1)", [], |_| Ok(()));
            found.map_err(|error| reader::unreadable(&error))
        };
        self.run(read).await
    }

    /// Returns the number of the last committed record.
    pub(super) fn committed(&mut self) -> i64 {
        *self.committed.borrow_and_update()
    }

    /// Waits until more is committed than was seen; false if there will never be more.
    pub(super) async fn more(&mut self) -> bool {
        self.committed.changed().await.is_ok()
    }
}

/// What the writer is told, in order.
pub(super) enum Message {
    /// A record to store.
    Row(Arc<v1::UsageRecord>),
    /// What to do once everything before this is committed.
    Then(Box<dyn FnOnce() + Send>),
}

impl Ledger {
    /// Opens the store, or makes it, with the folders above it.
    ///
    /// # Errors
    /// A message for the operator that names the file and what to do.
    pub fn open(store: &Path) -> Result<Self, String> {
        Self::open_keeping(store, None)
    }

    /// Opens the store as `open` does, and deletes records that are older than that.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_keeping(store: &Path, retain: Option<Days>) -> Result<Self, String> {
        let connection = connect::writer(store)?;
        let last: i64 = connection
            .query_row("SELECT COALESCE(max(seq), 0) FROM records", [], |row| row.get(0))
            .map_err(|error| connect::explain(store, &error))?;
        let (committed_sender, committed) = watch::channel(last);
        let reads = Reads { readers: Arc::new(reader::Readers::new(store)), committed };
        let (sender, receiver) = sync_channel(QUEUE);
        let closing = Arc::<AtomicBool>::default();
        let writer = start_writer(connection, receiver, committed_sender, closing.clone(), retain)?;
        Ok(Self { sender: Some(sender), writer: Some(writer), reads, closing, central: None })
    }

    /// Brings what is in the store, and what comes, to PostgreSQL as well, where reports are made from then on.
    ///
    /// # Errors
    /// A message for the operator.
    pub fn share(mut self, store: &Path, postgres: Postgres, retain: Option<Days>) -> Result<Self, String> {
        let central = Central::start(postgres, store, self.reads.committed.clone(), retain)?;
        self.central = Some(Arc::new(central));
        Ok(self)
    }

    /// Queues a record. Blocks while the queue is full.
    pub fn append(&self, record: v1::UsageRecord) {
        self.send(Message::Row(Arc::new(record)));
    }

    /// Deletes a file once everything queued before this call is committed.
    pub(super) fn delete_after_commit(&self, file: PathBuf) {
        self.send(Message::Then(Box::new(move || {
            failpoint::pass("delete:before");
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = %file.display(), %error, "cannot delete an old part of the journal");
                }
                _ => failpoint::pass("delete:after"),
            }
        })));
    }

    /// Waits until everything queued before this call is committed.
    pub async fn flush(&self) {
        let (sender, committed) = oneshot::channel();
        self.send(Message::Then(Box::new(move || _ = sender.send(()))));
        // The writer only lets go of it unsent when it ends, and then there is nothing left to wait for.
        let _ = committed.await;
    }

    /// Waits as `flush` does, and then a moment for PostgreSQL to have it too.
    pub(super) async fn flush_all(&self) {
        self.flush().await;
        if let Some(central) = &self.central {
            central.flush(*self.reads.committed.borrow()).await;
        }
    }

    /// Tells whether there is a ledger of all replicas.
    pub fn is_shared(&self) -> bool {
        self.central.is_some()
    }

    /// Returns the ledger of all replicas, if there is one, once it has everything settled here before this call.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if that takes too long.
    pub(super) async fn central_up_to_date(&self) -> Result<Option<Arc<Central>>, Error> {
        let Some(central) = &self.central else { return Ok(None) };
        let committed = *self.up_to_date().await?.committed.borrow();
        central.up_to_date(committed).await?;
        Ok(Some(central.clone()))
    }

    /// Waits until everything queued before this call is committed; false if that takes longer than `patience`.
    pub(super) fn flush_within(&self, patience: Duration) -> bool {
        let (sender, committed) = channel();
        self.send(Message::Then(Box::new(move || _ = sender.send(()))));
        committed.recv_timeout(patience).is_ok()
    }

    /// Returns the readers, which see what is committed.
    pub(super) fn reads(&self) -> Reads {
        self.reads.clone()
    }

    /// Waits until everything queued before this call is committed, and returns the readers: who saw a call succeed
    /// sees its record.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if that takes too long.
    pub(super) async fn up_to_date(&self) -> Result<Reads, Error> {
        if tokio::time::timeout(reader::PATIENCE, self.flush()).await.is_err() {
            return Err(Error::new(
                Reason::StoreUnavailable,
                "the ledger cannot be written at present, so it cannot be read up to date",
            ));
        }
        Ok(self.reads.clone())
    }

    pub(super) fn send(&self, message: Message) {
        let Some(sender) = &self.sender else { return };
        if sender.send(message).is_err() {
            tracing::error!("the ledger's writer is gone; records stay in the journal until the next start");
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn start_writer(
    connection: Connection,
    receiver: Receiver<Message>,
    committed: watch::Sender<i64>,
    closing: Arc<AtomicBool>,
    retain: Option<Days>,
) -> Result<thread::JoinHandle<()>, String> {
    thread::Builder::new()
        .name("ledger".to_owned())
        .spawn(move || writer::run(connection, &receiver, &committed, &closing, retain))
        .map_err(|error| format!("cannot start the ledger's thread: {error}"))
}

#[cfg(test)]
mod tests;
