//! The caller's key, kept out of every Debug, log and message.

use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};

use crate::error::Error;

/// A virtual key (`tg_…`), which is never printed and is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Key(SecretString);

impl Key {
    /// Wraps a key; white space around it is cut off, as files and shells leave it there.
    pub fn new(key: impl AsRef<str>) -> Self {
        Self(SecretString::from(key.as_ref().trim()))
    }

    /// Makes the value of the metadata `authorization`, marked as sensitive. Fails if the key is empty
    /// or has characters that a header cannot hold.
    pub(crate) fn authorization(&self) -> Result<MetadataValue<Ascii>, Error> {
        let key = self.0.expose_secret();
        if key.is_empty() {
            return Err(Error::local("the key is empty"));
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {key}")
            .parse()
            .map_err(|_| Error::local("the key has characters that a header cannot hold"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_key_or_of_its_header() {
        let key = Key::new("tg_AAAAAAAAAAAA_secretsecret\n");
        let header = key.authorization().unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer tg_AAAAAAAAAAAA_secretsecret");
        assert!(!format!("{key:?} {header:?}").contains("secretsecret"));
    }

    #[test]
    fn a_key_that_no_header_can_hold_is_refused_without_being_repeated() {
        let error = Key::new("tg_with\nnewline").authorization().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("newline"));
        assert!(Key::new("  ").authorization().is_err());
    }
}
