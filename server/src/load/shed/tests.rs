//! The controller against simulated gateways.

use std::collections::VecDeque;

use super::*;

const MAX: Duration = Duration::from_millis(250);
/// More calls than `FEW`.
const MANY: usize = 1_000;

/// A gateway that does one thing after the other: what came earlier first, the task that measures in its turn. Serving a
/// call takes its time, refusing one a fiftieth of that. What waits for its turn stands for what is running.
struct Plant {
    shed: Shed,
    began: Instant,
    /// What has been done of the time there was, in nanoseconds.
    busy_until: u64,
    now: u64,
    work: u64,
    queue: VecDeque<Thing>,
    tick_at: u64,
}

enum Thing {
    Call { tenant: &'static str, priority: Priority, at: usize },
    Tick,
}

type Calls = [(&'static str, Priority, u32)];

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    offered: u32,
    admitted: u32,
}

const MILLISECOND: u64 = 1_000_000;

impl Plant {
    fn new(capacity: u64) -> Self {
        let began = Instant::now();
        Self {
            shed: Shed::new(MAX, began),
            began,
            busy_until: 0,
            now: 0,
            work: 1_000 * MILLISECOND / capacity,
            queue: VecDeque::new(),
            tick_at: u64::try_from(EVERY.as_nanos()).unwrap(),
        }
    }

    /// Lets a millisecond pass in which these call.
    fn step(&mut self, calls: &Calls, seen: &mut [Seen]) {
        for (at, (tenant, priority, count)) in calls.iter().enumerate() {
            for _ in 0..*count {
                self.queue.push_back(Thing::Call { tenant, priority: *priority, at });
            }
        }
        self.now += MILLISECOND;
        if self.now >= self.tick_at {
            self.tick_at = u64::MAX;
            self.queue.push_back(Thing::Tick);
        }
        self.busy_until = self.busy_until.max(self.now - MILLISECOND);
        while self.busy_until < self.now {
            let Some(thing) = self.queue.pop_front() else { return };
            let (now, running) = (self.began + Duration::from_nanos(self.busy_until), self.queue.len());
            match thing {
                Thing::Tick => {
                    let due = self.shed.woken(running, now);
                    self.tick_at = u64::try_from((due - self.began).as_nanos()).unwrap();
                }
                Thing::Call { tenant, priority, at } => {
                    self.shed.called(running, now);
                    let yes =
                        !self.shed.is_alert() || self.shed.asks(tenant, priority, running) == Answer::Yes;
                    seen[at].offered += 1;
                    seen[at].admitted += u32::from(yes);
                    self.busy_until += if yes { self.work } else { self.work / 50 };
                }
            }
        }
    }

    /// How long what comes now has to wait, in calls.
    fn backlog(&self) -> usize {
        self.queue.len()
    }

    fn run(&mut self, ms: u32, calls: &Calls) -> Vec<Seen> {
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
    for pause in [260, 1_000, 10_000] {
        let mut shed = Shed::new(MAX, now);
        let mut at = now;
        for lag in [0, 0, pause, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(Duration::from_millis) {
            at += EVERY + lag;
            shed.woken(MANY, at);
            assert_eq!(shed.ratio(), 0.0);
        }
        assert!(!shed.is_alert());
    }
}

#[test]
fn a_starved_machine_refuses_nobody_while_few_calls_run() {
    let now = Instant::now();
    let mut shed = Shed::new(MAX, now);
    let mut at = now;
    let mut late = |shed: &mut Shed, running: usize| {
        (0..20).for_each(|_| {
            at += EVERY + 2 * MAX;
            shed.woken(running, at);
        });
    };
    late(&mut shed, FEW - 1);
    assert_eq!((shed.ratio(), shed.lag()), (0.0, 2 * MAX), "it is late, and not through its calls");
    assert!((0..100).all(|_| shed.asks("a", Priority::Low, FEW - 1) == Answer::Yes));
    late(&mut shed, FEW);
    assert!(shed.ratio() > 0.5, "{}", shed.ratio());
    let mut answers = |running| (0..100).map(|_| shed.asks("a", Priority::Low, running)).collect::<Vec<_>>();
    answers(FEW);
    assert!(answers(FEW - 1).iter().all(|answer| *answer == Answer::Yes), "as soon as few are left");
}

#[test]
fn no_limit_never_refuses() {
    let now = Instant::now();
    let mut shed = Shed::new(Duration::ZERO, now);
    for tick in 1..100 {
        shed.woken(MANY, now + tick * Duration::from_secs(1));
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
    let mut most = 0;
    let mut done = Seen::default();
    for _ in 0..200 {
        for seen in plant.run(100, &calls) {
            done.admitted += seen.admitted;
            done.offered += seen.offered;
        }
        most = most.max(plant.backlog());
    }
    // Refusing nine of ten takes 180 of 1,000 ms, so 820 a second is all that can be done.
    assert!(done.admitted >= 20 * 820 * 95 / 100, "{done:?}");
    // Each takes 0.118 ms on average.
    assert!(most < 2_500, "{most} calls are less than 300 ms of them");
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
    assert!(modest.admitted * 100 >= modest.offered * 95, "{modest:?}");
    assert!(batch.admitted * 100 <= batch.offered * 5, "{batch:?}");
    assert!(greedy.admitted > 0 && greedy.admitted * 10 < greedy.offered * 3, "{greedy:?}");
}

#[test]
fn what_is_given_is_level_and_no_more_than_there_is() {
    for (counts, total, expected) in [
        (&[1.0, 5.0, 10.0][..], 12.0, 6.0),
        (&[1.0, 5.0, 10.0], 3.0, 1.0),
        (&[4.0, 4.0], 20.0, f64::INFINITY),
        (&[4.0], 0.0, 0.0),
        (&[], 3.0, f64::INFINITY),
    ] {
        assert_eq!(level(counts, total), expected, "{counts:?} {total}");
    }
}
