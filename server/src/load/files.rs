//! How many files the process may have open, which bounds its connections and calls.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything that is no connection of a caller or to a provider: the store, the log, the listeners.
const RESERVE: usize = 32;

/// Returns how many files the process may have open, after having asked for as many as it may ask for; absent if there
/// is no limit.
pub fn open_files() -> Option<usize> {
    let found = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: found.maximum, maximum: found.maximum };
    let current = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => wanted.current,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files cannot be raised");
            found.current
        }
    };
    current.map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Returns how many calls fit into so many files. Each may need two: the caller's connection and the provider's.
pub fn places(files: usize) -> usize {
    (files / 2).saturating_sub(RESERVE).max(1)
}

/// Returns how many connections of callers fit into so many files.
pub fn connections(files: usize) -> usize {
    (files / 2).saturating_sub(RESERVE / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_both_their_connections_and_the_rest_fit() {
        for files in [128, 256, 1024, 1 << 20] {
            assert!(connections(files) + places(files) + RESERVE <= files);
        }
        assert_eq!((places(256), connections(256), places(10)), (96, 112, 1));
    }

    #[test]
    fn this_process_has_files() {
        assert!(open_files().is_none_or(|files| files > RESERVE));
    }
}
