//! The table `key_requests`: what requests with an id did, for their repeats.

use std::time::SystemTime;

use secrecy::zeroize::Zeroizing;

use super::{Sql, Trouble};
use crate::auth::{pepper::Hash, record::to_micros};

/// What a request with an id did.
pub(in crate::auth) struct Done {
    pub(in crate::auth) fingerprint: Hash,
    pub(in crate::auth) nonce: Zeroizing<[u8; 32]>,
    /// The key as the first call returned it, encoded.
    pub(in crate::auth) key: Vec<u8>,
}

/// Returns what the request of that caller and id did, if that is not too long ago.
///
/// # Errors
/// The database's.
pub(in crate::auth) fn done(
    sql: &mut dyn Sql,
    caller_id: &str,
    request_id: &str,
    now: SystemTime,
) -> Result<Option<Done>, Trouble> {
    let statement = "SELECT fingerprint, nonce, key FROM key_requests \
         WHERE caller_id = $1 AND request_id = $2 AND expire_time > $3";
    let row = sql.row(statement, &[caller_id.into(), request_id.into(), to_micros(now).into()])?;
    row.map(|mut row| {
        Ok(Done { fingerprint: row.hash()?, nonce: Zeroizing::new(row.hash()?), key: row.blob()? })
    })
    .transpose()
}

/// Remembers until `until` what a request did, and forgets those whose time is over.
///
/// # Errors
/// The database's.
pub(in crate::auth) fn remember(
    sql: &mut dyn Sql,
    (caller_id, request_id): (&str, &str),
    done: &Done,
    now: SystemTime,
    until: SystemTime,
) -> Result<(), Trouble> {
    sql.execute("DELETE FROM key_requests WHERE expire_time <= $1", &[to_micros(now).into()])?;
    sql.execute(
        "INSERT INTO key_requests (caller_id, request_id, fingerprint, nonce, key, expire_time) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            caller_id.into(),
            request_id.into(),
            done.fingerprint.as_slice().into(),
            done.nonce.as_slice().into(),
            done.key.as_slice().into(),
            to_micros(until).into(),
        ],
    )
}
