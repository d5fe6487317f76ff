//! Everything that speaks a wire to callers: framing, status codes and dialects live here and nowhere else.
//!
//! Place in the path: first and last. Config: `listen`, `ops_listen`, `tls`, `limits_in`. Metrics:
//! `tollgate_connections`. Tests: `tests/e2e`, `tests/clients`.

pub mod arrival;
pub mod fold;
pub mod openai;
pub mod status;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::pipeline::Pipeline;

/// What every surface shares. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    /// The rooms.
    pub pipeline: Arc<Pipeline>,
    /// Sizes a caller may send.
    pub limits: Limits,
    /// Silence after which a stream gets a keep-alive comment.
    pub keep_alive: Duration,
    /// Cancelled when the process drains: long watches end, readiness goes off.
    pub draining: CancellationToken,
}

/// Largest sizes accepted from callers, in bytes (`limits_in`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All request headers together.
    pub header: usize,
    /// A REST body, after decompression.
    pub body: usize,
    /// A gRPC message, after decompression.
    pub message: usize,
}
