//! What is counted when there is too much to do.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::{CALLS, is_installed};

/// Calls that were refused at once because there was too much to do, by `priority`.
pub const SHED: &str = "tollgate_shed_total";
/// How the gateway as a whole stands among the targets.
pub const GATEWAY: &str = "_gateway";
/// Calls that wait for a place, by `target`; `_gateway` is the gateway as a whole.
pub const QUEUE_DEPTH: &str = "tollgate_queue_depth";
/// Seconds that calls waited for a place if they had to, by `target`; `_gateway` is the gateway as a whole.
pub const QUEUE_WAIT: &str = "tollgate_queue_wait_seconds";
/// Share of new calls that are refused because the gateway does not keep up, 0 to 1.
pub const SHED_RATIO: &str = "tollgate_load_shed_ratio";
/// Seconds by which the gateway's own work begins late.
pub const LAG: &str = "tollgate_load_lag_seconds";

/// Upper bounds for waits, in seconds.
pub(super) const WAIT_BUCKETS: [f64; 12] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts a call that was refused at once. `priority` is one of a few fixed words.
pub fn call_shed(priority: &'static str) {
    if is_installed() {
        counter!(SHED, "priority" => priority).increment(1);
    }
}

/// Notes how long a call waited for its place.
pub fn queue_waited(target: &str, wait: Duration) {
    if is_installed() {
        let target = if target == GATEWAY { target } else { CALLS.target(target) };
        histogram!(QUEUE_WAIT, "target" => target.to_owned()).record(wait.as_secs_f64());
    }
}

/// Notes how the gateway as a whole keeps up.
pub fn load(shed_ratio: f64, lag: Duration) {
    if is_installed() {
        gauge!(SHED_RATIO).set(shed_ratio);
        gauge!(LAG).set(lag.as_secs_f64());
    }
}

pub(super) fn describe() {
    metrics::describe_counter!(SHED, "Calls refused at once because there was too much to do.");
    metrics::describe_histogram!(QUEUE_WAIT, "Seconds that calls waited for a place if they had to.");
    metrics::describe_gauge!(SHED_RATIO, "Share of new calls refused because the gateway does not keep up.");
    metrics::describe_gauge!(LAG, "Seconds by which the gateway's own work begins late.");
}
