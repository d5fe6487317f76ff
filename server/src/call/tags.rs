//! Rules for what callers name freely: tags and request ids.

use std::collections::BTreeMap;

use crate::error::Error;

/// Most tags a call may carry.
pub const MAX_TAGS: usize = 16;
/// Longest value of a tag, in bytes.
const MAX_TAG_VALUE: usize = 256;
/// Longest idempotency key.
const MAX_REQUEST_ID: usize = 64;

/// Checks tags by the contract's rules, for calls and for a key's defaults.
///
/// # Errors
/// `INVALID_REQUEST` naming the field.
pub fn check_tags(field: &str, tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > MAX_TAGS {
        return Err(Error::invalid(field, format!("at most {MAX_TAGS} tags, not {}", tags.len())));
    }
    for (key, value) in tags {
        if !is_tag_name(key) {
            let shown: String = key.escape_default().take(80).collect();
            return Err(Error::invalid(
                field,
                format!("the tag `{shown}` must match [a-z][a-z0-9_.-]{{0,63}}"),
            ));
        }
        if value.len() > MAX_TAG_VALUE || value.chars().any(char::is_control) {
            let message =
                format!("the value of tag `{key}` must be at most {MAX_TAG_VALUE} bytes of printable text");
            return Err(Error::invalid(field, message));
        }
    }
    Ok(())
}

/// Tells whether calls may have a tag of this name.
pub fn is_tag_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let goes_on_well =
        bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte));
    starts_well && goes_on_well && name.len() <= 64
}

/// Checks an idempotency key by the contract's rules; an empty one is fine.
///
/// # Errors
/// `INVALID_REQUEST` naming the field.
pub fn check_request_id(field: &str, id: &str) -> Result<(), Error> {
    if id.len() <= MAX_REQUEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{field} must be at most {MAX_REQUEST_ID} printable ASCII characters")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_checked_by_the_contracts_rules() {
        let tags = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(check_tags("t", &tags("feature.x-1", "a b")).is_ok());
        assert!(check_tags("t", &tags("Feature", "x")).is_err());
        assert!(check_tags("t", &tags("ok", "line\nbreak")).is_err());
        assert!(check_tags("t", &tags("ok", &"x".repeat(257))).is_err());
    }
}
