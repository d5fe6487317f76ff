//! The reply of a call that was answered before.

use crate::{
    call::{Deadline, RateLimits, Reply},
    meter::Open,
    once::Answer,
};

/// Says an answer once more, with a record of its own that costs nothing.
pub(super) fn reply(open: Open, answer: Answer, deadline: Deadline) -> Reply {
    let first = answer.first();
    Reply {
        // The id that stands in the answer.
        id: first,
        target: answer.target(),
        attempt_count: 0,
        tried: String::new(),
        rule: String::new(),
        warnings: answer.warnings().to_vec(),
        // No limit was asked.
        rate_limits: RateLimits::default(),
        headers: answer.headers(),
        upstream_request_id: answer.upstream_request_id().to_owned(),
        repeats: Some(first),
        deadline: deadline.at,
        settled: open.outcome(),
        items: {
            let settled = answer.usage().cloned();
            open.repeat(answer.into_items(), settled.as_ref())
        },
    }
}
