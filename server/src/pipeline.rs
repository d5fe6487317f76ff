//! THE LIST: the rooms a call walks through, in order.
//!
//! 1. `edge` turns bytes into a `Call` (before this file).
//! 2. `auth::authenticate` — who calls? First, and at header time: strangers cost nothing.
//! 3. `meter::open` — from here on every outcome ends in one record, refusals too.
//!    Next to it `load`, at header time as well: is there a place for one more, or for this one before others?
//! 4. `auth::permit` — may this key do this, with this model?
//! 5. `once` — was this call made before? A repeat is answered here: it costs nothing and reserves nothing.
//! 6. `route::plan` — alias to targets; pure, and a budget needs to know the price.
//! 7. `quota` — reserve the most the call may use; settled or given back on every ending.
//! 8. `route::dispatch` — plan to attempts; nothing reaches the caller before the first content.
//! 9. `provider` — the vendor's wire, called by `route`.
//! 10. `meter` again — counts what passes and settles before the caller sees the end.
//! 11. `once` again — keeps the answer before the caller sees the end, if it may be asked for again.

mod budgets;
mod repeat;
mod reserve;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::HeaderMap;
use tokio::time::timeout;

use crate::{
    auth::{self, Auth, Knock},
    call::{
        Attempt, Call, Deadline, Endpoint, Operation, RateLimits, Reply, Request, Scope, Target, now, tried,
    },
    config::Unpriced,
    error::{Error, Reason},
    load::{Busy, Claim, Entry, Gates, Load},
    meter::{Meter, Open},
    once::{Entered, Once},
    quota::Quota,
    route::{Asking, Health, Known, Models, Plan, Routes, Timeouts, Way, dispatch, ready, resume},
};

/// The rooms of one configuration.
pub struct Pipeline {
    /// Who calls.
    pub auth: Arc<Auth>,
    /// What it cost.
    pub meter: Arc<Meter>,
    /// What was answered before; absent if nothing is kept.
    pub once: Option<Arc<Once>>,
    /// How much.
    pub quota: Arc<Quota>,
    /// Where to.
    pub routes: Routes,
    /// How the targets are.
    pub health: Arc<Health>,
    /// Who is let in at all.
    pub load: Arc<Load>,
    /// Who may enter them.
    pub gates: Arc<Gates>,
    /// How long the phases of an upstream call may take.
    pub timeouts: Timeouts,
    /// How long a whole call may take.
    pub total: Duration,
    /// How long headers are held back for the first content.
    pub commit_after: Duration,
    /// What happens under a budget to a call whose price is not known.
    pub unpriced: Unpriced,
}

impl Pipeline {
    /// Finds out who calls, from the request's headers and query alone.
    ///
    /// # Errors
    /// `API_KEY_MISSING`, `API_KEY_INVALID` or `API_KEY_EXPIRED`; `STORE_UNAVAILABLE` if that cannot be known.
    pub fn authenticate(&self, headers: &HeaderMap, query: Option<&str>) -> Knock {
        self.auth.authenticate(headers, query)
    }

    /// Starts the record of a call and lets it in. Needs its headers only, so that a refusal costs little: no body is read
    /// and nothing is planned. Whatever becomes of it, the call leaves its record.
    ///
    /// # Errors
    /// `GATEWAY_OVERLOADED` if there is no place for it, or its deadline passed while it waited.
    pub async fn admit(&self, call: Call) -> Result<Open, Error> {
        let deadline = self.deadline(&call);
        let claim = Claim { tenant: &call.caller.key_id, priority: call.priority, deadline: deadline.at };
        let entered = self.load.enter(claim);
        let mut open = self.meter.open(call);
        let wait = match entered {
            Err(busy) => return Err(open.refuse(overloaded(busy))),
            Ok(Entry::Now(place)) => {
                open.hold(place);
                return Ok(open);
            }
            Ok(Entry::Later(wait)) => wait,
        };
        let began = now();
        let place = wait.place().await;
        open.call.waited += now().saturating_duration_since(began);
        match place {
            Ok(place) => {
                open.hold(place);
                Ok(open)
            }
            Err(_) if now() >= deadline.at => Err(open.refuse(deadline_passed(deadline))),
            Err(busy) => Err(open.refuse(overloaded(busy))),
        }
    }

