//! The way to a field of a request, and the checks that name it.

use std::{fmt, ops::RangeInclusive};

use crate::error::Error;

/// The way to a field, put together only when it is told.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
    index: Option<usize>,
}

impl<'a> Path<'a> {
    /// Starts at a field of the message.
    pub(super) const fn root(name: &'a str) -> Self {
        Self { parent: None, name, index: None }
    }

    /// Starts at an entry of a list of the message.
    pub(super) const fn roots(name: &'a str, index: usize) -> Self {
        Self { parent: None, name, index: Some(index) }
    }

    /// Goes on to a field.
    pub(super) const fn field(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), name, index: None }
    }

    /// Goes on to an entry of a list.
    pub(super) const fn item(&'a self, name: &'a str, index: usize) -> Self {
        Self { parent: Some(self), name, index: Some(index) }
    }

    /// Makes the error for this field; `what` goes on after its name.
    pub(super) fn wrong(&self, what: &str) -> Error {
        let path = self.to_string();
        Error::invalid(path.clone(), format!("{path} {what}"))
    }

    /// Refuses unless the condition holds.
    pub(super) fn require(&self, holds: bool, what: &str) -> Result<(), Error> {
        if holds { Ok(()) } else { Err(self.wrong(what)) }
    }

    /// Refuses an empty text.
    pub(super) fn given(&self, text: &str) -> Result<(), Error> {
        self.require(!text.is_empty(), "is required")
    }

    /// Refuses a number outside the range, and what is no number.
    pub(super) fn number(&self, value: Option<f64>, range: RangeInclusive<f64>) -> Result<(), Error> {
        let Some(value) = value else { return Ok(()) };
        if range.contains(&value) {
            return Ok(());
        }
        Err(self.wrong(&format!("must lie between {} and {}", range.start(), range.end())))
    }

    /// Refuses an integer outside the range.
    pub(super) fn integer(&self, value: Option<i64>, range: RangeInclusive<i64>) -> Result<(), Error> {
        let Some(value) = value else { return Ok(()) };
        if range.contains(&value) {
            return Ok(());
        }
        Err(self.wrong(&format!("must lie between {} and {}", range.start(), range.end())))
    }

    /// Checks the text of one JSON value; empty is absent.
    pub(super) fn json(&self, text: &str) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| ()).map_err(|error| {
            self.wrong(&format!("is not valid JSON (line {}, column {})", error.line(), error.column()))
        })
    }

    /// Checks the text of one JSON object; empty is absent.
    pub(super) fn json_object(&self, text: &str) -> Result<(), Error> {
        self.json(text)?;
        self.require(text.is_empty() || text.trim_start().starts_with('{'), "must be a JSON object")
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
            f.write_str(".")?;
        }
        f.write_str(self.name)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}
