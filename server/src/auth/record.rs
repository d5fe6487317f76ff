//! All that is kept of one key, and how it looks in the contract and in a row. Never holds the key itself.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};
use tollgate_api::admin;

use super::pepper::Hash;
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

/// The columns that `Record::from_row` reads.
pub(super) const COLUMNS: &str = "id, name, hash, old_hash, old_expire_time, hint, team_id, scopes, \
    allowed_models, limits, default_tags, create_time, expire_time, last_use_time, disabled, revoke_time, \
    created_by, declared, version, priority";

const PUT: &str = "INSERT INTO keys (id, name, hash, old_hash, old_expire_time, hint, team_id, scopes, \
    allowed_models, limits, default_tags, create_time, expire_time, last_use_time, disabled, revoke_time, \
    created_by, declared, version, priority) VALUES (:id, :name, :hash, :old_hash, :old_expire_time, :hint, :team_id, \
    :scopes, :allowed_models, :limits, :default_tags, :create_time, :expire_time, :last_use_time, :disabled, \
    :revoke_time, :created_by, :declared, :version, :priority) \
    ON CONFLICT (id) DO UPDATE SET name = :name, hash = :hash, old_hash = :old_hash, \
    old_expire_time = :old_expire_time, hint = :hint, team_id = :team_id, scopes = :scopes, \
    allowed_models = :allowed_models, limits = :limits, default_tags = :default_tags, \
    expire_time = :expire_time, disabled = :disabled, revoke_time = :revoke_time, created_by = :created_by, \
    declared = :declared, version = :version, priority = :priority";

impl Record {
    /// Reads a row that has `COLUMNS`.
    ///
    /// # Errors
    /// A value is not what we wrote: a damaged row must not open doors.
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let old = match (row.get("old_hash")?, row.get("old_expire_time")?) {
            (Some(hash), Some(until)) => Some(OldSecret { hash, until: from_micros(until) }),
            _ => None,
        };
        let limits: Vec<StoredLimit> = json(row, "limits")?;
        let scopes: Vec<String> = json(row, "scopes")?;
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            hash: row.get("hash")?,
            old,
            hint: row.get("hint")?,
            team_id: row.get("team_id")?,
            // A scope that a newer Tollgate wrote is one that this one does not grant.
            scopes: scopes.iter().filter_map(|name| Scope::from_name(name)).collect(),
            allowed_models: json(row, "allowed_models")?,
            limits: limits.into_iter().map(Into::into).collect(),
            default_tags: json(row, "default_tags")?,
            create_time: from_micros(row.get("create_time")?),
            expire_time: row.get::<_, Option<i64>>("expire_time")?.map(from_micros),
            last_use: row.get::<_, i64>("last_use_time")?.unsigned_abs(),
            disabled: row.get("disabled")?,
            revoke_time: row.get::<_, Option<i64>>("revoke_time")?.map(from_micros),
            created_by: row.get("created_by")?,
            declared: row.get("declared")?,
            version: row.get("version")?,
            // What a newer Tollgate wrote may be a word that this one does not know.
            priority: Priority::from_name(&row.get::<_, String>("priority")?).unwrap_or_default(),
        })
    }

    /// Writes the key, new or changed. Its place in the list, its creation and its last use stay as they were.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn put(&self, store: &rusqlite::Connection) -> rusqlite::Result<()> {
        let limits: Vec<_> = self.limits.iter().map(StoredLimit::from).collect();
        store.prepare_cached(PUT)?.execute(named_params! {
            ":id": self.id,
            ":name": self.name,
            ":hash": self.hash,
            ":old_hash": self.old.as_ref().map(|old| old.hash),
            ":old_expire_time": self.old.as_ref().map(|old| to_micros(old.until)),
            ":hint": self.hint,
            ":team_id": self.team_id,
            ":scopes": to_json(&self.scopes.names())?,
            ":allowed_models": to_json(&self.allowed_models)?,
            ":limits": to_json(&limits)?,
            ":default_tags": to_json(&self.default_tags)?,
            ":create_time": to_micros(self.create_time),
            ":expire_time": self.expire_time.map(to_micros),
            ":last_use_time": i64::try_from(self.last_use).unwrap_or(i64::MAX),
            ":disabled": self.disabled,
            ":revoke_time": self.revoke_time.map(to_micros),
            ":created_by": self.created_by,
            ":declared": self.declared,
            ":version": self.version,
            ":priority": self.priority.as_str(),
        })?;
        Ok(())
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

/// A limit as the store holds it. The short form is that of earlier versions, which go on reading it.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum StoredLimit {
    Plain(String, String, i64),
    Full(String, String, i64, bool, String, String),
}

impl From<StoredLimit> for admin::Limit {
    fn from(limit: StoredLimit) -> Self {
        let (metric, window, amount, soft, model, tag) = match limit {
            StoredLimit::Plain(metric, window, amount) => {
                (metric, window, amount, false, String::new(), String::new())
            }
            StoredLimit::Full(metric, window, amount, soft, model, tag) => {
                (metric, window, amount, soft, model, tag)
            }
        };
        Self { metric, window, amount, soft, model, tag }
    }
}

impl From<&admin::Limit> for StoredLimit {
    fn from(limit: &admin::Limit) -> Self {
        let admin::Limit { metric, window, amount, soft, model, tag } = limit.clone();
        if soft || !model.is_empty() || !tag.is_empty() {
            Self::Full(metric, window, amount, soft, model, tag)
        } else {
            Self::Plain(metric, window, amount)
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

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
