//! Recovery at start: the old segments become rows, then they go.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::replay::Replay;
use crate::{
    failpoint,
    meter::{Catalog, Ledger},
};

/// Longest wait for SQLite to take the records of the last process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands the ledger every record that the segments hold, and deletes them once all are committed. If the process
/// dies on the way, the next start does it again: rows are told apart by their id, so none is there twice.
pub(super) fn recover(segments: &[(u64, PathBuf)], ledger: &Ledger, catalog: &Catalog) -> Result<(), String> {
    if segments.is_empty() {
        return Ok(());
    }
    let mut replay = Replay::default();
    let (mut settled, mut torn) = (0_usize, 0_usize);
    for (_, path) in segments {
        let bytes = fs::read(path).map_err(|error| failed(path, &error.to_string()))?;
        torn += usize::from(replay.segment(&bytes) > 0);
        for record in replay.take_settled() {
            settled += 1;
            ledger.append(record);
        }
    }
    let cut_off = replay.cut_off(catalog, SystemTime::now());
    let recovered = cut_off.len();
    cut_off.into_iter().for_each(|record| ledger.append(record));
    failpoint::pass("recover:queued");
    if !ledger.flush_within(PATIENCE) {
        return Err(
            "the store does not take the records of the last run; see the log, and make room on its disk"
                .to_owned(),
        );
    }
    failpoint::pass("recover:committed");
    for (_, path) in segments {
        fs::remove_file(path).map_err(|error| failed(path, &error.to_string()))?;
        failpoint::pass("recover:deleted");
    }
    // A torn end is what kill -9 leaves; a torn middle cannot come from this program.
    tracing::info!(settled, recovered, torn, "the journal of the last run is in the ledger");
    Ok(())
}

fn failed(path: &Path, error: &str) -> String {
    format!("cannot take over {}: {error}; check its permissions and its disk", path.display())
}
