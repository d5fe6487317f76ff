//! A deterministic simulation: the real dispatch, health, gates and guarded streams over providers that misbehave by a
//! seed, on a clock that only moves when all wait. `TOLLGATE_SIM_SEEDS` says how many seeds, `TOLLGATE_SIM_SEED` which
//! one alone.

mod breaker;
mod fake;
mod pause;

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::time::{sleep_until, timeout};
use uuid::Uuid;

use self::fake::Fake;
use super::{
    Candidate, Health, Hedge, Plan, Policy, Timeouts, Way, dispatch,
    health::{Settings, State},
    lot::Lot,
    testing,
};
use crate::{
    call::{Call, Deadline, now},
    error::{Error, Reason},
    load::Gates,
};

/// How long the providers misbehave, in seconds.
const FAULTS: u64 = 10;
/// Calls of one seed.
const CALLS: u64 = 100;
/// When the last calls come, to providers that have long been well.
const LATE: Duration = Duration::from_secs(40);
const LATE_CALLS: u64 = 5;
/// What a timer may be late by.
const SLACK: Duration = Duration::from_millis(20);

/// The providers of a seed, and the two aliases that lead to them.
struct World {
    seed: u64,
    start: Instant,
    fakes: Vec<Arc<Fake>>,
    plans: [Plan; 2],
    health: Arc<Health>,
    gates: Arc<Gates>,
}

/// What became of a call.
struct Ended {
    call: Call,
    deadline: Instant,
    at: Instant,
    /// The error and whether content was out before it; `None` inside if the caller left.
    outcome: Result<(), Option<(Error, bool)>>,
    /// Targets that were well at the end and not tried.
    untried: Vec<Arc<str>>,
    /// Targets that were well at the beginning, and neither silent of late nor too slow to answer in a part of its time.
    could: Vec<Arc<str>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (lot, start) = (Lot::seeded(seed), now());
        let fakes: Vec<_> = (0..3).map(|_| Arc::new(Fake::drawn(&lot, FAULTS, start))).collect();
        let candidate = |index: usize| testing::candidate(["a", "b", "c"][index], fakes[index].clone());
        let hedge = Hedge { after: Duration::from_millis(400), at_most: 0.1 };
        let hedging = Policy { hedge: Some(hedge), ..Policy::default() };
        let settings = Settings {
            max_open: Duration::from_secs(4),
            max_cool_down: Duration::from_secs(4),
            ..Settings::default()
        };
        let plans = [
            testing::plan((0..3).map(candidate).collect(), Policy::default()),
            testing::plan((1..3).map(candidate).collect(), hedging),
        ];
        let health = Arc::new(Health::by_lot(settings, Lot::seeded(lot.draw())));
        Self { seed, start, fakes, plans, health, gates: Arc::default() }
    }

    /// Makes one call and follows it to its end.
    async fn call(self: Arc<Self>, number: u64, lot: Lot, begin: Duration) -> Ended {
        sleep_until((self.start + begin).into()).await;
        let is_late = begin >= LATE;
        let mut call = Call::for_test(["first", "second"][usize::try_from(number % 2).unwrap()]);
        call.id = Uuid::from_u64_pair(self.seed, number);
        let within = Duration::from_millis(if is_late { 9_000 } else { 200 + lot.below(9_000) });
        let deadline = Deadline { at: now() + within, by_caller: true };
        let plan = self.plans[usize::try_from(number % 2).unwrap()].clone();
        // Every other world waits for the first token for longer than any caller does.
        let first_token = if self.seed.is_multiple_of(2) { Duration::from_secs(1) } else { testing::HOUR };
        let way = Way {
            timeouts: Timeouts { first_token, idle: Duration::from_secs(1) },
            deadline,
            health: self.health.clone(),
            gates: self.gates.clone(),
            ..testing::way(plan)
        };
        let way = Arc::new(way);
        let could = self.could_serve(&way.plan, within, call.asked.streamed);
        let patience = if !is_late && lot.below(10) == 0 { lot.up_to(within) } else { testing::HOUR };
        let outcome = timeout(patience, follow(way.clone(), &mut call)).await;
        let (health, at) = (&self.health, now());
        let untried = |candidate: &&Candidate| {
            let tried = call.attempts.iter().any(|attempt| attempt.target.name == candidate.target.name);
            let gate = self.gates.of(&candidate.target.name, candidate.concurrent);
            let has_room = gate.limit().is_none_or(|limit| gate.running() < limit);
            !tried && has_room && health.of(&candidate.target).view(at).state == State::Closed
        };
        let untried = way.plan.candidates.iter().filter(untried).map(|one| one.target.name.clone()).collect();
        let outcome = match outcome {
            Ok(done) => done.map_err(Some),
            Err(_) => Err(None),
        };
        Ended { call, deadline: deadline.at, at, outcome, untried, could }
    }

    fn could_serve(&self, plan: &Plan, within: Duration, streamed: bool) -> Vec<Arc<str>> {
        let could = plan.candidates.iter().filter(|candidate| {
            let view = self.health.of(&candidate.target).view(now());
            let has_room = self.gates.of(&candidate.target.name, candidate.concurrent).has_room();
            let is_quick = view.usual(streamed).is_none_or(|usual| usual <= within / 3);
            let answers = view.silent(streamed) < within / 40;
            view.state == State::Closed && has_room && is_quick && answers
        });
        could.map(|candidate| candidate.target.name.clone()).collect()
    }
}

