//! A file of the journal: whole entries are appended, or nothing.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::meter::private;

/// The segment that is written.
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    number: u64,
    bytes: u64,
    torn: bool,
}

impl Segment {
    pub(super) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(format!("{number:06}.log"));
        let file = private::file().create_new(true).append(true).open(&path)?;
        Ok(Self { file, path, number, bytes: 0, torn: false })
    }

    /// Appends entries with one `write(2)`. If that falls short, as on a full disk, what was written is cut off
    /// again, since nothing after a torn entry would ever be read.
    pub(super) fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.torn {
            return Err(io::Error::other("this part of the journal ends in a torn entry"));
        }
        let error = match self.write(entries) {
            Ok(written) if written == entries.len() => {
                self.bytes += u64::try_from(written).unwrap_or(0);
                return Ok(());
            }
            Ok(_) => io::Error::from(io::ErrorKind::StorageFull),
            Err(error) => error,
        };
        self.torn = self.file.set_len(self.bytes).is_err();
        Err(error)
    }

    fn write(&mut self, entries: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(entries) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Tells whether nothing can be appended any more.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Makes every further append fail, as a disk does.
    #[cfg(test)]
    pub(super) fn break_for_test(&mut self) {
        self.torn = true;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Lists the segments of a directory, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
