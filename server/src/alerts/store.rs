//! Which alerts were made and which were delivered, so that neither a restart nor another process tells anything twice or
//! forgets it: in the store file, or in the PostgreSQL that replicas share.

mod local;
mod shared;

use std::time::Duration;

pub(super) use self::{local::Local, shared::Shared};

/// How long an alert is remembered: longer than the longest window that ends.
const MEMORY: Duration = Duration::from_secs(400 * 86_400);
/// How long one that could not be delivered is tried again.
const NEWS: Duration = Duration::from_secs(86_400);
/// How long a process has an alert for itself that waits to be delivered.
pub(super) const FIRST_HOLD: Duration = Duration::from_secs(60);

/// An alert that was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) id: String,
    pub(super) body: String,
}

/// The table of alerts. Every method blocks; errors are messages for the operator.
pub(super) trait Store: Send + Sync {
    /// Writes an alert down. Only the first to do so is told that it is new, and delivers it.
    fn claim(&self, destination: &str, alert: &Written) -> Result<bool, String>;

    /// Takes over what was written down and not delivered, and is in nobody's hands.
    fn take_over(&self, destination: &str) -> Result<Vec<Written>, String>;

    /// Keeps an alert for so long, and tells whether it is still this process's to deliver.
    fn hold(&self, id: &str, time: Duration) -> Result<bool, String>;

    /// Notes that there is no more to be done for an alert.
    fn done(&self, id: &str) -> Result<(), String>;
}
