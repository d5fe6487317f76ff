//! How much may be used: rates, concurrency, budgets. Reserve before the call, settle after it.
//!
//! Place in the path: after the plan (a budget needs to know the price), before the first upstream call. A call's rules
//! are those of its key, the key's teams, the model, and the gateway; one atomic decision is made over all of them.
//! Who counts is the `Engine`: this process, or all replicas together. Config: `keys[].limits`, `keys[].budget`.
//! Metrics: `tollgate_limit_rejections_total`. Tests: here, `tests/e2e/limits.rs`.

mod amounts;
mod engine;
mod local;
mod refusal;
mod window;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tollgate_api::v1;
use uuid::Uuid;

pub use self::{
    amounts::Amounts,
    engine::{Charge, Claim, Denied, Engine, Held, History, Part, Standing},
    local::Local,
};
use crate::{
    call::{Caller, Rule},
    error::Error,
};

/// How long a caller who just missed a limit should at least wait.
const LEAST_WAIT: Duration = Duration::from_millis(10);

/// The room.
pub struct Quota {
    engine: Arc<dyn Engine>,
}

impl Quota {
    /// Has this engine count.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine }
    }

    /// Reserves the most a call may use from every limit that applies, or from none.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the wait, or `BUDGET_EXHAUSTED`; both name the limit and how it stands. `STORE_UNAVAILABLE` if
    /// what was used cannot be known.
    pub async fn reserve(
        &self,
        call: Uuid,
        caller: &Caller,
        most: Amounts,
        deadline: Instant,
    ) -> Result<Reservation, Error> {
        let charges: Vec<_> = rules(caller)
            .map(|rule| Charge { rule: rule.clone(), amount: most.of(rule.limit.metric) })
            .collect();
        if charges.is_empty() {
            return Ok(Reservation::default());
        }
        match self.engine.reserve(Claim { call, charges, deadline }).await {
            Ok(held) => Ok(Reservation { engine: Some(self.engine.clone()), held }),
            Err(denied) => Err(refusal::refusal(caller, denied)),
        }
    }

    /// Tells how every limit of a key stands.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if what was used cannot be known.
    pub async fn standing(&self, caller: &Caller) -> Result<v1::GetQuotaResponse, Error> {
        let rules: Vec<_> = rules(caller).cloned().collect();
        let standing = self.engine.standing(&rules).await?;
        Ok(v1::GetQuotaResponse { quotas: standing.iter().map(Standing::to_proto).collect() })
    }
}

impl Quota {
    /// Tells how these limits stand.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if what was used cannot be known.
    pub async fn standing_of(&self, rules: &[Arc<Rule>]) -> Result<Vec<Standing>, Error> {
        self.engine.standing(rules).await
    }

    /// Takes off a counter what an admin's reset found to be used.
    pub fn set_back(&self, counter: &str, used: i64, reset: &str) {
        self.engine.set_back(counter, used, reset);
    }
}

/// Returns the rules of a caller: its own and its teams'.
fn rules(caller: &Caller) -> impl Iterator<Item = &Arc<Rule>> {
    caller.limits.iter().chain(caller.teams.iter().flat_map(|team| team.limits.iter()))
}

/// What a call holds of its limits. Dropping it unsettled gives everything but the request itself back.
#[derive(Default)]
pub struct Reservation {
    engine: Option<Arc<dyn Engine>>,
    held: Held,
}

impl Reservation {
    /// Replaces what was reserved by what was used.
    pub fn settle(mut self, used: Amounts) {
        self.finish(used);
    }

    fn finish(&mut self, used: Amounts) {
        if let Some(engine) = self.engine.take() {
            engine.settle(std::mem::take(&mut self.held), used);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.finish(Amounts::default());
    }
}
