//! Many streams under a seeded mix of what providers, networks and callers do wrong: no record is missing or double,
//! and none is off where the usage is knowable (the first figure of RELIABILITY §4).
//!
//! `TOLLGATE_FAULT_STREAMS=10000` makes the long run, `TOLLGATE_FAULT_SEED` repeats one.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use crate::{
    cancel::until_metric,
    records,
    support::{
        ADMIN_KEY, Gateway,
        books::{Ending, Score},
        callers::{Ask, End, Saw, call},
        dice::{Dice, seed},
        faces::{FACES, Told},
        http::Caller,
        ledgers::{compare, count, open_files},
        meter::Meter,
        proxy::{Fate, Fault, Lane, Proxy},
    },
    upstream_faults::SURFACES,
};

const TOKENS: u64 = 12;

/// What the provider does with a case: mostly what it should.
pub(crate) fn score(dice: &mut Dice) -> Score {
    let after = usize::try_from(dice.within(0..TOKENS)).unwrap();
    let named = dice.within(0..2) == 0;
    let ending = match dice.within(0..20) {
        0 => Ending::Stall { after, comments: named },
        1 => Ending::Short { after },
        2 => Ending::Failure { after: Some(after), named },
        3 => Ending::Failure { after: None, named },
        _ => Ending::Whole,
    };
    let refusal = match dice.within(0..20) {
        0 => Some((503, String::new())),
        1 => Some((500, String::new())),
        2 => Some((429, "retry-after: 0\r\n".to_owned())),
        _ => None,
    };
    let usage = *dice.one_of(&[Told::Final, Told::Final, Told::Final, Told::Each, Told::Absent]);
    let gap = dice.up_to(Duration::from_millis(8));
    let tokens = usize::try_from(dice.within(1..TOKENS)).unwrap();
    Score { tokens, first: dice.up_to(Duration::from_millis(40)), gap, usage, ending, refusal }
}

/// What the network does with a connection, over which several calls may go.
fn fate(dice: &mut Dice) -> Fate {
    let slow = Lane {
        latency: dice.up_to(Duration::from_millis(3)),
        jitter: Duration::from_millis(3),
        ..Lane::default()
    };
    let at = dice.within(0..6_000);
    match dice.within(0..16) {
        0 => Fate::answer(at, Fault::Reset),
        1 => Fate::answer(at, Fault::Fin),
        2 => Fate::request(at / 4, Fault::Reset),
        3 => Fate::answer(at, Fault::Blackhole),
        4..8 => Fate { up: slow, down: slow },
        8 => Fate { up: Lane::default(), down: Lane { slice: Some(1), ..Lane::default() } },
        _ => Fate::default(),
    }
}

/// What a caller wants, and whether it waits for it.
fn ask(case: u64, dice: &mut Dice) -> Ask {
    let ask = Ask::new(*dice.one_of(&SURFACES), dice.one_of(&FACES).name(), format!("c{case}"));
    let pieces = usize::try_from(dice.within(1..TOKENS)).unwrap();
    match dice.within(0..10) {
        0 => ask.leaving_after(pieces),
        1 => ask.within(Duration::from_millis(dice.within(5..200))),
        2 => ask.whole(),
        _ => ask,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_of_faults_leaves_one_true_record_for_each_call() {
    let streams = std::env::var("TOLLGATE_FAULT_STREAMS").map_or(500, |count| count.parse().unwrap());
    let seed = seed();
    let meter = Meter::start(move |seen| {
        let body = String::from_utf8_lossy(&seen.body);
        let case = body.split_once("case:c").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        score(&mut Dice::of(!seed, case))
    })
    .await;
    let proxy = Proxy::start(meter.addr, seed).await;
    proxy.plan(|_, dice| fate(dice));
    let gateway = Gateway::of_faces(
        &[proxy.addr, meter.addr],
        "timeouts: { first_token: 1s, idle: 1s }\nbreaker: { failures: 1000000, min_calls: 1000000 }\n",
    );
    let asks = (0..streams).map(|case| ask(case, &mut Dice::of(seed, case)));
    let saw: Vec<Saw> =
        stream::iter(asks).map(async |ask| call(&gateway, &ask).await).buffer_unordered(40).collect().await;
    let records = quiet(&gateway, saw.len()).await;
    let wrong = compare(&saw, &meter.books(), &records);
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} wrong, the first:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(3)].join("\n")
    );

    // It must have been a mix: of every ending there are some, and most calls were served in spite of all.
    let ended = |is: fn(&End) -> bool| saw.iter().filter(|saw| is(&saw.end)).count();
    let (ok, left) = (ended(|end| *end == End::Ok), ended(|end| *end == End::Left));
    let interrupted = ended(|end| matches!(end, End::Interrupted(_)));
    println!("{ok} ok, {left} left, {interrupted} interrupted of {}", saw.len());
    assert!(ok > saw.len() / 2 && left > 0 && interrupted > 0, "seed {seed}");
    sums_agree(&gateway, &records).await;
}

/// The records, once every call has ended and nothing is open any more.
async fn quiet(gateway: &Gateway, many: usize) -> Vec<serde_json::Value> {
    until_metric(gateway, "tollgate_inflight_requests 0").await;
    let records = records(gateway).await;
    assert!(records.len() <= many, "one for each");
    assert!(open_files(gateway.pid()) < 300, "{} open files", open_files(gateway.pid()));
    records
}

/// I5: the sums that are reported are those of the records.
async fn sums_agree(gateway: &Gateway, records: &[serde_json::Value]) {
    let sums = Caller::new(gateway.addr, ADMIN_KEY).get("/v1/usage?bucket=none").await.json();
    for name in ["input_tokens", "output_tokens"] {
        let total: i64 = records.iter().filter_map(|record| count(&record["usage"], name)).sum();
        assert_eq!(count(&sums["rows"][0]["usage"], name), Some(total), "{name}: {sums}");
    }
}
