//! A connection while something is done with it: every step blocks its thread, and none goes on after its time.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, pin_mut};
use tokio::{runtime::Handle, time::timeout_at};
use tokio_postgres::{
    Client, Row, Statement,
    types::{ToSql, Type},
};

use super::{address::Address, tls::Tls, trouble::Trouble};

/// What is bound to a statement.
pub type Values<'v> = &'v [&'v (dyn ToSql + Sync)];

/// Statements that a connection keeps prepared.
const MOST_PREPARED: usize = 64;
/// A transaction of a gateway that hangs or whose host is gone is ended by the server, with its locks.
const LONGEST_IDLE: Duration = Duration::from_secs(15);
/// What a step may take at the server more than here, so that it is given up here first.
const SERVER_SLACK: Duration = Duration::from_secs(2);

/// An open connection.
pub(super) struct Connection {
    client: Client,
    prepared: HashMap<String, Statement>,
}

impl Connection {
    /// Connects. What the server sends without being asked is passed over.
    pub(super) async fn open(address: &Address, tls: &Tls) -> Result<Self, Trouble> {
        let connecting = async {
            let (client, connection) = address.config.connect(tls.clone()).await?;
            tokio::spawn(async move {
                // Whoever uses the client is told, too.
                let _ = connection.await;
            });
            configure(&client).await?;
            Ok::<_, tokio_postgres::Error>(client)
        };
        let client = match tokio::time::timeout(address.connect, connecting).await {
            Ok(client) => client.map_err(|error| away(Trouble::from(error)))?,
            Err(_) => return Err(Trouble::Away(format!("no connection within {:?}", address.connect))),
        };
        Ok(Self { client, prepared: HashMap::new() })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// Says of a connection that cannot be made that it can be later, whatever the reason: an operator may put it right.
pub(super) fn away(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Refused { message, .. } => Trouble::Away(message),
        other => other,
    }
}

pub(super) async fn configure(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .batch_execute(&format!(
            "SET idle_in_transaction_session_timeout = {}; SET client_min_messages = warning",
            LONGEST_IDLE.as_millis()
        ))
        .await
}

/// A connection while something is done with it, until a moment at most.
pub struct Session {
    connection: Connection,
    runtime: Handle,
    tls: Tls,
    deadline: Instant,
    /// Whether the connection can be used again.
    sound: bool,
    in_transaction: bool,
}

impl Session {
    pub(super) fn new(connection: Connection, runtime: Handle, tls: Tls, deadline: Instant) -> Self {
        Self { connection, runtime, tls, deadline, sound: true, in_transaction: false }
    }

    /// Returns the connection if it can be used again.
    pub(super) fn into_connection(self) -> Option<Connection> {
        (self.sound && !self.in_transaction && !self.connection.is_closed()).then_some(self.connection)
    }

    /// Reads rows.
    ///
    /// # Errors
    /// What PostgreSQL says, or that it took too long.
    pub fn query(&mut self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Trouble> {
        let statement = self.prepare(sql)?;
        self.step(async |client| client.query(&statement, values).await)
    }

    /// Reads at most one row.
    ///
    /// # Errors
    /// As `query`, or that there are several.
    pub fn query_opt(&mut self, sql: &str, values: Values<'_>) -> Result<Option<Row>, Trouble> {
        let statement = self.prepare(sql)?;
        self.step(async |client| client.query_opt(&statement, values).await)
    }

    /// Reads one row.
    ///
    /// # Errors
    /// As `query`, or that there is none or several.
    pub fn query_one(&mut self, sql: &str, values: Values<'_>) -> Result<Row, Trouble> {
        let statement = self.prepare(sql)?;
        self.step(async |client| client.query_one(&statement, values).await)
    }

    /// Changes rows, and returns how many.
    ///
    /// # Errors
    /// As `query`.
    pub fn execute(&mut self, sql: &str, values: Values<'_>) -> Result<u64, Trouble> {
        let statement = self.prepare(sql)?;
        self.step(async |client| client.execute(&statement, values).await)
    }

    /// Runs statements without values, all of them or none.
    ///
    /// # Errors
    /// As `query`.
    pub fn batch(&mut self, sql: &str) -> Result<(), Trouble> {
        self.step(async |client| client.batch_execute(sql).await)
    }

    /// Hands each row to `take` as it comes, however many there are. The time starts anew with each.
    ///
    /// # Errors
    /// As `query`, and those of `take`.
    pub fn each<E: From<Trouble>>(
        &mut self,
        sql: &str,
        values: Values<'_>,
        patience: Duration,
        mut take: impl FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        self.extend(patience);
        let statement = self.prepare(sql)?;
        let rows = self.step(async |client| client.query_raw(&statement, values.iter().copied()).await)?;
        pin_mut!(rows);
        loop {
            self.extend(patience);
            let next = self.step(async |_| rows.next().await.transpose())?;
            let Some(row) = next else { return Ok(()) };
            if let Err(error) = take(&row) {
                // What is still to come would have to be read before anything else can be asked.
                self.sound = false;
                return Err(error);
            }
        }
    }

    /// Does all of `work` or nothing of it.
    ///
    /// # Errors
    /// Those of `work`, and what PostgreSQL says. After `Away` it is not known whether it was done.
    pub fn transaction<T, E: From<Trouble>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.batch("BEGIN")?;
        self.in_transaction = true;
        match work(self) {
            Ok(done) => {
                self.batch("COMMIT")?;
                self.in_transaction = false;
                Ok(done)
            }
            Err(error) => {
                if self.sound && self.batch("ROLLBACK").is_ok() {
                    self.in_transaction = false;
                }
                Err(error)
            }
        }
    }

    /// Gives what comes next so much time from now on.
    pub fn extend(&mut self, patience: Duration) {
        self.deadline = Instant::now() + patience;
    }

    /// Bounds what comes next at the server too, which does not see that nobody waits any more.
    ///
    /// # Errors
    /// As `query`.
    pub fn bound(&mut self) -> Result<(), Trouble> {
        let rest = self.deadline.saturating_duration_since(Instant::now()) + SERVER_SLACK;
        self.batch(&format!("SET LOCAL statement_timeout = {}", rest.as_millis()))
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Trouble> {
        if let Some(statement) = self.connection.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.step(async |client| client.prepare_typed(sql, &[] as &[Type]).await)?;
        if self.connection.prepared.len() >= MOST_PREPARED {
            self.connection.prepared.clear();
        }
        self.connection.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Waits for one answer.
    fn step<T>(
        &mut self,
        ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Trouble> {
        let client = &self.connection.client;
        let until = tokio::time::Instant::from_std(self.deadline);
        // The timer belongs to the runtime, so it is made inside.
        let answer = self.runtime.block_on(async { timeout_at(until, ask(client)).await });
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let trouble = Trouble::from(error);
                if matches!(trouble, Trouble::Away(_)) {
                    self.sound = false;
                }
                Err(trouble)
            }
            Err(_) => {
                self.sound = false;
                self.stop();
                Err(Trouble::Away("no answer in time".to_owned()))
            }
        }
    }

    /// Asks the server to stop what nobody waits for any more, without waiting for that.
    fn stop(&self) {
        let (token, tls) = (self.connection.client.cancel_token(), self.tls.clone());
        self.runtime.spawn(async move {
            // If it does not hear this either, its own bounds hold.
            let _ = tokio::time::timeout(SERVER_SLACK, token.cancel_query(tls)).await;
        });
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("sound", &self.sound).finish_non_exhaustive()
    }
}
