//! Where a call may go and how it gets there: alias to plan, plan to attempts.
//!
//! Place in the path: after every check, before `provider`. Config: `models`, `breaker`, `probe`, `timeouts`. Metrics:
//! `tollgate_circuit_state` and `tollgate_target_health`; the attempts it writes into the call are counted by `meter`.
//! Tests: beside each file, `tests/e2e/routing.rs`, `tests/e2e/upstream_faults.rs`.

mod alias;
mod attempt;
mod backoff;
mod capability;
mod condition;
mod degraded;
mod dispatch;
mod enter;
mod entry;
mod experiment;
pub mod explain;
mod failure;
mod guarded;
pub mod health;
mod heard;
mod hedge;
mod hints;
pub mod lot;
mod patience;
mod plan;
mod planner;
pub mod prober;
mod reason;
mod resume;
mod routes;
mod running;
mod schedule;
#[cfg(test)]
mod sim;
mod star;
mod sticky;
mod strategy;
#[cfg(test)]
mod testing;
mod words;

pub use alias::{
    Alias, AliasTarget, Experiment, Hedge, LeadsTo, OnInterrupt, Policy, Sticky, Strategy, When,
};
pub use attempt::{Dispatched, Timeouts};
pub use dispatch::{Way, dispatch};
pub use health::Health;
pub use plan::{Candidate, Known, Models, PassedOver, Plan};
pub use reason::{Placed, Why};
pub use resume::{ready, resume};
pub use routes::{Asking, Routes};
