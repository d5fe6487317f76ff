//! How much may be used: rates, concurrency, budgets. Reserve before the call, settle after it.
//!
//! Place in the path: after the plan (a budget needs to know the price), before the first upstream call; the limits of a
//! target before each attempt at it. A call's rules are those of its key, the key's teams, the model, and the gateway;
//! one atomic decision is made over all of them. Who counts is the `Engine`: this process, or all replicas together.
//! Config: `limits`, `budget` and `limits_by` of the file, `keys`, `models` and their `targets`; `time_zone`, `queue`,
//! `unpriced`, `budget_status`. Metrics: `tollgate_limit_rejections_total`, `tollgate_soft_limits_passed_total`. Tests:
//! here, `tests/e2e/limits*.rs`.

mod amounts;
mod calendar;
mod counters;
mod engine;
mod local;
mod past;
mod queue;
mod refusal;
mod reservation;
mod rules;
mod shared;
mod spending;
mod watch;
mod window;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::stream::BoxStream;
use tollgate_api::v1;
use uuid::Uuid;

pub use self::{
    amounts::{Amounts, used},
    calendar::Calendar,
    engine::{Charge, Claim, Decision, Denied, Engine, Held, History, Part, Standing},
    local::Local,
    reservation::{Reservation, SOFT_LIMIT},
    rules::{Applies, Rules, charge, needs_cap, needs_price},
    shared::Replicated,
    spending::{Offer, Spending, Turn},
};
use self::{queue::Queue, refusal::refusal};
use crate::{
    call::{Caller, RateLimits, Rule, now},
    config,
    error::{Error, Reason},
};

/// How long a caller who just missed a limit should at least wait.
const LEAST_WAIT: Duration = Duration::from_millis(10);

/// What is configured of the room.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The gateway's own limits.
    pub gateway: Rules,
    /// Whether calls wait.
    pub queue: config::Queue,
    /// HTTP status of calls that a spent budget refuses.
    pub budget_status: config::BudgetStatus,
}

/// The room.
pub struct Quota {
    engine: Arc<dyn Engine>,
    settings: Settings,
    queue: Queue,
}

/// A call that wants to be let in.
pub struct Wanted<'c> {
    /// Its id.
    pub call: Uuid,
    /// Who makes it.
    pub caller: &'c Arc<Caller>,
    /// What it may use of each limit that holds for it.
    pub charges: Vec<Charge>,
    /// What attempts at targets that have limits of their own will ask for.
    pub offers: Vec<Offer>,
    /// When it must be over.
    pub deadline: Instant,
}

/// A call that was let in.
#[derive(Default)]
pub struct Admitted {
    /// What it holds; absent if no limit holds for it.
    pub spending: Option<Arc<Spending>>,
    /// The tightest of its limits, as they stand now.
    pub rate_limits: RateLimits,
    /// Which limits it passes that only warn.
    pub warnings: Vec<v1::Warning>,
    /// How long it waited.
    pub waited: Duration,
}

impl Quota {
    /// Has this engine count.
    pub fn new(engine: Arc<dyn Engine>, settings: Settings) -> Self {
        let queue = Queue::new(&settings.queue);
        Self { engine, settings, queue }
    }

    /// Returns the limits that hold for a call; `model` are those of the model that it asks for.
    pub fn rules<'c>(
        &'c self,
        applies: Applies<'c>,
        model: &'c [Arc<Rule>],
    ) -> impl Iterator<Item = &'c Arc<Rule>> {
        applies.rules(model, &self.settings.gateway)
    }

    /// Reserves the most a call may use from every limit that applies, or from none. Near a rate it waits, if that is
    /// configured.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the wait, or `BUDGET_EXHAUSTED`; both name the limit and how it stands. `STORE_UNAVAILABLE` if
    /// what was used cannot be known.
    pub async fn admit(&self, wanted: Wanted<'_>) -> Result<Admitted, Error> {
        let Wanted { call, caller, charges, offers, deadline } = wanted;
        if charges.is_empty() && offers.is_empty() {
            return Ok(Admitted::default());
        }
        let (held, waited) = if charges.is_empty() {
            (Vec::new(), Duration::ZERO)
        } else {
            let began = now();
            let held = self.queue.reserve(&*self.engine, Claim { call, charges, deadline }).await;
            (held.map_err(|denied| self.refuse(caller, denied))?, now().saturating_duration_since(began))
        };
        let first = Reservation::new(&self.engine, held);
        let (rate_limits, warnings) = (first.rate_limits(), first.warnings(&caller.key_name));
        let refuse = self.settings.budget_status;
        let spending =
            Spending::new((&self.engine, first), (call, deadline), (caller.clone(), refuse), offers);
        Ok(Admitted { spending: Some(spending), rate_limits, warnings, waited })
    }

    /// Tells how limits stand: those of a caller, the gateway's, and these of models.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if what was used cannot be known.
    pub async fn standing(
        &self,
        caller: &Caller,
        models: impl Iterator<Item = Arc<Rule>>,
    ) -> Result<v1::GetQuotaResponse, Error> {
        let standing = self.standing_of(&self.all_of(caller, models)).await?;
        Ok(v1::GetQuotaResponse { quotas: standing.iter().map(Standing::to_proto).collect() })
    }

    /// Tells how these limits stand.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` if what was used cannot be known.
    pub async fn standing_of(&self, rules: &[Arc<Rule>]) -> Result<Vec<Standing>, Error> {
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        self.engine.standing(rules).await
    }

    /// Tells each time when what is used of one of these limits passes a threshold, as `standing` has them. `caller` is
    /// asked each time, since its limits may change.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for thresholds that cannot be passed.
    pub fn watch(
        &self,
        caller: impl Fn() -> Arc<Caller> + Send + 'static,
        models: Vec<Arc<Rule>>,
        request: v1::WatchQuotaRequest,
    ) -> Result<BoxStream<'static, Result<v1::WatchQuotaResponse, Error>>, Error> {
        let gateway = self.settings.gateway.clone();
        let rules = move || all_of(&caller(), models.iter().cloned(), &gateway);
        watch::watch(self.engine.clone(), rules, request.thresholds)
    }

    /// Returns every limit that holds for calls of a caller, with these of models and targets.
    pub fn all_of(&self, caller: &Caller, models: impl Iterator<Item = Arc<Rule>>) -> Vec<Arc<Rule>> {
        all_of(caller, models, &self.settings.gateway)
    }

    fn refuse(&self, caller: &Caller, denied: Denied) -> Error {
        refusal(caller, denied, self.settings.budget_status)
    }
}

/// Returns all limits of a caller, of these models, and the gateway's.
fn all_of(caller: &Caller, models: impl Iterator<Item = Arc<Rule>>, gateway: &Rules) -> Vec<Arc<Rule>> {
    let teams = caller.teams.iter().flat_map(|team| team.limits.iter());
    let own = caller.limits.iter().chain(teams).cloned();
    own.chain(models).chain(gateway.iter().cloned()).collect()
}

/// Makes the error of a call whose price is not known, under a budget that must hold.
pub fn unpriced(rule: &Rule, caller: &Caller, model: &str) -> Error {
    let shown: String = model.chars().take(100).collect();
    let budget = refusal::in_words(rule, rule.amount(SystemTime::now()), &caller.key_name);
    let message = format!(
        "no price is known of the model `{shown}`, and `unpriced: refuse` is configured: {budget}; set `price` of the model"
    );
    Error::new(Reason::ModelNotAllowed, message).with("layer", "quota").with("model", shown)
}
