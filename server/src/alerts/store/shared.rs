//! The table in the PostgreSQL that replicas share. An alert is in the hands of one process for a while; if that ends
//! before it is delivered, another takes it over.

use std::time::Duration;

use uuid::Uuid;

use super::{FIRST_HOLD, MEMORY, NEWS, Store, Written};
use crate::postgres::{Postgres, Trouble};

/// Longest time for one statement.
const PATIENCE: Duration = Duration::from_secs(5);

/// The table.
pub(in crate::alerts) struct Shared {
    postgres: Postgres,
    /// This process.
    holder: Uuid,
}

impl Shared {
    pub(in crate::alerts) fn new(postgres: Postgres) -> Self {
        Self { postgres, holder: Uuid::now_v7() }
    }
}

impl Store for Shared {
    fn claim(&self, destination: &str, alert: &Written) -> Result<bool, String> {
        let forget = "DELETE FROM tollgate.alerts WHERE make_time < now() - $1 * interval '1 second'";
        let insert = "INSERT INTO tollgate.alerts (id, destination, body, holder, held_until)
            VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 second') ON CONFLICT (id) DO NOTHING";
        let claimed = self.postgres.run(PATIENCE, |session| {
            session.execute(forget, &[&MEMORY.as_secs_f64()])?;
            let hold = FIRST_HOLD.as_secs_f64();
            session.execute(insert, &[&alert.id, &destination, &alert.body, &self.holder, &hold])
        });
        claimed.map(|rows| rows == 1).map_err(in_words)
    }

    fn take_over(&self, destination: &str) -> Result<Vec<Written>, String> {
        let take = "UPDATE tollgate.alerts SET holder = $2, held_until = clock_timestamp() + $3 * interval '1 second'
            WHERE destination = $1 AND done_time IS NULL AND holder <> $2 AND held_until < clock_timestamp()
                AND make_time > now() - $4 * interval '1 second'
            RETURNING id, body";
        let (hold, news) = (FIRST_HOLD.as_secs_f64(), NEWS.as_secs_f64());
        let taken = self.postgres.run(PATIENCE, |session| {
            let rows = session.query(take, &[&destination, &self.holder, &hold, &news])?;
            let alert =
                |row: &crate::postgres::Row| Ok(Written { id: row.try_get(0)?, body: row.try_get(1)? });
            rows.iter().map(alert).collect::<Result<_, Trouble>>()
        });
        taken.map_err(in_words)
    }

    fn hold(&self, id: &str, time: Duration) -> Result<bool, String> {
        let hold = "UPDATE tollgate.alerts SET held_until = clock_timestamp() + $3 * interval '1 second'
            WHERE id = $1 AND holder = $2 AND done_time IS NULL";
        let time = time.as_secs_f64();
        let held = self.postgres.run(PATIENCE, |session| session.execute(hold, &[&id, &self.holder, &time]));
        held.map(|rows| rows == 1).map_err(in_words)
    }

    fn done(&self, id: &str) -> Result<(), String> {
        let done = "UPDATE tollgate.alerts SET done_time = clock_timestamp() WHERE id = $1";
        self.postgres.run(PATIENCE, |session| session.execute(done, &[&id])).map(drop).map_err(in_words)
    }
}

fn in_words(trouble: Trouble) -> String {
    trouble.to_string()
}