    /// Walks a call through the rooms and returns at the commit point: first content, failure, or `commit_after`.
    ///
    /// # Errors
    /// Every refusal and failure before the commit point. Later ones come as an item.
    pub async fn run(self: &Arc<Self>, mut open: Open, request: Request) -> Result<Reply, Error> {
        if let Err(error) = Self::permit(&open.call) {
            return Err(open.refuse(error));
        }
        let streamed = open.call.asked.streamed;
        let (id, outcome) = (open.call.id, open.outcome());
        let deadline = self.deadline(&open.call);
        open.call.deadline = Some(deadline);
        // A panic settles the call on its way out of `answer`; here it ends, so that other calls of the connection live.
        let answer = AssertUnwindSafe(self.clone().answer(open, request)).catch_unwind();
        let mut answer: BoxFuture<'static, Result<Reply, Error>> =
            Box::pin(answer.map(|done| done.unwrap_or_else(|_| Err(Error::panicked()))));
        if !streamed {
            return answer.await;
        }
        match timeout(self.commit_after, &mut answer).await {
            Ok(reply) => reply,
            Err(_) => Ok(Reply {
                id,
                target: None,
                attempt_count: 0,
                tried: String::new(),
                rule: String::new(),
                warnings: Vec::new(),
                rate_limits: RateLimits::default(),
                headers: HeaderMap::new(),
                upstream_request_id: String::new(),
                repeats: None,
                settled: outcome,
                deadline: deadline.at,
                items: Box::pin(stream::once(answer).flat_map(|reply| match reply {
                    Ok(reply) => reply.items,
                    Err(error) => Box::pin(stream::iter([Err(error)])),
                })),
            }),
        }
    }

    /// Checks that the caller may make the call: what it does, and its model. What its hints ask for is
    /// checked with the plan.
    ///
    /// # Errors
    /// `SCOPE_DENIED` or `MODEL_NOT_ALLOWED`.
    pub fn permit(call: &Call) -> Result<(), Error> {
        let scope = match call.operation {
            Operation::Chat | Operation::CountTokens => Scope::Chat,
            Operation::Embeddings | Operation::PassThrough(Endpoint::Rerank) => Scope::Embed,
            // Whoever names the provider and its path goes around the aliases.
            Operation::PassThrough(Endpoint::Native) => Scope::RoutePin,
            Operation::PassThrough(_) => Scope::Chat,
        };
        auth::permit(&call.caller, scope)?;
        auth::permit_model(&call.caller, &call.asked.model)
    }

    /// Answers a call, or says once more what it was answered before.
    async fn answer(self: Arc<Self>, open: Open, request: Request) -> Result<Reply, Error> {
        let deadline = self.deadline(&open.call);
        let entered = match &self.once {
            Some(once) => once.enter(&open.call, deadline).await,
            None => Ok(Entered::Alone),
        };
        match entered {
            Err(error) => Err(open.refuse(error)),
            Ok(Entered::Alone) => self.serve(open, request).await,
            Ok(Entered::Repeat(answer)) => Ok(repeat::reply(open, *answer, deadline)),
            Ok(Entered::First(claim)) => {
                // A failure lets go of the claim, so that the call may be tried again.
                let mut reply = self.serve(open, request).await?;
                claim.follow(&mut reply);
                Ok(reply)
            }
        }
    }

