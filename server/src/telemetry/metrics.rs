//! Every metric, once: its name, what it counts, its labels and their bounds.
//!
//! Labels never hold key ids, end users or tags. Names that callers can make up are bounded: a model is a label only
//! if a target was found for it, and beyond a number of them all others are `_other`.

mod calls;
mod load;
mod shared;
mod table;
mod targets;
mod tries;

use std::{
    sync::{LazyLock, OnceLock},
    thread,
    time::Duration,
};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tollgate_api::v1;

use calls::Calls;
pub use load::{GATEWAY, LAG, QUEUE_DEPTH, QUEUE_WAIT, SHED, SHED_RATIO, call_shed, load, queue_waited};
pub use shared::{
    Admitted, Exchanged, SHARED_CLAIMS, SHARED_EXCHANGE_DURATION, SHARED_EXCHANGES, SHARED_LEASES, SHARED_UP,
    shared_claim, shared_exchange, shared_leases,
};
use targets::Targets;
pub use targets::{QueueGauge, TargetGauges};
use tries::Tries;

/// Calls that ended, by `surface`, `operation`, `model` (the alias), `target`, `provider` and `outcome`, which is `ok`
/// or the reason in lower case.
pub const REQUESTS: &str = "tollgate_requests_total";
/// Seconds from a call's arrival to its end, by `operation`, `model` and `target`.
pub const REQUEST_DURATION: &str = "tollgate_request_duration_seconds";
/// Seconds from a streamed call's arrival to its first content, by `operation`, `model` and `target`.
pub const TIME_TO_FIRST_TOKEN: &str = "tollgate_time_to_first_token_seconds";
/// Seconds of a call that were not spent waiting for an upstream, by `operation`, `model` and `target`.
pub const GATEWAY_OVERHEAD: &str = "tollgate_gateway_overhead_seconds";
/// Upstream calls, by `target` and `outcome`: `ok`, `retryable`, `fatal`, `timeout`, `cancelled`.
pub const UPSTREAM_ATTEMPTS: &str = "tollgate_upstream_attempts_total";
/// Seconds of upstream calls, by `target` and `outcome`.
pub const UPSTREAM_DURATION: &str = "tollgate_upstream_attempts_duration_seconds";
/// Further attempts at the same target, by `target` and `reason`: the kind of failure before.
pub const RETRIES: &str = "tollgate_retries_total";
/// Attempts at another target than the first of the plan, by `model` (the alias) and `reason`: the kind of failure before,
/// or `unhealthy` or `full` if the first was not tried.
pub const FALLBACKS: &str = "tollgate_fallbacks_total";
/// Calls that were asked of a second target because the first was slow, by `model` (the alias) and `won`: whether the
/// second one served them.
pub const HEDGES: &str = "tollgate_hedges_total";
/// Tokens, by `kind` (`input`, `output`, and their parts `cache_read`, `cache_write`, `reasoning`), `model`,
/// `provider` and `team`.
pub const TOKENS: &str = "tollgate_tokens_total";
/// Cost in USD of calls whose price is known, by `model`, `provider` and `team`.
pub const COST: &str = "tollgate_cost_usd_total";
/// USD that were not spent because an answer came from the cache, by `model`, `provider` and `team`.
pub const COST_SAVED: &str = "tollgate_cost_saved_usd_total";
/// Calls that ended without a price, by `model`, `provider` and `team`.
pub const UNPRICED: &str = "tollgate_unpriced_requests_total";
/// Calls that are running.
pub const INFLIGHT: &str = "tollgate_inflight_requests";
/// Streams that ended early, by `by`: `client`, `upstream`, `deadline`.
pub const STREAM_ABORTS: &str = "tollgate_stream_aborts_total";
/// Answers whose caller went away and whose provider bills them to their end, by `outcome`: `drained`, `timed_out`, or
/// `no_room` if they were cancelled as others are.
pub const DRAINS: &str = "tollgate_drains_total";
/// Calls refused before anybody knew who called, by `reason`.
pub const AUTH_FAILURES: &str = "tollgate_auth_failures_total";
/// Questions to the PostgreSQL that replicas share for keys that are not known here, by `outcome`: `answered`, `failed`.
/// Each is for all such keys that came up since the one before.
pub const AUTH_LOOKUPS: &str = "tollgate_auth_lookups_total";
/// Calls refused by a limit, by `limit` (`rpm`, `tpm`, `concurrency`, `budget`) and `scope` (whose limit: `key`).
pub const LIMIT_REJECTIONS: &str = "tollgate_limit_rejections_total";
/// Calls that passed a limit which only warns.
pub const SOFT_LIMITS_PASSED: &str = "tollgate_soft_limits_passed_total";
/// Alerts, by `type` (`budget`, `forecast`, `soft_limit`, `deviation`; of what became of them `any`) and `outcome`:
/// `made`, `delivered`, `failed`.
pub const ALERTS: &str = "tollgate_alerts_total";
/// Whether a target is tried, by `target`: 0 yes, 1 one call finds out, 2 no.
pub const CIRCUIT_STATE: &str = "tollgate_circuit_state";
/// Share of attempts that succeed of late, 0 to 1, by `target`.
pub const TARGET_HEALTH: &str = "tollgate_target_health";
/// Records that the shared ledger does not have yet.
pub const LEDGER_UNSHIPPED: &str = "tollgate_ledger_unshipped";
/// Always 1, by `version` and `commit`.
pub const BUILD_INFO: &str = "tollgate_build_info";

