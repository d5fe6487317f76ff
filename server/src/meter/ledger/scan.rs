//! Reading a store from outside: every record of a time, one by one, with or without a gateway beside it.

use std::path::Path;

use prost::Message as _;
use tollgate_api::v1;

use super::connect;

/// Gives every record of a time, in milliseconds since 1970, in the order of their ends.
///
/// # Errors
/// A message for the operator that names the file and what to do.
pub fn each_record(
    store: &Path,
    (from, until): (i64, i64),
    mut each: impl FnMut(v1::UsageRecord),
) -> Result<(), String> {
    let explained = |error| connect::explain(store, &error);
    let connection = connect::reader(store).map_err(explained)?;
    let select =
        "SELECT record FROM records WHERE create_ms >= ?1 AND create_ms < ?2 ORDER BY create_ms, seq";
    let mut statement = connection.prepare(select).map_err(explained)?;
    let mut rows = statement.query([from, until]).map_err(explained)?;
    while let Some(row) = rows.next().map_err(explained)? {
        let bytes = row.get_ref(0).map_err(explained)?.as_blob().map_err(|error| explained(error.into()))?;
        let record = v1::UsageRecord::decode(bytes);
        each(record.map_err(|error| format!("a record in {} cannot be read: {error}", store.display()))?);
    }
    Ok(())
}
