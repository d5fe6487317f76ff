//! What calls are counted by.

use std::{
    fmt::Write as _,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tollgate_api::v1::{self, usage::Source};

use super::table::{Bounded, Table};

/// Distinct pairs of model and target that get labels of their own.
const MOST_MODELS: usize = 1_000;
/// Distinct teams that get a label of their own.
const MOST_TEAMS: usize = 100;
/// Distinct reasons of refusals at the door.
const MOST_REASONS: usize = 32;
const OTHER: &str = "_other";
const UNKNOWN: &str = "_unknown";
const NANOS_PER_USD: u64 = 1_000_000_000;

/// The metrics of calls, with their handles.
#[derive(Default)]
pub(super) struct Calls {
    models: Bounded,
    targets: Bounded,
    teams: Bounded,
    reasons: Bounded,
    /// By surface, operation, model, target, provider and outcome.
    ended: Table<6, Ended>,
    /// By model, provider and team.
    spent: Table<3, Spent>,
    /// By target and outcome.
    attempts: Table<2, Attempts>,
    refused: Table<1, Counter>,
    aborts: Table<1, Counter>,
    inflight: OnceLock<Gauge>,
}

struct Ended {
    requests: Counter,
    duration: Histogram,
    first_token: Histogram,
    overhead: Histogram,
}

struct Spent {
    input: Counter,
    output: Counter,
    cache_read: Counter,
    cache_write: Counter,
    reasoning: Counter,
    unpriced: Counter,
    /// Kept here as integers: a counter of the exporter holds whole numbers only, and USD are not.
    cost_nanos: AtomicU64,
    saved_nanos: AtomicU64,
}

struct Attempts {
    count: Counter,
    duration: Histogram,
}

impl Calls {
    pub(super) fn opened(&self) {
        self.inflight().increment(1.0);
    }

    pub(super) fn closed(&self) {
        self.inflight().decrement(1.0);
    }

    fn inflight(&self) -> &Gauge {
        self.inflight.get_or_init(|| gauge!(super::INFLIGHT))
    }

    pub(super) fn auth_failed(&self, reason: &str) {
        let reason = if self.reasons.admits(&[reason], MOST_REASONS) { reason } else { OTHER };
        let make = |[reason]: &[String; 1]| counter!(super::AUTH_FAILURES, "reason" => reason.clone());
        self.refused.get([reason], make).increment(1);
    }

    pub(super) fn settled(&self, record: &v1::UsageRecord) {
        let (model, target) = self.model_and_target(record);
        let outcome = if record.error_reason.is_empty() { "ok" } else { record.error_reason.as_str() };
        let labels = [&record.surface, &record.operation, model, target, &record.provider, outcome];
        let ended = self.ended.get(labels, Ended::new);
        ended.requests.increment(1);
        record_seconds(&ended.duration, record.duration.as_ref());
        record_seconds(&ended.overhead, record.gateway_duration.as_ref());
        if record.streamed {
            record_seconds(&ended.first_token, record.first_token_duration.as_ref());
        }
        for attempt in &record.attempts {
            let labels = [self.target(&attempt.target), attempt_outcome(&attempt.outcome)];
            let attempts = self.attempts.get(labels, Attempts::new);
            attempts.count.increment(1);
            record_seconds(&attempts.duration, attempt.duration.as_ref());
        }
        if let Some(by) = aborted_by(record) {
            let make = |[by]: &[String; 1]| counter!(super::STREAM_ABORTS, "by" => by.clone());
            self.aborts.get([by], make).increment(1);
        }
        if let Some(usage) = &record.usage {
            let team = self.team(&record.team_id);
            self.spent.get([model, &record.provider, team], Spent::new).add(usage, record.unpriced);
        }
    }

    /// Returns the labels for the model and target of a call. Callers may ask for any name: it is a label only if a
    /// target was found for it, and as long as there are not too many.
    fn model_and_target<'a>(&self, record: &'a v1::UsageRecord) -> (&'a str, &'a str) {
        if record.target.is_empty() {
            return (UNKNOWN, "");
        }
        if self.models.admits(&[&record.requested_model, &record.target], MOST_MODELS) {
            return (&record.requested_model, &record.target);
        }
        (OTHER, OTHER)
    }

    /// Returns the label of a target.
    pub(super) fn target<'a>(&self, target: &'a str) -> &'a str {
        if self.has_label(target) { target } else { OTHER }
    }

    /// Tells whether a target has a label of its own, and gives it one as long as there are not too many.
    pub(super) fn has_label(&self, target: &str) -> bool {
        self.targets.admits(&[target], MOST_MODELS)
    }

    fn team<'a>(&self, team: &'a str) -> &'a str {
        if team.is_empty() || self.teams.admits(&[team], MOST_TEAMS) { team } else { OTHER }
    }

    /// Adds the counters of money to Prometheus text.
    pub(super) fn render_costs(&self, text: &mut String) {
        let entries = self.spent.sorted();
        let mut family = |name: &str, help: &str, nanos: fn(&Spent) -> &AtomicU64| {
            let values = entries.iter().map(|(labels, spent)| (labels, nanos(spent).load(Ordering::Relaxed)));
            let values: Vec<_> = values.filter(|(_, nanos)| *nanos > 0).collect();
            if values.is_empty() {
                return;
            }
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
            for ([model, provider, team], nanos) in values {
                let [model, provider, team] = [model, provider, team].map(|label| escape(label));
                let _ = writeln!(
                    text,
                    "{name}{{model=\"{model}\",provider=\"{provider}\",team=\"{team}\"}} {}.{:09}",
                    nanos / NANOS_PER_USD,
                    nanos % NANOS_PER_USD
                );
            }
        };
        family(super::COST, "Cost in USD of calls whose price is known.", |spent| &spent.cost_nanos);
        family(super::COST_SAVED, "USD not spent, thanks to the cache.", |spent| &spent.saved_nanos);
    }
}

