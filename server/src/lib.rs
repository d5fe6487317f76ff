//! Tollgate, the LLM gateway: one port between every application and every model.
//!
//! Directions: `main -> app -> {edge, pipeline, config} -> rooms -> {call, error, telemetry} -> tollgate-api`. Rooms do
//! not import each other; `pipeline.rs` joins them.

pub mod alerts;
pub mod app;
pub mod auth;
pub mod call;
pub mod config;
pub mod edge;
pub mod error;
pub mod failpoint;
pub mod load;
pub mod meter;
pub mod once;
mod pem;
pub mod pipeline;
pub mod postgres;
pub mod provider;
pub mod quota;
pub mod reconcile;
pub mod route;
pub mod shared;
pub mod telemetry;

#[cfg(test)]
mod matrix;
#[cfg(test)]
#[path = "../../tests/support/port.rs"]
#[allow(unreachable_pub, missing_docs, reason = "the end-to-end tests share it")]
mod port;
#[cfg(test)]
#[path = "../../tests/support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "the end-to-end tests use the rest")]
mod redis_server;
