//! Counting over all replicas that share a Redis, with the answers of the local engine.
//!
//! Each replica holds leases: parts of limits that Redis has set aside for it. A call is admitted from them without a
//! word; where they do not suffice, all calls that wait ask in one exchange, in which also goes what was used since the
//! last one. One function decides in Redis, all or nothing for each call, by the clock of Redis. What all replicas used
//! and hold never passes a limit. When Redis is away, rates are shared out, and budgets end with the leases.
//!
//! `state` and `counter` know what this replica knows, `talk` talks, `line` calls the function in `exchange.lua`, which
//! `wire` reads and writes. Metrics: `tollgate_shared_*`. Tests: here, `tests/e2e/shared_limits.rs`. For people:
//! `docs/replicas.md`.

mod counter;
mod line;
#[cfg(test)]
mod model;
mod state;
mod talk;
mod tally;
mod wire;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::{BoxFuture, Either};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use self::{
    state::{Missing, Outcome, State, TTL},
    wire::Owner,
};
use super::{
    Amounts, Calendar,
    engine::{Charge, Claim, Decision, Denied, Engine, Held, History, Standing},
    past::Past,
};
use crate::{
    call::Rule,
    error::{Error, Reason},
    shared::Shared,
    telemetry::metrics::{self, Admitted},
};

/// So many times as long as a call waits who only asks how limits stand.
const LOOK: u32 = 4;
/// How long a start waits for the first exchange.
const ARRIVAL: Duration = Duration::from_secs(1);
/// How long the last exchange may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// The engine.
pub struct Replicated {
    core: Arc<Core>,
    past: Arc<Past>,
    /// Ends the talk with Redis.
    _talk: DropGuard,
}

/// What calls and the talk with Redis have in common.
struct Core {
    state: Mutex<State<Waiter>>,
    /// There may be something to tell.
    wake: Notify,
    /// Number of the last exchange that was answered.
    answered: watch::Sender<u64>,
    began: Instant,
    shared: Arc<Shared>,
    owner: Owner,
    /// Longest that calls wait for an answer.
    patience: Duration,
}

type Waiter = oneshot::Sender<Granted>;

/// What becomes of a call at first.
enum Admission {
    Decided(Outcome),
    Waits(oneshot::Receiver<Granted>),
}

impl Replicated {
    /// Starts to count with others in this Redis, which may be away. `ledger` names the ledger behind `history`, so that
    /// what it says is counted once, however many replicas and restarts tell of it. Calls wait for Redis as long as their
    /// `patience`, and then go by what is known here.
    ///
    /// # Errors
    /// A message if there is no thread to be had.
    pub fn start(
        shared: Arc<Shared>,
        history: Arc<dyn History>,
        calendar: Calendar,
        ledger: &str,
        patience: Duration,
    ) -> Result<Self, String> {
        let owner = Owner {
            id: Uuid::now_v7().to_string().into(),
            ledger: ledger.into(),
            ttl_ms: i64::try_from(TTL.as_millis()).unwrap_or(i64::MAX),
        };
        let core = Arc::new(Core {
            state: Mutex::new(State::new(
                owner.ledger.clone(),
                calendar.clone(),
                patience,
                SystemTime::now(),
            )),
            wake: Notify::new(),
            answered: watch::Sender::new(0),
            began: Instant::now(),
            shared,
            owner,
            patience,
        });
        let stop = CancellationToken::new();
        talk::start(core.clone(), stop.clone())?;
        let raised = core.clone();
        let raise = move |rule: &Arc<Rule>, used: i64, since: SystemTime| {
            raised.change(|state| state.raise(rule, used, since))
        };
        let past = Past::new(history, calendar, Box::new(raise));
        Ok(Self { core, past, _talk: stop.drop_guard() })
    }

