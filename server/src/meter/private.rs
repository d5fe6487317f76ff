//! Files and folders for this user only: they tell who called what, and when.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Starts to open a file that, if it is made, is this user's alone.
pub(super) fn file() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// Makes a folder and those above it, each this user's alone. Those that exist stay as they are.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

    use crate::meter::{Catalog, Meter, testing::record};

    #[test]
    fn nobody_else_reads_journal_and_store_wherever_they_lie() {
        let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = elsewhere.path().join("a/b/store.db");
        let meter = Meter::start(data.path(), &store, Arc::new(Catalog::default())).unwrap();
        meter.settle(record(1)).unwrap();
        assert!(meter.ledger.flush_within(std::time::Duration::from_secs(30)));
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let journal = data.path().join("journal");
        for folder in [&journal, &elsewhere.path().join("a"), &elsewhere.path().join("a/b")] {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
        let mut names = Vec::new();
        for folder in [&journal, &elsewhere.path().join("a/b")] {
            for file in fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                names.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
        names.sort();
        assert_eq!(names, ["000001.log", "lock", "store.db", "store.db-shm", "store.db-wal"]);
    }
}
