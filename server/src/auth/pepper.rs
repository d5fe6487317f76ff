//! The pepper: 32 secret bytes beside the database, without which the hashes in it say nothing about keys.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use blake3::{Hasher, OutputReader};
use secrecy::{ExposeSecret as _, SecretBox, SecretString, zeroize::Zeroizing};

const LEN: usize = 32;

/// A keyed hash of a key, as the store and the index hold it.
pub(super) type Hash = [u8; 32];

/// The secret that every hash of a key is keyed with.
pub(super) struct Pepper(SecretBox<[u8; LEN]>);

impl Pepper {
    /// Reads the pepper, or makes it if this is the first start.
    ///
    /// # Errors
    /// A message for the operator: it cannot be read or made, has the wrong size, or is gone while there are keys.
    pub(super) fn open(data_dir: &Path, has_keys: bool) -> Result<Self, String> {
        let path = data_dir.join("pepper");
        match File::open(&path) {
            Ok(file) => read(file, &path),
            Err(error) if error.kind() == ErrorKind::NotFound && has_keys => Err(format!(
                "{} is missing, but the store has keys that were made with it; put it back from your backup (without \
                 it every key stops working), or move the store away to start anew",
                path.display()
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => create(data_dir, &path),
            Err(error) => Err(format!("cannot read {}: {error}; the gateway must own it", path.display())),
        }
    }

    /// Makes the pepper of a secret of the configuration, which may have any length.
    pub(super) fn of(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self::new(&Zeroizing::new(blake3::derive_key("tollgate 2026 pepper of the configuration", secret)))
    }

    /// Takes over bytes that were drawn before; nothing if they are not as many.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self::new(&Zeroizing::new(bytes)))
    }

    /// Draws the bytes of a new pepper.
    ///
    /// # Errors
    /// A message for the operator: the system has no random numbers.
    pub(super) fn draw() -> Result<Zeroizing<[u8; LEN]>, String> {
        let mut bytes = Zeroizing::new([0; LEN]);
        let drawn = getrandom::fill(bytes.as_mut_slice());
        drawn.map_err(|error| format!("the system has no random numbers: {error}"))?;
        Ok(bytes)
    }

    fn new(bytes: &Zeroizing<[u8; LEN]>) -> Self {
        let mut pepper = SecretBox::new(Box::new([0; LEN]));
        secrecy::ExposeSecretMut::expose_secret_mut(&mut pepper).copy_from_slice(bytes.as_slice());
        Self(pepper)
    }

    /// Hashes a key for the store and the index.
    pub(super) fn hash(&self, key: &str) -> Hash {
        *self.hasher("key").update(key.as_bytes()).finalize().as_bytes()
    }

    /// Stretches a random nonce to the secret of a new key; the same nonce gives the same secret.
    pub(super) fn stretch(&self, nonce: &[u8; 32]) -> OutputReader {
        self.hasher("mint").update(nonce).finalize_xof()
    }

    /// Hashes a request, to tell a repeat from another request with the same id.
    pub(super) fn fingerprint(&self, request: &[u8]) -> Hash {
        *self.hasher("request").update(request).finalize().as_bytes()
    }

    /// Returns a value that tells this pepper from every other and says nothing about it.
    pub(super) fn check(&self) -> Hash {
        *self.hasher("check").finalize().as_bytes()
    }

    /// Starts a keyed hash; the purpose keeps hashes of different kinds apart.
    fn hasher(&self, purpose: &str) -> Hasher {
        let mut hasher = Hasher::new_keyed(self.0.expose_secret());
        hasher.update(purpose.as_bytes()).update(&[0]);
        hasher
    }
}

fn read(file: File, path: &Path) -> Result<Pepper, String> {
    // One byte more than needed is enough to see that a file is too long.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN + 1));
    file.take(LEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Pepper::from_bytes(&bytes).ok_or_else(|| {
        format!(
            "{} must hold exactly {LEN} bytes; put it back from your backup, or delete it if there are no keys yet",
            path.display()
        )
    })
}

fn create(data_dir: &Path, path: &Path) -> Result<Pepper, String> {
    let explain = |error: std::io::Error| format!("cannot create {}: {error}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(explain)?;
    let pepper = Pepper::draw()?;
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(format!("{} was made by another process just now; start again", path.display()));
        }
        Err(error) => return Err(explain(error)),
    };
    file.write_all(pepper.as_slice()).and_then(|()| file.sync_all()).map_err(explain)?;
    // The directory entry must be durable before the first key is, or a crash could leave keys without a pepper.
    File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(explain)?;
    Ok(Pepper::new(&pepper))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_start_makes_a_private_file_that_later_starts_read() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pepper::open(dir.path(), false).unwrap();
        let mode = std::fs::metadata(dir.path().join("pepper")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = Pepper::open(dir.path(), true).unwrap();
        assert_eq!(first.hash("k"), second.hash("k"));
        assert_ne!(first.hash("k"), first.hash("l"));
    }

    #[test]
    fn a_pepper_of_the_wrong_size_or_gone_is_an_operators_error() {
        let dir = tempfile::tempdir().unwrap();
        let gone = Pepper::open(dir.path(), true).err().unwrap();
        assert!(gone.contains("is missing"), "{gone}");
        for size in [0, 31, 33] {
            std::fs::write(dir.path().join("pepper"), vec![7; size]).unwrap();
            let wrong = Pepper::open(dir.path(), false).err().unwrap();
            assert!(wrong.contains("exactly 32 bytes"), "{wrong}");
        }
    }

    #[test]
    fn two_peppers_give_the_same_key_different_hashes_and_ids() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (Pepper::open(one.path(), false).unwrap(), Pepper::open(two.path(), false).unwrap());
        assert_ne!(one.hash("key"), two.hash("key"));
    }
}
