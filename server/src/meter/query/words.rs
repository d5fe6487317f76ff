//! The words by which records are filtered and grouped.

use super::sql::Sql;
use crate::call::is_tag_name;

/// Longest name or value, in bytes.
pub(super) const LONGEST: usize = 1_024;
/// The words, but for tags, with their columns.
const COLUMNS: [(&str, &str); 6] = [
    ("key", "key_id"),
    ("team", "team_id"),
    ("model", "requested_model"),
    ("provider", "provider"),
    ("target", "target"),
    ("surface", "surface"),
];

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// A column of every table.
    Column(&'static str),
    /// The value of the tag of this name; empty if a record has none.
    Tag(String),
}

/// What is read, as far as words need to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rows {
    /// Records, or sums that know no tags.
    Plain,
    /// Sums over the records that have the one tag that is asked about.
    Tagged,
    /// Sums over those that do not have it.
    Untagged,
}

impl Word {
    /// Reads a word of `group_by`.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        if let Some((_, column)) = COLUMNS.iter().find(|(word, _)| *word == name) {
            return Ok(Self::Column(column));
        }
        match name.strip_prefix("tag:") {
            Some("") => Err("`tag:` wants the name of a tag behind it".to_owned()),
            Some(tag) if tag.len() > LONGEST => Err(format!("a tag's name is longer than {LONGEST} bytes")),
            Some(tag) => Ok(Self::Tag(tag.to_owned())),
            None => {
                let shown: String = name.chars().take(40).collect();
                Err(format!("`{shown}` is none of key, team, model, provider, target, surface, tag:<name>"))
            }
        }
    }

    /// Reads a word of `filters`.
    pub(super) fn parse_filter(name: &str) -> Result<Self, String> {
        if name == "status" { Ok(Self::Column("status")) } else { Self::parse(name) }
    }

    /// Writes the expression that gives its value.
    pub(super) fn write(&self, rows: Rows, sql: &mut Sql) {
        match (self, rows) {
            (Self::Column(column), _) => sql.push(column),
            (Self::Tag(_), Rows::Tagged) => sql.push("value"),
            (Self::Tag(_), Rows::Untagged) => sql.push("''"),
            (Self::Tag(name), Rows::Plain) => {
                let [known, other] = sql.dialect.tag;
                let (before, after) = if is_tag_name(name) { known } else { other };
                sql.push(before).bind(name.as_str()).push(after)
            }
        };
    }
}
