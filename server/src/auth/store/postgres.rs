//! The store as tables of the PostgreSQL that replicas share.

use std::time::Duration;

use bytes::BytesMut;

use super::{super::pepper::Hash, Change, Row, Sql, Store, Trouble, Value, Work};
use crate::{
    error::Error,
    postgres::{
        self, Postgres, Session,
        types::{self, IsNull, Type},
    },
};

/// Longest time for a transaction.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest time to look for keys while their callers wait.
pub(in crate::auth) const HASTE: Duration = Duration::from_millis(250);
/// Reads from one snapshot.
const READING: &str =
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = tollgate";
/// Finds the keys of some secrets, also of those that rotations replaced.
const SEEK: &str = "SELECT id FROM tollgate.keys WHERE hash = ANY($1) \
    UNION SELECT id FROM tollgate.keys WHERE old_hash = ANY($1)";
/// Number of the advisory lock under which changes take turns: `tollkeys` in ASCII.
const LOCK: i64 = 0x746f_6c6c_6b65_7973;
/// Where changes are told.
pub(in crate::auth) const CHANNEL: &str = "tollgate_keys";

/// The tables that replicas share.
pub(in crate::auth) struct Shared(pub(in crate::auth) Postgres);

impl From<postgres::Trouble> for Trouble {
    fn from(trouble: postgres::Trouble) -> Self {
        match trouble {
            // Only another version of Tollgate puts that right.
            postgres::Trouble::Schema(message) => Self::Refused(Error::internal(message)),
            other => Self::Store(other.into()),
        }
    }
}

impl Shared {
    /// Looks for the keys of these secrets, and if there are any reads them with `work`, which gets their ids.
    ///
    /// # Errors
    /// Those of `work`, and the database's, also if it takes too long for somebody who waits.
    pub(in crate::auth) fn seek(
        &self,
        hashes: &[Hash],
        work: impl FnOnce(&mut dyn Sql, Vec<String>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let hashes: Vec<&[u8]> = hashes.iter().map(Hash::as_slice).collect();
        self.0.run_promptly(HASTE, |session| {
            let found = session.query(SEEK, &[&hashes])?;
            if found.is_empty() {
                return Ok(());
            }
            let ids: Result<_, _> = found.iter().map(|row| row.try_get(0)).collect();
            let ids = ids.map_err(postgres::Trouble::from)?;
            in_transaction(session, READING, |session| work(session, ids))
        })
    }

    fn within(&self, first: &str, work: Work<'_>) -> Result<(), Trouble> {
        self.0.run(PATIENCE, |session| in_transaction(session, first, |session| work(session)))
    }
}

fn in_transaction(
    session: &mut Session,
    first: &str,
    work: impl FnOnce(&mut Session) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    session.transaction(|session| {
        session.batch(first)?;
        session.bound()?;
        work(session)
    })
}

impl Store for Shared {
    fn reading(&self, work: Work<'_>) -> Result<(), Trouble> {
        self.within(READING, work)
    }

    fn changing(&self, work: Work<'_>, publish: &mut dyn FnMut()) -> Result<(), Trouble> {
        // The next one in the row sees what this one did, and so gives the numbers of the list in their order.
        self.within(
            &format!("SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL search_path = tollgate"),
            work,
        )?;
        publish();
        Ok(())
    }
}

impl Sql for Session {
    fn rows(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>, Trouble> {
        let found = self.query(statement, &bound(values))?;
        found.iter().map(read).collect()
    }

    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<(), Trouble> {
        Self::execute(self, statement, &bound(values))?;
        Ok(())
    }

    fn tell(&mut self, change: &Change) -> Result<(), Trouble> {
        let payload = Value::Text(change.to_string());
        Self::execute(self, "SELECT pg_notify($1, $2)", &[&CHANNEL, &payload])?;
        Ok(())
    }
}

fn bound(values: &[Value]) -> Vec<&(dyn types::ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

fn read(row: &postgres::Row) -> Result<Row, Trouble> {
    let value = |(at, column): (usize, &Type)| {
        let value: Option<Value> = match *column {
            Type::BOOL => row.try_get::<_, Option<bool>>(at).map(|read| read.map(Value::Bool)),
            Type::INT8 => row.try_get::<_, Option<i64>>(at).map(|read| read.map(Value::Int)),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at).map(|read| read.map(Value::Blob)),
            _ => row.try_get::<_, Option<String>>(at).map(|read| read.map(Value::Text)),
        }
        .map_err(postgres::Trouble::from)?;
        Ok(value.unwrap_or(Value::Null))
    };
    let types: Vec<_> = row.columns().iter().map(|column| column.type_().clone()).collect();
    let values: Result<Vec<Value>, Trouble> = types.iter().enumerate().map(value).collect();
    Ok(Row::new(values?))
}

impl types::ToSql for Value {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Bool(yes) => yes.to_sql(of, out),
            Self::Int(number) => number.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Blob(bytes) => bytes.to_sql(of, out),
        }
    }

    /// The statements are ours; what does not fit is a mistake that each test of a statement shows.
    fn accepts(_: &Type) -> bool {
        true
    }

    types::to_sql_checked!();
}
