//! The write-ahead journal: what every running call was last known to have done, in files that survive kill -9.
//!
//! One `write(2)` for each entry and no fsync: what was written is in the kernel's hands and outlives the process,
//! though not a loss of power within the seconds that the kernel takes to write it out. A segment is a file of
//! entries; when one is full, the calls still open are carried into the next, and the old one is deleted as soon as
//! every record settled in it is committed in SQLite.

mod entry;
mod recover;
mod replay;
mod segment;

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use entry::Begun;
pub(super) use entry::Earlier;
use segment::Segment;
use tollgate_api::v1;
use uuid::Uuid;

use super::{Catalog, Ledger, private};
use crate::{call::Target, error::Reason, failpoint};

/// A segment is followed by a new one once it has grown by so many bytes.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Settlements that could not be written and are kept for another try. While there are any, no call begins.
const MOST_OWED: usize = 10_000;

/// Progress of a running call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Estimated tokens of the content handed on.
    pub output_tokens: i64,
    /// Content events handed on.
    pub content_events: i64,
}

/// The journal of one data directory, which belongs to this process alone.
pub struct Journal {
    state: Mutex<State>,
    _lock: File,
}

/// A call that has begun and is not settled.
struct Running {
    /// Its `begin` entry, whole, for carrying it into the next segment.
    begin: Vec<u8>,
    progress: Progress,
}

struct State {
    dir: PathBuf,
    segment: Segment,
    rotate_at: u64,
    buffer: Vec<u8>,
    running: HashMap<Uuid, Running>,
    owed: VecDeque<Vec<u8>>,
    retired: Vec<PathBuf>,
}

impl Journal {
    /// Opens the journal of a directory, and hands the ledger what the last process could not: records that were
    /// settled but not committed, and a `recovered` one for each call that was cut off.
    ///
    /// # Errors
    /// A message for the operator: another process uses the directory, or it cannot be read or written.
    pub fn open(dir: &Path, ledger: &Ledger, catalog: &Catalog) -> Result<Self, String> {
        let failed = |what: &str, error: &io::Error| {
            format!(
                "cannot {what} the journal in {}: {error}; check its permissions and its disk",
                dir.display()
            )
        };
        private::make_dir(dir).map_err(|error| failed("make", &error))?;
        let lock = lock(dir)?;
        let segments = segment::list(dir).map_err(|error| failed("read", &error))?;
        let next = segments.last().map_or(1, |(number, _)| number + 1);
        recover::recover(&segments, ledger, catalog)?;
        let segment = Segment::create(dir, next).map_err(|error| failed("write", &error))?;
        let state = State {
            dir: dir.to_owned(),
            segment,
            rotate_at: segment_bytes(),
            buffer: Vec::new(),
            running: HashMap::new(),
            owed: VecDeque::new(),
            retired: Vec::new(),
        };
        Ok(Self { state: Mutex::new(state), _lock: lock })
    }

    /// Writes down that an upstream call of this record's call is about to be made, and what earlier ones came to. Of
    /// several entries, the last holds.
    ///
    /// # Errors
    /// The entry is not on disk: the upstream call must not be made.
    pub(super) fn begin(
        &self,
        record: v1::UsageRecord,
        target: Option<&Target>,
        earlier: Option<Earlier>,
    ) -> io::Result<()> {
        let id = Uuid::parse_str(&record.id).map_err(io::Error::other)?;
        let begun = Begun::new(record, target, earlier);
        let mut state = self.state();
        state.pay()?;
        let State { segment, buffer, running, .. } = &mut *state;
        entry::begin(buffer, &begun);
        failpoint::pass("begin:before");
        segment.append(buffer)?;
        failpoint::pass("begin:after");
        let call =
            running.entry(id).or_insert_with(|| Running { begin: Vec::new(), progress: Progress::default() });
        call.begin.clone_from(buffer);
        Ok(())
    }

    /// Writes down how far a call has come.
    ///
    /// # Errors
    /// The entry is not on disk: after a crash the call's record tells of less.
    pub fn checkpoint(&self, id: Uuid, progress: Progress) -> io::Result<()> {
        let mut state = self.state();
        let State { segment, buffer, running, .. } = &mut *state;
        let Some(call) = running.get_mut(&id) else { return Ok(()) };
        call.progress = progress;
        buffer.clear();
        entry::checkpoint(buffer, id, progress);
        failpoint::pass("checkpoint:before");
        segment.append(buffer)?;
        failpoint::pass("checkpoint:after");
        Ok(())
    }