impl Ended {
    fn new([surface, operation, model, target, provider, outcome]: &[String; 6]) -> Self {
        let timed = |name: &'static str| {
            histogram!(
                name, "operation" => operation.clone(), "model" => model.clone(), "target" => target.clone()
            )
        };
        Self {
            requests: counter!(
                super::REQUESTS,
                "surface" => surface.clone(),
                "operation" => operation.clone(),
                "model" => model.clone(),
                "target" => target.clone(),
                "provider" => provider.clone(),
                "outcome" => outcome.to_ascii_lowercase(),
            ),
            duration: timed(super::REQUEST_DURATION),
            first_token: timed(super::TIME_TO_FIRST_TOKEN),
            overhead: timed(super::GATEWAY_OVERHEAD),
        }
    }
}

impl Spent {
    fn new([model, provider, team]: &[String; 3]) -> Self {
        let tokens = |kind: &'static str| {
            counter!(
                super::TOKENS,
                "kind" => kind, "model" => model.clone(), "provider" => provider.clone(), "team" => team.clone()
            )
        };
        Self {
            input: tokens("input"),
            output: tokens("output"),
            cache_read: tokens("cache_read"),
            cache_write: tokens("cache_write"),
            reasoning: tokens("reasoning"),
            unpriced: counter!(
                super::UNPRICED,
                "model" => model.clone(), "provider" => provider.clone(), "team" => team.clone()
            ),
            cost_nanos: AtomicU64::new(0),
            saved_nanos: AtomicU64::new(0),
        }
    }

    fn add(&self, usage: &v1::Usage, unpriced: bool) {
        self.unpriced.increment(u64::from(unpriced));
        if let Some(cost) = &usage.cost {
            self.cost_nanos.fetch_add(u64::try_from(cost.amount_nanos).unwrap_or(0), Ordering::Relaxed);
            self.saved_nanos.fetch_add(u64::try_from(cost.saved_nanos).unwrap_or(0), Ordering::Relaxed);
        }
        if usage.source() == Source::Cache {
            return; // These tokens were used by another call.
        }
        let count = |counter: &Counter, tokens: Option<i64>| {
            if let Some(tokens) = tokens.and_then(|tokens| u64::try_from(tokens).ok()) {
                counter.increment(tokens);
            }
        };
        count(&self.input, usage.input_tokens);
        count(&self.output, usage.output_tokens);
        count(&self.cache_read, usage.cache_read_input_tokens);
        count(&self.cache_write, usage.cache_write_input_tokens);
        count(&self.reasoning, usage.reasoning_output_tokens);
    }
}

impl Attempts {
    fn new([target, outcome]: &[String; 2]) -> Self {
        Self {
            count: counter!(super::UPSTREAM_ATTEMPTS, "target" => target.clone(), "outcome" => outcome.clone()),
            duration: histogram!(
                super::UPSTREAM_DURATION, "target" => target.clone(), "outcome" => outcome.clone()
            ),
        }
    }
}

/// Sorts the kinds of failure by what can be done about them.
fn attempt_outcome(kind: &str) -> &'static str {
    match kind {
        "ok" => "ok",
        "cancelled" | "" => "cancelled",
        "timeout" => "timeout",
        "rate_limited" | "unavailable" | "bad_response" => "retryable",
        _ => "fatal",
    }
}

/// Tells who ended a stream early; `None` if it did not, or had not begun.
fn aborted_by(record: &v1::UsageRecord) -> Option<&'static str> {
    if !record.streamed || record.attempts.is_empty() || record.error_reason.is_empty() {
        return None;
    }
    match record.error_reason.as_str() {
        "CANCELLED" => Some("client"),
        "CALLER_DEADLINE_EXCEEDED" => Some("deadline"),
        _ if record.delivered_event_count > 0 => Some("upstream"),
        _ => None,
    }
}

fn record_seconds(histogram: &Histogram, duration: Option<&prost_types::Duration>) {
    let Some(duration) = duration else { return };
    let duration = std::time::Duration::try_from(*duration).unwrap_or_default();
    histogram.record(duration.as_secs_f64());
}

pub(super) fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
