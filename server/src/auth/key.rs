//! What a key looks like: `tg_<public id>_<secret>`, minted without bias, shown only as a hint.

use secrecy::{SecretString, zeroize::Zeroizing};

/// Length of a public id.
pub(super) const ID_LEN: usize = 12;
/// Length of the secret part of a minted key: 43 base62 characters hold 256 bits.
const SECRET_LEN: usize = 43;
/// Shortest secret part, and shortest key from elsewhere, that is accepted.
pub(super) const MIN_LEN: usize = 32;
/// Longest key that is looked at.
pub(super) const MAX_LEN: usize = 512;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes from here on would make the first characters of the alphabet likelier than the others.
const UNBIASED: u8 = 248;

/// Draws base62 characters from a source of random bytes, every character equally likely.
///
/// # Errors
/// What the source fails with.
pub(super) fn base62<E>(
    len: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Zeroizing<String>, E> {
    let mut drawn = Zeroizing::new(String::with_capacity(len));
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while drawn.len() < len {
        fill(bytes.as_mut_slice())?;
        for byte in bytes.iter().filter(|byte| **byte < UNBIASED).take(len - drawn.len()) {
            drawn.push(char::from(ALPHABET[usize::from(byte % 62)]));
        }
    }
    Ok(drawn)
}

/// Draws a new public id.
///
/// # Errors
/// The system has no random numbers.
pub(super) fn new_id() -> Result<String, getrandom::Error> {
    base62(ID_LEN, getrandom::fill).map(|id| id.as_str().to_owned())
}

/// Derives the public id of a declared key that was not made by us, from its name: it is the same on every replica, says
/// nothing about the secret, and stays when that is changed.
pub(super) fn id_of_name(name: &str) -> String {
    let mut source = blake3::Hasher::new_derive_key("tollgate 2026-11 public id of a declared key")
        .update(name.as_bytes())
        .finalize_xof();
    let drawn: Result<_, std::convert::Infallible> = base62(ID_LEN, |bytes| {
        source.fill(bytes);
        Ok(())
    });
    let Ok(id) = drawn;
    id.as_str().to_owned()
}

/// Puts a key together from its public id and a source of random bytes for the secret part.
pub(super) fn mint(id: &str, mut source: blake3::OutputReader) -> SecretString {
    let drawn: Result<_, std::convert::Infallible> = base62(SECRET_LEN, |bytes| {
        source.fill(bytes);
        Ok(())
    });
    let Ok(secret) = drawn;
    // The exact capacity keeps the boxed string from being a moved copy of one that is not wiped.
    let mut key = String::with_capacity(3 + id.len() + 1 + secret.len());
    key.extend(["tg_", id, "_", &secret]);
    SecretString::from(key)
}

/// Returns the public id of a key of our own form; other keys have none in them.
pub(super) fn public_id(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix("tg_")?.split_once('_')?;
    let alphanumeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (id.len() == ID_LEN && secret.len() >= MIN_LEN && alphanumeric(id) && alphanumeric(secret)).then_some(id)
}

/// Shows enough of a key to recognise it: the public id, if it has one, and the last four characters.
pub(super) fn hint(key: &str) -> String {
    let end: String = key.chars().skip(key.chars().count().saturating_sub(4)).collect();
    public_id(key).map_or_else(|| format!("…{end}"), |id| format!("tg_{id}_…{end}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn minted(seed: &[u8]) -> SecretString {
        mint(&new_id().unwrap(), blake3::Hasher::new().update(seed).finalize_xof())
    }

    proptest! {
        #[test]
        fn every_minted_key_has_the_contracts_form(seed in any::<[u8; 16]>()) {
            let key = minted(&seed);
            let key = key.expose_secret();
            prop_assert_eq!(key.len(), 3 + 12 + 1 + 43);
            prop_assert_eq!(public_id(key), Some(&key[3..15]));
            let shown = hint(key);
            prop_assert!(shown.ends_with(&key[key.len() - 4..]));
            prop_assert!(!shown.contains(&key[16..key.len() - 4]));
        }

        #[test]
        fn any_text_can_be_parsed_and_hinted(text in any::<String>()) {
            let _ = public_id(&text);
            prop_assert!(hint(&text).chars().count() <= 21);
        }
    }

    #[test]
    fn only_our_own_form_has_a_public_id() {
        let secret = "s".repeat(32);
        assert_eq!(public_id(&format!("tg_abcdefghijkl_{secret}")), Some("abcdefghijkl"));
        for bad in ["tg_short_", "tg_abcdefghijkl_short", "sk-abcdefghijkl_", "tg_abcdefghijk-_", ""] {
            let key = if bad.ends_with("short") { bad.to_owned() } else { format!("{bad}{secret}") };
            assert_eq!(public_id(&key), None, "{key}");
        }
    }

    #[test]
    fn every_character_is_about_equally_likely() {
        let mut source = blake3::Hasher::new().finalize_xof();
        let drawn = base62::<()>(62_000, |bytes| {
            source.fill(bytes);
            Ok(())
        })
        .unwrap();
        for letter in ALPHABET {
            let count = drawn.bytes().filter(|byte| byte == letter).count();
            // A modulo over all 256 bytes would give the first eight characters 1,250 each.
            assert!((850..1_150).contains(&count), "{}: {count}", char::from(*letter));
        }
    }
}
