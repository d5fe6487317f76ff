//! Tollgate, the LLM gateway: one port between every application and every model.
//!
//! Directions: `main -> app -> {edge, pipeline, config} -> rooms -> {call, error, telemetry} -> tollgate-api`. Rooms do
//! not import each other; `pipeline.rs` joins them.

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
pub mod pipeline;
pub mod postgres;
pub mod provider;
pub mod quota;
pub mod route;
pub mod shared;
pub mod telemetry;

#[cfg(test)]
mod matrix;
