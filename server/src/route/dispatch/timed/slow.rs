//! Tests of targets that are slow or silent beside others that are no help, or that nobody thought of.

use super::{Does::*, *};
use crate::call::Target;

/// The same with a deadline after so many milliseconds.
fn within(left: u64, way: Way) -> Way {
    Way { deadline: Deadline { at: now() + ms(left), by_caller: true }, ..way }
}

/// The same with gates at which calls may wait.
fn with_queues(way: Way) -> Way {
    Way { gates: Arc::new(Gates::new((&crate::config::Load::default()).into())), ..way }
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_well_but_slow_are_not_cut_off_for_ever() {
    for count in [2, 3] {
        let health = Arc::new(Health::new(Settings::default()));
        let mut served = Vec::new();
        for _ in 0..4 {
            let way = way(&vec![Content(25_000); count], Policy::default());
            let way = within(30_000, Way { health: health.clone(), ..way });
            let came = run(way, Call::for_test("m")).await;
            served.push((came.to.is_ok(), came.call.attempts.len()));
        }
        // The first call finds out that the others are no quicker.
        assert_eq!(served, [(false, count), (true, 1), (true, 1), (true, 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn another_credential_of_a_slow_server_is_no_help() {
    let mut way = within(30_000, way(&[Content(25_000); 2], Policy::default()));
    for (candidate, name) in way.plan.candidates.iter_mut().zip(["a:x/m", "a:y/m"]) {
        let (provider, model) = ("a".into(), "m".into());
        candidate.target =
            Arc::new(Target { name: name.into(), provider, model, vendor: "a".into(), rates: None });
    }
    let came = run(way, Call::for_test("m")).await;
    assert_eq!((came.to.as_deref(), came.after), (Ok("a:x/m"), ms(25_000)));
}

#[tokio::test(start_paused = true)]
async fn a_third_target_is_asked_when_two_that_ran_beside_each_other_are_silent() {
    let hedge = Some(Hedge { after: ms(20), at_most: 1.0 });
    let way = within(3_000, way(&[Nothing, Nothing, Content(5)], Policy { hedge, ..Policy::default() }));
    let came = run(way, Call::for_test("m")).await;
    // The second has two thirds of what is left.
    let last = ms(20) + ms(2_980) * 2 / 3;
    assert_eq!(came.to.as_deref(), Ok("c/m"), "{:?}", came.call.attempts);
    assert!((last..last + ms(10)).contains(&came.after), "{:?}", came.after);
    let timeouts = came.attempts().iter().filter(|attempt| attempt.1 == "timeout").count();
    assert_eq!((timeouts, came.call.attempts.len()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn after_a_wait_in_vain_a_target_that_is_well_by_then_is_asked() {
    let mut way = with_queues(way(&[Content(5), Content(5)], Policy::default()));
    way.plan.candidates[0].concurrent = Some(1);
    let _held = way.gates.of(&way.plan.candidates[0].target.name, Some(1)).try_enter().unwrap();
    for (candidate, pause) in way.plan.candidates.iter().zip([2_000, 2_500]) {
        let mut ticket = way.health.of(&candidate.target).admit(false, now()).unwrap();
        ticket.failed(Kind::RateLimited { retry_after: Some(ms(pause)) }, now());
    }
    let came = run(way, Call::for_test("m")).await;
    // The pause of the first, and a second for a place there.
    assert_eq!((came.to.as_deref(), came.after), (Ok("b/m"), ms(3_005)));
}

#[tokio::test(start_paused = true)]
async fn a_last_resort_is_none_before_it_has_a_place() {
    let mut way = with_queues(way(&[Content(5)], Policy::default()));
    way.plan.candidates[0].concurrent = Some(1);
    pause(&way, ms(30_000));
    let held = way.gates.of(&way.plan.candidates[0].target.name, Some(1)).try_enter().unwrap();
    let target = way.health.of(&way.plan.candidates[0].target);
    let call = tokio::spawn(run(way, Call::for_test("m")));
    sleep(ms(50)).await;
    assert_eq!(target.view(now()).running, 0);
    drop(held);
    let came = call.await.unwrap();
    assert_eq!((came.to.as_deref(), came.call.waited), (Ok("a/m"), ms(50)));
}
