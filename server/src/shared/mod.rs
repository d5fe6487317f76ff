//! What replicas share: one Redis. Nothing on a call's path waits for it here; when it is away, each replica goes on with
//! what it knows itself.
//!
//! Place in the path: beside it. Config: `shared`. Metrics: none here; limits have `tollgate_shared_*`. Tests: here,
//! `tests/e2e/replicas.rs`, and for each way to be reached `tests/e2e/redis_*.rs`.

mod address;
mod findings;
mod server;
mod trouble;

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

pub use findings::share;

use self::{address::Address, server::Server, trouble::explain};

/// Longest wait for a connection to Redis.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for an answer of Redis.
const ANSWER: Duration = Duration::from_millis(250);

/// The Redis that replicas share.
pub struct Shared {
    server: Server,
    reachable: AtomicBool,
    /// Whether limits cannot be counted over all replicas.
    alone: AtomicBool,
    /// Why Redis last was not to be had.
    trouble: Mutex<String>,
}

/// Looks at an address without opening anything.
///
/// # Errors
/// What is wrong, without the address: it may hold a password.
pub(crate) fn check(address: &str) -> Result<(), String> {
    Address::read(address).map(drop)
}

impl Shared {
    /// Reads the address. Nothing is connected yet, and a Redis that is away keeps nobody from starting.
    ///
    /// # Errors
    /// A message for operators, without the address: it may hold a password.
    pub fn new(address: &SecretString) -> Result<Self, String> {
        let server = Address::read(address.expose_secret()).and_then(Server::new);
        let server = server.map_err(|problem| format!("shared: not an address of Redis: {problem}"))?;
        let (reachable, alone, trouble) = Default::default();
        Ok(Self { server, reachable, alone, trouble })
    }

    /// Tells whether Redis answered of late.
    pub fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Tells whether it answers in time, so that limits are counted over all replicas.
    pub fn is_well(&self) -> bool {
        self.is_reachable() && !self.alone.load(Ordering::Relaxed)
    }

    /// Says why Redis is not to be had; empty while it is.
    pub fn trouble(&self) -> String {
        if self.is_well() { String::new() } else { self.last_trouble().clone() }
    }

    fn last_trouble(&self) -> std::sync::MutexGuard<'_, String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether limits are counted over all replicas, and logs a change.
    pub(crate) fn note_counters(&self, outcome: &Result<(), RedisError>) {
        if !self.turns(&self.alone, outcome.is_err(), outcome) {
            return;
        }
        match outcome {
            Ok(()) => tracing::info!("shared: Redis answers in time; limits are counted over all replicas"),
            Err(error) => tracing::warn!(
                cause = explain(error),
                "shared: Redis does not answer in time; rates are shared out among the replicas, and budgets end with \
                 what this replica holds of them"
            ),
        }
    }

    /// Notes whether Redis answers, and logs a change.
    fn note(&self, outcome: &Result<(), RedisError>) {
        if !self.turns(&self.reachable, outcome.is_ok(), outcome) {
            return;
        }
        match outcome {
            Ok(()) => tracing::info!("shared: Redis answers; replicas tell each other what they find out"),
            Err(error) => tracing::warn!(
                cause = explain(error),
                "shared: Redis does not answer; this replica goes on with what it knows itself"
            ),
        }
    }

    /// Notes what is the case now, and why if that is trouble. Tells whether it is a change.
    fn turns(&self, flag: &AtomicBool, now: bool, outcome: &Result<(), RedisError>) -> bool {
        if let Err(error) = outcome {
            *self.last_trouble() = explain(error);
        }
        flag.swap(now, Ordering::Relaxed) != now
    }

    /// Connects for commands.
    async fn commands(&self) -> Result<MultiplexedConnection, RedisError> {
        self.connect(ANSWER).await
    }

    /// Connects for commands whose answers may take so long.
    pub(crate) async fn connect(&self, answer: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(answer));
        let connecting = async {
            let server = self.server.find().await?;
            server.get_multiplexed_async_connection_with_config(&config).await
        };
        timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(hangs()))
    }

    /// Connects for messages.
    pub(crate) async fn messages(&self, channel: &str) -> Result<redis::aio::PubSub, RedisError> {
        let connecting = async {
            let mut messages = self.server.find().await?.get_async_pubsub().await?;
            messages.subscribe(channel).await?;
            Ok(messages)
        };
        timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(hangs()))
    }
}

/// The error of a Redis that takes connections and says nothing.
pub(crate) fn hangs() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("reachable", &self.is_reachable()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis_server::Redis;

    #[test]
    fn an_address_that_is_none_is_refused_without_being_shown() {
        let error = Shared::new(&SecretString::from("http://user:s3cret@host")).unwrap_err();
        assert!(error.contains("scheme") && !error.contains("s3cret"), "{error}");
        let shared = Shared::new(&SecretString::from("redis://:s3cret@127.0.0.1:1/0")).unwrap();
        assert!(!format!("{shared:?}").contains("s3cret") && !shared.is_reachable());
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let address = SecretString::from("rediss://:s3cret@host?sslrootcert=/no/such.pem");
        let error = Shared::new(&address).unwrap_err();
        assert!(error.contains("/no/such.pem") && !error.contains("s3cret"), "{error}");
    }

    async fn ping(address: &str) -> Result<String, RedisError> {
        let shared = Shared::new(&SecretString::from(address)).unwrap();
        redis::cmd("PING").query_async(&mut shared.commands().await?).await
    }

    #[tokio::test]
    async fn nodes_of_a_cluster_know_who_has_our_slot() {
        let node = Redis::start_with(&["--cluster-enabled", "yes"]);
        let address = format!("redis+cluster://127.0.0.1:1,{}", node.addr);
        let error = ping(&address).await.unwrap_err();
        assert!(explain(&error).contains("node"), "it has no slots yet: {}", explain(&error));
        node.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        assert_eq!(ping(&address).await.unwrap(), "PONG");
    }

    #[tokio::test]
    async fn sentinels_know_where_the_server_is() {
        let server = Redis::start_with_port();
        let sentinel = Redis::start_sentinel("main", server.addr);
        let address = format!("redis+sentinel://127.0.0.1:1,{}/main", sentinel.addr);
        assert_eq!(ping(&address).await.unwrap(), "PONG");
        assert!(ping(&address.replace("main", "other")).await.is_err());
    }
}
