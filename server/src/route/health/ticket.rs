//! One target as attempts meet it: it lets them in, and hears what they came to.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    condition::Condition,
    settings::Settings,
    shared::Shared,
    view::{Refused, State, Transition, View},
};
use crate::provider::Kind;

/// The health of one target.
#[derive(Debug)]
pub struct TargetHealth {
    name: Arc<str>,
    shared: Arc<Shared>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    condition: Condition,
    /// What observers were last told.
    shown: (State, Option<Instant>),
}

impl TargetHealth {
    pub(super) fn new(name: Arc<str>, shared: Arc<Shared>) -> Self {
        let condition = Condition::new(shared.settings());
        Self { name, shared, kept: Mutex::new(Kept { condition, shown: (State::Closed, None) }) }
    }

    /// Returns the target's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Tells how the target is.
    pub fn view(&self, now: Instant) -> View {
        self.read(|condition| condition.view(now))
    }

    /// Starts an attempt. `last_resort` says that there is no other target: one that is not well is then still tried
    /// now and then.
    ///
    /// # Errors
    /// Why it is not tried now.
    pub fn admit(self: &Arc<Self>, last_resort: bool, now: Instant) -> Result<Ticket, Refused> {
        let attempt = self.change(now, |condition| condition.admit(last_resort, now))?;
        Ok(self.ticket(attempt, now))
    }

    /// Tells whether a probe is wanted: the target was left alone for long enough, and none is running.
    pub fn may_probe(&self, now: Instant) -> bool {
        self.read(|condition| condition.standing(now)) == (State::HalfOpen, None)
    }

    /// Starts an attempt if it is wanted as a probe. It counts as any other; no call is the probe meanwhile.
    pub fn probe(self: &Arc<Self>, now: Instant) -> Option<Ticket> {
        let attempt = self.change(now, |condition| condition.admit_probe(now))?;
        Some(self.ticket(attempt, now))
    }

    /// Takes over what another replica found: how the target is, and until when. `Closed` closes an open breaker, and
    /// leaves pauses as they are.
    pub fn told(&self, state: State, until: Instant, now: Instant) {
        self.change_by(true, now, |condition| condition.told(state, until, now));
    }

    pub(super) fn configure(&self, settings: Settings) {
        self.kept().condition.configure(settings);
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Condition) -> T) -> T {
        read(&self.kept().condition)
    }

    pub(super) fn change<T>(&self, now: Instant, change: impl FnOnce(&mut Condition) -> T) -> T {
        self.change_by(false, now, change)
    }

    fn change_by<T>(&self, replica: bool, now: Instant, change: impl FnOnce(&mut Condition) -> T) -> T {
        let mut kept = self.kept();
        let done = change(&mut kept.condition);
        let (state, retry_at) = kept.condition.standing(now);
        // How long a probe takes is a guess that moves with the clock.
        let until = if state == State::HalfOpen { None } else { retry_at };
        if kept.shown == (state, until) {
            return done;
        }
        // A pause that grows longer is no news to whoever reads the log.
        let is_new = kept.shown.0 != state;
        kept.shown = (state, until);
        kept.condition.found_by(replica);
        let last_failure = kept.condition.view(now).last_failure.map(|(kind, _)| kind);
        drop(kept);
        let target = self.name.clone();
        let transition = Transition { target, state, until, last_failure, told_by_replica: replica };
        if is_new {
            transition.log(now);
        }
        self.shared.tell(&transition);
        done
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(self: &Arc<Self>, attempt: u64, now: Instant) -> Ticket {
        self.shared.attempted(now);
        Ticket { health: self.clone(), attempt, first_content: None, is_told: false }
    }
}

/// An attempt in the eyes of its target's health. Dropped without a word it counts neither for nor against the target:
/// the caller went away, or the request was refused before it was sent.
#[derive(Debug)]
pub struct Ticket {
    health: Arc<TargetHealth>,
    attempt: u64,
    first_content: Option<Instant>,
    /// Whether its end is told; what follows is not heard.
    is_told: bool,
}

impl Ticket {
    /// The first content came so long after the request: the first of a stream, or all there is. A breaker that waited for
    /// this closes.
    pub fn first_content(&mut self, after: Duration, streamed: bool, now: Instant) {
        if !self.is_told && self.first_content.is_none() {
            self.first_content = Some(now);
            let attempt = self.attempt;
            let noted = |condition: &mut Condition| condition.first_content(attempt, after, streamed, now);
            self.attempt = self.health.change(now, noted);
        }
    }

    /// No content came in that time, after which nobody waited for it any more. Not by itself a failure of the target.
    pub fn silent(&self, during: Duration, streamed: bool, now: Instant) {
        self.health.change(now, |condition| condition.pace.silent(during, streamed));
    }

    /// The attempt came to its end, with so many output tokens in the time since its first content.
    pub fn complete(&mut self, output_tokens: i64, now: Instant) {
        let (attempt, first_content) = (self.attempt, self.first_content);
        self.end(now, |condition| {
            if let Some(first) = first_content {
                condition.pace.tokens(output_tokens, now.saturating_duration_since(first), now);
            }
            condition.succeeded(attempt, now);
        });
    }

    /// The target answered something that says no more than that it is there. A breaker that waited for this closes, but
    /// how often it opened is not forgotten.
    pub fn answered(&mut self, now: Instant) {
        let attempt = self.attempt;
        self.end(now, |condition| {
            condition.alive(attempt);
        });
    }

    /// The attempt failed. Mistakes of the caller are neutral, but show that the target is alive; 429 is a pause. What
    /// was never sent, or failed by the caller's own limits, is not told: the ticket is dropped.
    pub fn failed(&mut self, kind: Kind, now: Instant) {
        let (attempt, jitter) = (self.attempt, self.health.shared.jitter());
        self.end(now, |condition| condition.failed(attempt, kind, jitter, now));
    }

    /// The target asked for a pause, beside what else is told of the attempt: 503 with `Retry-After`.
    pub fn pause(&self, asked: Duration, now: Instant) {
        self.health.change(now, |condition| condition.refused(self.attempt, Some(asked), now));
    }

    fn end(&mut self, now: Instant, tell: impl FnOnce(&mut Condition)) {
        if !self.is_told {
            self.is_told = true;
            self.health.change(now, tell);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.health.kept().condition.ended(self.attempt);
    }
}