    async fn serve(self: Arc<Self>, mut open: Open, mut request: Request) -> Result<Reply, Error> {
        let mut plan = match self.plan(&open.call) {
            Ok(plan) => plan,
            Err(error) => return Err(open.refuse(error)),
        };
        open.call.rule.clone_from(&plan.rule);
        open.call.tags.extend(plan.tags.iter().cloned());
        let admitted = match self.reserve(&mut open, &mut plan, request.units()).await {
            Ok(admitted) => admitted,
            Err(error) => return Err(open.refuse(error)),
        };
        // One grammar and one id over several targets need events where bytes would have passed as they are.
        ready(&mut request, &plan.policy, &open.call.asked);
        let way = Arc::new(Way {
            plan,
            request,
            timeouts: self.timeouts,
            deadline: self.deadline(&open.call),
            health: self.health.clone(),
            gates: self.gates.clone(),
            spending: admitted.spending,
        });
        let meter = &self.meter;
        let journal = |call: &Call| meter.dispatching(call);
        match dispatch(way.clone(), &mut open.call, journal).await {
            Err(error) => Err(open.refuse(error)),
            Ok(mut dispatched) => Ok(Reply {
                id: open.call.id,
                target: dispatched.target,
                attempt_count: open.call.attempts.len(),
                tried: several(&open.call.attempts),
                rule: open.call.rule.clone(),
                warnings: {
                    dispatched.warnings.splice(0..0, admitted.warnings);
                    dispatched.warnings.clone()
                },
                rate_limits: admitted.rate_limits,
                headers: dispatched.headers,
                upstream_request_id: dispatched.upstream_request_id,
                repeats: None,
                settled: open.outcome(),
                deadline: way.deadline.at,
                items: {
                    let may_drain = way.plan.all().any(|candidate| candidate.provider.drains);
                    let steps = resume(way, &open.call, dispatched.items);
                    if may_drain {
                        open.follow_and_drain(steps, dispatched.warnings, dispatched.drains)
                    } else {
                        open.follow(steps, dispatched.warnings)
                    }
                },
            }),
        }
    }

    /// Finds where a call may go, without sending it.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND`, or why no target of the model may be tried.
    pub fn plan(&self, call: &Call) -> Result<Plan, Error> {
        let asking = Asking { call, models: self, health: &self.health, now: now() };
        match call.operation {
            Operation::PassThrough(Endpoint::Native) => self.routes.plan_of_target(&asking),
            Operation::PassThrough(endpoint) => {
                self.routes.plan(&asking).and_then(|plan| plan.having(endpoint))
            }
            _ => self.routes.plan(&asking),
        }
    }

    fn deadline(&self, call: &Call) -> Deadline {
        let ours = Deadline { at: call.started + self.total, by_caller: false };
        ours.earlier(call.deadline)
    }
}

#[cfg(test)]
impl Pipeline {
    /// Joins these rooms with the defaults for everything else.
    pub(crate) fn for_test(auth: Arc<Auth>, meter: Arc<Meter>, routes: Routes) -> Self {
        Self {
            quota: {
                let history = Arc::new(crate::app::Spent { meter: meter.clone(), auth: auth.clone() });
                let engine = crate::quota::Local::new(history, crate::quota::Calendar::utc());
                Arc::new(Quota::new(Arc::new(engine), crate::quota::Settings::default()))
            },
            auth,
            meter,
            once: None,
            routes,
            health: Arc::new(Health::new(crate::route::health::Settings::default())),
            load: Load::new(&crate::config::Load::default(), None),
            gates: Arc::default(),
            timeouts: Timeouts { first_token: Duration::from_secs(30), idle: Duration::from_secs(30) },
            total: Duration::from_secs(60),
            commit_after: Duration::from_secs(30),
            unpriced: Unpriced::default(),
        }
    }
}

/// Lists the attempts of a call that made several: of the others the headers tell all by themselves.
fn several(attempts: &[Attempt]) -> String {
    if attempts.len() < 2 {
        return String::new();
    }
    tried(&attempts.iter().map(Attempt::to_proto).collect::<Vec<_>>())
}

impl Models for Pipeline {
    fn known(&self, target: &Target) -> Known {
        let Some(facts) = self.meter.catalog().facts(&target.vendor, &target.model) else {
            return Known::default();
        };
        Known { context_tokens: facts.context_tokens, can: Some(facts.needs()) }
    }

    fn at_most(&self, call: &Call, target: &Target) -> Option<i64> {
        let (most, priced) = self.most_at(call, target, &[]);
        priced.then_some(most.cost_nanos)
    }
}

fn overloaded(busy: Busy) -> Error {
    let message = "the gateway has too much to do; try again a little later";
    Error::new(Reason::GatewayOverloaded, message).retry_after(Some(busy.retry_after))
}

fn deadline_passed(deadline: Deadline) -> Error {
    if deadline.by_caller {
        let message = "the caller's deadline passed while the call waited for a place";
        Error::new(Reason::CallerDeadlineExceeded, message)
    } else {
        Error::new(Reason::GatewayOverloaded, "`timeouts.total` passed while the call waited for a place")
    }
}
