//! All that is kept of one team, and how it looks in the contract and in a row.

use std::time::SystemTime;

use tollgate_api::admin;

use super::{
    record::{from_micros, to_micros},
    store::{Row, Trouble, Value, limits},
};

/// One team.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) parent_id: String,
    pub(super) allowed_models: Vec<String>,
    pub(super) limits: Vec<admin::Limit>,
    pub(super) default_key_limits: Vec<admin::Limit>,
    pub(super) create_time: SystemTime,
    pub(super) disabled: bool,
    pub(super) created_by: String,
    pub(super) declared: bool,
    /// Goes up by one with every change.
    pub(super) version: i64,
}

impl Record {
    /// Reads a row of `teams`.
    ///
    /// # Errors
    /// A value is not what we wrote.
    pub(super) fn read(row: &mut Row) -> Result<Self, Trouble> {
        Ok(Self {
            id: row.text()?,
            name: row.text()?,
            parent_id: row.text()?,
            allowed_models: row.json()?,
            limits: limits::read(row)?,
            default_key_limits: limits::read(row)?,
            create_time: from_micros(row.int()?),
            disabled: row.bool()?,
            created_by: row.text()?,
            declared: row.bool()?,
            version: row.int()?,
        })
    }

    /// Returns the values of its row, in the order in which they are read.
    ///
    /// # Errors
    /// One has no JSON.
    pub(super) fn values(&self) -> Result<[Value; 11], Trouble> {
        Ok([
            (&self.id).into(),
            (&self.name).into(),
            (&self.parent_id).into(),
            Value::json(&self.allowed_models)?,
            limits::write(&self.limits)?,
            limits::write(&self.default_key_limits)?,
            to_micros(self.create_time).into(),
            self.disabled.into(),
            (&self.created_by).into(),
            self.declared.into(),
            self.version.into(),
        ])
    }

    /// Returns the version as callers see it.
    pub(super) fn etag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Returns the team as callers see it.
    pub(super) fn to_proto(&self) -> admin::Team {
        admin::Team {
            id: self.id.clone(),
            name: self.name.clone(),
            parent_id: self.parent_id.clone(),
            allowed_models: self.allowed_models.clone(),
            limits: self.limits.clone(),
            default_key_limits: self.default_key_limits.clone(),
            create_time: Some(self.create_time.into()),
            disabled: self.disabled,
            etag: self.etag(),
            created_by: self.created_by.clone(),
            declared: self.declared,
        }
    }
}
