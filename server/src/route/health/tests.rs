//! The health of targets as attempts meet it.

mod breaker;
mod model;
mod pauses;
mod registry;

use std::time::Duration;

use super::*;
use crate::provider::Kind;

/// What chance there is in these tests.
const SEED: u64 = 1;
const LIMITED: Kind = Kind::RateLimited { retry_after: None };

fn target(name: &str) -> Target {
    let (provider, model) = name.split_once('/').unwrap();
    Target {
        name: name.into(),
        provider: provider.into(),
        model: model.into(),
        vendor: provider.into(),
        rates: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn health() -> Health {
    Health::by_lot(Settings::default(), Lot::seeded(SEED))
}

fn one() -> Arc<TargetHealth> {
    health().of(&target("openai/m"))
}

fn fail(target: &Arc<TargetHealth>, kind: Kind, now: Instant) {
    target.admit(false, now).unwrap().failed(kind, now);
}

fn serve(target: &Arc<TargetHealth>, now: Instant) {
    target.admit(false, now).unwrap().complete(1, now);
}

/// Opens the breaker and returns when it may be probed.
fn opened(target: &Arc<TargetHealth>, now: Instant) -> Instant {
    while target.view(now).state == State::Closed {
        fail(target, Kind::Unavailable, now);
    }
    target.view(now).retry_at.unwrap()
}
