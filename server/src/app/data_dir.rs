//! The data directory: made for this user only, and found out to be writable before anything is opened in it.

use std::{
    fs::{DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

/// Makes the data directory, for this user only, and makes sure that it can be written.
pub(super) fn make(dir: &Path) -> Result<(), String> {
    let explain = |error: std::io::Error| {
        let dir = dir.display();
        format!(
            "the data directory `{dir}` cannot be written: {error}; make it writable for this user or name another with --data-dir"
        )
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(explain)?;
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    File::create(&probe).and_then(|_| std::fs::remove_file(&probe)).map_err(explain)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_data_directory_is_made_for_this_user_only() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        make(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn a_data_directory_that_cannot_be_says_what_to_do() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = make(&file.join("data")).unwrap_err();
        assert!(message.contains("file/data") && message.contains("--data-dir"), "{message}");
    }
}