/// Seconds between two foldings of fresh histogram samples, which pile up until then.
const UPKEEP: Duration = Duration::from_secs(5);
/// OpenTelemetry's for `gen_ai.server.request.duration`, doubled on to ten minutes for long streams.
const DURATION_BUCKETS: [f64; 17] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
    655.36,
];
/// OpenTelemetry's for `gen_ai.server.time_to_first_token`, with more for models that think first.
const FIRST_TOKEN_BUCKETS: [f64; 19] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
    120.0,
];
/// From ten microseconds to ten seconds.
const OVERHEAD_BUCKETS: [f64; 14] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.25, 1.0, 10.0];

static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
static CALLS: LazyLock<Calls> = LazyLock::new(Calls::default);
static TRIES: LazyLock<Tries> = LazyLock::new(Tries::default);
static TARGETS: LazyLock<Targets> = LazyLock::new(Targets::default);

/// Starts measuring, for the whole process. Until then nothing is counted; doing it again changes nothing.
///
/// # Errors
/// A message if something else in the process measures already.
pub fn install() -> Result<(), String> {
    HANDLE.get_or_init(start).as_ref().map(|_| ()).map_err(Clone::clone)
}

fn start() -> Result<PrometheusHandle, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot start metrics: {error}");
    let handle = builder().and_then(PrometheusBuilder::install_recorder).map_err(|error| failed(&error))?;
    describe();
    let commit = super::COMMIT.unwrap_or("unknown");
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "commit" => commit).set(1.0);
    let upkeep = handle.clone();
    let work = move || {
        loop {
            thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(work).map_err(|error| failed(&error))?;
    Ok(handle)
}

/// Returns all metrics as Prometheus text; empty before `install`.
pub fn render() -> String {
    let Some(Ok(handle)) = HANDLE.get() else { return String::new() };
    let mut text = handle.render();
    CALLS.render_costs(&mut text);
    TARGETS.render(&mut text, |target| CALLS.has_label(target));
    text
}

/// Asks this for the gauges of targets whenever somebody looks at them, in place of what was asked before.
pub fn watch_targets(source: impl Fn() -> Vec<TargetGauges> + Send + Sync + 'static) {
    TARGETS.health.watch(Box::new(source));
}

/// Asks this for those who wait whenever somebody looks, in place of what was asked before.
pub fn watch_queues(source: impl Fn() -> Vec<QueueGauge> + Send + Sync + 'static) {
    TARGETS.queues.watch(Box::new(source));
}

/// Counts an alert, or what became of one.
pub fn alert(kind: &'static str, outcome: &'static str) {
    if is_installed() {
        metrics::counter!(ALERTS, "type" => kind, "outcome" => outcome).increment(1);
    }
}

/// Counts a call in.
pub fn call_opened() {
    if is_installed() {
        CALLS.opened();
    }
}

/// Counts a call out.
pub fn call_closed() {
    if is_installed() {
        CALLS.closed();
    }
}

/// Counts what a call came to.
pub fn call_settled(record: &v1::UsageRecord) {
    if is_installed() {
        CALLS.settled(record);
    }
}

/// Counts a call that was refused before anybody knew who called. `reason` is one of a few fixed words.
pub fn auth_failed(reason: &str) {
    if is_installed() {
        CALLS.auth_failed(reason);
    }
}

/// Counts a question for keys that are not known here.
pub fn keys_asked_for(answered: bool) {
    if is_installed() {
        let outcome = if answered { "answered" } else { "failed" };
        metrics::counter!(AUTH_LOOKUPS, "outcome" => outcome).increment(1);
    }
}

/// Counts a call that a limit refused. Both are of a few fixed words.
pub fn limit_rejected(limit: &'static str, scope: &'static str) {
    if is_installed() {
        metrics::counter!(LIMIT_REJECTIONS, "limit" => limit, "scope" => scope).increment(1);
    }
}

/// Counts a call that passed a limit which only warns. Both are of a few fixed words.
pub fn soft_limit_passed(limit: &'static str, scope: &'static str) {
    if is_installed() {
        metrics::counter!(SOFT_LIMITS_PASSED, "limit" => limit, "scope" => scope).increment(1);
    }
}

/// Counts a further attempt at a target that failed so.
pub fn retried(target: &str, reason: &'static str) {
    if is_installed() {
        TRIES.retried(target, reason);
    }
}

/// Counts an attempt at another target than the first of the plan.
pub fn fell_back(model: &str, reason: &'static str) {
    if is_installed() {
        TRIES.fell_back(model, reason);
    }
}

/// Counts a call that was asked of a second target too.
pub fn hedged(model: &str, won: bool) {
    if is_installed() {
        TRIES.hedged(model, won);
    }
}

/// Counts an answer that was read on without its caller, or was to be. `outcome` is one of a few fixed words.
pub fn read_on(outcome: &'static str) {
    if is_installed() {
        metrics::counter!(DRAINS, "outcome" => outcome).increment(1);
    }
}

/// Handles made earlier would count nowhere for ever.
fn is_installed() -> bool {
    matches!(HANDLE.get(), Some(Ok(_)))
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let buckets = |builder: PrometheusBuilder, name: &str, bounds: &[f64]| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
    };
    let builder = buckets(PrometheusBuilder::new(), REQUEST_DURATION, &DURATION_BUCKETS)?;
    let builder = buckets(builder, UPSTREAM_DURATION, &DURATION_BUCKETS)?;
    let builder = buckets(builder, TIME_TO_FIRST_TOKEN, &FIRST_TOKEN_BUCKETS)?;
    let builder = buckets(builder, QUEUE_WAIT, &load::WAIT_BUCKETS)?;
    let builder = buckets(builder, SHARED_EXCHANGE_DURATION, &shared::EXCHANGE_BUCKETS)?;
    buckets(builder, GATEWAY_OVERHEAD, &OVERHEAD_BUCKETS)
}

