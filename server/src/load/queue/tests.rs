//! The queue against its promises, by example and with drawn histories.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::*;

fn waiting(queue: &mut Queue<&'static str>, now: Instant, all: &[(&str, Priority, &'static str)]) {
    for (tenant, priority, name) in all {
        queue.join(tenant, *priority, now + Duration::from_secs(1), name).unwrap();
    }
}

fn drain<T>(queue: &mut Queue<T>, now: Instant) -> Vec<T> {
    std::iter::from_fn(|| queue.next(now)).collect()
}

#[test]
fn the_important_come_first_and_tenants_take_turns() {
    use Priority::{High, Low, Normal};
    let (now, mut queue) = (Instant::now(), Queue::new(10));
    let all = [
        ("a", Low, "a low"),
        ("a", Normal, "a1"),
        ("a", Normal, "a2"),
        ("a", Normal, "a3"),
        ("b", Normal, "b1"),
        ("b", High, "b high"),
        ("c", Normal, "c1"),
    ];
    waiting(&mut queue, now, &all);
    assert_eq!(drain(&mut queue, now), ["b high", "a1", "b1", "c1", "a2", "a3", "a low"]);
    assert_eq!(queue.len(), 0);
}

#[test]
fn whoever_is_past_the_moment_is_left_out() {
    let (now, mut queue) = (Instant::now(), Queue::new(10));
    queue.join("a", Priority::Normal, now + Duration::from_millis(10), "late").unwrap();
    queue.join("a", Priority::Normal, now + Duration::from_millis(20), "in time").unwrap();
    assert_eq!(queue.next(now + Duration::from_millis(10)), Some("in time"));
    assert_eq!((queue.next(now), queue.len()), (None, 0));
}

#[test]
fn a_full_queue_sends_the_greediest_away_for_a_modest_newcomer() {
    let (now, mut queue) = (Instant::now(), Queue::new(4));
    let normal = Priority::Normal;
    waiting(
        &mut queue,
        now,
        &[("a", normal, "a1"), ("a", normal, "a2"), ("a", normal, "a3"), ("b", normal, "b1")],
    );
    let until = now + Duration::from_secs(1);
    assert_eq!(queue.join("a", normal, until, "a4"), Err("a4"), "it has the most itself");
    assert_eq!(queue.join("b", normal, until, "b2").unwrap().1, Some("a3"));
    assert_eq!(queue.join("b", normal, until, "b3"), Err("b3"), "now both have the same");
    assert_eq!(queue.join("c", normal, until, "c1").unwrap().1, Some("b2"));
    assert_eq!(queue.join("d", Priority::High, until, "d high").unwrap().1, Some("a2"));
    assert_eq!(queue.join("d", Priority::Low, until, "d low"), Err("d low"));
    assert_eq!(drain(&mut queue, now), ["d high", "a1", "b1", "c1"]);
}

#[test]
fn a_queue_for_nobody_refuses_all() {
    let now = Instant::now();
    assert_eq!(Queue::new(0).join("a", Priority::High, now + Duration::from_secs(1), 1), Err(1));
}

#[test]
fn who_leaves_is_not_called() {
    let (now, mut queue) = (Instant::now(), Queue::new(4));
    let until = now + Duration::from_secs(1);
    let (first, _) = queue.join("a", Priority::Normal, until, 1).unwrap();
    let (second, _) = queue.join("a", Priority::Normal, until, 2).unwrap();
    let (_, _) = queue.join("b", Priority::Normal, until, 3).unwrap();
    assert_eq!((queue.leave(&first), queue.leave(&first)), (Some(1), None));
    assert_eq!((queue.leave(&second), queue.len()), (Some(2), 1));
    assert_eq!(drain(&mut queue, now), [3]);
}

#[derive(Clone, Debug)]
enum Act {
    Join { tenant: usize, priority: usize, wait_ms: u64 },
    Next,
    Leave { which: usize },
    Wait { ms: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..5_usize, 0..3_usize, 0..50_u64)
            .prop_map(|(tenant, priority, wait_ms)| Act::Join { tenant, priority, wait_ms }),
        2 => Just(Act::Next),
        1 => (0..100_usize).prop_map(|which| Act::Leave { which }),
        1 => (0..20_u64).prop_map(|ms| Act::Wait { ms }),
    ];
    proptest::collection::vec(act, 0..200)
}

