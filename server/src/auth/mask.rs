//! Which fields an update changes, and how.

use std::time::SystemTime;

use tollgate_api::admin;

use super::{check, record::Record, team};
use crate::error::Error;

/// The fields of a resource that can be changed, each with whether a request sets it.
type Known<T> = [(&'static str, fn(&T) -> bool)];

/// What can be changed of a key.
pub(super) const KEY: &Known<admin::Key> = &[
    ("name", |key| !key.name.is_empty()),
    ("scopes", |key| !key.scopes.is_empty()),
    ("allowed_models", |key| !key.allowed_models.is_empty()),
    ("limits", |key| !key.limits.is_empty()),
    ("default_tags", |key| !key.default_tags.is_empty()),
    ("expire_time", |key| key.expire_time.is_some()),
    ("disabled", |key| key.disabled),
    ("priority", |key| key.priority != 0),
];

/// What can be changed of a team.
pub(super) const TEAM: &Known<admin::Team> = &[
    ("name", |team| !team.name.is_empty()),
    ("allowed_models", |team| !team.allowed_models.is_empty()),
    ("limits", |team| !team.limits.is_empty()),
    ("default_key_limits", |team| !team.default_key_limits.is_empty()),
    ("disabled", |team| team.disabled),
];

/// Returns the fields that are to change: those the mask names; all for `*`; those that are set if it is empty.
///
/// # Errors
/// `INVALID_REQUEST` for a path that is none, or if nothing is to change.
pub(super) fn fields<T>(
    mask: Option<&prost_types::FieldMask>,
    wanted: &T,
    known: &Known<T>,
) -> Result<Vec<&'static str>, Error> {
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    if paths == ["*"] {
        return Ok(names);
    }
    if paths.is_empty() {
        let set: Vec<_> = known.iter().filter(|(_, is_set)| is_set(wanted)).map(|(name, _)| *name).collect();
        return if set.is_empty() {
            Err(Error::invalid("update_mask", "update_mask must name the fields to change"))
        } else {
            Ok(set)
        };
    }
    let find = |path: &String| {
        let found = names.iter().find(|name| *name == path).copied();
        found.ok_or_else(|| check::unknown("update_mask", "changeable field", path, &names))
    };
    paths.iter().map(find).collect()
}

/// Changes the fields of a key; those that are not set in `wanted` are cleared.
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
            "allowed_models" => models(&path, &wanted.allowed_models, &mut record.allowed_models)?,
            "limits" => limits(&path, &wanted.limits, &mut record.limits)?,
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

/// Changes the fields of a team; those that are not set in `wanted` are cleared.
///
/// # Errors
/// `INVALID_REQUEST` with the path of the field that breaks a rule.
pub(super) fn apply_to_team(
    record: &mut team::Record,
    wanted: &admin::Team,
    fields: &[&str],
) -> Result<(), Error> {
    for field in fields {
        let path = format!("team.{field}");
        match *field {
            "name" => {
                check::team_name(&path, &wanted.name)?;
                record.name.clone_from(&wanted.name);
            }
            "allowed_models" => models(&path, &wanted.allowed_models, &mut record.allowed_models)?,
            "limits" => limits(&path, &wanted.limits, &mut record.limits)?,
            "default_key_limits" => {
                limits(&path, &wanted.default_key_limits, &mut record.default_key_limits)?
            }
            _ => record.disabled = wanted.disabled,
        }
    }
    Ok(())
}

fn models(path: &str, wanted: &[String], kept: &mut Vec<String>) -> Result<(), Error> {
    check::models(path, wanted)?;
    wanted.clone_into(kept);
    Ok(())
}

fn limits(path: &str, wanted: &[admin::Limit], kept: &mut Vec<admin::Limit>) -> Result<(), Error> {
    check::limits(path, wanted)?;
    wanted.clone_into(kept);
    Ok(())
}
