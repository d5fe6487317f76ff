//! What replicas share: one Redis. Nothing on a call's path waits for it here; when it is away, each replica goes on with
//! what it knows itself.
//!
//! Place in the path: beside it. Config: `shared`. Metrics: none here; limits have `tollgate_shared_*`. Tests: here, `tests/e2e/replicas.rs`.

mod address;
mod findings;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use address::Address;
pub use findings::share;

/// Longest wait for a connection to Redis.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for an answer of Redis.
const ANSWER: Duration = Duration::from_millis(250);

/// The Redis that replicas share.
pub struct Shared {
    address: Address,
    reachable: AtomicBool,
    /// Whether limits cannot be counted over all replicas.
    alone: AtomicBool,
}

impl Shared {
    /// Reads the address. Nothing is connected yet, and a Redis that is away keeps nobody from starting.
    ///
    /// # Errors
    /// A message for operators, without the address: it may hold a password.
    pub fn new(address: &SecretString) -> Result<Self, String> {
        let address = Address::read(address.expose_secret()).map_err(|error| {
            format!(
                "shared: no address of a Redis ({}); write e.g. `redis://127.0.0.1:6379`",
                error.category()
            )
        })?;
        Ok(Self { address, reachable: AtomicBool::new(false), alone: AtomicBool::new(false) })
    }

    /// Tells whether Redis answered of late.
    pub fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Tells whether it answers in time, so that limits are counted over all replicas.
    pub fn is_well(&self) -> bool {
        self.is_reachable() && !self.alone.load(Ordering::Relaxed)
    }

    /// Notes whether limits are counted over all replicas, and logs a change.
    pub(crate) fn note_counters(&self, outcome: &Result<(), RedisError>) {
        let alone = outcome.is_err();
        if self.alone.swap(alone, Ordering::Relaxed) == alone {
            return;
        }
        match outcome {
            Ok(()) => tracing::info!("shared: Redis answers in time; limits are counted over all replicas"),
            Err(error) => tracing::warn!(
                kind = error.category(),
                code = error.code(),
                "shared: Redis does not answer in time; rates are shared out among the replicas, and budgets end with \
                 what this replica holds of them"
            ),
        }
    }

    /// Notes whether Redis answers, and logs a change.
    fn note(&self, outcome: &Result<(), RedisError>) {
        let reachable = outcome.is_ok();
        if self.reachable.swap(reachable, Ordering::Relaxed) == reachable {
            return;
        }
        match outcome {
            Ok(()) => tracing::info!("shared: Redis answers; replicas tell each other what they find out"),
            Err(error) => tracing::warn!(
                kind = error.category(),
                "shared: Redis does not answer; this replica goes on with what it knows itself"
            ),
        }
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
            let server = self.address.server().await?;
            server.get_multiplexed_async_connection_with_config(&config).await
        };
        timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(hangs()))
    }

    /// Connects for messages.
    pub(crate) async fn messages(&self, channel: &str) -> Result<redis::aio::PubSub, RedisError> {
        let connecting = async {
            let mut messages = self.address.server().await?.get_async_pubsub().await?;
            messages.subscribe(channel).await?;
            Ok(messages)
        };
        timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(hangs()))
    }
}

/// The error of a Redis that takes connections and says nothing.
pub(crate) fn hangs() -> RedisError {
    (redis::ErrorKind::Io, "no answer in time").into()
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("reachable", &self.is_reachable()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_without_being_shown() {
        let error = Shared::new(&SecretString::from("http://user:s3cret@host")).unwrap_err();
        assert!(error.contains("redis://127.0.0.1:6379") && !error.contains("s3cret"), "{error}");
        let shared = Shared::new(&SecretString::from("redis://:s3cret@127.0.0.1:1/0")).unwrap();
        assert!(!format!("{shared:?}").contains("s3cret") && !shared.is_reachable());
    }
}
