//! Which fields an update changes, and how.

use std::time::SystemTime;

use tollgate_api::admin;

use super::{check, record::Record};
use crate::error::Error;

const PATHS: [&str; 8] =
    ["name", "scopes", "allowed_models", "limits", "default_tags", "expire_time", "disabled", "priority"];

/// Returns the fields that are to change: those the mask names; all for `*`; those that are set if it is empty.
///
/// # Errors
/// `INVALID_REQUEST` for a path that is none, or if nothing is to change.
pub(super) fn fields(
    mask: Option<&prost_types::FieldMask>,
    wanted: &admin::Key,
) -> Result<Vec<&'static str>, Error> {
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths == ["*"] {
        return Ok(PATHS.to_vec());
    }
    if paths.is_empty() {
        let set: Vec<_> = PATHS.into_iter().filter(|path| is_set(path, wanted)).collect();
        return if set.is_empty() {
            Err(Error::invalid("update_mask", "update_mask must name the fields to change"))
        } else {
            Ok(set)
        };
    }
    let known = |path: &String| {
        PATHS
            .into_iter()
            .find(|known| known == path)
            .ok_or_else(|| check::unknown("update_mask", "changeable field", path, &PATHS))
    };
    paths.iter().map(known).collect()
}

fn is_set(path: &str, wanted: &admin::Key) -> bool {
    match path {
        "name" => !wanted.name.is_empty(),
        "scopes" => !wanted.scopes.is_empty(),
        "allowed_models" => !wanted.allowed_models.is_empty(),
        "limits" => !wanted.limits.is_empty(),
        "default_tags" => !wanted.default_tags.is_empty(),
        "expire_time" => wanted.expire_time.is_some(),
        "priority" => wanted.priority != 0,
        _ => wanted.disabled,
    }
}

/// Changes the fields; those that are not set in `wanted` are cleared.
///
/// # Errors
/// `INVALID_REQUEST` with the path of the field that breaks a rule.
pub(super) fn apply(
    record: &mut Record,
    wanted: &admin::Key,
    fields: &[&str],
    now: SystemTime,
) -> Result<(), Error> {
    for field in fields {
        let path = format!("key.{field}");
        match *field {
            "name" => {
                check::name(&path, &wanted.name)?;
                record.name.clone_from(&wanted.name);
            }
            "scopes" => record.scopes = check::scopes(&path, &wanted.scopes)?,
            "allowed_models" => {
                check::models(&path, &wanted.allowed_models)?;
                record.allowed_models.clone_from(&wanted.allowed_models);
            }
            "limits" => {
                check::limits(&path, &wanted.limits)?;
                record.limits.clone_from(&wanted.limits);
            }
            "default_tags" => record.default_tags = check::tags(&path, wanted.default_tags.clone())?,
            "expire_time" => {
                let time = wanted.expire_time.as_ref().map(|time| check::time(&path, time)).transpose()?;
                // Writing back what was read must work for a key that has expired, too.
                if let Some(at) = time.filter(|at| record.expire_time != Some(*at)) {
                    check::in_future(&path, at, now)?;
                }
                record.expire_time = time;
            }
            "priority" => record.priority = check::priority(&path, wanted.priority)?,
            _ => record.disabled = wanted.disabled,
        }
    }
    Ok(())
}
