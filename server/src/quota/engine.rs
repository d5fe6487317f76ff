//! Who counts: the interface between the room and its counters, in this process or over all replicas.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::BoxFuture;
use tollgate_api::v1;
use uuid::Uuid;

use super::Amounts;
use crate::{
    call::{Metric, Rule},
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
    /// The limit.
    pub rule: Arc<Rule>,
    /// How much is held.
    pub amount: i64,
    /// What is used and reserved of it, this included, as far as is known without asking anybody.
    pub used: i64,
    /// When the window starts anew, or all that was used has left it, as in `Standing`.
    pub reset: Option<SystemTime>,
    /// Where the engine counts it.
    pub(super) place: super::window::Place,
}

/// What a call holds.
pub type Held = Vec<Part>;

/// Why a claim was not granted.
#[derive(Debug)]
pub enum Denied {
    /// A limit has no room. That it was the engine that said so, and not a lost connection, is certain.
    Full {
        /// The limit.
        rule: Arc<Rule>,
        /// What the call asked for of it.
        amount: i64,
        /// What is used and reserved of it.
        used: i64,
        /// The part of it that running calls hold in reserve.
        reserved: i64,
        /// When there may be room, if that can be known.
        wait: Option<Duration>,
        /// When the window starts anew, or all that was used has left it, as in `Standing`.
        reset: Option<SystemTime>,
    },
    /// It cannot be known: the store of the counters, or of what was used before, is away.
    Unknown(Error),
}

/// How one limit stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The limit.
    pub rule: Arc<Rule>,
    /// Used in the current window, without what is reserved.
    pub used: i64,
    /// What running calls hold in reserve.
    pub reserved: i64,
    /// When the window starts anew, or all that was used has left it; absent for totals and calls in flight.
    pub reset: Option<SystemTime>,
}

impl Standing {
    /// Shows the limit as the contract does.
    pub fn to_proto(&self) -> v1::Quota {
        let limit = &self.rule.limit;
        let window = if limit.metric == Metric::Concurrent { "" } else { limit.period.as_str() };
        v1::Quota {
            subject: self.rule.subject.to_string(),
            metric: limit.metric.as_str().to_owned(),
            window: window.to_owned(),
            limit: limit.amount,
            used: self.used,
            reserved_amount: self.reserved,
            reset_time: self.reset.map(Into::into),
            soft: limit.soft,
            model: limit.only.model.clone(),
            tag: limit.only.tag_text(),
        }
    }
}

/// What counts. There is one for a process: of its own, or over all replicas.
pub trait Engine: Send + Sync {
    /// Holds what the claim asks for of every limit, or of none. Soft limits are counted and refuse nothing.
    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Held, Denied>>;

    /// Replaces what a call held by what it used. Never waits, never fails: what cannot be told to others at once is
    /// told later. A request stays one, whatever became of it.
    fn settle(&self, held: Held, used: Amounts);

    /// Takes off a counter what an admin's reset found to be used. Told to each replica, once for each reset: an engine
    /// whose counters are shared does it once, by the reset's id. What calls hold in reserve stays.
    fn set_back(&self, _counter: &str, _used: i64, _reset: &str) {}

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
}