fn describe() {
    metrics::describe_counter!(REQUESTS, "Calls that ended, by outcome.");
    metrics::describe_histogram!(REQUEST_DURATION, "Seconds from a call's arrival to its end.");
    metrics::describe_histogram!(TIME_TO_FIRST_TOKEN, "Seconds from a call's arrival to its first content.");
    metrics::describe_histogram!(GATEWAY_OVERHEAD, "Seconds of a call not spent waiting for an upstream.");
    metrics::describe_counter!(UPSTREAM_ATTEMPTS, "Upstream calls, by outcome.");
    metrics::describe_histogram!(UPSTREAM_DURATION, "Seconds of upstream calls.");
    metrics::describe_counter!(RETRIES, "Further attempts at the same target, by the failure before.");
    metrics::describe_counter!(
        FALLBACKS,
        "Attempts at another target than the first of the plan, by reason."
    );
    metrics::describe_counter!(HEDGES, "Calls asked of a second target because the first was slow.");
    metrics::describe_counter!(
        TOKENS,
        "Tokens; cache_read, cache_write and reasoning are parts of the others."
    );
    metrics::describe_counter!(UNPRICED, "Calls that ended without a known price.");
    metrics::describe_gauge!(INFLIGHT, "Calls that are running.");
    metrics::describe_counter!(STREAM_ABORTS, "Streams that ended early, by who ended them.");
    metrics::describe_counter!(DRAINS, "Answers read on to their end without their callers, by outcome.");
    metrics::describe_counter!(AUTH_FAILURES, "Calls refused before anybody knew who called.");
    metrics::describe_counter!(AUTH_LOOKUPS, "Questions to PostgreSQL for keys that are not known here.");
    metrics::describe_counter!(ALERTS, "Alerts, by type and by what became of them.");
    metrics::describe_counter!(LIMIT_REJECTIONS, "Calls refused by a limit, by kind and by whose it is.");
    metrics::describe_counter!(
        SOFT_LIMITS_PASSED,
        "Calls that passed a limit which only warns, by kind and by whose it is."
    );
    load::describe();
    shared::describe();
    metrics::describe_gauge!(LEDGER_UNSHIPPED, "Records of this replica that PostgreSQL does not have yet.");
    metrics::describe_gauge!(BUILD_INFO, "Always 1; tells the version.");
}

#[cfg(test)]
mod tests;
