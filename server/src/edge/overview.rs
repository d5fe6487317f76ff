//! How the gateway is, for `ConfigService.GetStatus` and the operators' `/status`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Instant, SystemTime},
};

use prost_types::Timestamp;
use tollgate_api::admin::{self, target_status::State as Shown};

use super::Edge;
use crate::{
    call::{Target, glob_matches, now},
    load::Status,
    pipeline::Pipeline,
    postgres::Postgres,
    route::{
        Candidate, Routes,
        health::{State, View},
    },
    shared::Shared,
    telemetry,
};

/// One moment on both clocks: the rooms' for spans, the calendar's for people.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    now: Instant,
    time: SystemTime,
}

impl Moment {
    /// Reads both clocks.
    pub(super) fn now() -> Self {
        Self { now: now(), time: SystemTime::now() }
    }

    /// Returns another moment of the rooms' clock by the calendar.
    pub(super) fn calendar(self, at: Instant) -> Timestamp {
        let time = match at.checked_duration_since(self.now) {
            Some(ahead) => self.time.checked_add(ahead),
            None => self.time.checked_sub(self.now.saturating_duration_since(at)),
        };
        time.unwrap_or(self.time).into()
    }
}

/// Looks at everything once.
pub(super) async fn overview(edge: &Edge) -> admin::GetStatusResponse {
    let sqlite = edge.pipeline.meter.check_store().await;
    admin::GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: telemetry::COMMIT.unwrap_or_default().to_owned(),
        start_time: Some(edge.about.start_time.into()),
        config_hash: edge.about.config_hash.clone(),
        draining: edge.draining.is_cancelled(),
        targets: targets(&edge.pipeline, Moment::now()),
        quotas: edge.pipeline.standing_of_targets().await.unwrap_or_default(),
        load: Some(load(&edge.pipeline.load.status())),
        stores: std::iter::once(admin::StoreStatus {
            name: "sqlite".to_owned(),
            reachable: sqlite.is_ok(),
            detail: sqlite.err().map_or_else(String::new, |error| error.to_string()),
        })
        .chain(edge.about.postgres.as_ref().map(postgres))
        .chain(edge.about.shared.as_deref().map(redis))
        .collect(),
    }
}

fn redis(shared: &Shared) -> admin::StoreStatus {
    let reachable = shared.is_well();
    let detail = if reachable {
        String::new()
    } else {
        format!(
            "each replica goes by what it knows itself: rates are shared out, budgets end with what it holds of them \
             ({})",
            shared.trouble()
        )
    };
    admin::StoreStatus { name: "redis".to_owned(), reachable, detail }
}

fn postgres(postgres: &Postgres) -> admin::StoreStatus {
    let reachable = postgres.is_reachable();
    let detail = if reachable { "" } else { "records wait in the local ledger; keys that are known go on" };
    admin::StoreStatus { name: "postgres".to_owned(), reachable, detail: detail.to_owned() }
}

/// A target that the configuration leads to.
#[derive(Debug)]
struct Led {
    provider: String,
    model: String,
    concurrent: Option<usize>,
    models: BTreeSet<String>,
}

impl Led {
    fn new(target: &Target, model: &str) -> Self {
        Self {
            provider: target.provider.to_string(),
            model: model.to_owned(),
            concurrent: None,
            models: BTreeSet::new(),
        }
    }

    fn lead(&mut self, model: &str, concurrent: Option<usize>) {
        self.models.insert(model.to_owned());
        self.concurrent = self.concurrent.or(concurrent);
    }
}

fn targets(pipeline: &Pipeline, moment: Moment) -> Vec<admin::TargetStatus> {
    let views: BTreeMap<Arc<str>, View> = pipeline.health.targets(moment.now).into_iter().collect();
    let told = |(name, led): (Arc<str>, Led)| {
        let view = views.get(&name).copied().unwrap_or_default();
        let gate = pipeline.gates.of(&name, led.concurrent);
        admin::TargetStatus {
            target: name.to_string(),
            provider: led.provider,
            model: led.model,
            running_count: count(gate.running()),
            running_limit: count(gate.limit().unwrap_or(0)),
            waiting_count: count(gate.waiting()),
            models: led.models.into_iter().collect(),
            ..status(&view, moment)
        }
    };
    led_to(&pipeline.routes, views.keys()).into_iter().map(told).collect()
}

