//! Limits as a column holds them.

use serde::{Deserialize, Serialize};
use tollgate_api::admin;

use super::{Row, Trouble, Value};

/// Reads the next value of a row, limits.
///
/// # Errors
/// It is none.
pub(in crate::auth) fn read(row: &mut Row) -> Result<Vec<admin::Limit>, Trouble> {
    Ok(row.json::<Vec<StoredLimit>>()?.into_iter().map(Into::into).collect())
}

/// Writes limits as a value.
///
/// # Errors
/// They have no JSON.
pub(in crate::auth) fn write(limits: &[admin::Limit]) -> Result<Value, Trouble> {
    Value::json(&limits.iter().map(StoredLimit::from).collect::<Vec<_>>())
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
