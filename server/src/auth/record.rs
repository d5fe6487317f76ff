//! All that is kept of one key, and how it looks in the contract and in a row. Never holds the key itself.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tollgate_api::admin;

use super::{
    pepper::Hash,
    store::{Row, Trouble, Value, limits},
};
use crate::call::{Priority, Scope, Scopes};

/// The secret that a rotation replaced.
#[derive(Clone)]
pub(super) struct OldSecret {
    pub(super) hash: Hash,
    /// Until when it still works.
    pub(super) until: SystemTime,
}

/// One key.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) hash: Hash,
    pub(super) old: Option<OldSecret>,
    pub(super) hint: String,
    pub(super) team_id: String,
    pub(super) scopes: Scopes,
    pub(super) allowed_models: Vec<String>,
    pub(super) limits: Vec<admin::Limit>,
    pub(super) default_tags: BTreeMap<String, String>,
    pub(super) create_time: SystemTime,
    pub(super) expire_time: Option<SystemTime>,
    /// Seconds since 1970 as the store knows them; 0 is never. The index may know better.
    pub(super) last_use: u64,
    pub(super) disabled: bool,
    pub(super) revoke_time: Option<SystemTime>,
    pub(super) created_by: String,
    pub(super) declared: bool,
    /// Goes up by one with every change.
    pub(super) version: i64,
    pub(super) priority: Priority,
}

impl Record {
    /// Reads a row of `keys`.
    ///
    /// # Errors
    /// A value is not what we wrote: a damaged row must not open doors.
    pub(super) fn read(row: &mut Row) -> Result<Self, Trouble> {
        Ok(Self {
            id: row.text()?,
            name: row.text()?,
            hash: row.hash()?,
            old: match (row.optional_hash()?, row.optional_int()?) {
                (Some(hash), Some(until)) => Some(OldSecret { hash, until: from_micros(until) }),
                _ => None,
            },
            hint: row.text()?,
            team_id: row.text()?,
            // A scope that a newer Tollgate wrote is one that this one does not grant.
            scopes: row.json::<Vec<String>>()?.iter().filter_map(|name| Scope::from_name(name)).collect(),
            allowed_models: row.json()?,
            limits: limits::read(row)?,
            default_tags: row.json()?,
            create_time: from_micros(row.int()?),
            expire_time: row.optional_int()?.map(from_micros),
            last_use: row.int()?.unsigned_abs(),
            disabled: row.bool()?,
            revoke_time: row.optional_int()?.map(from_micros),
            created_by: row.text()?,
            declared: row.bool()?,
            version: row.int()?,
            // What a newer Tollgate wrote may be a word that this one does not know.
            priority: Priority::from_name(&row.text()?).unwrap_or_default(),
        })
    }

    /// Returns the values of its row, in the order in which they are read.
    ///
    /// # Errors
    /// One has no JSON.
    pub(super) fn values(&self) -> Result<[Value; 20], Trouble> {
        Ok([
            (&self.id).into(),
            (&self.name).into(),
            self.hash.as_slice().into(),
            self.old.as_ref().map(|old| old.hash.as_slice()).into(),
            self.old.as_ref().map(|old| to_micros(old.until)).into(),
            (&self.hint).into(),
            (&self.team_id).into(),
            Value::json(&self.scopes.names())?,
            Value::json(&self.allowed_models)?,
            limits::write(&self.limits)?,
            Value::json(&self.default_tags)?,
            to_micros(self.create_time).into(),
            self.expire_time.map(to_micros).into(),
            i64::try_from(self.last_use).unwrap_or(i64::MAX).into(),
            self.disabled.into(),
            self.revoke_time.map(to_micros).into(),
            (&self.created_by).into(),
            self.declared.into(),
            self.version.into(),
            self.priority.as_str().into(),
        ])
    }

    /// Returns the version as callers see it.
    pub(super) fn etag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Returns the key as callers see it. A revoked key shows as disabled.
    pub(super) fn to_proto(&self, last_use: u64) -> admin::Key {
        admin::Key {
            id: self.id.clone(),
            name: self.name.clone(),
            hint: self.hint.clone(),
            team_id: self.team_id.clone(),
            scopes: self.scopes.names(),
            allowed_models: self.allowed_models.clone(),
            limits: self.limits.clone(),
            default_tags: self.default_tags.clone().into_iter().collect(),
            create_time: Some(self.create_time.into()),
            expire_time: self.expire_time.map(Into::into),
            last_use_time: (last_use > 0)
                .then(|| prost_types::Timestamp { seconds: last_use.cast_signed(), nanos: 0 }),
            disabled: self.disabled || self.revoke_time.is_some(),
            etag: self.etag(),
            created_by: self.created_by.clone(),
            declared: self.declared,
            priority: self.priority.to_proto().into(),
        }
    }
}

/// Returns microseconds since 1970, which is what the store counts times in.
pub(super) fn to_micros(at: SystemTime) -> i64 {
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    at.duration_since(UNIX_EPOCH).map_or_else(|before| -micros(before.duration()), micros)
}

/// Returns the moment that `to_micros` counted.
pub(super) fn from_micros(micros: i64) -> SystemTime {
    let span = Duration::from_micros(micros.unsigned_abs());
    let at = if micros < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    at.unwrap_or(UNIX_EPOCH)
}
