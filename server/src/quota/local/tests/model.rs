//! The engine against a model that keeps every call: whatever is reserved and settled in whatever order, also when the
//! clock goes back.

use proptest::prelude::*;

use super::*;
use crate::quota::window::Place;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// The clock goes forwards, in thousandths of the window.
    Forwards(u64),
    /// The clock goes back, in thousandths of the window.
    Back(u64),
    /// A call wants so much.
    Reserve(i64),
    /// One of the running calls ends, having used so much.
    Settle(usize, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..300_u64).prop_map(Step::Forwards),
        1 => (0..100_u64).prop_map(Step::Back),
        6 => (0..40_i64).prop_map(Step::Reserve),
        4 => (any::<usize>(), 0..50_i64).prop_map(|(which, used)| Step::Settle(which, used)),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A clock that is set, but never by more than half a window.
struct Clock {
    width: Duration,
    now: SystemTime,
    latest: SystemTime,
}

impl Clock {
    fn new(width: Duration) -> Self {
        Self { width, now: at(0), latest: at(0) }
    }

    fn forwards(&mut self, thousandths: u64) {
        self.now += self.width / 1_000 * u32::try_from(thousandths).unwrap();
        self.latest = self.latest.max(self.now);
    }

    fn back(&mut self, thousandths: u64) {
        let earlier = self.now - self.width / 1_000 * u32::try_from(thousandths).unwrap();
        self.now = earlier.max(self.latest - self.width / 2);
    }
}

/// A call as the model keeps it.
struct Kept {
    /// When it counts from: after a clock went back, as if it had stood still.
    at: SystemTime,
    amount: i64,
    place: Option<Place>,
}

/// What calls came to that are younger than that.
fn younger(kept: &[Kept], now: SystemTime, than: Duration) -> i64 {
    let is_younger = |one: &&Kept| now.duration_since(one.at).is_ok_and(|age| age < than) || one.at > now;
    kept.iter().filter(is_younger).map(|one| one.amount).sum()
}

fn outstanding(kept: &mut [Kept], which: usize) -> Option<&mut Kept> {
    let count = kept.iter().filter(|one| one.place.is_some()).count();
    kept.iter_mut().filter(|one| one.place.is_some()).nth(which.checked_rem(count)?)
}

proptest! {
    #[test]
    fn a_sliding_window_never_holds_more_and_refuses_little_too_long(
        steps in steps(),
        period in prop::sample::select(vec![Period::Second, Period::Minute, Period::Hour]),
        requests in any::<bool>(),
    ) {
        let width = Duration::from_secs(match period { Period::Second => 1, Period::Minute => 60, _ => 3_600 });
        let slot = Duration::from_millis(u64::try_from(width.as_millis()).unwrap().div_ceil(60));
        let metric = if requests { Metric::Requests } else { Metric::Tokens };
        let limit = Limit::new(metric, period, if requests { 5 } else { 100 });
        let mut clock = Clock::new(width);
        let mut window = Window::new(&limit, 0, &Calendar::utc(), clock.now);
        let mut kept: Vec<Kept> = Vec::new();
        let mut seen = clock.now;
        for step in steps {
            match step {
                Step::Forwards(by) => clock.forwards(by),
                Step::Back(by) => clock.back(by),
                Step::Reserve(amount) => {
                    let amount = if requests { 1 } else { amount };
                    // What has left the window does not come back with the clock.
                    seen = seen.max(clock.now);
                    if window.room_for(amount, limit.amount, clock.now).is_err() {
                        let held = younger(&kept, clock.now, slot * 61);
                        prop_assert!(held + amount > limit.amount, "refused though {held} are held");
                        continue;
                    }
                    let held = younger(&kept, seen, width);
                    prop_assert!(held + amount <= limit.amount, "admitted though {held} are held");
                    let place = Some(window.add(amount, clock.now));
                    let at = kept.last().map_or(clock.now, |last| last.at.max(clock.now));
                    kept.push(Kept { at, amount, place });
                }
                Step::Settle(which, used) => {
                    let Some(one) = outstanding(&mut kept, which) else { continue };
                    if let Some(place) = one.place.take() {
                        window.settle(place, one.amount, used);
                        one.amount = if requests { one.amount } else { used };
                    }
                }
            }
        }
        for one in kept.iter_mut().filter(|one| one.place.is_some()) {
            window.settle(one.place.take().unwrap(), one.amount, 0);
        }
        prop_assert_eq!(window.reserved(), 0);
        let end = clock.latest + width * 2;
        prop_assert_eq!(window.used(end), 0);
    }

    #[test]
    fn days_places_and_totals_are_exact_and_all_of_a_call_or_nothing_is_taken(steps in steps()) {
        let day = Duration::from_secs(86_400);
        let rules = [
            rule(Metric::Tokens, Period::Day, 90),
            rule(Metric::Requests, Period::Total, 25),
            rule(Metric::Concurrent, Period::Total, 3),
        ];
        let local = engine(&rules);
        let mut clock = Clock::new(day);
        let day_of = |at: SystemTime| Calendar::utc().span(Period::Day, at).start;
        let mut running: Vec<(Held, SystemTime, i64)> = Vec::new();
        let mut spent: Vec<(SystemTime, i64)> = Vec::new();
        let (mut total, mut seen) = (0, day_of(clock.now));
        for step in steps {
            match step {
                Step::Forwards(by) => clock.forwards(by),
                Step::Back(by) => clock.back(by),
                Step::Reserve(amount) => {
                    // A clock that went back opens no day that has passed; one that was never asked of is none.
                    seen = seen.max(day_of(clock.now));
                    let spent = spent.iter().filter(|(at, _)| *at == seen).map(|(_, used)| used);
                    let held = running.iter().filter(|(_, at, _)| *at == seen).map(|(.., held)| held);
                    let today = spent.chain(held).sum::<i64>();
                    let fits = today + amount <= 90 && total < 25 && running.len() < 3;
                    let taken = local.taken(&rules, tokens(amount, 0), clock.now);
                    prop_assert_eq!(taken.is_ok(), fits, "{} today, {} in all, {} running", today, total, running.len());
                    if let Ok(held) = taken {
                        total += 1;
                        running.push((held, seen, amount));
                    }
                }
                Step::Settle(which, used) => {
                    if running.is_empty() { continue }
                    let at = which % running.len();
                    let (held, day, _) = running.swap_remove(at);
                    local.settle(held, tokens(used, 0));
                    spent.push((day, used));
                }
            }
        }
        for (held, ..) in running {
            local.settle(held, Amounts::default());
        }
        let mut counters = local.counters();
        prop_assert!(rules.iter().all(|rule| counters.get_mut(&rule.counter).unwrap().reserved() == 0));
        prop_assert_eq!(counters.get_mut(&rules[1].counter).unwrap().used(clock.now), total);
        prop_assert_eq!(counters.get_mut(&rules[2].counter).unwrap().used(clock.now), 0);
    }
}