/// What is known of somebody who waits.
#[derive(Clone)]
struct Told {
    ticket: Ticket,
    priority: Priority,
    until: Instant,
}

proptest! {
    #[test]
    fn nobody_is_lost_or_late_and_the_bound_holds(most in 0..12_usize, acts in acts()) {
        let mut now = Instant::now();
        let mut queue = Queue::new(most);
        let mut told: HashMap<usize, Told> = HashMap::new();
        for (id, act) in acts.into_iter().enumerate() {
            match act {
                Act::Join { tenant, priority, wait_ms } => {
                    let (priority, until) = (Priority::ALL[priority], now + Duration::from_millis(wait_ms));
                    let was_full = queue.len() >= most;
                    match queue.join(&tenant.to_string(), priority, until, id) {
                        Ok((ticket, evicted)) => {
                            prop_assert_eq!(evicted.is_some(), was_full);
                            if let Some(evicted) = evicted {
                                let gone = told.remove(&evicted).expect("only who waits can be sent away");
                                prop_assert!(gone.priority <= priority);
                            }
                            told.insert(id, Told { ticket, priority, until });
                        }
                        Err(refused) => prop_assert!(was_full && refused == id),
                    }
                }
                Act::Next => {
                    let called = queue.next(now);
                    let live = told.iter().filter(|(_, one)| one.until > now);
                    let best = live.map(|(_, one)| one.priority).max();
                    match called.and_then(|id| told.remove(&id)) {
                        Some(one) => prop_assert!(one.until > now && Some(one.priority) == best),
                        None => prop_assert!(called.is_none() && best.is_none(), "somebody was forgotten"),
                    }
                    // Whoever was late may have been left out on the way.
                    let tickets: Vec<_> = told.iter().filter(|(_, one)| one.until <= now).map(|(id, _)| *id).collect();
                    for id in tickets {
                        if let Some(one) = told.remove(&id) {
                            queue.leave(&one.ticket);
                        }
                    }
                }
                Act::Leave { which } => {
                    let nth = told.keys().copied().nth(which);
                    if let Some(one) = nth.and_then(|id| told.remove(&id)) {
                        prop_assert_eq!(queue.leave(&one.ticket), nth);
                    }
                }
                Act::Wait { ms } => now += Duration::from_millis(ms),
            }
            prop_assert!(queue.len() <= most);
            prop_assert_eq!(queue.len(), told.len());
        }
    }

    #[test]
    fn every_tenant_gets_its_share_while_all_wait(
        demands in proptest::collection::vec(20..60_usize, 2..6),
        order in any::<prop::sample::Index>(),
    ) {
        let now = Instant::now();
        let mut queue = Queue::new(1_000);
        let tenants = demands.len();
        for turn in 0..tenants {
            let tenant = (turn + order.index(tenants)) % tenants;
            for _ in 0..demands[tenant] {
                queue.join(&tenant.to_string(), Priority::Normal, now + Duration::from_secs(1), tenant).unwrap();
            }
        }
        let places = tenants * 15 + order.index(tenants);
        let mut got = vec![0_usize; tenants];
        for _ in 0..places {
            got[queue.next(now).unwrap()] += 1;
        }
        for count in &got {
            prop_assert!(count.abs_diff(places / tenants) <= 1, "{got:?}");
        }
    }

    #[test]
    fn a_modest_tenant_is_never_refused_for_a_greedy_one(
        most in 4..40_usize,
        greedy in 40..100_usize,
        share in 0..20_usize,
    ) {
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let mut queue = Queue::new(most);
        for id in 0..greedy {
            let _ = queue.join("greedy", Priority::Normal, until, id);
        }
        let modest = share.min(most / 2);
        for id in 0..modest {
            prop_assert!(queue.join("modest", Priority::Normal, until, id).is_ok());
        }
        for id in 0..greedy {
            if let Ok((_, Some(_))) = queue.join("greedy", Priority::Normal, until, id) {
                prop_assert!(false, "the greedy one drove somebody out");
            }
        }
        prop_assert_eq!(queue.len(), most);
    }
}