async fn follow(way: Arc<Way>, call: &mut Call) -> Result<(), (Error, bool)> {
    let mut items = dispatch(way, call, |_| Ok(())).await.map_err(|error| (error, false))?.items;
    while let Some(item) = items.next().await {
        item.map_err(|error| (error, true))?;
    }
    Ok(())
}

/// Runs a seed, checks what must hold, and returns what happened.
fn run(seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let (world, lot) = (Arc::new(World::new(seed)), Lot::seeded(!seed));
        let mut calls = Vec::new();
        for number in 0..CALLS + LATE_CALLS {
            let begin = match number.checked_sub(CALLS) {
                Some(late) => LATE + Duration::from_secs(late),
                None => lot.up_to(Duration::from_secs(FAULTS)),
            };
            calls.push(tokio::spawn(world.clone().call(number, Lot::seeded(lot.draw()), begin)));
        }
        let mut ended = Vec::new();
        for call in calls {
            ended.push(call.await.unwrap());
        }
        ended.iter().for_each(each_call_ends_well);
        attempts_are_what_providers_saw(&world, &ended);
        repeats_stay_within_their_budget(&ended);
        all_is_well_after_the_faults(&world, &ended);
        trace(&world, &ended)
    })
}

fn each_call_ends_well(ended: &Ended) {
    let Ended { call, deadline, at, outcome, untried, could } = ended;
    let shown = || format!("{call:#?}\n{outcome:?}");
    assert!(*at <= *deadline + SLACK, "ended {:?} after its deadline: {}", *at - *deadline, shown());
    assert!(call.attempts.len() <= 3, "{}", shown());
    // All have ended, but for the last one of a call whose content is out: that is `meter`'s.
    let open = call.attempts.iter().rev().skip(1).filter(|attempt| attempt.duration.is_none());
    assert_eq!(open.count(), 0, "{}", shown());
    let Err(Some((error, false))) = outcome else { return };
    assert_eq!(error.facts().attempts.len(), call.attempts.len(), "{}", shown());
    assert!(call.attempts.iter().all(|attempt| attempt.duration.is_some()), "{}", shown());
    let out_of_time = error.reason() == Reason::CallerDeadlineExceeded;
    if out_of_time {
        assert!(*at + SLACK >= *deadline, "{}", shown());
    }
    if let [only] = &call.attempts[..]
        && out_of_time
        && only.outcome == "cancelled"
        && call.waited.is_zero()
    {
        let others: Vec<_> = could.iter().filter(|name| **name != only.target.name).collect();
        assert!(others.is_empty(), "{others:?} had no time left: {}", shown());
    }
    // The third attempt draws on a budget; the first and a second at another target never do. Who has waited in vain for
    // a place may find it free a moment later.
    let gave_up = call.attempts.len() < 2 && !out_of_time && call.waited.is_zero();
    assert!(!gave_up || untried.is_empty(), "{untried:?} could have served: {}", shown());
}

