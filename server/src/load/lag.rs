//! How late the gateway's own work begins: measured by a task that wants to be woken at fixed times.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::sleep_until;

use super::stage::Load;
use crate::call::now;

/// Time between two measurements.
const EVERY: Duration = Duration::from_millis(20);

/// Measures until the stage is gone. What keeps this task from being woken in time keeps every other from it too.
pub fn watch(load: &Arc<Load>) {
    let load: Weak<Load> = Arc::downgrade(load);
    tokio::spawn(async move {
        loop {
            let due = now() + EVERY;
            sleep_until(due.into()).await;
            let Some(load) = load.upgrade() else { return };
            let now = now();
            load.measured(now.saturating_duration_since(due), now);
        }
    });
}
