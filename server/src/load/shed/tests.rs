//! The controller against simulated gateways.

use super::*;

const MAX: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(20);

/// A gateway that does so many calls a second, one after the other, and refuses for a fiftieth of the work of one. What
/// it has not done yet is its lag.
struct Plant {
    shed: Shed,
    now: Instant,
    backlog: Duration,
    work: Duration,
    next_measurement: Instant,
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    offered: u32,
    admitted: u32,
}

impl Plant {
    fn new(capacity: u32) -> Self {
        let now = Instant::now();
        Self {
            shed: Shed::new(MAX, now),
            now,
            backlog: Duration::ZERO,
            work: Duration::from_secs(1) / capacity,
            next_measurement: now + TICK,
            due: None,
        }
    }

    /// Lets a millisecond pass in which these call.
    fn step(&mut self, calls: &[(&str, Priority, u32)], seen: &mut [Seen]) {
        let step = Duration::from_millis(1);
        for ((tenant, priority, count), seen) in calls.iter().zip(seen) {
            for _ in 0..*count {
                seen.offered += 1;
                let yes = !self.shed.is_alert() || self.shed.asks(tenant, *priority) == Answer::Yes;
                seen.admitted += u32::from(yes);
                self.backlog += if yes { self.work } else { self.work / 50 };
            }
        }
        self.now += step;
        self.backlog = self.backlog.saturating_sub(step);
        // The task that measures is woken in its turn, after what was there before it.
        if self.due.is_none() && self.now >= self.next_measurement {
            self.due = Some(self.now + self.backlog);
        }
        if self.due.is_some_and(|due| self.now >= due) {
            self.due = None;
            self.shed.measured(self.now - self.next_measurement, self.now);
            self.next_measurement = self.now + TICK;
        }
    }

    fn run(&mut self, ms: u32, calls: &[(&str, Priority, u32)]) -> Vec<Seen> {
        let mut seen = vec![Seen::default(); calls.len()];
        (0..ms).for_each(|_| self.step(calls, &mut seen));
        seen
    }
}

#[test]
fn nobody_is_refused_while_the_gateway_keeps_up() {
    let mut plant = Plant::new(2_000);
    let seen = plant.run(10_000, &[("a", Priority::Low, 1)])[0];
    assert_eq!(seen.admitted, seen.offered);
}

#[test]
fn a_hiccup_refuses_nobody_however_long_it_was() {
    let now = Instant::now();
    for pause in [60, 200, 2_000] {
        let mut shed = Shed::new(MAX, now);
        let mut at = now;
        for lag in [0, 0, pause, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(Duration::from_millis) {
            at += TICK + lag;
            shed.measured(lag, at);
            assert_eq!(shed.ratio(), 0.0);
        }
        assert!(!shed.is_alert());
    }
}

#[test]
fn no_limit_never_refuses() {
    let now = Instant::now();
    let mut shed = Shed::new(Duration::ZERO, now);
    for tick in 1..100 {
        shed.measured(Duration::from_secs(1), now + tick * Duration::from_secs(1));
        assert!(!shed.is_alert());
    }
}

#[test]
fn ten_times_the_load_is_refused_within_a_second_and_the_rest_is_served() {
    let mut plant = Plant::new(1_000);
    let calls = [("a", Priority::Normal, 5), ("b", Priority::Normal, 5)];
    plant.run(1_000, &calls);
    assert!(plant.shed.ratio() > 0.5, "{}", plant.shed.ratio());
    plant.run(4_000, &calls);
    let mut most = Duration::ZERO;
    let mut done = Seen::default();
    for _ in 0..200 {
        for seen in plant.run(100, &calls) {
            done.admitted += seen.admitted;
            done.offered += seen.offered;
        }
        most = most.max(plant.backlog);
    }
    // Refusing nine of ten takes 180 of 1,000 ms, so 820 a second is all that can be done.
    assert!(done.admitted >= 20 * 820 * 9 / 10, "{done:?}");
    assert!(most < Duration::from_millis(500), "{most:?}");
    let quiet = plant.run(10_000, &[("a", Priority::Normal, 0), ("b", Priority::Normal, 0)]);
    assert_eq!((quiet.len(), plant.shed.ratio()), (2, 0.0));
}

#[test]
fn whoever_asks_for_little_or_matters_more_is_served() {
    let mut plant = Plant::new(1_000);
    let calls = [
        ("greedy", Priority::Normal, 8),
        ("modest", Priority::Normal, 0),
        ("batch", Priority::Low, 1),
        ("person", Priority::High, 0),
    ];
    let mut done = [Seen::default(); 4];
    for ms in 0..10_000_u32 {
        let mut now = calls;
        now[1].2 = u32::from(ms % 5 == 0);
        now[3].2 = u32::from(ms % 10 == 0);
        let mut seen = [Seen::default(); 4];
        plant.step(&now, &mut seen);
        if ms > 2_000 {
            for (sum, one) in done.iter_mut().zip(seen) {
                sum.offered += one.offered;
                sum.admitted += one.admitted;
            }
        }
    }
    let [greedy, modest, batch, person] = done;
    assert_eq!(person.admitted, person.offered);
    assert!(modest.admitted * 100 >= modest.offered * 98, "{modest:?}");
    assert!(batch.admitted * 100 <= batch.offered * 5, "{batch:?}");
    assert!(greedy.admitted > 0 && greedy.admitted * 10 < greedy.offered * 3, "{greedy:?}");
}

#[test]
fn what_is_given_is_level_and_no_more_than_there_is() {
    for (counts, total, expected) in [
        (&[1.0, 5.0, 10.0][..], 12.0, 5.5),
        (&[1.0, 5.0, 10.0], 3.0, 1.0),
        (&[4.0, 4.0], 20.0, f64::INFINITY),
        (&[4.0], 0.0, 0.0),
        (&[], 3.0, f64::INFINITY),
    ] {
        assert_eq!(level(counts, total), expected, "{counts:?} {total}");
    }
}
