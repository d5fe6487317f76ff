//! What the end-to-end tests share: the real binary as a child process, upstreams (scripted, and a
//! provider with books of its own), a fault proxy, clients, and the comparison of what all of them saw.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing step is the test's failure")]

pub mod blackhole;
pub mod books;
pub mod calendar;
pub mod callers;
pub mod dice;
pub mod faces;
pub mod gateway;
pub mod http;
pub mod http2;
pub mod lateness;
pub mod ledgers;
pub mod meter;
pub mod port;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod rows;
pub mod upstream;

use std::time::Duration;

pub use gateway::{ADMIN_KEY, Gateway, KEY};

/// For how long a test waits for what takes a moment, on whatever machine. That it never comes is a failure.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Whether the figures that are promised are asked for as they stand, on a machine that does nothing else meanwhile.
pub fn figures() -> bool {
    std::env::var_os("TOLLGATE_FIGURES").is_some()
}

/// Waits for what takes a moment.
pub async fn in_time<T>(what: &str, comes: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, comes).await;
    came.unwrap_or_else(|_| panic!("never: {what}"))
}
