//! What is counted where replicas share their limits.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::is_installed;

/// Exchanges with the shared Redis about limits, by `outcome`: `ok`, `late`, `failed`.
pub const SHARED_EXCHANGES: &str = "tollgate_shared_exchanges_total";
/// Seconds that such an exchange took.
pub const SHARED_EXCHANGE_DURATION: &str = "tollgate_shared_exchange_duration_seconds";
/// Claims on shared limits, by `by`: `lease` (without asking), `exchange` (asked), `alone` (Redis is away), `refused`.
pub const SHARED_CLAIMS: &str = "tollgate_shared_claims_total";
/// Limits of which this replica holds a lease that no call uses.
pub const SHARED_LEASES: &str = "tollgate_shared_leases";
/// Whether the shared Redis answers in time, so that limits are counted over all replicas: 1 or 0.
pub const SHARED_UP: &str = "tollgate_shared_up";

/// Upper bounds for exchanges, in seconds.
pub(super) const EXCHANGE_BUCKETS: [f64; 10] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0];

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// Answered in time.
    InTime,
    /// Answered, but calls did not wait for it.
    Late,
    /// Not answered.
    Failed,
}

/// How a claim on shared limits was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Granted from what this replica held.
    Lease,
    /// Granted by Redis.
    Exchange,
    /// Granted while Redis was away.
    Alone,
    /// Refused.
    Refused,
}

/// Counts an exchange, and how long it took if it was answered.
pub fn shared_exchange(how: Exchanged, took: Option<Duration>) {
    if !is_installed() {
        return;
    }
    let outcome = match how {
        Exchanged::InTime => "ok",
        Exchanged::Late => "late",
        Exchanged::Failed => "failed",
    };
    counter!(SHARED_EXCHANGES, "outcome" => outcome).increment(1);
    gauge!(SHARED_UP).set(if how == Exchanged::InTime { 1.0 } else { 0.0 });
    if let Some(took) = took {
        histogram!(SHARED_EXCHANGE_DURATION).record(took.as_secs_f64());
    }
}

/// Counts a claim.
pub fn shared_claim(how: Admitted) {
    if is_installed() {
        let by = match how {
            Admitted::Lease => "lease",
            Admitted::Exchange => "exchange",
            Admitted::Alone => "alone",
            Admitted::Refused => "refused",
        };
        counter!(SHARED_CLAIMS, "by" => by).increment(1);
    }
}

/// Notes how many leases there are.
pub fn shared_leases(count: usize) {
    if is_installed() {
        gauge!(SHARED_LEASES).set(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

pub(super) fn describe() {
    metrics::describe_counter!(SHARED_EXCHANGES, "Exchanges with the shared Redis about limits, by outcome.");
    metrics::describe_histogram!(SHARED_EXCHANGE_DURATION, "Seconds of an exchange about limits.");
    metrics::describe_counter!(SHARED_CLAIMS, "Claims on shared limits, by how they were decided.");
    metrics::describe_gauge!(SHARED_LEASES, "Limits of which a lease is held that no call uses.");
    metrics::describe_gauge!(SHARED_UP, "Whether the shared Redis answers in time.");
}