/// Returns the targets that aliases lead to. Of those that the patterns stand for, it has the ones that were called.
fn led_to<'a>(routes: &Routes, called: impl Iterator<Item = &'a Arc<str>>) -> BTreeMap<Arc<str>, Led> {
    let mut all: BTreeMap<Arc<str>, Led> = BTreeMap::new();
    let mut patterns = Vec::new();
    for model in routes.names() {
        for Candidate { target, concurrent, .. } in routes.targets(model).into_iter().flatten() {
            if target.name.contains('*') {
                patterns.push((model, target, concurrent));
                continue;
            }
            let led = all.entry(target.name.clone()).or_insert_with(|| Led::new(&target, &target.model));
            led.lead(model, concurrent);
        }
    }
    for name in called {
        for (model, pattern, concurrent) in &patterns {
            if !glob_matches(pattern.name.as_bytes(), name.as_bytes()) {
                continue;
            }
            // The name of the provider, and of its credential, is before the first slash.
            let model_id = name.split_once('/').map_or("", |(_, model)| model);
            let led = all.entry(name.clone()).or_insert_with(|| Led::new(pattern, model_id));
            led.lead(model, *concurrent);
        }
    }
    all
}

/// Shows what is known of a target's health; its names are still to be filled in.
fn status(view: &View, moment: Moment) -> admin::TargetStatus {
    let last = view.last_failure;
    admin::TargetStatus {
        state: shown(view.state).into(),
        retry_time: view.retry_at.map(|at| moment.calendar(at)),
        consecutive_failure_count: view.consecutive_failures.into(),
        failure_ratio: view.failure_ratio,
        first_token_duration: view.first_token.and_then(|span| span.try_into().ok()),
        tokens_per_second: view.tokens_per_second,
        last_failure: last.map_or_else(String::new, |(kind, _)| kind.to_owned()),
        last_failure_time: last.map(|(_, at)| moment.calendar(at)),
        told_by: if view.told_by_replica { "replica" } else { "self" }.to_owned(),
        ..Default::default()
    }
}

fn load(status: &Status) -> admin::LoadStatus {
    admin::LoadStatus {
        running_count: count(status.running),
        running_limit: count(status.limit.unwrap_or(0)),
        waiting_count: count(status.waiting),
        shed_ratio: status.shed_ratio,
        lag: status.lag.try_into().ok(),
    }
}

fn shown(state: State) -> Shown {
    match state {
        State::Closed => Shown::Closed,
        State::Open => Shown::Open,
        State::HalfOpen => Shown::HalfOpen,
        State::CoolingDown => Shown::CoolingDown,
        State::Ejected => Shown::Ejected,
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        provider::{Named, echo::Echo},
        route::Alias,
    };

    fn routes() -> Routes {
        let one = |name: &str, model: &str| Alias::plain(Named::new(name, name, Arc::new(Echo)), model);
        let aliases = [
            ("chat", one("a", "m-1")),
            ("fast", one("a", "m-1")),
            ("a/*", one("a", "*")),
            ("b/*", one("b", "*")),
        ];
        Routes::new(aliases.map(|(name, alias)| (name.to_owned(), alias)))
    }

    #[test]
    fn targets_have_the_models_that_lead_there_and_those_of_patterns_come_with_their_first_call() {
        let called: [Arc<str>; 3] = ["a/m-1".into(), "b/org/m-2".into(), "gone/m".into()];
        let led = led_to(&routes(), called.iter());
        let told: Vec<(&str, &str, &str, Vec<&str>)> = led
            .iter()
            .map(|(name, led)| {
                let models = led.models.iter().map(String::as_str).collect();
                (&**name, led.provider.as_str(), led.model.as_str(), models)
            })
            .collect();
        assert_eq!(
            told,
            [("a/m-1", "a", "m-1", vec!["a/*", "chat", "fast"]), ("b/org/m-2", "b", "org/m-2", vec!["b/*"]),]
        );
    }

    #[test]
    fn moments_of_the_rooms_are_told_by_the_calendar() {
        let moment = Moment::now();
        let at = |at: Instant| SystemTime::try_from(moment.calendar(at)).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(at(moment.now + second), moment.time + second);
        assert_eq!(at(moment.now - second), moment.time - second);
    }

    #[test]
    fn a_view_is_told_with_its_times_and_its_source() {
        let moment = Moment::now();
        let view = View {
            state: State::Open,
            retry_at: Some(moment.now + Duration::from_secs(2)),
            last_failure: Some(("timeout", moment.now)),
            told_by_replica: true,
            ..View::default()
        };
        let status = status(&view, moment);
        assert_eq!((status.state(), status.told_by.as_str()), (Shown::Open, "replica"));
        assert_eq!(status.last_failure, "timeout");
        assert!(status.retry_time.unwrap().seconds > status.last_failure_time.unwrap().seconds);
        assert_eq!((status.failure_ratio, status.first_token_duration), (None, None));
    }
}
