//! A provider dies as `kill -9` ends a process, under load: callers notice nothing as long as another can serve, the
//! dead one is left alone within a second, asked sparingly while it is down, and by one call when it may be back.
//! `TOLLGATE_FIGURES=1` asks for the load of the promise.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tollgate_api::admin::{
    GetStatusRequest, config_service_client::ConfigServiceClient, target_status::State,
};

use crate::{
    records, serving,
    support::{
        ADMIN_KEY, Gateway,
        books::Score,
        callers::{Ask, End, Saw, Surface, call},
        dice::seed,
        figures,
        gateway::Client,
        in_time,
        lateness::assert_kept,
        ledgers::compare,
        meter::Meter,
        proxy::Proxy,
        upstream::{Seen, Step, Upstream},
    },
};

/// How the gateway says that a target is.
pub(crate) async fn state(gateway: &Gateway, target: &str) -> State {
    state_by(&mut ConfigServiceClient::new(gateway.channel(ADMIN_KEY).await), target).await
}

async fn state_by(client: &mut ConfigServiceClient<Client>, target: &str) -> State {
    let status = client.get_status(GetStatusRequest::default()).await.unwrap().into_inner();
    let found = status.targets.iter().find(|status| status.target == target);
    found.map_or(State::Closed, |status| status.state())
}

/// Waits until the breaker of a target has opened and says how long that took.
async fn opened(gateway: &Gateway, target: &str) -> Duration {
    let mut client = ConfigServiceClient::new(gateway.channel(ADMIN_KEY).await);
    let began = Instant::now();
    let open = async {
        while state_by(&mut client, target).await != State::Open {
            sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("the breaker opens", open).await;
    began.elapsed()
}

/// Calls made at a steady rate, whatever becomes of them, until they are told to stop.
struct Load {
    running: Arc<AtomicBool>,
    made: tokio::task::JoinHandle<Vec<Saw>>,
}

impl Load {
    fn start(gateway: &Arc<Gateway>, per_second: u32) -> Self {
        let (gateway, running) = (gateway.clone(), Arc::new(AtomicBool::new(true)));
        let on = running.clone();
        let made = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / per_second);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut calls = JoinSet::new();
            while on.load(Ordering::SeqCst) {
                ticks.tick().await;
                let surface = [Surface::Chat, Surface::Grpc][calls.len() % 2];
                let ask = Ask::new(surface, "openai", format!("n{}", calls.len()));
                let gateway = gateway.clone();
                calls.spawn(async move { call(&gateway, &ask).await });
            }
            calls.join_all().await
        });
        Self { running, made }
    }

    async fn stop(self) -> Vec<Saw> {
        self.running.store(false, Ordering::SeqCst);
        self.made.await.unwrap()
    }
}

/// Attempts at the first target that failed.
fn failed_attempts(records: &[Value]) -> usize {
    let attempts = records.iter().flat_map(|record| record["attempts"].as_array().unwrap());
    attempts.filter(|attempt| attempt["provider"] == "openai-0" && attempt["outcome"] != "ok").count()
}

/// Calls a second, in CI and for the figures.
fn rate() -> u32 {
    if figures() { 200 } else { 60 }
}

