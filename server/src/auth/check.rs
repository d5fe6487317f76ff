//! Rules for the fields of a key, with the path of the field that breaks one.

use std::{collections::BTreeMap, time::SystemTime};

use tollgate_api::{admin, v1};

use super::{
    key,
    record::{from_micros, to_micros},
};
use crate::{
    call::{self, Metric, Period, Priority, Scope, Scopes},
    error::Error,
};

const MAX_NAME: usize = 128;
const MAX_TEAM: usize = 64;
const MAX_MODELS: usize = 256;
const MAX_MODEL: usize = 256;
const MAX_LIMITS: usize = 32;
/// The last second that a protobuf timestamp can hold: 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// Checks a name for people.
///
/// # Errors
/// `INVALID_REQUEST`: empty, too long, unprintable, or a key pasted into the wrong field.
pub(super) fn name(field: &str, name: &str) -> Result<(), Error> {
    if name.trim().is_empty() {
        return Err(Error::invalid(field, format!("{field} is required")));
    }
    if key::public_id(name).is_some() {
        return Err(Error::invalid(field, format!("{field} looks like a key; names are not secret")));
    }
    short_text(field, name)
}

/// Checks the id of a team, which may be empty.
///
/// # Errors
/// `INVALID_REQUEST`: too long or unprintable.
pub(super) fn team(field: &str, team_id: &str) -> Result<(), Error> {
    short_text(field, team_id)
}

/// Checks the id of a team that is about to be made.
///
/// # Errors
/// `INVALID_REQUEST`: empty, too long, or other characters.
pub(super) fn team_id(field: &str, id: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if (1..=MAX_TEAM).contains(&id.len()) && id.bytes().all(fits) {
        return Ok(());
    }
    let message = format!("{field} must be 1 to {MAX_TEAM} lower-case letters, digits, `.`, `_` and `-`");
    Err(Error::invalid(field, message))
}

/// Checks the name of a team, which may be empty.
///
/// # Errors
/// `INVALID_REQUEST`: too long, unprintable, or a key pasted into the wrong field.
pub(super) fn team_name(field: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() { Ok(()) } else { name(field, text) }
}

fn short_text(field: &str, text: &str) -> Result<(), Error> {
    if text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{field} must be at most {MAX_NAME} printable characters")))
}

/// Reads scopes.
///
/// # Errors
/// `INVALID_REQUEST` naming the unknown scope and the nearest valid one.
pub(super) fn scopes(field: &str, names: &[String]) -> Result<Scopes, Error> {
    let known = Scope::ALL.map(Scope::as_str);
    let read = names.iter().enumerate().map(|(i, name)| {
        Scope::from_name(name).ok_or_else(|| unknown(&format!("{field}[{i}]"), "scope", name, &known))
    });
    read.collect()
}

/// Checks patterns of models.
///
/// # Errors
/// `INVALID_REQUEST` naming the pattern by its place.
pub(super) fn models(field: &str, globs: &[String]) -> Result<(), Error> {
    if globs.len() > MAX_MODELS {
        return Err(Error::invalid(field, format!("{field} may have at most {MAX_MODELS} patterns")));
    }
    for (i, glob) in globs.iter().enumerate() {
        if glob.is_empty() || glob.len() > MAX_MODEL || glob.chars().any(char::is_control) {
            let message = format!("a model pattern must be 1 to {MAX_MODEL} bytes of printable text");
            return Err(Error::invalid(format!("{field}[{i}]"), message));
        }
    }
    Ok(())
}

