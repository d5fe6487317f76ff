//! Active probing: targets that rest are asked whether they are well, before callers are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{interval, timeout};

use super::{Candidate, Health, Routes, health::State};
use crate::{
    call::now,
    provider::{Error, Kind},
};

/// Longest wait for the answer to a probe.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks, for as long as the process lives, every target that is not well and whose pause is over. One that answers is
/// tried by the next call.
pub async fn run(routes: Routes, health: Arc<Health>, every: Duration) {
    let mut turn = interval(every);
    loop {
        turn.tick().await;
        for candidate in named(&routes).into_values() {
            let resting = health.of(&candidate.target);
            if resting.view(now()).state == State::Closed {
                continue;
            }
            tokio::spawn(async move {
                // None while it rests, or while a call finds out.
                let Some(mut ticket) = resting.probe(now()) else { return };
                let asked = candidate.provider.adapter.probe(&candidate.target.model);
                let answer = timeout(PATIENCE, asked)
                    .await
                    .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "no answer to a probe")));
                tracing::debug!(target_name = %candidate.target.name, well = answer.is_ok(), "probed");
                match answer {
                    // That it lists its models does not say that they answer.
                    Ok(()) => ticket.answered(now()),
                    Err(error) => ticket.failed(error.kind, now()),
                }
            });
        }
    }
}

/// Returns the targets that the configuration names, each once.
fn named(routes: &Routes) -> BTreeMap<Arc<str>, Candidate> {
    let names = routes.names().filter(|name| !name.contains('*'));
    let targets = names.filter_map(|name| routes.targets(name).ok()).flatten();
    targets.map(|candidate| (candidate.target.name.clone(), candidate)).collect()
}
