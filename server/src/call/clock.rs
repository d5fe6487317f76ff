//! The clock of everything that waits, so that tests can turn it.

use std::time::Instant;

/// Returns the present moment. Under Tokio's paused clock it is that clock's, so that timers and stamps agree.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
