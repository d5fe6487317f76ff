//! The readers of what passes through, for `provider/lanes.rs`. They serve every dialect's native endpoints and claim
//! none.

use tollgate_api::v1::Usage;

use super::pass::{Lines, Pass};
use crate::provider::{
    aws::frames,
    lanes::{Makes, Reader, Unit, follow},
    sse,
};

/// The readers.
pub(in crate::provider) const READERS: &[Reader] = &[
    Reader::new("pass-events", &[], Makes::Bytes(Unit::Events), |pieces, taker| {
        follow(Pass::<sse::Splitter>::new(Usage::default()), pieces, taker);
    }),
    Reader::new("pass-lines", &[], Makes::Bytes(Unit::Lines), |pieces, taker| {
        follow(Pass::<Lines>::new(Usage::default()), pieces, taker);
    }),
    Reader::new("pass-messages", &[], Makes::Bytes(Unit::Messages), |pieces, taker| {
        follow(Pass::<frames::Splitter>::new(Usage::default()), pieces, taker);
    }),
];
