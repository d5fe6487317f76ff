//! Pages of lists: how many, and where the next one begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::error::Error;

const PAGE: usize = 100;
const LARGEST: usize = 1000;
/// Bytes of a token that tell which list it belongs to.
const MARK: usize = 8;

/// Reads how many a page may have.
///
/// # Errors
/// `INVALID_REQUEST`: negative.
pub(super) fn size(page_size: i32) -> Result<usize, Error> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE),
        Ok(size) => Ok(size.min(LARGEST)),
        Err(_) => Err(Error::invalid("page_size", "page_size must not be negative")),
    }
}

/// Cuts a page off what was read, one more than it may have, and makes the token of the next; empty if there is none.
pub(super) fn cut<T>(rows: &mut Vec<T>, size: usize, filter: &str, place: impl Fn(&T) -> Vec<u8>) -> String {
    let more = rows.len() > size;
    rows.truncate(size);
    rows.last().filter(|_| more).map_or_else(String::new, |last| token(&place(last), filter))
}

/// Makes the token of the page after this place. It holds for the same filter only.
fn token(place: &[u8], filter: &str) -> String {
    URL_SAFE_NO_PAD.encode([&blake3::hash(filter.as_bytes()).as_bytes()[..MARK], place].concat())
}

/// Reads the place after which a page begins; nothing for the first.
///
/// # Errors
/// `INVALID_REQUEST`: not a token of this list.
pub(super) fn place(page_token: &str, filter: &str) -> Result<Option<Vec<u8>>, Error> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(page_token).ok();
    let place = bytes.as_deref().and_then(|bytes| bytes.get(MARK..));
    place.filter(|place| token(place, filter) == page_token).map(|place| Some(place.to_vec())).ok_or_else(
        || Error::invalid("page_token", "page_token must come from a page before, with the same filter"),
    )
}

/// Reads a place that is a number; before all if there is none.
///
/// # Errors
/// As `place`.
pub(super) fn number(page_token: &str, filter: &str) -> Result<Option<i64>, Error> {
    let Some(place) = place(page_token, filter)? else { return Ok(None) };
    let number = place.try_into().map(i64::from_be_bytes);
    number.map(Some).map_err(|_| Error::invalid("page_token", "page_token must come from a page before"))
}
