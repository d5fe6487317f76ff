//! When there is too much to do: who gets a place, who waits, who is refused at once.
//!
//! Place in the path: `pipeline` asks for a place right after `auth`; `route` asks for one at a target before each
//! attempt. Config: `load`, `concurrent` of a target, `priority` of a key. Metrics: `tollgate_queue_*`,
//! `tollgate_shed_total`. Tests: beside each file, `tests/e2e/overload.rs`.

mod gate;

pub use gate::{Busy, Claim, Gate, Gates, Place, Settings};