/// Checks limits.
///
/// # Errors
/// `INVALID_REQUEST` naming the field of the limit by its place.
pub(super) fn limits(field: &str, limits: &[admin::Limit]) -> Result<(), Error> {
    if limits.len() > MAX_LIMITS {
        return Err(Error::invalid(field, format!("{field} may have at most {MAX_LIMITS} limits")));
    }
    for (i, limit) in limits.iter().enumerate() {
        let at = format!("{field}[{i}]");
        if Metric::from_name(&limit.metric).is_none() {
            let known = Metric::ALL.map(Metric::as_str);
            return Err(unknown(&format!("{at}.metric"), "metric", &limit.metric, &known));
        }
        if limit.metric == "concurrent" {
            if !limit.window.is_empty() {
                return Err(Error::invalid(format!("{at}.window"), "a limit on `concurrent` has no window"));
            }
        } else if Period::from_name(&limit.window).is_none() {
            let known = Period::ALL.map(Period::as_str);
            return Err(unknown(&format!("{at}.window"), "window", &limit.window, &known));
        }
        if limit.amount < 0 {
            return Err(Error::invalid(format!("{at}.amount"), "the amount of a limit must not be negative"));
        }
        if limit.model.len() > MAX_MODEL || limit.model.chars().any(char::is_control) {
            let message = format!("a model pattern must be at most {MAX_MODEL} bytes of printable text");
            return Err(Error::invalid(format!("{at}.model"), message));
        }
        if !limit.tag.is_empty() {
            let field = format!("{at}.tag");
            let Some((name, value)) = limit.tag.split_once('=') else {
                return Err(Error::invalid(field, "a tag is a name and a value, like `feature=summary`"));
            };
            call::check_tags(&field, &[(name.to_owned(), value.to_owned())].into())?;
        }
        let same = |other: &admin::Limit| admin::Limit { amount: limit.amount, ..other.clone() } == *limit;
        if limits.iter().take(i).any(same) {
            let message = format!("there are two limits on `{}` per `{}`", limit.metric, limit.window);
            return Err(Error::invalid(at, message));
        }
    }
    Ok(())
}

/// Reads the default tags.
///
/// # Errors
/// `INVALID_REQUEST` as for the tags of a call.
pub(super) fn tags(
    field: &str,
    tags: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Error> {
    let tags = tags.into_iter().collect();
    call::check_tags(field, &tags)?;
    Ok(tags)
}

/// Reads a point of time, to the microsecond.
///
/// # Errors
/// `INVALID_REQUEST`: not a valid timestamp.
pub(super) fn time(field: &str, time: &prost_types::Timestamp) -> Result<SystemTime, Error> {
    let valid = (0..=LAST_SECOND).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    let at = valid.then(|| SystemTime::try_from(*time).ok()).flatten();
    at.map(|at| from_micros(to_micros(at)))
        .ok_or_else(|| Error::invalid(field, format!("{field} must be a time between 1970 and 9999")))
}

/// Checks that a time at which a key ends has not come yet.
///
/// # Errors
/// `INVALID_REQUEST`.
pub(super) fn in_future(field: &str, at: SystemTime, now: SystemTime) -> Result<(), Error> {
    if at > now { Ok(()) } else { Err(Error::invalid(field, format!("{field} must lie in the future"))) }
}

/// Makes the error for a word that is none of the known ones.
pub(super) fn unknown(field: &str, what: &str, word: &str, known: &[&str]) -> Error {
    let shown: String = word.escape_default().take(40).collect();
    let nearest = nearest(word, known);
    let hint = nearest.map_or_else(
        || format!("it must be one of {}", known.join(", ")),
        |nearest| format!("did you mean `{nearest}`?"),
    );
    let error = Error::invalid(field, format!("unknown {what} `{shown}`: {hint}"));
    match nearest {
        Some(nearest) => error.with("nearest", nearest),
        None => error,
    }
}

/// Returns the word that was likely meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |known: &&&str| strsim::damerau_levenshtein(word, known);
    // Long words are near to nothing, and measuring them costs the square of their length.
    let near = if word.len() <= 64 { known } else { &[] };
    near.iter().min_by_key(distance).filter(|known| distance(known) <= 3).copied()
}

/// Reads how important a key's calls are; they are as most calls if nothing is said.
///
/// # Errors
/// `INVALID_REQUEST` for a value that the contract does not have.
pub(super) fn priority(path: &str, wanted: i32) -> Result<Priority, Error> {
    let known = v1::Priority::try_from(wanted);
    let known = known.map_err(|_| Error::invalid(path, format!("{path} must be low, normal or high")))?;
    Ok(Priority::from_proto(known).unwrap_or_default())
}
