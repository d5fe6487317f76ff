//! When there is too much to do: who gets a place, who waits, who is refused at once.
//!
//! Place in the path: `pipeline` asks for a place right after `auth`, before the body is read; `route` asks for one at a
//! target before each attempt. Config: `load`, `concurrent` of a target, `priority` of a key. Metrics:
//! `tollgate_queue_*`, `tollgate_shed_total`, `tollgate_load_*`. Tests: beside each file, `tests/e2e/overload.rs`.

mod aimd;
pub mod files;
mod gate;
mod gates;
mod lag;
mod queue;
mod shed;
mod stage;
mod thaw;

pub use gate::{Busy, Claim, Gate, Place, Settings};
pub use gates::Gates;
pub use lag::watch;
pub use stage::{Entry, Load, Status, Wait};
pub use thaw::Pause;
