//! Any course of events, against a plain model that keeps a log of them and counts it anew each time.

use proptest::prelude::*;

use super::*;

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Passes(u64),
    Asked {
        last_resort: bool,
    },
    /// To one of those that run, by its place.
    Content(usize),
    Served(usize),
    Failed(usize),
    Limited(usize, Option<u64>),
    Refused(usize),
    GoesAway(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    let which = 0_usize..6;
    prop_oneof![
        3 => (0_u64..700).prop_map(Happens::Passes),
        1 => (0_u64..20_000).prop_map(Happens::Passes),
        12 => any::<bool>().prop_map(|last_resort| Happens::Asked { last_resort }),
        1 => which.clone().prop_map(Happens::Content),
        2 => which.clone().prop_map(Happens::Served),
        8 => which.clone().prop_map(Happens::Failed),
        1 => (which.clone(), proptest::option::of(0_u64..5_000)).prop_map(|(which, ms)| Happens::Limited(which, ms)),
        1 => which.clone().prop_map(Happens::Refused),
        1 => which.prop_map(Happens::GoesAway),
    ]
}

/// An attempt that runs, and how often the breaker had changed when it was let in.
struct Running {
    ticket: Ticket,
    id: usize,
    changes: u32,
    refusals: u32,
}

/// The model. Times are in milliseconds.
#[derive(Default)]
struct Model {
    now: u64,
    open_until: Option<u64>,
    probe: Option<usize>,
    /// Openings and closings.
    changes: u32,
    openings: u32,
    in_a_row: u32,
    /// When attempts ended since it closed, and whether they failed.
    ends: Vec<(u64, bool)>,
    first_end: Option<u64>,
    last_resorts: Vec<u64>,
    while_it_pauses: Vec<u64>,
    cool_until: u64,
    refusals: u32,
    limited_in_a_row: u32,
}

impl Model {
    fn state(&self) -> State {
        let cools = self.now < self.cool_until;
        match (self.open_until, self.probe) {
            (None, _) if cools => State::CoolingDown,
            (None, _) => State::Closed,
            (Some(until), None) if self.now < until.max(self.cool_until) => {
                if until > self.cool_until {
                    State::Open
                } else {
                    State::CoolingDown
                }
            }
            (Some(_), Some(_)) if self.cool_until >= self.now + 1_000 => State::CoolingDown,
            (Some(_), _) => State::HalfOpen,
        }
    }

    fn admits(&mut self, id: usize, last_resort: bool) -> bool {
        let is_tried = match self.state() {
            State::Closed => true,
            State::HalfOpen => self.probe.is_none(),
            _ => false,
        };
        if !is_tried {
            let (past, span) = match self.state() {
                State::CoolingDown => (&mut self.while_it_pauses, 10_000),
                _ => (&mut self.last_resorts, 1_000),
            };
            if !last_resort || past.iter().filter(|at| **at + span > self.now).count() >= 10 {
                return false;
            }
            past.push(self.now);
        }
        if self.probe.is_none() && self.open_until.is_some_and(|until| until <= self.now) {
            self.probe = Some(id);
        }
        true
    }

    fn closes(&mut self, attempt: &mut Running) {
        if self.open_until.is_some() && attempt.changes == self.changes {
            self.open_until = None;
            self.probe = None;
            self.changes += 1;
            self.in_a_row = 0;
            self.ends.clear();
            // It goes on as one that was let in now.
            attempt.changes = self.changes;
            attempt.refusals = self.refusals;
        }
    }

    fn counts(&mut self, attempt: &Running, failed: bool) {
        if attempt.changes == self.changes && self.open_until.is_none() {
            self.first_end.get_or_insert(self.now);
            self.ends.push((self.now, failed));
        }
        if attempt.changes == self.changes {
            self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
        }
        if !failed && attempt.changes == self.changes {
            self.openings = 0;
        }
    }

    fn must_open(&self, attempt: &Running) -> bool {
        if attempt.changes != self.changes {
            return false;
        }
        if self.open_until.is_some() {
            return self.probe == Some(attempt.id);
        }
        let second = |at: u64| (at - self.first_end.unwrap_or(at)) / 1_000;
        let late: Vec<_> = self.ends.iter().filter(|(at, _)| second(*at) + 10 > second(self.now)).collect();
        let failed = late.iter().filter(|(_, failed)| *failed).count();
        self.in_a_row >= 5 || late.len() >= 20 && failed * 2 >= late.len()
    }

    fn limited(&mut self, attempt: &Running, asked: Option<u64>) {
        let pause = match asked {
            Some(ms) => ms,
            None if attempt.refusals == self.refusals => {
                self.limited_in_a_row += 1;
                (1_000 << (self.limited_in_a_row - 1).min(10)).min(10_000)
            }
            None => return,
        };
        self.refusals += 1;
        self.cool_until = self.cool_until.max(self.now + pause);
    }
}

/// The target and the model side by side.
struct Course {
    start: Instant,
    target: Arc<TargetHealth>,
    /// Draws what the target draws.
    lot: Lot,
    model: Model,
    running: Vec<Running>,
    asked: usize,
}

