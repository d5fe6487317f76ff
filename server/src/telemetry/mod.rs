//! Logs and metrics.

pub mod log;
pub mod metrics;

/// Commit that the program was built from; absent if the build did not say.
pub const COMMIT: Option<&str> = option_env!("TOLLGATE_COMMIT");
