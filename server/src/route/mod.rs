//! Where a call may go and how it gets there: alias to plan, plan to attempts.
//!
//! Place in the path: after every check, before `provider`. Config: `models`, `timeouts`. Metrics: none of its own;
//! the attempts it writes into the call are counted by `meter`. Tests: here, `tests/e2e/upstream.rs`.

mod attempt;
mod failure;
mod guarded;
mod plan;

pub use attempt::{Dispatched, Timeouts, dispatch};
pub use plan::{Alias, AliasTarget, Candidate, Plan, Routes};