    /// Writes down the record of a call that is over, and queues it for the ledger. Both happen in one critical
    /// section, so that a segment is never deleted before the rows of its settlements were queued.
    ///
    /// # Errors
    /// The entry is not on disk: the caller must not be told of success. The record, changed to say so, is queued
    /// all the same and written to the journal as soon as that works again.
    pub fn settle(&self, mut record: v1::UsageRecord, ledger: &Ledger) -> io::Result<()> {
        let id = Uuid::parse_str(&record.id).map_err(io::Error::other)?;
        let mut state = self.state();
        // If it still cannot be paid, the entry below fares no better, and says so.
        let _ = state.pay();
        let State { segment, buffer, .. } = &mut *state;
        entry::settle(buffer, &record);
        failpoint::pass("settle:before");
        let written = segment.append(buffer);
        failpoint::pass("settle:after");
        if written.is_err() {
            crate::edge::status::grpc_code_name(Some(Reason::StoreUnavailable))
                .clone_into(&mut record.status);
            crate::error::short_name(Reason::StoreUnavailable).clone_into(&mut record.error_reason);
            entry::settle(&mut state.buffer, &record);
            state.owe();
        }
        state.running.remove(&id);
        ledger.append(record);
        state.rotate_if_full();
        state.retired.drain(..).for_each(|old| ledger.delete_after_commit(old));
        written
    }

    /// Makes every further write fail, as a full disk does.
    #[cfg(test)]
    pub(super) fn break_for_test(&self) {
        let mut state = self.state();
        state.segment.break_for_test();
        // The next segment cannot be made either.
        fs::write(state.dir.join("000002.log"), "").unwrap();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes what is owed from before. Fails while that cannot be written.
    fn pay(&mut self) -> io::Result<()> {
        if self.segment.is_torn() {
            self.rotate()?;
        }
        while let Some(entry) = self.owed.front() {
            self.segment.append(entry)?;
            self.owed.pop_front();
        }
        Ok(())
    }

    fn owe(&mut self) {
        if self.owed.len() == MOST_OWED {
            // Its row still waits in the ledger's queue; only a crash before the disk is back would lose it.
            self.owed.pop_front();
        }
        self.owed.push_back(self.buffer.clone());
    }

    fn rotate_if_full(&mut self) {
        if self.segment.bytes() < self.rotate_at && !self.segment.is_torn() {
            return;
        }
        if let Err(error) = self.rotate() {
            tracing::warn!(%error, "cannot start a new part of the journal; going on with the old one");
            self.rotate_at = self.segment.bytes() + segment_bytes();
        }
    }

    /// Starts a new segment with the calls that are still open; the old one may go once its rows are committed.
    fn rotate(&mut self) -> io::Result<()> {
        let mut next = Segment::create(&self.dir, self.segment.number() + 1)?;
        self.buffer.clear();
        for (id, call) in &self.running {
            self.buffer.extend_from_slice(&call.begin);
            if call.progress != Progress::default() {
                entry::checkpoint(&mut self.buffer, *id, call.progress);
            }
        }
        failpoint::pass("rotate:before");
        if let Err(error) = next.append(&self.buffer) {
            let _ = fs::remove_file(next.path());
            return Err(error);
        }
        failpoint::pass("rotate:after");
        // Many open calls make a long start; the next rotation is due only after as much again was written.
        self.rotate_at = next.bytes() + segment_bytes();
        self.retired.push(self.segment.path().to_owned());
        self.segment = next;
        Ok(())
    }
}

fn segment_bytes() -> u64 {
    failpoint::step(SEGMENT_BYTES, 4 << 10)
}

/// Makes sure that no other process uses the directory, for as long as the file lives.
fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("lock");
    let failed =
        |error: &io::Error| format!("cannot lock {}: {error}; check its permissions", path.display());
    let file = private::file().create(true).append(true).open(&path).map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another tollgate uses the journal in {}; stop it, or start this one with another --data-dir",
            dir.display()
        )),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests;
