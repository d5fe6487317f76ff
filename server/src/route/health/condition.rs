//! All that is known of one target, and what follows from it for the next call. A plain state machine.

use std::time::{Duration, Instant};

use super::{
    breaker::{Breaker, Standing},
    budget::Budget,
    cool_down::CoolDown,
    eject::{self, Ejection, Sibling},
    pace::Pace,
    settings::Settings,
    trickle::Trickle,
    view::{Refused, State, View},
};
use crate::provider::Kind;

/// A target that asked for a pause gets no more than ten last resorts in this time.
const WHILE_IT_PAUSES: Duration = Duration::from_secs(10);

/// The health of a target, without lock and clock.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) settings: Settings,
    pub(super) budget: Budget,
    pub(super) pace: Pace,
    breaker: Breaker,
    cool_down: CoolDown,
    ejection: Ejection,
    last_resort: Trickle,
    /// The same for a target that asked for a pause. Providers count what they refuse too, so that more calls would keep
    /// it from ever taking any.
    while_it_pauses: Trickle,
    running: usize,
    /// Number of the next attempt.
    next: u64,
    last_failure: Option<(&'static str, Instant)>,
    last_used: Option<Instant>,
    told_by_replica: bool,
}

impl Condition {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            budget: Budget::default(),
            pace: Pace::default(),
            breaker: Breaker::new(&settings),
            cool_down: CoolDown::default(),
            ejection: Ejection::default(),
            last_resort: Trickle::default(),
            while_it_pauses: Trickle::over(WHILE_IT_PAUSES),
            running: 0,
            next: 0,
            last_failure: None,
            last_used: None,
            told_by_replica: false,
        }
    }

    /// Goes by other settings from now on.
    pub(super) fn configure(&mut self, settings: Settings) {
        self.breaker.configure(&settings);
        self.settings = settings;
    }

    /// Lets an attempt in and returns its number.
    pub(super) fn admit(&mut self, last_resort: bool, now: Instant) -> Result<u64, Refused> {
        if self.ejection.comes_back(now) {
            // What it was left out for is paid for; it is judged by what it does from now on.
            self.pace.forget_ends();
        }
        let left_alone = self.left_alone(now);
        if let Some(refused) = left_alone.or_else(|| self.ejected(now)) {
            let mut is_let_in = || match left_alone.map(|refused| refused.state) {
                // Being worse than its siblings is no reason against a target that has none.
                None => true,
                Some(State::CoolingDown) => self.while_it_pauses.take(now),
                Some(_) => self.last_resort.take(now),
            };
            if !(last_resort && is_let_in()) {
                return Err(refused);
            }
        }
        let attempt = self.next;
        self.next += 1;
        self.running += 1;
        self.last_used = Some(now);
        self.budget.attempted(now);
        self.breaker.admitted(attempt, now);
        Ok(attempt)
    }

    /// Lets an attempt in if it is wanted as a probe.
    pub(super) fn admit_probe(&mut self, now: Instant) -> Option<u64> {
        let is_wanted = self.breaker.standing(now) == Standing::MayProbe;
        if is_wanted { self.admit(false, now).ok() } else { None }
    }

    /// Notes that an attempt is over. If it had nothing to say, it frees the probe's place.
    pub(super) fn ended(&mut self, attempt: u64) {
        self.running = self.running.saturating_sub(1);
        self.breaker.released(attempt);
    }

    /// Notes that the target answered; returns the number under which the attempt goes on.
    pub(super) fn alive(&mut self, attempt: u64) -> u64 {
        if !self.breaker.alive(attempt, self.next) {
            return attempt;
        }
        // A number of its own: what happens from now on happens after it.
        let attempt = self.next;
        self.next += 1;
        attempt
    }

    /// Notes the first content; returns the number under which the attempt goes on.
    pub(super) fn first_content(
        &mut self,
        attempt: u64,
        after: Duration,
        streamed: bool,
        now: Instant,
    ) -> u64 {
        self.pace.first_content(after, streamed, now);
        self.alive(attempt)
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self, attempt: u64, now: Instant) {
        self.pace.ended(false, now);
        let attempt = self.alive(attempt);
        self.cool_down.succeeded(attempt);
        self.breaker.succeeded(attempt, now);
    }

    /// Notes a failure. `jitter` spreads the pause that may follow.
    pub(super) fn failed(&mut self, attempt: u64, kind: Kind, jitter: f64, now: Instant) {
        self.last_failure = Some((kind.as_str(), now));
        match kind {
            Kind::Timeout | Kind::Unavailable | Kind::BadResponse | Kind::Denied => {
                self.pace.ended(true, now);
                self.breaker.failed(attempt, self.next, &self.settings, jitter, now);
            }
            Kind::RateLimited { retry_after } => self.refused(attempt, retry_after, now),
            Kind::ContextLength | Kind::ContentPolicy | Kind::Invalid => {
                self.alive(attempt);
            }
            // That was our own word: the target did not hear of it.
            Kind::Unsupported => {}
        }
    }

    /// Notes that the target asked for a pause.
    pub(super) fn refused(&mut self, attempt: u64, asked: Option<Duration>, now: Instant) {
        self.cool_down.refused(attempt, self.next, asked, self.settings.max_cool_down, now);
    }

    /// Leaves the target out, because its siblings do better.
    pub(super) fn eject(&mut self, jitter: f64, now: Instant) {
        self.ejection.eject(&self.settings, jitter, now);
    }

    /// Notes what another replica found.
    pub(super) fn told(&mut self, state: State, until: Instant, now: Instant) {
        let no_longer = |most: Duration| until.min(now + most);
        match state {
            State::Closed => self.breaker.close_if_open(self.next),
            State::Open => self.breaker.open(no_longer(self.settings.max_open), self.next),
            State::CoolingDown => self.cool_down.pause(no_longer(self.settings.max_cool_down), self.next),
            State::Ejected => self.ejection.leave_out(no_longer(self.settings.max_open)),
            // Its probe says nothing until it is over.
            State::HalfOpen => {}
        }
    }

    /// Notes who found out about the state that it is in now.
    pub(super) fn found_by(&mut self, replica: bool) {
        self.told_by_replica = replica;
    }

    /// Returns how it does, to be compared with others.
    pub(super) fn sibling(&self, now: Instant) -> Sibling {
        let ends = self.pace.ends(now);
        Sibling {
            ratio: if ends.all < eject::ENOUGH { None } else { ends.share() },
            well: self.standing(now).0 == State::Closed,
            ejected: self.ejection.until(now).is_some(),
        }
    }

    /// Returns whether it is tried, and if not, when it is again.
    pub(super) fn standing(&self, now: Instant) -> (State, Option<Instant>) {
        match self.left_alone(now).or_else(|| self.ejected(now)) {
            Some(Refused { state, until }) => (state, Some(until)),
            None if self.breaker.standing(now) == Standing::MayProbe => (State::HalfOpen, None),
            None => (State::Closed, None),
        }
    }

    /// Returns how it is.
    pub(super) fn view(&self, now: Instant) -> View {
        let (state, retry_at) = self.standing(now);
        View {
            state,
            retry_at,
            consecutive_failures: self.breaker.failures(),
            failure_ratio: self.pace.failure_ratio(now),
            first_token: self.pace.first_token(),
            whole: self.pace.whole(),
            silence: self.pace.silence(),
            tokens_per_second: self.pace.tokens_per_second(),
            running: self.running,
            last_failure: self.last_failure,
            told_by_replica: self.told_by_replica,
        }
    }

    /// Returns what it is worth to remember: first what is in use or not well, then what was used last.
    pub(super) fn worth(&self, now: Instant) -> (bool, bool, Option<Instant>) {
        (self.running > 0, self.standing(now).0 != State::Closed, self.last_used)
    }

    /// Tells why the target is left alone, by the reason that holds longest.
    fn left_alone(&self, now: Instant) -> Option<Refused> {
        let refused = |state, until| Refused { state, until };
        let broken = match self.breaker.standing(now) {
            Standing::Closed | Standing::MayProbe => None,
            Standing::Open(until) => Some(refused(State::Open, until)),
            // Nobody knows when the probe is over: the shortest pause is a fair guess.
            Standing::Probing => Some(refused(State::HalfOpen, now + self.settings.pause(0, 1.0))),
        };
        let cooling = self.cool_down.until(now).map(|until| refused(State::CoolingDown, until));
        broken.into_iter().chain(cooling).max_by_key(|refused| refused.until)
    }

    fn ejected(&self, now: Instant) -> Option<Refused> {
        self.ejection.until(now).map(|until| Refused { state: State::Ejected, until })
    }
}
