//! A top-up or a reset of a limit: an entry that never changes, and holds for the window in which it was made.

use std::{collections::BTreeMap, time::SystemTime};

use tollgate_api::admin;

use super::{
    record::{from_micros, to_micros},
    store::{Row, Trouble, Value},
};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The limit was raised.
    TopUp,
    /// What was used was set to zero: it tells what each counter had come to.
    Reset,
    /// The same as earlier versions wrote it: it tells what each counter was set back by.
    SetBack,
}

impl Kind {
    fn read(text: &str) -> Self {
        let kinds = [Self::Reset, Self::SetBack];
        kinds.into_iter().find(|kind| kind.as_str() == text).unwrap_or(Self::TopUp)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Reset => "reset_at",
            Self::SetBack => "reset",
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) create_time: SystemTime,
    pub(super) kind: Kind,
    /// Whose limits, as the contract says it.
    pub(super) subject: String,
    pub(super) metric: String,
    pub(super) window: String,
    pub(super) amount: i64,
    /// Resets: what each counter had come to in its window, or was set back by.
    pub(super) used: BTreeMap<String, i64>,
    /// When the window ends in which it was made; absent for ever.
    pub(super) end: Option<SystemTime>,
    pub(super) created_by: String,
    pub(super) reason: String,
    pub(super) request_id: Option<String>,
}

impl Record {
    /// Reads a row of `adjustments`.
    ///
    /// # Errors
    /// A value is not what we wrote.
    pub(super) fn read(row: &mut Row) -> Result<Self, Trouble> {
        Ok(Self {
            id: row.text()?,
            create_time: from_micros(row.int()?),
            kind: Kind::read(&row.text()?),
            subject: row.text()?,
            metric: row.text()?,
            window: row.text()?,
            amount: row.int()?,
            used: row.json()?,
            end: row.optional_int()?.map(from_micros),
            created_by: row.text()?,
            reason: row.text()?,
            request_id: row.optional_text()?,
        })
    }

    /// Returns the values of its row, in the order in which they are read.
    ///
    /// # Errors
    /// One has no JSON.
    pub(super) fn values(&self) -> Result<[Value; 12], Trouble> {
        Ok([
            (&self.id).into(),
            to_micros(self.create_time).into(),
            self.kind.as_str().into(),
            (&self.subject).into(),
            (&self.metric).into(),
            (&self.window).into(),
            self.amount.into(),
            Value::json(&self.used)?,
            self.end.map(to_micros).into(),
            (&self.created_by).into(),
            (&self.reason).into(),
            self.request_id.as_ref().into(),
        ])
    }

    /// Tells whether the window in which it was made still runs.
    pub(super) fn holds(&self, now: SystemTime) -> bool {
        self.end.is_none_or(|end| now < end)
    }

    /// Tells whether it is about this limit of its subject.
    pub(super) fn is_of(&self, limit: &admin::Limit) -> bool {
        self.metric == limit.metric && self.window == limit.window
    }

    /// Tells whether it came from the same request.
    pub(super) fn is_same_request(&self, other: &Self) -> bool {
        let asked = |one: &Self| {
            let Self { kind, subject, metric, window, amount, reason, .. } = one.clone();
            (kind.as_str(), subject, metric, window, amount, reason)
        };
        asked(self) == asked(other)
    }

    /// Returns the entry as callers see it.
    pub(super) fn to_proto(&self) -> admin::Adjustment {
        let kind = match self.kind {
            Kind::TopUp => admin::adjustment::Kind::TopUp,
            Kind::Reset | Kind::SetBack => admin::adjustment::Kind::Reset,
        };
        admin::Adjustment {
            id: self.id.clone(),
            create_time: Some(self.create_time.into()),
            kind: kind.into(),
            subject: self.subject.clone(),
            metric: self.metric.clone(),
            window: self.window.clone(),
            amount: self.amount,
            created_by: self.created_by.clone(),
            reason: self.reason.clone(),
        }
    }
}
