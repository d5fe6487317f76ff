//! Gates with those who wait at them, on a paused clock.

use tokio::{task::JoinHandle, time::sleep};

use super::*;

const SETTINGS: Settings = Settings { queue: 3, max_wait: Duration::from_secs(1) };

fn claim(tenant: &str) -> Claim<'_> {
    Claim { tenant, priority: Priority::Normal, deadline: now() + Duration::from_secs(60) }
}

/// Has somebody wait at the gate, and returns when that is so.
async fn waits(gate: &Arc<Gate>, tenant: &'static str) -> JoinHandle<Result<Place, Busy>> {
    let (before, asked) = (gate.waiting(), gate.clone());
    let waiter = tokio::spawn(async move { asked.enter(claim(tenant)).await });
    while gate.waiting() == before && !waiter.is_finished() {
        tokio::task::yield_now().await;
    }
    waiter
}

#[tokio::test(start_paused = true)]
async fn places_are_taken_and_given_to_the_next() {
    let gate = Gate::new("a".into(), SETTINGS, Some(2));
    let (first, _second) = (gate.try_enter().unwrap(), gate.try_enter().unwrap());
    assert!(gate.try_enter().is_none());
    let waiter = waits(&gate, "a").await;
    assert_eq!((gate.running(), gate.waiting()), (2, 1));
    drop(first);
    let place = waiter.await.unwrap().unwrap();
    assert_eq!((gate.running(), gate.waiting()), (2, 0));
    drop(place);
    assert_eq!(gate.running(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_those_who_wait() {
    let gate = Gate::new("a".into(), SETTINGS, Some(1));
    let place = gate.try_enter().unwrap();
    let waiter = waits(&gate, "a").await;
    drop(place);
    assert!(gate.try_enter().is_none(), "the place is the waiter's already");
    drop(waiter.await.unwrap().unwrap());
    assert!(gate.try_enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_after_max_wait_or_at_the_deadline() {
    let gate = Gate::new("a".into(), SETTINGS, Some(1));
    let _place = gate.try_enter().unwrap();
    let began = now();
    let busy = gate.enter(claim("a")).await.unwrap_err();
    assert_eq!(now() - began, SETTINGS.max_wait);
    assert!((PAUSE..2 * PAUSE).contains(&busy.retry_after));
    let (began, hurried) = (now(), Claim { deadline: now() + Duration::from_millis(50), ..claim("a") });
    assert!(gate.enter(hurried).await.is_err());
    assert_eq!(now() - began, Duration::from_millis(50));
    let late = Claim { deadline: now(), ..claim("a") };
    assert!(gate.enter(late).await.is_err());
    assert_eq!(gate.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_modest_tenant_takes_the_place_of_a_greedy_one() {
    let gate = Gate::new("a".into(), SETTINGS, Some(1));
    let place = gate.try_enter().unwrap();
    let mut greedy = Vec::new();
    for _ in 0..3 {
        greedy.push(waits(&gate, "greedy").await);
    }
    let began = now();
    assert!(gate.enter(claim("greedy")).await.is_err());
    let asked = gate.clone();
    let modest = tokio::spawn(async move { asked.enter(claim("modest")).await });
    assert!(greedy.pop().unwrap().await.unwrap().is_err(), "the greedy one's last is sent away");
    assert_eq!((now(), gate.waiting()), (began, 3));
    drop(place);
    drop(greedy.remove(0).await.unwrap().unwrap());
    assert!(modest.await.unwrap().is_ok(), "its turn is before the greedy one's second");
    assert!(!greedy[0].is_finished());
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_while_waiting_takes_no_place() {
    let gate = Gate::new("a".into(), SETTINGS, Some(1));
    let place = gate.try_enter().unwrap();
    let (gone, stays) = (waits(&gate, "a").await, waits(&gate, "b").await);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(gate.waiting(), 1);
    drop(place);
    drop(stays.await.unwrap().unwrap());
    assert_eq!((gate.running(), gate.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_whose_taker_has_just_gone_is_given_on() {
    let gate = Gate::new("a".into(), SETTINGS, Some(1));
    let place = gate.try_enter().unwrap();
    let (gone, stays) = (waits(&gate, "a").await, waits(&gate, "b").await);
    // The place is on its way to the first when that one goes.
    drop(place);
    gone.abort();
    assert!(stays.await.unwrap().is_ok());
    assert_eq!((gate.running(), gate.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_gets_fewer_and_a_minute_later_all_again() {
    let gate = Gate::new("a".into(), SETTINGS, None);
    let places: Vec<_> = (0..10).map(|_| gate.try_enter().unwrap()).collect();
    places.iter().for_each(Place::throttled);
    assert_eq!(gate.limit(), Some(7));
    assert!(gate.try_enter().is_none());
    drop(places);
    let few: Vec<_> = std::iter::from_fn(|| gate.try_enter()).collect();
    assert_eq!(few.len(), 7);
    few.iter().for_each(Place::served);
    assert_eq!(gate.limit(), Some(8));
    sleep(Duration::from_secs(60)).await;
    few[0].served();
    assert_eq!(gate.limit(), None);
    assert!(gate.try_enter().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_a_rush_no_place_is_lost_or_given_twice() {
    const PLACES: usize = 3;
    let gate =
        Gate::new("a".into(), Settings { queue: 100, max_wait: Duration::from_secs(30) }, Some(PLACES));
    let rush = (0..50).map(|number: usize| {
        let gate = gate.clone();
        tokio::spawn(async move {
            let tenant = (number % 5).to_string();
            for turn in 0..100 {
                let entered = gate.enter(claim(&tenant));
                if turn % 7 == 3 {
                    // Goes away, now and then with a place on its way.
                    drop(tokio::time::timeout(Duration::from_micros(50), entered).await);
                    continue;
                }
                let _place = entered.await.unwrap();
                assert!(gate.running() <= PLACES);
                tokio::task::yield_now().await;
            }
        })
    });
    for one in rush.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!((gate.running(), gate.waiting()), (0, 0));
}

/// Has somebody wait for a pause to be over, and returns when that is so.
async fn rests(gate: &Arc<Gate>, tenant: &'static str, pause: Pause) -> JoinHandle<Result<Place, Busy>> {
    let (before, asked) = (gate.waiting(), gate.clone());
    let waiter = tokio::spawn(async move { asked.enter_after(pause, claim(tenant)).await });
    while gate.waiting() == before && !waiter.is_finished() {
        tokio::task::yield_now().await;
    }
    waiter
}

/// Returns the places that were given out by now.
async fn given(waiters: &mut Vec<JoinHandle<Result<Place, Busy>>>) -> Vec<Place> {
    // Every timer of this moment has fired, and whoever was called has heard of it.
    sleep(Duration::from_millis(1)).await;
    let mut places = Vec::new();
    for at in (0..waiters.len()).rev() {
        if waiters[at].is_finished() {
            places.extend(waiters.remove(at).await.unwrap());
        }
    }
    places
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_one_goes_first_and_two_for_each_that_was_answered() {
    let settings = Settings { queue: 20, ..SETTINGS };
    let gate = Gate::new("a".into(), settings, None);
    let pause = Pause { until: now() + Duration::from_secs(2), is_told: true };
    let mut waiters = Vec::new();
    for _ in 0..9 {
        waiters.push(rests(&gate, "a", pause).await);
    }
    sleep(Duration::from_millis(1_990)).await;
    assert!(given(&mut waiters).await.is_empty(), "the pause is kept");
    assert!(gate.try_pass().is_some(), "who waits for a pause is in nobody's way who may go all the same");
    sleep(Duration::from_millis(10)).await;
    let mut first = given(&mut waiters).await;
    assert_eq!(first.len(), 1);
    assert!(gate.try_enter().is_none(), "nobody overtakes those who wait");
    first[0].answered();
    let mut next = given(&mut waiters).await;
    assert_eq!(next.len(), 2);
    next.pop().unwrap().answered();
    for _ in 0..3 {
        assert_eq!(given(&mut waiters).await.len(), 2, "in the places of those that fail others go");
    }
    assert_eq!((waiters.len(), gate.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pause_finds_a_full_queue_full_and_who_gave_up_is_not_waited_for() {
    let gate = Gate::new("a".into(), SETTINGS, None);
    let pause = Pause { until: now() + Duration::from_secs(2), is_told: true };
    let mut waiters = Vec::new();
    for _ in 0..3 {
        waiters.push(rests(&gate, "a", pause).await);
    }
    let began = now();
    assert!(gate.enter_after(pause, claim("a")).await.is_err());
    assert_eq!(now(), began, "at once");
    waiters.remove(0).abort();
    sleep(Duration::from_millis(2_001)).await;
    let one = given(&mut waiters).await;
    assert_eq!((one.len(), gate.waiting()), (1, 1));
    drop(one);
    assert_eq!(given(&mut waiters).await.len(), 1, "the first failed, and so the other went too");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_was_only_guessed_is_over_when_the_target_answers() {
    let gate = Gate::new("a".into(), SETTINGS, None);
    let mut probe = gate.try_enter().unwrap();
    let pause = Pause { until: now() + Duration::from_secs(1), is_told: false };
    let mut waiters = vec![rests(&gate, "a", pause).await];
    assert!(given(&mut waiters).await.is_empty());
    probe.answered();
    assert_eq!(given(&mut waiters).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_came_before_the_pause_is_called_after_it_though_nobody_waits_for_that_any_more() {
    let settings = Settings { max_wait: Duration::from_secs(30), ..SETTINGS };
    let gate = Gate::new("a".into(), settings, Some(2));
    let (place, _other) = (gate.try_enter().unwrap(), gate.try_enter().unwrap());
    let mut waiters = vec![waits(&gate, "a").await];
    let pause = Pause { until: now() + Duration::from_secs(2), is_told: true };
    let rests = rests(&gate, "b", pause).await;
    drop(place);
    rests.abort();
    assert!(given(&mut waiters).await.is_empty(), "the pause is kept");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(given(&mut waiters).await.len(), 1);
}