/// The breaker opens within a second. The five failures that open it, and the look at it, come as late as the machine is.
async fn within_a_second(run: impl AsyncFn() -> Duration) {
    if figures() {
        let opened = run().await;
        eprintln!("{} calls a second, breaker open after {opened:?}", rate());
        assert!(opened < Duration::from_secs(1), "{opened:?}");
    } else {
        assert_kept(Duration::from_secs(1), 2, &[], run).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_killed_under_load_costs_no_caller_an_answer() {
    within_a_second(kill_the_primary).await;
}

async fn kill_the_primary() -> Duration {
    let seed = seed();
    // Streams that last, so that there are always some in the middle when it dies.
    let score = |_: &_| Score { tokens: 20, gap: Duration::from_millis(20), ..Score::default() };
    let (primary, second) = (Meter::start(score).await, Meter::start(score).await);
    let proxy = Proxy::start(primary.addr, seed).await;
    let gateway = Arc::new(Gateway::of_faces(&[proxy.addr, second.addr], ""));
    let load = Load::start(&gateway, rate());
    primary.until(|books| books.len() > 100).await;

    proxy.die_counting();
    let connections = proxy.accepted();
    let died = Instant::now();
    let opened = opened(&gateway, "openai-0/m-1").await;
    sleep(Duration::from_secs(3)).await;
    let (down, asked) = (died.elapsed(), proxy.accepted() - connections);
    let before = primary.books().len();
    proxy.revive();
    primary.until(|books| books.len() > before + 20).await;
    let saw = load.stop().await;

    // The caller's view: what had begun at the dead one broke off, and nobody else noticed anything.
    let interrupted: Vec<_> = saw.iter().filter(|saw| saw.end != End::Ok).collect();
    assert!(interrupted.iter().all(|saw| matches!(saw.end, End::Interrupted(_))), "{interrupted:?}");
    assert!(!interrupted.is_empty(), "none was in the middle when it died");
    let books = primary.books();
    let had_begun = |saw: &&Saw| books.iter().any(|line| line.case == saw.ask.case && line.generated > 0);
    assert!(interrupted.iter().all(had_begun), "{interrupted:?}");
    // The dead one's view.
    let allowed = 10.0 * down.as_secs_f64() + 25.0;
    assert!((asked as f64) < allowed, "{asked} connections in {down:?}");
    // The ledger's view: the failed attempts are in it, without tokens, and every call is.
    let records = records(&gateway).await;
    assert!(failed_attempts(&records) >= asked.min(5), "{asked} connections");
    let books = [primary.books(), second.books()].concat();
    assert_eq!(compare(&saw, &books, &records), [""; 0], "seed {seed}");
    opened
}

#[tokio::test]
async fn a_target_that_is_back_is_found_out_by_one_call() {
    let when_released = |seen: &Seen| [vec![Step::Await(1)], serving(seen)].concat();
    let (primary, second) = (Upstream::start(when_released).await, Upstream::start(serving).await);
    let proxy = Proxy::start(primary.addr, seed()).await;
    let gateway = Arc::new(Gateway::of_faces(&[proxy.addr, second.addr], ""));
    let mut calls = JoinSet::new();
    let ask = |calls: &mut JoinSet<_>| {
        let (gateway, case) = (gateway.clone(), format!("n{}", calls.len()));
        calls.spawn(async move { call(&gateway, &Ask::new(Surface::Grpc, "openai", case)).await });
    };
    let served = async |calls: &mut JoinSet<Saw>| {
        let saw = in_time("an answer", calls.join_next()).await.unwrap().unwrap();
        assert_eq!(saw.end, End::Ok, "{saw:?}");
    };
    proxy.die();
    for _ in 0..6 {
        ask(&mut calls);
        served(&mut calls).await;
    }
    let down = state(&gateway, "openai-0/m-1").await;
    // It may be time for the next look already.
    assert!(matches!(down, State::Open | State::HalfOpen), "{down:?}");
    proxy.revive();
    // Until one of them is on its way to find out; that one waits for its answer.
    while primary.seen().is_empty() {
        ask(&mut calls);
        tokio::select! {
            () = served(&mut calls) => {}
            _ = primary.asked(1) => {}
        }
    }
    for _ in 0..12 {
        ask(&mut calls);
    }
    while calls.len() > 1 {
        served(&mut calls).await;
    }
    assert_eq!(primary.seen().len(), 1, "one call finds out, the others do not wait for it");
    primary.release();
    served(&mut calls).await;
    assert_eq!(state(&gateway, "openai-0/m-1").await, State::Closed);
    ask(&mut calls);
    served(&mut calls).await;
    assert_eq!(primary.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o05_a_provider_that_only_fails_is_asked_little_more_than_once_a_call() {
    within_a_second(only_fail).await;
}

async fn only_fail() -> Duration {
    let failing = Meter::start(|_| Score { refusal: Some((500, String::new())), ..Score::default() }).await;
    let gateway = Arc::new(Gateway::of_faces(&[failing.addr], ""));
    let began = Instant::now();
    let load = Load::start(&gateway, rate());
    failing.until(|books| !books.is_empty()).await;
    let opened = opened(&gateway, "openai-0/m-1").await;
    sleep(Duration::from_secs(2)).await;
    let saw = load.stop().await;
    let took = began.elapsed().as_secs_f64();
    assert!(saw.iter().all(|saw| matches!(saw.end, End::Refused(..))), "{saw:?}");
    let attempts = failing.books().len();
    // What it may be asked at most; with its breaker open far less.
    let allowed = 1.1 * saw.len() as f64 + 10.0 * took;
    assert!((attempts as f64) <= allowed, "{attempts} attempts of {} calls in {took} s", saw.len());
    assert!(
        (attempts as f64) <= 20.0 * took + 30.0,
        "{attempts} attempts in {took} s: the breaker spares nothing"
    );
    let records = records(&gateway).await;
    assert_eq!(failed_attempts(&records), attempts, "each attempt is in the ledger");
    assert_eq!(compare(&saw, &failing.books(), &records), [""; 0]);
    opened
}