impl Course {
    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn now(&self) -> Instant {
        self.at(self.model.now)
    }

    fn take(&mut self, which: usize) -> Option<Running> {
        (which < self.running.len()).then(|| self.running.swap_remove(which))
    }

    fn step(&mut self, happens: Happens) -> Result<(), TestCaseError> {
        let now = self.now();
        match happens {
            Happens::Passes(ms) => self.model.now += ms,
            Happens::Asked { last_resort } => return self.asked(last_resort),
            Happens::Content(which) => {
                if let Some(mut attempt) = self.take(which) {
                    attempt.ticket.first_content(Duration::from_millis(1), true, now);
                    self.model.closes(&mut attempt);
                    self.running.push(attempt);
                }
            }
            Happens::Served(which) => {
                if let Some(mut attempt) = self.take(which) {
                    attempt.ticket.complete(1, now);
                    self.model.closes(&mut attempt);
                    self.model.counts(&attempt, false);
                    if attempt.refusals == self.model.refusals {
                        self.model.limited_in_a_row = 0;
                    }
                }
            }
            Happens::Failed(which) => return self.failed(which),
            Happens::Limited(which, asked) => {
                if let Some(mut attempt) = self.take(which) {
                    let retry_after = asked.map(Duration::from_millis);
                    self.fail(&mut attempt, Kind::RateLimited { retry_after });
                    self.model.limited(&attempt, asked);
                    self.let_go(attempt);
                }
            }
            Happens::Refused(which) => {
                if let Some(mut attempt) = self.take(which) {
                    self.fail(&mut attempt, Kind::Invalid);
                    self.model.closes(&mut attempt);
                }
            }
            Happens::GoesAway(which) => {
                if let Some(attempt) = self.take(which) {
                    let (before, is_probe) = (self.target.view(now), self.model.probe == Some(attempt.id));
                    self.let_go(attempt);
                    let after = self.target.view(now);
                    prop_assert!(is_probe || before.state == after.state);
                    prop_assert_eq!(before.consecutive_failures, after.consecutive_failures);
                }
            }
        }
        Ok(())
    }

    fn asked(&mut self, last_resort: bool) -> Result<(), TestCaseError> {
        let (id, now) = (self.asked, self.now());
        self.asked += 1;
        let admitted = self.target.admit(last_resort, now);
        prop_assert_eq!(admitted.is_ok(), self.model.admits(id, last_resort));
        match admitted {
            Ok(ticket) => {
                let Model { changes, refusals, .. } = self.model;
                self.running.push(Running { ticket, id, changes, refusals });
            }
            Err(refused) => prop_assert!(refused.until > now, "it says when to come back"),
        }
        Ok(())
    }

    /// Tells of a failure, and returns the factor that a pause after it has.
    fn fail(&self, attempt: &mut Running, kind: Kind) -> f64 {
        attempt.ticket.failed(kind, self.now());
        self.lot.around_one(0.2)
    }

    fn failed(&mut self, which: usize) -> Result<(), TestCaseError> {
        let Some(mut attempt) = self.take(which) else { return Ok(()) };
        let jitter = self.fail(&mut attempt, Kind::Unavailable);
        self.model.counts(&attempt, true);
        if self.model.must_open(&attempt) {
            let pause = Duration::from_secs(1 << self.model.openings.min(6)).mul_f64(jitter);
            let pause = pause.min(Duration::from_secs(60)).as_nanos().div_ceil(1_000_000);
            let pause = u64::try_from(pause).unwrap();
            self.model.open_until = Some(self.model.now + pause);
            self.model.probe = None;
            self.model.changes += 1;
            self.model.openings += 1;
        }
        drop(attempt);
        Ok(())
    }

    fn let_go(&mut self, attempt: Running) {
        if self.model.probe == Some(attempt.id) {
            self.model.probe = None;
        }
    }

    fn agrees(&self) -> Result<(), TestCaseError> {
        let view = self.target.view(self.now());
        prop_assert_eq!(view.state, self.model.state());
        prop_assert_eq!(view.consecutive_failures, self.model.in_a_row);
        prop_assert_eq!(view.running, self.running.len());
        let is_tried = match view.state {
            State::Closed => true,
            State::HalfOpen => self.model.probe.is_none(),
            _ => false,
        };
        prop_assert_eq!(view.retry_at.is_none(), is_tried, "the moment fits the state");
        prop_assert!(view.retry_at.is_none_or(|at| at > self.now()));
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_target_is_tried_when_the_model_says_so(events in proptest::collection::vec(happens(), 1..150)) {
        let target = one();
        let mut course = Course {
            start: Instant::now(),
            target,
            lot: Lot::seeded(SEED),
            model: Model::default(),
            running: Vec::new(),
            asked: 0,
        };
        for event in events {
            course.step(event)?;
            course.agrees()?;
        }
        // Whatever happened, two minutes later a call goes through, if no probe is still on its way.
        course.running.clear();
        let then = course.now() + Duration::from_secs(120);
        prop_assert!(course.target.admit(false, then).is_ok());
    }
}
