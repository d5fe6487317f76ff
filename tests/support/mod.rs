//! What the end-to-end tests share: the real binary as a child process, a scripted upstream, and plain clients.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing step is the test's failure")]

pub mod gateway;
pub mod http;
pub mod http2;
pub mod upstream;

pub use gateway::{ADMIN_KEY, Gateway, KEY};
