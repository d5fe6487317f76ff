//! The error of the provider behind a router, which the router hands on as text within its own.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Said, read};

/// Joins what `metadata.raw` says to the router's own words: the text, and whatever names the trouble more closely.
pub(super) fn join(said: &mut Said, raw: &str) {
    let behind = match serde_json::from_str::<Value>(raw) {
        Ok(json @ Value::Object(_)) => read(&json),
        _ => Said::default(),
    };
    let words = if behind.message.is_empty() { raw } else { &behind.message };
    let _ = write!(said.message, ": {words}");
    let _ = write!(said.hint, " {} {} {}", behind.r#type, behind.code, behind.hint);
    if said.r#type.is_empty() {
        said.r#type = behind.r#type;
    }
    said.field = said.field.take().or(behind.field);
    said.retry = said.retry.or(behind.retry);
}
