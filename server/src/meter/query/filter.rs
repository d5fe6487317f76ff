//! Which records: what the caller may see, what it asked for, and when. Values are always bound, never spelled out.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::types::Value;

use super::page::Token;
use crate::{
    call::{Caller, Scope},
    error::Error,
};

/// Most filters of one request.
const MOST_FILTERS: usize = 16;
/// Longest name or value, in bytes.
const LONGEST: usize = 1_024;
/// The words that may be filtered and grouped by, with their columns.
const COLUMNS: [(&str, &str); 6] = [
    ("key", "key_id"),
    ("team", "team_id"),
    ("model", "requested_model"),
    ("provider", "provider"),
    ("target", "target"),
    ("surface", "surface"),
];

/// Conditions joined by AND, with the values of their question marks in order.
pub(super) struct Conditions {
    clauses: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Starts with what the caller may see, so that nothing added later can widen it.
    pub(super) fn visible_to(caller: &Caller) -> Self {
        let mut conditions = Self { clauses: Vec::new(), values: Vec::new() };
        let key: Value = caller.key_id.clone().into();
        if caller.scopes.has(Scope::Admin) {
            // All.
        } else if caller.scopes.has(Scope::UsageTeam) && !caller.team_id.is_empty() {
            conditions.add("(team_id = ? OR key_id = ?)", [caller.team_id.clone().into(), key]);
        } else {
            conditions.add("key_id = ?", [key]);
        }
        conditions
    }

    pub(super) fn add<const N: usize>(&mut self, clause: &str, values: [Value; N]) {
        self.clauses.push(clause.to_owned());
        self.values.extend(values);
    }

    /// Adds the filters of a request.
    pub(super) fn filter(&mut self, filters: &HashMap<String, String>) -> Result<(), Error> {
        if filters.len() > MOST_FILTERS {
            return Err(Error::invalid("filters", format!("at most {MOST_FILTERS} filters are allowed")));
        }
        for (name, value) in filters {
            if value.len() > LONGEST {
                return Err(Error::invalid("filters", format!("a value is longer than {LONGEST} bytes")));
            }
            let (expression, bound) = if name == "status" {
                ("status", None)
            } else {
                expression(name).map_err(|message| Error::invalid("filters", message))?
            };
            self.clauses.push(format!("{expression} = ?"));
            self.values.extend(bound.map(Value::from));
            self.values.push(value.clone().into());
        }
        Ok(())
    }

    /// Adds a span of time.
    pub(super) fn within(&mut self, span: Span) {
        self.add("create_ms >= ? AND create_ms < ?", [span.start_ms.into(), span.end_ms.into()]);
    }

    /// Tells whether only single records can answer, since sums do not tell of it.
    pub(super) fn needs_tags(&self) -> bool {
        self.clauses.iter().any(|clause| clause.contains("tags"))
    }

    pub(super) fn sql(&self) -> String {
        if self.clauses.is_empty() { "TRUE".to_owned() } else { self.clauses.join(" AND ") }
    }

    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }
}

/// Returns the SQL of a word, with the value of its question mark if it has one.
pub(super) fn expression(name: &str) -> Result<(&'static str, Option<String>), String> {
    if let Some((_, column)) = COLUMNS.iter().find(|(word, _)| *word == name) {
        return Ok((column, None));
    }
    match name.strip_prefix("tag:") {
        Some("") => Err("`tag:` wants the name of a tag behind it".to_owned()),
        Some(tag) if tag.len() > LONGEST => Err(format!("a tag's name is longer than {LONGEST} bytes")),
        // By key, not by path: a path would give quotes and dots in the name a meaning.
        Some(tag) => Ok((
            "COALESCE((SELECT value FROM json_each(tags) WHERE key = ? LIMIT 1), '')",
            Some(tag.to_owned()),
        )),
        None => {
            let shown: String = name.chars().take(40).collect();
            Err(format!("`{shown}` is none of key, team, model, provider, target, surface, tag:<name>"))
        }
    }
}

/// A span of time in milliseconds since 1970: start inclusive, end exclusive.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Span {
    /// Reads the span of a request. On a further page, what was left open means what it meant on the first.
    pub(super) fn new(
        start: Option<&prost_types::Timestamp>,
        end: Option<&prost_types::Timestamp>,
        token: Option<&Token>,
    ) -> Result<Self, Error> {
        let start_ms = millis("start_time", start)?.unwrap_or(i64::MIN);
        let end_ms =
            millis("end_time", end)?.or(token.map(|token| token.end_ms)).unwrap_or_else(after_now_ms);
        if end.is_some() && end_ms <= start_ms {
            return Err(Error::invalid("end_time", "end_time must be after start_time"));
        }
        Ok(Self { start_ms, end_ms })
    }
}

/// Reads a time, in milliseconds since 1970, rounded down.
pub(super) fn millis(
    field: &'static str,
    time: Option<&prost_types::Timestamp>,
) -> Result<Option<i64>, Error> {
    let Some(time) = time else { return Ok(None) };
    if !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Error::invalid(field, format!("nanos of {field} must be from 0 to 999999999")));
    }
    let millis = time.seconds.checked_mul(1_000);
    let millis = millis.and_then(|millis| millis.checked_add(i64::from(time.nanos / 1_000_000)));
    millis.map(Some).ok_or_else(|| Error::invalid(field, format!("{field} is out of range")))
}

/// Returns the first millisecond after now: what is made in this one counts.
fn after_now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_add(1)
}
