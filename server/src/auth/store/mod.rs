//! Keys, teams and adjustments at rest: one set of statements, two databases that run them. Holds keyed hashes, never
//! keys.
//!
//! The statements are written in what SQLite and PostgreSQL have in common; their parameters are `$1`, `$2`, …, in the
//! order in which they first appear, which is the one order that both give the same meaning.

pub(super) mod adjustments;
pub(super) mod keys;
pub(super) mod limits;
mod postgres;
pub(super) mod requests;
mod sqlite;
pub(super) mod teams;
mod value;

use std::{error::Error as Cause, fmt, str::FromStr};

pub(super) use postgres::{CHANNEL, HASTE, Shared};
pub(super) use sqlite::Sqlite;
pub(super) use value::{Row, Value};

use crate::error::{Error, Reason};

/// Version of the tables.
const SCHEMA: i64 = 1;

/// Why the store did not do something.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The database failed, or is away.
    Store(Box<dyn Cause + Send + Sync>),
    /// The caller asked for something that cannot be.
    Refused(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Trouble {
    /// Says it to a caller; what the database said is for the log.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Store(error) => {
                tracing::error!(error = display(error.as_ref()), "the store of the keys fails");
                Error::new(Reason::StoreUnavailable, "the store of the keys cannot be read or written now")
            }
        }
    }

    /// Says it to the operator.
    pub(super) fn into_message(self) -> String {
        match self {
            Self::Refused(error) => error.to_string(),
            Self::Store(error) => format!("the store of the keys fails: {}", display(error.as_ref())),
        }
    }
}

/// Shows an error with its causes.
fn display(error: &dyn Cause) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What changed, for other replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The key of this id.
    Key(String),
    /// The team of this id; it may be gone.
    Team(String),
    /// A top-up or a reset of this id.
    Adjustment(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Team(id) => write!(f, "team:{id}"),
            Self::Adjustment(id) => write!(f, "adjustment:{id}"),
        }
    }
}

impl FromStr for Change {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("key", id)) => Ok(Self::Key(id.to_owned())),
            Some(("team", id)) => Ok(Self::Team(id.to_owned())),
            Some(("adjustment", id)) => Ok(Self::Adjustment(id.to_owned())),
            _ => Err(()),
        }
    }
}

/// One transaction: what the statements of the rooms below need of a database.
pub(super) trait Sql {
    /// Runs a statement that returns rows.
    ///
    /// # Errors
    /// The database's.
    fn rows(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>, Trouble>;

    /// Runs a statement that returns none.
    ///
    /// # Errors
    /// The database's.
    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<(), Trouble>;

    /// Tells other replicas of a change, once it is durable.
    ///
    /// # Errors
    /// The database's.
    fn tell(&mut self, change: &Change) -> Result<(), Trouble>;

    /// Runs a statement that returns at most one row.
    ///
    /// # Errors
    /// The database's.
    fn row(&mut self, statement: &str, values: &[Value]) -> Result<Option<Row>, Trouble> {
        Ok(self.rows(statement, values)?.into_iter().next())
    }
}

/// What is to be done in a transaction.
pub(super) type Work<'w> = &'w mut dyn FnMut(&mut dyn Sql) -> Result<(), Trouble>;

/// A database of keys. Every method blocks on it.
pub(super) trait Store: Send + Sync {
    /// Reads with `work`.
    ///
    /// # Errors
    /// Those of `work`, and the database's.
    fn reading(&self, work: Work<'_>) -> Result<(), Trouble>;

    /// Changes with `work`, all of it or nothing, and one such change at a time over all replicas. Once that is durable,
    /// `publish` makes it known before the next change can start here.
    ///
    /// # Errors
    /// Those of `work`, and the database's.
    fn changing(&self, work: Work<'_>, publish: &mut dyn FnMut()) -> Result<(), Trouble>;
}

impl dyn Store + '_ {
    /// Reads with `work`.
    ///
    /// # Errors
    /// Those of `work`, and the database's.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&mut dyn Sql) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let (mut work, mut done) = (Some(work), None);
        self.reading(&mut |sql| once(&mut work, &mut done, sql))?;
        done.ok_or_else(unrun)
    }

    /// Changes with `work`, all of it or nothing. Once that is durable, `publish` makes it known before the next change
    /// can start here.
    ///
    /// # Errors
    /// Those of `work`, and the database's.
    pub(super) fn change<T>(
        &self,
        work: impl FnOnce(&mut dyn Sql) -> Result<T, Trouble>,
        publish: impl FnOnce(&T),
    ) -> Result<T, Trouble> {
        let mut work = Some(work);
        let done = std::cell::RefCell::new(None);
        let mut publish = Some(publish);
        self.changing(&mut |sql| once(&mut work, &mut done.borrow_mut(), sql), &mut || {
            if let (Some(publish), Some(done)) = (publish.take(), done.borrow().as_ref()) {
                publish(done);
            }
        })?;
        done.into_inner().ok_or_else(unrun)
    }
}

/// Runs what runs once, and keeps what it returns.
fn once<T, W: FnOnce(&mut dyn Sql) -> Result<T, Trouble>>(
    work: &mut Option<W>,
    done: &mut Option<T>,
    sql: &mut dyn Sql,
) -> Result<(), Trouble> {
    *done = Some(work.take().ok_or_else(unrun)?(sql)?);
    Ok(())
}

fn unrun() -> Trouble {
    Error::internal("a transaction of the key store did not run once").into()
}

/// Returns a value of `auth_meta`.
///
/// # Errors
/// The database's.
pub(super) fn meta(sql: &mut dyn Sql, name: &str) -> Result<Option<Vec<u8>>, Trouble> {
    let row = sql.row("SELECT value FROM auth_meta WHERE name = $1", &[name.into()])?;
    row.map(|mut row| row.blob()).transpose()
}

/// Sets a value of `auth_meta`.
///
/// # Errors
/// The database's.
pub(super) fn set_meta(sql: &mut dyn Sql, name: &str, value: &[u8]) -> Result<(), Trouble> {
    let set = "INSERT INTO auth_meta (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sql.execute(set, &[name.into(), value.into()])
}
