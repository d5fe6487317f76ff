//! Who counts: the interface between the room and its counters, in this process or over all replicas.

use std::{
    future::Ready,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::{BoxFuture, Either};
use tollgate_api::v1;
use uuid::Uuid;

use super::Amounts;
use crate::{
    call::{Metric, RateLimit, RateLimits, Rule},
    error::Error,
};

/// The most that a call may use of one limit.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The limit.
    pub rule: Arc<Rule>,
    /// How much, in the metric's own unit.
    pub amount: i64,
}

/// What a call asks for: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Id of the call. The same claim twice is one.
    pub call: Uuid,
    /// What it may use of each limit that applies.
    pub charges: Vec<Charge>,
    /// Nobody waits for an answer after this.
    pub deadline: Instant,
}

/// What is held of one limit until the call is settled.
#[derive(Debug)]
pub struct Part {
    /// How the limit stands, this included, as far as is known without asking anybody.
    pub standing: Standing,
    /// How much is held.
    pub amount: i64,
    /// Where the engine counts it.
    pub(super) place: super::window::Place,
}

impl Part {
    /// Returns the limit.
    pub fn rule(&self) -> &Arc<Rule> {
        &self.standing.rule
    }
}

/// What a call holds.
pub type Held = Vec<Part>;

/// What becomes of a claim: mostly it is known at once.
pub type Decision<'e> = Either<Ready<Result<Held, Denied>>, BoxFuture<'e, Result<Held, Denied>>>;

/// Why a claim was not granted.
#[derive(Debug)]
pub enum Denied {
    /// A limit has no room.
    Full {
        /// How the limit stands.
        standing: Standing,
        /// What the call asked for of it.
        amount: i64,
        /// When there may be room, if that can be known.
        wait: Option<Duration>,
    },
    /// A limit has no room as far as this replica knows. There may be some: the counters that replicas share are away.
    Away {
        /// How the limit stands, as far as is known here.
        standing: Standing,
        /// What the call asked for of it.
        amount: i64,
        /// When there will be room even if the counters stay away, if that can be known.
        wait: Option<Duration>,
    },
    /// It cannot be known: the store of what was used before is away.
    Unknown(Error),
}

/// How one limit stands. What callers and operators see of a limit is all made from this.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The limit.
    pub rule: Arc<Rule>,
    /// The most that may be used in the current window, top-ups included.
    pub limit: i64,
    /// Used in the current window, without what is reserved, and without what is forgiven.
    pub used: i64,
    /// Used before a reset in the current window, which does not count.
    pub forgiven: i64,
    /// What running calls hold in reserve.
    pub reserved: i64,
    /// When the window starts anew, or all that was used has left it; absent for totals and calls in flight.
    pub reset: Option<SystemTime>,
}

impl Standing {
    /// Makes it of what a counter has come to, without and in reserve.
    pub(super) fn new(
        rule: &Arc<Rule>,
        (counted, reserved): (i64, i64),
        reset: Option<SystemTime>,
        now: SystemTime,
    ) -> Self {
        let (limit, forgiven) = (rule.amount(now), rule.forgiven(now));
        let used = counted.saturating_sub(forgiven).max(0);
        Self { rule: rule.clone(), limit, used, forgiven, reserved, reset }
    }

    /// Returns what is used and reserved.
    pub fn taken(&self) -> i64 {
        self.used.saturating_add(self.reserved)
    }

    /// Notes it for the headers of the answer.
    pub fn note(&self, limits: &mut RateLimits) {
        limits.note(self.rule.limit.metric, RateLimit::new(self.limit, self.taken(), self.reset));
    }

    /// Shows the limit as the contract does.
    pub fn to_proto(&self) -> v1::Quota {
        let limit = &self.rule.limit;
        let window = if limit.metric == Metric::Concurrent { "" } else { limit.period.as_str() };
        v1::Quota {
            subject: self.rule.subject.to_string(),
            metric: limit.metric.as_str().to_owned(),
            window: window.to_owned(),
            limit: self.limit,
            used: self.used,
            reserved_amount: self.reserved,
            reset_time: self.reset.map(Into::into),
            soft: limit.soft,
            model: limit.only.model.clone(),
            tag: limit.only.tag_text(),
            forgiven_amount: self.forgiven,
        }
    }
}

/// What counts. There is one for a process: of its own, or over all replicas. Counters count what was used; what admins
/// changed of a limit is the rule's to say.
pub trait Engine: Send + Sync {
    /// Holds what the claim asks for of every limit, or of none. Soft limits are counted and refuse nothing.
    fn reserve(&self, claim: Claim) -> Decision<'_>;

    /// Replaces what a call held by what it used. Never waits, never fails: what cannot be told to others at once is
    /// told later. A request stays one, whatever became of it.
    fn settle(&self, held: Held, used: Amounts);

    /// Tells how these limits stand.
    fn standing<'a>(&'a self, rules: &'a [Arc<Rule>]) -> BoxFuture<'a, Result<Vec<Standing>, Error>>;

    /// Waits until others were heard of, for a moment at most: who does not know how many they are can share nothing out.
    fn arrive(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Tells others what is not told yet, and gives back what it holds of their limits: this process ends.
    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What was used before this process was there, or by others: the ledger.
pub trait History: Send + Sync {
    /// Returns what the calls that the rule counts have used of its metric since then. Calls that were refused before any
    /// provider was tried did not use anything.
    fn used<'a>(&'a self, rule: &'a Rule, since: SystemTime) -> BoxFuture<'a, Result<i64, Error>>;

    /// Returns the same as far as this replica knows by itself; absent if there is no ledger but its own.
    fn used_here<'a>(
        &'a self,
        _rule: &'a Rule,
        _since: SystemTime,
    ) -> Option<BoxFuture<'a, Result<i64, Error>>> {
        None
    }
}