    /// Makes the counters that are not there yet.
    async fn learn(&self, rules: impl Iterator<Item = &Arc<Rule>>) -> Result<(), Error> {
        let missing: Vec<Arc<Rule>> = {
            let (mut state, now) = (self.core.state(), self.core.now());
            rules.filter(|rule| !state.knows(rule, now)).cloned().collect()
        };
        for rule in missing {
            let now = self.core.server_time();
            // Calls that came to nothing are requests all the same, which only their counter and the reset knew of.
            let used = self.past.used(&rule, now).await?.max(rule.forgiven(now));
            self.core.state().learn(&rule, used, self.core.now());
        }
        Ok(())
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State<Waiter>> {
        // Every change leaves the state whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn server_time(&self) -> SystemTime {
        counter::time(self.state().server_ms(self.now()))
    }

    /// Changes the state, and wakes the talk if there is something to tell earlier than it knows.
    fn change<T>(&self, change: impl FnOnce(&mut State<Waiter>) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        let wakes = state.wakes();
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
        changed
    }

    /// Admits a call at once, or has it wait.
    fn admit(&self, charges: &mut Vec<Charge>) -> Result<Admission, Missing> {
        self.change(|state| {
            let now = self.now();
            if let Some(outcome) = state.admit(charges, now)? {
                metrics::shared_claim(match (&outcome, state.is_away()) {
                    (Err(_), _) => Admitted::Refused,
                    (Ok(_), true) => Admitted::Alone,
                    (Ok(_), false) => Admitted::Lease,
                });
                return Ok(Admission::Decided(outcome));
            }
            let (whom, answer) = oneshot::channel();
            state.enqueue(std::mem::take(charges), whom, now);
            Ok(Admission::Waits(answer))
        })
    }

    fn settle(&self, held: Held, used: Amounts) {
        self.change(|state| state.settle(held, used));
    }

    /// Tells callers what became of them.
    fn tell(self: &Arc<Self>, outcomes: Vec<(Waiter, Outcome)>) {
        for (whom, outcome) in outcomes {
            metrics::shared_claim(if outcome.is_ok() { Admitted::Exchange } else { Admitted::Refused });
            // Whoever does not wait any more gives it back by dropping it.
            drop(whom.send(Granted { outcome: Some(outcome), core: self.clone() }));
        }
    }

    /// Goes by what is known here: Redis is away.
    fn alone(self: &Arc<Self>) {
        let told = self.change(|state| state.go_away(self.now()));
        self.tell(told);
    }

    /// Waits until this exchange was answered, or Redis is away, or it takes too long.
    async fn until_answered(&self, number: u64, patience: Duration) {
        let mut answered = self.answered.subscribe();
        let arrives = answered.wait_for(|last| *last >= number || self.state().is_away());
        // What is known will have to do.
        drop(timeout(patience, arrives).await);
    }
}

/// What became of a call that waited. If it is not there any more, what it was granted goes back.
struct Granted {
    outcome: Option<Outcome>,
    core: Arc<Core>,
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(Ok(held)) = self.outcome.take() {
            self.core.settle(held, Amounts::default());
        }
    }
}

impl Engine for Replicated {
    fn reserve(&self, claim: Claim) -> Decision<'_> {
        let mut charges = claim.charges;
        let first = match self.core.admit(&mut charges) {
            Ok(Admission::Decided(outcome)) => return Either::Left(std::future::ready(outcome)),
            first => first,
        };
        Either::Right(Box::pin(async move {
            let mut next = first;
            let answer = loop {
                match next {
                    Ok(Admission::Decided(outcome)) => return outcome,
                    Ok(Admission::Waits(answer)) => break answer,
                    Err(Missing) => {
                        let rules = charges.iter().map(|charge| &charge.rule);
                        self.learn(rules).await.map_err(Denied::Unknown)?;
                    }
                }
                next = self.core.admit(&mut charges);
            };
            let granted = answer.await.ok().and_then(|mut granted| granted.outcome.take());
            granted.unwrap_or_else(|| Err(Denied::Unknown(stopped())))
        }))
    }

    fn settle(&self, held: Held, used: Amounts) {
        self.core.settle(held, used);
    }

    fn standing<'a>(&'a self, rules: &'a [Arc<Rule>]) -> BoxFuture<'a, Result<Vec<Standing>, Error>> {
        Box::pin(async move {
            self.learn(rules.iter()).await?;
            let number = self.core.change(|state| state.look(rules, self.core.now()));
            self.core.until_answered(number, self.core.patience * LOOK).await;
            let (mut state, now) = (self.core.state(), self.core.now());
            Ok(rules.iter().filter_map(|rule| state.standing(rule, now)).collect())
        })
    }

    fn arrive(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.core.until_answered(1, ARRIVAL).await })
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let number = self.core.change(State::leave);
            self.core.until_answered(number, FAREWELL).await;
        })
    }
}

fn stopped() -> Error {
    Error::new(Reason::StoreUnavailable, "the shared counters are being left")
}

#[cfg(test)]
mod tests;
