//! Which records: what the caller may see, what it asked for, and when. Values are always bound, never spelled out.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    page::Token,
    sql::{Sql, Value},
    words::{LONGEST, Rows, Word},
};
use crate::{
    call::{Caller, Scope},
    error::Error,
};

/// Most filters of one request.
const MOST_FILTERS: usize = 16;
/// Most teams that one question may be about.
const MOST_TEAMS: usize = 10_000;
/// The filter for a team with all that belong to it.
const TEAM_TREE: &str = "team_tree";

/// Conditions joined by AND.
pub(super) struct Conditions {
    visible: Visible,
    filters: Vec<(Word, String)>,
    /// Only calls of one of these teams.
    teams: Option<Vec<String>>,
    /// Words of SQL, each followed by a value.
    others: Vec<(&'static str, Value)>,
}

/// Whose records a caller may see.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Visible {
    /// Everybody's.
    All,
    /// Those of a team with all that belong to it, and of a key.
    Teams(Vec<String>, String),
    /// Those of a key.
    Key(String),
}

impl Visible {
    fn to(caller: &Caller, teams_below: impl Fn(&str) -> Vec<String>) -> Result<Self, Error> {
        let key = caller.key_id.clone();
        Ok(if caller.scopes.has(Scope::Admin) {
            Self::All
        } else if caller.scopes.has(Scope::UsageTeam) && !caller.team_id.is_empty() {
            Self::Teams(bounded(teams_below(&caller.team_id))?, key)
        } else {
            Self::Key(key)
        })
    }

    fn write(&self, rows: Rows, sql: &mut Sql) {
        match self {
            Self::All => sql.push("TRUE"),
            Self::Teams(teams, _) if rows != Rows::Plain => sql.is_one_of("team_id", teams),
            Self::Teams(teams, key) => {
                sql.push("(").is_one_of("team_id", teams).push(" OR key_id = ").bind(&**key).push(")")
            }
            Self::Key(key) => sql.push("key_id = ").bind(&**key),
        };
    }
}

impl Conditions {
    /// Starts with what the caller may see, so that nothing added later can widen it.
    pub(super) fn visible_to(
        caller: &Caller,
        teams_below: impl Fn(&str) -> Vec<String>,
    ) -> Result<Self, Error> {
        let visible = Visible::to(caller, teams_below)?;
        Ok(Self { visible, filters: Vec::new(), teams: None, others: Vec::new() })
    }

    /// Adds words of SQL that end with a value.
    pub(super) fn add(&mut self, words: &'static str, value: impl Into<Value>) {
        self.others.push((words, value.into()));
    }

    /// Adds the filters of a request.
    pub(super) fn filter(
        &mut self,
        filters: &HashMap<String, String>,
        teams_below: impl Fn(&str) -> Vec<String>,
    ) -> Result<(), Error> {
        if filters.len() > MOST_FILTERS {
            return Err(Error::invalid("filters", format!("at most {MOST_FILTERS} filters are allowed")));
        }
        for (name, value) in filters {
            if value.len() > LONGEST {
                return Err(Error::invalid("filters", format!("a value is longer than {LONGEST} bytes")));
            }
            if name == TEAM_TREE {
                self.teams = Some(bounded(teams_below(value))?);
                continue;
            }
            let word = Word::parse_filter(name).map_err(|message| Error::invalid("filters", message))?;
            self.filters.push((word, value.clone()));
        }
        Ok(())
    }

    /// Adds a span of time.
    pub(super) fn within(&mut self, span: Span) {
        self.add("create_ms >= ", span.start_ms);
        self.add("create_ms < ", span.end_ms);
    }

    /// Lists the words of the filters.
    pub(super) fn words(&self) -> impl Iterator<Item = &Word> {
        self.filters.iter().map(|(word, _)| word)
    }

    /// Returns whose records the caller may see.
    pub(super) fn visible(&self) -> &Visible {
        &self.visible
    }

    /// Writes them for rows of this kind. Sums by tag know no keys: of a key outside its team they tell nothing.
    pub(super) fn write(&self, rows: Rows, sql: &mut Sql) {
        self.visible.write(rows, sql);
        for (word, value) in &self.filters {
            sql.push(" AND ");
            word.write(rows, sql);
            sql.push(" = ").bind(&**value);
        }
        if let Some(teams) = &self.teams {
            sql.push(" AND ").is_one_of("team_id", teams);
        }
        for (words, value) in &self.others {
            sql.push(" AND ").push(words).bind(value.clone());
        }
    }
}

fn bounded(teams: Vec<String>) -> Result<Vec<String>, Error> {
    if teams.len() <= MOST_TEAMS {
        return Ok(teams);
    }
    let message =
        format!("more than {MOST_TEAMS} teams belong to this one; ask for one below it with `{TEAM_TREE}`");
    Err(Error::invalid("filters", message))
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
