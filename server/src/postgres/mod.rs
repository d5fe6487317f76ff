//! The PostgreSQL that replicas share: addresses, TLS, connections, migrations, and what it tells by itself.
//!
//! Nothing on a call's path waits for it. A connection that fails is not tried again for a moment, in which everything
//! fails at once (`Trouble::Away`); every step has its time, so that a server that hangs holds nobody. Work is written
//! as plain code that blocks (`run`), on a thread of its own or through `call`. Before the first work the schema is
//! brought up to date, or it is told why that cannot be.
//!
//! Place in the path: beside it. Config: `store`. Metrics: none. Tests: beside each file, `tests/e2e/postgres.rs`.

mod address;
mod listen;
mod migrate;
mod session;
mod tls;
mod trouble;

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

pub use address::Address;
pub use listen::Heard;
pub(crate) use migrate::is_there;
pub use migrate::{Schema, newest};
pub use session::{Session, Values};
pub use tokio_postgres::{Row, error::SqlState, types};
pub use trouble::Trouble;

use session::Connection;
use tls::Tls;

/// Connections at a time, beside one that listens and one that is kept for what a call waits for.
const MOST: usize = 4;
/// What could not be done in less time than this says nothing of the server.
const TELLING: Duration = Duration::from_secs(1);
/// Shortest and longest time in which a PostgreSQL that cannot be connected to is left alone.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The PostgreSQL that replicas share. Cheap to clone.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    address: Address,
    tls: Tls,
    runtime: Handle,
    pool: Mutex<Pool>,
    freed: Condvar,
    reachable: AtomicBool,
    reached: AtomicBool,
    /// Whether the schema was found to be, or brought, up to date.
    prepared: AtomicBool,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    taken: usize,
    failures: u32,
    /// Until when it is left alone, and why.
    rest: Option<(Instant, String)>,
}

impl Postgres {
    /// Makes what is needed to connect. Nothing is connected yet, and a PostgreSQL that is away keeps nobody from
    /// starting.
    ///
    /// # Errors
    /// A message for the operator: a file that the address names cannot be used.
    pub fn new(address: Address, runtime: Handle) -> Result<Self, String> {
        let tls = Tls::new(&address.security).map_err(|message| format!("store: {message}"))?;
        Ok(Self(Arc::new(Inner {
            address,
            tls,
            runtime,
            pool: Mutex::default(),
            freed: Condvar::new(),
            reachable: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            prepared: AtomicBool::new(false),
        })))
    }

    /// Shows where it is, without user and password.
    pub fn place(&self) -> String {
        self.0.address.place()
    }

    /// Returns the runtime that its connections live on.
    pub fn runtime(&self) -> Handle {
        self.0.runtime.clone()
    }

    /// Tells whether it was there since the process started, with tables that this Tollgate works with.
    pub fn was_reached(&self) -> bool {
        self.0.reached.load(Ordering::Relaxed)
    }

    /// Tells whether it did of late what it was asked for.
    pub fn is_reachable(&self) -> bool {
        self.0.reachable.load(Ordering::Relaxed)
    }

    /// Does `work`, in `patience` at most, on a connection of the pool. Blocks: not for a task of the runtime.
    ///
    /// # Errors
    /// Those of `work`, `Trouble::Away`, `Trouble::Schema`.
    pub fn run<T, E: From<Trouble>>(
        &self,
        patience: Duration,
        work: impl FnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_among(MOST, patience, work)
    }

