//! The attempts of a call until one brings content: each is written into the call, and into the journal before it is
//! made, and ended there whatever becomes of it.

use std::{sync::Arc, time::Instant};

use tollgate_api::v1::{self, usage::Source};

use super::{failure, heard::Heard};
use crate::{
    call::{Attempt, Call, Target, now},
    error::Error,
    provider,
};

/// The attempts of a call. Dropping it ends those that still run as cancelled.
pub(super) struct Running<'c, J> {
    /// The call they belong to.
    pub(super) call: &'c mut Call,
    /// What is done with the call before an attempt is made.
    journal: J,
    /// Those that run, by their place in the call.
    under_way: Vec<(usize, Arc<Heard>)>,
}

impl<'c, J> Running<'c, J> {
    /// Starts with none.
    pub(super) fn new(call: &'c mut Call, journal: J) -> Self {
        Self { call, journal, under_way: Vec::new() }
    }

    /// Writes an attempt down, and returns its place in the call and where it tells what it hears.
    ///
    /// # Errors
    /// The journal's. The attempt must then not be made.
    pub(super) fn start(
        &mut self,
        target: &Arc<Target>,
        hedged: bool,
        now: Instant,
    ) -> Result<(usize, Arc<Heard>), Error>
    where
        J: Fn(&Call) -> Result<(), Error>,
    {
        let place = self.call.attempts.len();
        self.call.attempts.push(Attempt { hedged, ..Attempt::start(target.clone(), now) });
        if let Err(error) = (self.journal)(self.call) {
            // It was not made, so nothing may tell of it.
            self.call.attempts.pop();
            return Err(error);
        }
        let heard = Arc::new(Heard::default());
        self.under_way.push((place, heard.clone()));
        Ok((place, heard))
    }

    /// Another target is asked beside an attempt, or is no more.
    pub(super) fn set_company(&self, place: usize, has_company: bool) {
        if let Some((_, heard)) = self.under_way.iter().find(|(other, _)| *other == place) {
            heard.set_company(has_company);
        }
    }

    /// Tells whether any attempt is running.
    pub(super) fn any(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The attempt failed.
    pub(super) fn failed(&mut self, place: usize, failure: &provider::Error, now: Instant) {
        let Some(heard) = self.finish(place) else { return };
        failure::note(&mut self.call.attempts[place], failure, now);
        note_heard(&mut self.call.attempts[place], &heard);
    }

    /// The attempt serves the call: it runs on, and all others are given up. It stands last from now on.
    pub(super) fn won(&mut self, place: usize, now: Instant) {
        if let Some(heard) = self.finish(place) {
            note_head(&mut self.call.attempts[place], &heard);
        }
        self.give_up(now);
        self.put_last(place);
    }

    /// Every attempt that still runs is given up.
    pub(super) fn give_up(&mut self, now: Instant) {
        for (place, heard) in std::mem::take(&mut self.under_way) {
            self.call.attempts[place].end("cancelled", now);
            note_heard(&mut self.call.attempts[place], &heard);
        }
    }

    /// Puts an attempt behind all others: it is the one that tells how the call ended. None may be running.
    pub(super) fn put_last(&mut self, place: usize) {
        let attempt = self.call.attempts.remove(place);
        self.call.attempts.push(attempt);
    }

    /// Shows all attempts as the contract does.
    pub(super) fn to_proto(&self) -> Vec<v1::Attempt> {
        self.call.attempts.iter().map(Attempt::to_proto).collect()
    }

    fn finish(&mut self, place: usize) -> Option<Arc<Heard>> {
        let at = self.under_way.iter().position(|(other, _)| *other == place)?;
        Some(self.under_way.swap_remove(at).1)
    }
}

impl<J> Drop for Running<'_, J> {
    fn drop(&mut self) {
        self.give_up(now());
    }
}

fn note_head(attempt: &mut Attempt, heard: &Heard) {
    let Some((http_status, upstream_request_id)) = heard.head() else { return };
    attempt.http_status = *http_status;
    attempt.upstream_request_id.clone_from(upstream_request_id);
}

/// Writes down what the upstream told before the attempt ended without content.
fn note_heard(attempt: &mut Attempt, heard: &Heard) {
    if attempt.http_status == 0 {
        note_head(attempt, heard);
    }
    attempt.unsent |= heard.reach.is_unsent();
    attempt.usage = heard.take_usage().map(|told| {
        let source = match told.source() {
            Source::Estimated => Source::Estimated,
            _ => Source::Provider,
        };
        Box::new(v1::Usage { source: source.into(), ..*told })
    });
}
