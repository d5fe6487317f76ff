//! The only target asks for a short pause: the calls that come in it are served after it, and hear nothing of it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tollgate_api::admin::target_status::State;

use crate::{
    failover::state,
    records,
    support::{
        Gateway,
        books::Score,
        callers::{Ask, End, call, call_all},
        faces::text,
        ledgers::compare,
        meter::Meter,
    },
    upstream_faults::SURFACES,
};

/// Shorter than `retry.max_backoff`, and long enough for the calls to come within it.
const PAUSE: Duration = Duration::from_secs(4);

async fn rests(gateway: &Gateway) {
    while state(gateway, "openai-0/m-1").await != State::CoolingDown {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_wait_for_the_end_of_a_short_pause_and_none_is_made_within_it() {
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let log = asked.clone();
    let meter = Meter::start(move |_| {
        let mut log = log.lock().unwrap();
        log.push(Instant::now());
        let refusal = (log.len() == 1).then(|| (429, format!("retry-after: {}\r\n", PAUSE.as_secs())));
        Score { refusal, ..Score::default() }
    })
    .await;
    let gateway = Gateway::of_faces(&[meter.addr], "load: { max_lag: 0s, max_wait: 20s }\n");
    let (first, asks) = (Ask::new(SURFACES[0], "openai", "first"), async {
        rests(&gateway).await;
        let asks = SURFACES
            .into_iter()
            .flat_map(|surface| (0..8).map(move |n| Ask::new(surface, "openai", format!("{surface:?}-{n}"))));
        call_all(&gateway, &asks.collect::<Vec<_>>()).await
    });
    let (first, mut saw) = tokio::join!(call(&gateway, &first), asks);
    saw.push(first);
    for saw in &saw {
        assert_eq!((&saw.end, &saw.text), (&End::Ok, &text(3)), "{saw:?}");
    }
    let asked = asked.lock().unwrap().clone();
    let soonest = asked[1..].iter().min().unwrap().saturating_duration_since(asked[0]);
    assert!(soonest >= PAUSE, "asked again after {soonest:?}");
    assert_eq!(asked.len(), saw.len() + 1, "one refusal costs one more call");
    let records = records(&gateway).await;
    assert!(records.iter().any(|record| !record["queue_duration"].is_null()), "{records:?}");
    assert_eq!(compare(&saw, &meter.books(), &records), [""; 0]);
}

#[tokio::test]
async fn whoever_has_no_time_or_no_place_to_wait_is_told_at_once_when_to_come_back() {
    let refusal = Some((429, "retry-after: 60\r\n".to_owned()));
    let meter = Meter::start(move |_| Score { refusal: refusal.clone(), ..Score::default() }).await;
    let gateway = Gateway::of_faces(&[meter.addr], "load: { max_lag: 0s }\n");
    let mut saw = Vec::new();
    for n in 0..20 {
        let ask = Ask::new(SURFACES[n % SURFACES.len()], "openai", format!("n{n}"));
        let told = call(&gateway, &ask).await;
        assert!(matches!(told.end, End::Refused(..)), "{told:?}");
        assert!(told.retry_after.is_some_and(|wait| wait > Duration::from_secs(20)), "{told:?}");
        saw.push(told);
    }
    let records = records(&gateway).await;
    assert!(records.iter().all(|record| record["queue_duration"].is_null()), "nobody waited: {records:?}");
    assert_eq!(compare(&saw, &meter.books(), &records), [""; 0]);
}