    /// Does work that a call waits for: as `run`, but reports that take all other connections do not hold it up. For one
    /// such work at a time.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_promptly<T, E: From<Trouble>>(
        &self,
        patience: Duration,
        work: impl FnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_among(MOST + 1, patience, work)
    }

    fn run_among<T, E: From<Trouble>>(
        &self,
        most: usize,
        patience: Duration,
        work: impl FnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let deadline = Instant::now() + patience;
        let mut place = self.place_until(deadline, most)?;
        let connection = match place.connection.take() {
            Some(connection) => connection,
            None => self.connect(deadline)?,
        };
        let connection = if self.0.prepared.load(Ordering::Acquire) {
            connection
        } else {
            let mut session = self.session(connection, deadline);
            let prepared = migrate::prepare(&mut session);
            if prepared.is_ok() || is_telling(patience, deadline) {
                self.note(prepared.as_ref().map(drop));
            }
            prepared?;
            self.0.prepared.store(true, Ordering::Release);
            self.0.reached.store(true, Ordering::Relaxed);
            match session.into_connection() {
                Some(connection) => connection,
                None => return Err(Trouble::aborted().into()),
            }
        };
        let mut session = self.session(connection, deadline);
        let done = work(&mut session);
        place.connection = session.into_connection();
        // What went wrong is in the error, whose kind is the caller's; a connection that is gone tells the same.
        if place.connection.is_some() {
            self.note(Ok(()));
        } else if done.is_err() && is_telling(patience, deadline) {
            self.note(Err(&Trouble::Away("a connection was lost or did not answer in time".to_owned())));
        }
        done
    }

    /// Does `work` without blocking the task that waits for it.
    ///
    /// # Errors
    /// As `run`.
    pub async fn call<T, E>(
        &self,
        patience: Duration,
        work: impl FnOnce(&mut Session) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Trouble> + Send + 'static,
    {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || own.run(patience, work)).await;
        done.unwrap_or_else(|_| Err(Trouble::aborted().into()))
    }

    /// Reads, without changing anything, which version the tables have.
    ///
    /// # Errors
    /// `Trouble::Away`.
    pub fn schema(&self, patience: Duration) -> Result<Schema, Trouble> {
        let deadline = Instant::now() + patience;
        let mut session = self.session(self.connect(deadline)?, deadline);
        migrate::read(&mut session)
    }

    /// Looks at the schema again before the next work: somebody has taken the tables away.
    pub fn doubt(&self) {
        self.0.prepared.store(false, Ordering::Release);
    }

    fn session(&self, connection: Connection, deadline: Instant) -> Session {
        Session::new(connection, self.0.runtime.clone(), self.0.tls.clone(), deadline)
    }

    /// Connects, unless that failed a moment ago.
    fn connect(&self, deadline: Instant) -> Result<Connection, Trouble> {
        if let Some((until, why)) = &self.pool().rest
            && Instant::now() < *until
        {
            return Err(Trouble::Away(why.clone()));
        }
        let opening = Connection::open(&self.0.address, &self.0.tls);
        let patience = deadline.saturating_duration_since(Instant::now());
        let opened = self
            .0
            .runtime
            .block_on(async { tokio::time::timeout(patience, opening).await })
            .unwrap_or_else(|_| Err(Trouble::Away("no connection in time".to_owned())));
        if opened.is_err() && !is_telling(patience, deadline) {
            return opened;
        }
        let mut pool = self.pool();
        match &opened {
            Ok(_) => (pool.failures, pool.rest) = (0, None),
            Err(trouble) => {
                let why = match trouble {
                    Trouble::Away(why) => why.clone(),
                    other => other.to_string(),
                };
                let pause = BACKOFF.0.saturating_mul(1 << pool.failures.min(8)).min(BACKOFF.1);
                pool.failures = pool.failures.saturating_add(1);
                pool.rest = Some((Instant::now() + pause, why));
            }
        }
        drop(pool);
        self.note(opened.as_ref().map(drop));
        opened
    }

    /// Takes one of so many places in the pool, with a connection if one is idle.
    fn place_until(&self, deadline: Instant, most: usize) -> Result<Place, Trouble> {
        let mut pool = self.pool();
        while pool.taken >= most {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(Trouble::Away("all connections are in use".to_owned()));
            }
            pool = self.0.freed.wait_timeout(pool, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        pool.taken += 1;
        pool.idle.retain(|connection| !connection.is_closed());
        Ok(Place { connection: pool.idle.pop(), of: self.clone() })
    }

    /// Notes whether it works, and logs a change.
    fn note(&self, outcome: Result<(), &Trouble>) {
        let reachable = outcome.is_ok();
        if self.0.reachable.swap(reachable, Ordering::Relaxed) == reachable {
            return;
        }
        let place = self.place();
        match outcome {
            Ok(()) => tracing::info!(place, "store: PostgreSQL answers"),
            Err(trouble) => {
                tracing::warn!(place, %trouble, "store: PostgreSQL does not answer; known keys go on, records wait");
            }
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether a failure of what had so much time, until then, is one of the server, and not of haste.
fn is_telling(patience: Duration, deadline: Instant) -> bool {
    patience >= TELLING || Instant::now() < deadline
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("place", &self.place())
            .field("reachable", &self.is_reachable())
            .finish_non_exhaustive()
    }
}

/// A place in the pool, given back when it is dropped, with its connection if that can be used again.
struct Place {
    connection: Option<Connection>,
    of: Postgres,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pool = self.of.pool();
        pool.taken -= 1;
        pool.idle.extend(self.connection.take());
        drop(pool);
        self.of.0.freed.notify_one();
    }
}
