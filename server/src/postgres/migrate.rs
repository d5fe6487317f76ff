//! The versions of the tables, each a step from the one before.
//!
//! Steps are additive, so that the version before a step goes on working with the tables after it: two versions run side
//! by side during a rollout. Each step says from which version on a Tollgate can work with what it leaves behind
//! (`serves`), and that is kept in the database: an older Tollgate finds a newer schema, reads there whether it is
//! served, and goes on or refuses. Steps run one at a time over all replicas, under an advisory lock.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::{session::Session, trouble::Trouble};

/// A step from one version of the tables to the next.
struct Step {
    /// What it is called in the database.
    name: &'static str,
    sql: &'static str,
    /// The oldest version of Tollgate's schema that works with the tables after it. An additive step repeats what the
    /// step before it says.
    serves: i32,
}

const STEPS: [Step; 3] = [
    Step { name: "ledger", sql: include_str!("migrations/0001_ledger.sql"), serves: 1 },
    Step { name: "keys", sql: include_str!("migrations/0002_keys.sql"), serves: 1 },
    Step { name: "alerts", sql: include_str!("migrations/0003_alerts.sql"), serves: 1 },
];

/// Time for the steps.
const MIGRATING: Duration = Duration::from_secs(60);
/// Number of the advisory lock that a migration holds: `tollgate` in ASCII.
const LOCK: i64 = 0x746f_6c6c_6761_7465;

const TABLE: &str = "
    CREATE SCHEMA IF NOT EXISTS tollgate;
    CREATE TABLE IF NOT EXISTS tollgate.migrations (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        serves INTEGER NOT NULL,
        applied_by TEXT NOT NULL,
        apply_time TIMESTAMPTZ NOT NULL DEFAULT now()
    )";

/// Returns the version of the tables that this Tollgate makes.
pub fn newest() -> i32 {
    i32::try_from(STEPS.len()).unwrap_or(i32::MAX)
}

/// The version of the tables in a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The last step that was made; 0: none.
    pub version: i32,
    /// The oldest version that works with them.
    pub serves: i32,
}

impl Schema {
    /// Tells how many steps this Tollgate knows that were not made.
    pub fn behind(self) -> i32 {
        newest().saturating_sub(self.version).max(0)
    }

    /// Checks that this Tollgate works with the tables.
    ///
    /// # Errors
    /// `Trouble::Schema`.
    pub fn check(self) -> Result<(), Trouble> {
        self.check_for(newest())
    }

    fn check_for(self, known: i32) -> Result<(), Trouble> {
        if self.serves <= known {
            return Ok(());
        }
        Err(Trouble::Schema(format!(
            "the tables in PostgreSQL were changed by a newer Tollgate (version {}, which serves {} and later; this \
             one knows {known}); use a newer one",
            self.version, self.serves
        )))
    }
}

/// Reads the version of the tables.
pub(super) fn read(session: &mut Session) -> Result<Schema, Trouble> {
    if !is_there(session, "migrations")? {
        return Ok(Schema::default());
    }
    let row = session.query_one(
        "SELECT COALESCE(max(version), 0), COALESCE(max(serves), 0) FROM tollgate.migrations",
        &[],
    )?;
    Ok(Schema { version: row.try_get(0)?, serves: row.try_get(1)? })
}

/// Tells whether there is a table of that name. Reads the catalog itself: after a wait for a lock, `to_regclass` can still
/// answer from what this connection knew before.
pub(crate) fn is_there(session: &mut Session, table: &str) -> Result<bool, Trouble> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'tollgate' AND c.relname = $1::text)";
    Ok(session.query_one(sql, &[&table])?.try_get(0)?)
}

/// Brings the tables up to date. Another that does the same is waited for.
pub(super) fn prepare(session: &mut Session) -> Result<Schema, Trouble> {
    let found = read(session)?;
    found.check()?;
    if found.behind() == 0 {
        return Ok(found);
    }
    session.extend(MIGRATING);
    session.transaction(migrate).map_err(|trouble| explain(trouble, found))
}

fn migrate(session: &mut Session) -> Result<Schema, Trouble> {
    session.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    // Another replica may have done it meanwhile.
    let found = read(session)?;
    found.check()?;
    if found.version == 0 {
        session.batch(TABLE)?;
    }
    for (version, step) in (1..).zip(&STEPS).skip(usize::try_from(found.version).unwrap_or_default()) {
        session.batch(step.sql)?;
        session.execute(
            "INSERT INTO tollgate.migrations (version, name, serves, applied_by) VALUES ($1, $2, $3, $4)",
            &[&version, &step.name, &step.serves, &env!("CARGO_PKG_VERSION")],
        )?;
        tracing::info!(version, name = step.name, "store: the tables in PostgreSQL are of this version now");
    }
    read(session)
}

/// Says what to do if the role may not change tables.
fn explain(trouble: Trouble, found: Schema) -> Trouble {
    if !trouble.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return trouble;
    }
    Trouble::Schema(format!(
        "the tables in PostgreSQL have version {} and this Tollgate needs {}, which this role may not make ({trouble}); \
         run `tollgate store migrate` as the owner of the database",
        found.version,
        newest()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_worked_with_as_long_as_it_serves_this_version() {
        for (serves, known, works) in [(0, 1, true), (1, 1, true), (1, 2, true), (3, 2, false)] {
            let schema = Schema { version: 9, serves };
            assert_eq!(schema.check_for(known).is_ok(), works, "{serves} {known}");
        }
        let told = Schema { version: 9, serves: 9 }.check().unwrap_err().to_string();
        assert!(told.contains("newer") && told.contains('9'), "{told}");
    }

    #[test]
    fn no_step_serves_less_than_the_one_before_or_a_version_that_is_yet_to_come() {
        let mut before = 0;
        for (version, step) in (1..).zip(&STEPS) {
            assert!(step.serves >= before && step.serves <= version, "{}", step.name);
            before = step.serves;
        }
    }
}