fn attempts_are_what_providers_saw(world: &World, ended: &[Ended]) {
    let deadlines: HashMap<Uuid, Instant> = ended.iter().map(|one| (one.call.id, one.deadline)).collect();
    let mut told: HashMap<(Uuid, &str), usize> = HashMap::new();
    for call in ended.iter().map(|one| &one.call) {
        for attempt in &call.attempts {
            *told.entry((call.id, &attempt.target.name)).or_default() += 1;
        }
    }
    for (fake, name) in world.fakes.iter().zip(["a/m", "b/m", "c/m"]) {
        for (call, at) in fake.asked.lock().unwrap().iter() {
            assert!(*at < deadlines[call], "{name} was asked after the deadline of {call}");
            let left = told.get_mut(&(*call, name)).filter(|left| **left > 0);
            *left.unwrap_or_else(|| panic!("{name} was asked for {call}, which tells nothing of it")) -= 1;
        }
    }
    let never_asked: Vec<_> = told.iter().filter(|(_, left)| **left > 0).collect();
    assert!(never_asked.is_empty(), "{never_asked:?}");
}

fn repeats_stay_within_their_budget(ended: &[Ended]) {
    let mut repeats = 0;
    for call in ended.iter().map(|one| &one.call) {
        let plain: Vec<_> = call.attempts.iter().filter(|attempt| !attempt.hedged).collect();
        let failed_over = plain.len() > 1 && plain[0].target.name != plain[1].target.name;
        repeats += plain.len().saturating_sub(1 + usize::from(failed_over));
    }
    let most = ended.len() / 10 + 10 * usize::try_from(FAULTS + 10).unwrap();
    assert!(repeats <= most, "{repeats} repeats of {} calls", ended.len());
}

fn all_is_well_after_the_faults(world: &World, ended: &[Ended]) {
    let late = &ended[usize::try_from(CALLS).unwrap()..];
    for one in late {
        assert!(one.outcome.is_ok(), "long after the faults: {:#?} {:?}", one.call, one.outcome);
    }
    for (one, plan) in late.iter().rev().zip([&world.plans[0], &world.plans[1]]) {
        let (served, first) = (one.call.attempts.last().unwrap(), &plan.candidates[0].target);
        assert_eq!(served.target.name, first.name, "its best target serves each alias again");
        assert_eq!(world.health.of(first).view(now()).state, State::Closed);
    }
}

fn trace(world: &World, ended: &[Ended]) -> String {
    let mut text = String::new();
    let since = |at: Instant| (at - world.start).as_millis();
    for Ended { call, at, outcome, .. } in ended {
        let outcome =
            outcome.as_ref().map_err(|told| told.as_ref().map(|(error, out)| (error.reason(), *out)));
        let _ = write!(text, "{} {outcome:?}", since(*at));
        for attempt in &call.attempts {
            let (took, begun) = (attempt.duration.map(|took| took.as_millis()), since(attempt.started));
            let _ = write!(text, " {}@{begun}+{took:?}:{}", attempt.target.name, attempt.outcome);
        }
        text.push('\n');
    }
    text
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn a_thousand_seeds_hold() {
    let seeds = match number("TOLLGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TOLLGATE_SIM_SEEDS").unwrap_or(1_000),
    };
    for seed in seeds {
        let done = std::panic::catch_unwind(|| run(seed));
        assert!(done.is_ok(), "TOLLGATE_SIM_SEED={seed} shows it again");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 2_000..2_005 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
