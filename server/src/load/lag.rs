//! How late the gateway's own work begins: measured by a task that wants to be woken at fixed times.

use std::sync::{Arc, Weak};

use tokio::time::sleep_until;

use super::stage::Load;
use crate::call::now;

/// Measures until the stage is gone. What keeps this task from being woken in time keeps every other from it too.
pub fn watch(load: &Arc<Load>) {
    let load: Weak<Load> = Arc::downgrade(load);
    tokio::spawn(async move {
        let mut due = now();
        loop {
            sleep_until(due.into()).await;
            let Some(load) = load.upgrade() else { return };
            due = load.woken(now());
        }
    });
}
