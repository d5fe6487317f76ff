//! The process dies, at every step of the ledger and at any moment: whoever was told of a success has its record, whoever
//! was cut off has one that says so, nobody has two, and the sums are those of the records.
//!
//! `TOLLGATE_KILLS=100` makes the long run of random kills, `TOLLGATE_FAULT_SEED` repeats its choices.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::Value;

use crate::{
    records,
    signals::signal,
    support::{
        ADMIN_KEY, Gateway,
        books::{Ending, Score},
        callers::{Ask, End, Saw, Surface, call},
        dice::{Dice, seed},
        faces::{FACES, Face},
        http::Caller,
        ledgers::{count, survived},
        meter::Meter,
    },
    upstream_faults::SURFACES,
};

/// Small enough segments and sums that a few calls come to every step.
const SMALL: (&str, &str) = ("TOLLGATE_SMALL_STEPS", "1");

/// Every step of a record's life, and at which time of coming there the process dies.
const STEPS: [&str; 17] = [
    "begin:before#9",
    "begin:after#9",
    "answered#9",
    "checkpoint:before#2",
    "checkpoint:after#2",
    "settle:before#9",
    "settle:after#9",
    "rotate:before#2",
    "rotate:after#2",
    "delete:before#1",
    "delete:after#1",
    "commit:before#1",
    "commit:before#4",
    "commit:after#1",
    "commit:after#4",
    "rollup:before#1",
    "rollup:after#1",
];

/// Every step of the recovery at start.
const RECOVERY: [&str; 5] =
    ["recover:queued", "commit:before", "commit:after", "recover:committed", "recover:deleted"];

/// Long answers now and then, so that there are checkpoints.
fn score(case: &str) -> Score {
    let number: usize = case.trim_start_matches('c').parse().unwrap();
    let tokens = if number.is_multiple_of(4) { 600 } else { 1 + number % 7 };
    Score { tokens, gap: Duration::from_micros(500), ..Score::default() }
}

pub(crate) async fn provider() -> Meter {
    Meter::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body);
        let case = body.split_once("case:").unwrap().1.split(' ').next().unwrap();
        score(case)
    })
    .await
}

fn ask(case: usize) -> Ask {
    let surface = SURFACES[case % SURFACES.len()];
    let ask = Ask::new(surface, FACES[case / 3 % FACES.len()].name(), format!("c{case}"));
    if case.is_multiple_of(5) { ask.whole() } else { ask }
}

/// Makes these calls, a few at a time, whatever becomes of the gateway.
async fn calls(gateway: &Gateway, cases: impl Iterator<Item = usize>) -> Vec<Saw> {
    let asks: Vec<Ask> = cases.map(ask).collect();
    stream::iter(&asks).map(|ask| call(gateway, ask)).buffer_unordered(16).collect().await
}

/// What the rules find wrong in the records of a gateway that was started again.
pub(crate) async fn wrong(gateway: &Gateway, saw: &[Saw], meter: &Meter) -> Vec<String> {
    let records = records(gateway).await;
    let mut wrong = survived(saw, &meter.books(), &records);
    let sums = Caller::new(gateway.addr, ADMIN_KEY).get("/v1/usage?bucket=none").await.json();
    let row = &sums["rows"][0];
    let total = |name| records.iter().filter_map(|record| count(&record["usage"], name)).sum::<i64>();
    for name in ["input_tokens", "output_tokens"] {
        if count(&row["usage"], name).unwrap_or(0) != total(name) {
            wrong.push(format!("I5: {name} is {} in all, and {row} in the sum", total(name)));
        }
    }
    if row["request_count"].as_str().unwrap_or("0") != records.len().to_string() {
        wrong.push(format!("I5: {} records, and {row} in the sum", records.len()));
    }
    wrong
}

fn yaml(meter: &Meter) -> String {
    Gateway::faces(&[meter.addr], "", ", retry: { attempts: 1 }")
}

/// Starts a gateway that dies at a step, lets it die under load, and returns it dead.
pub(crate) async fn dies_at(step: &str, meter: &Meter) -> (Gateway, Vec<Saw>) {
    let mut gateway = Gateway::start_with_env(&yaml(meter), &[SMALL, ("TOLLGATE_FAILPOINT", step)]);
    // The connection that gRPC calls share has to be there before the end.
    gateway.shared_channel().await;
    let mut saw = Vec::new();
    // Where a machine commits seldom it takes more calls to come to the step.
    for round in 0..20 {
        saw.extend(calls(&gateway, round * 64..(round + 1) * 64).await);
        if saw.iter().any(|saw| saw.end != End::Ok) {
            break;
        }
    }
    assert_eq!(gateway.wait(), None, "it was to die at {step}");
    (gateway, saw)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_the_ledger_is_recovered_exactly() {
    let one = async |step| {
        let meter = provider().await;
        let (mut gateway, saw) = dies_at(step, &meter).await;
        for start in ["first", "second"] {
            gateway.restart();
            assert_eq!(wrong(&gateway, &saw, &meter).await, [""; 0], "{step}, after the {start} start");
            gateway.kill();
        }
    };
    stream::iter(STEPS).map(one).buffer_unordered(2).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_midst_of_a_recovery_is_recovered_exactly() {
    let meter = provider().await;
    // Most of what the first process did is in its journal only.
    let (mut gateway, saw) = dies_at("commit:before#2", &meter).await;
    for step in RECOVERY {
        gateway.restart_in_vain(&[("TOLLGATE_FAILPOINT", step)]);
    }
    gateway.restart();
    assert_eq!(wrong(&gateway, &saw, &meter).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k01_kill_9_at_random_under_load_loses_nothing_that_was_acknowledged() {
    let kills = std::env::var("TOLLGATE_KILLS").map_or(4, |count| count.parse().unwrap());
    let mut dice = Dice::new(seed());
    let meter = provider().await;
    let mut gateway = Gateway::start_with_env(&yaml(&meter), &[]);
    let (mut saw, mut slowest) = (Vec::new(), Duration::ZERO);
    let some = |saw: &[Saw], ok: bool| saw.iter().any(|saw| (saw.end == End::Ok) == ok);
    for round in 0.. {
        // On a slow machine it takes more to have calls that end before it dies.
        if round >= kills && (round > 50 || some(&saw, true) && some(&saw, false)) {
            break;
        }
        gateway.shared_channel().await;
        let (pid, patience) = (gateway.pid(), dice.up_to(Duration::from_millis(400)));
        let killer = async {
            tokio::time::sleep(patience).await;
            signal(pid, "KILL");
        };
        let (more, ()) = tokio::join!(calls(&gateway, round * 64..(round + 1) * 64), killer);
        saw.extend(more);
        gateway.wait();
        let began = Instant::now();
        gateway.restart();
        slowest = slowest.max(began.elapsed());
    }
    let ended = |is: fn(&End) -> bool| saw.iter().filter(|saw| is(&saw.end)).count();
    let (ok, cut) = (ended(|end| *end == End::Ok), ended(|end| *end != End::Ok));
    println!("{kills} kills: {ok} calls ok, {cut} cut or never made, ready again in at most {slowest:?}");
    assert!(ok > 0 && cut > 0);
    assert!(slowest < Duration::from_secs(30), "{slowest:?} until it was ready again");
    assert_eq!(wrong(&gateway, &saw, &meter).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k03_five_hundred_streams_in_flight_are_five_hundred_recovered_records() {
    let ending = Ending::Stall { after: 3, comments: false };
    let meter = Meter::start(move |_| Score { tokens: 9, ending, ..Score::default() }).await;
    let limited = "tg_testlimited1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let key = format!("- {{ name: limited, key: {limited}, limits: {{ concurrent: 500 }} }}\n");
    let mut gateway = Gateway::start(&Gateway::faces(&[meter.addr], &key, ""));
    for life in 0..2 {
        let caller = Caller::new(gateway.addr, limited);
        // All of them must run at once, and after the crash all of them may again: nothing stays reserved.
        let asks: Vec<_> =
            (0..500).map(|n| Ask::new(Surface::Chat, Face::OpenAi.name(), format!("l{life}-{n}"))).collect();
        let open = asks.iter().map(async |ask| {
            let tags = format!("case={}", ask.case);
            let answer = caller.open("/v1/chat/completions", ask.body(), &[("x-tollgate-tags", &tags)]).await;
            assert_eq!(answer.status(), 200);
            answer
        });
        let held = join_all(open).await;
        meter
            .until(|books| books.iter().filter(|line| line.generated == 3).count() == 500 * (life + 1))
            .await;
        gateway.kill();
        drop(held);
        gateway.restart();
        let records = records(&gateway).await;
        assert_eq!(records.len(), 500 * (life + 1));
        let quotas = Caller::new(gateway.addr, limited).get("/v1/quota").await.json();
        assert!(quotas["quotas"][0]["reserved_amount"] == "0", "{quotas}");
        let saw: Vec<_> = asks.iter().map(Saw::left).collect();
        let lived =
            |record: &&Value| record["tags"]["case"].as_str().unwrap().starts_with(&format!("l{life}-"));
        let mine: Vec<_> = records.iter().filter(lived).cloned().collect();
        assert!(mine.iter().all(|record| record["recovered"] == true && record["status"] == "UNAVAILABLE"));
        assert_eq!(survived(&saw, &meter.books(), &mine), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k07_a_panic_in_one_call_is_that_calls_alone() {
    let meter = provider().await;
    let limited = "limits: { concurrent: 1 }";
    let key = "tg_testlimited1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let more = format!("- {{ name: limited, key: {key}, {limited} }}\n");
    let yaml = Gateway::faces(&[meter.addr], &more, "");
    let gateway = Gateway::start_with_env(&yaml, &[("TOLLGATE_FAILPOINT", "panic@answered#1")]);
    let caller = Caller::new(gateway.addr, key);
    let ask = Ask::new(Surface::Chat, Face::OpenAi.name(), "c1").whole();
    let failed = caller.post("/v1/chat/completions", ask.body()).await;
    assert_eq!(
        (failed.status.as_u16(), &failed.json()["error"]["code"]),
        (500, &"internal_error".into()),
        "{}",
        failed.text()
    );
    // Its place is free again, on the same connection.
    let served = caller.post("/v1/chat/completions", ask.body()).await;
    assert_eq!(served.status, 200, "{}", served.text());
    let records = records(&gateway).await;
    let statuses: Vec<_> = records.iter().map(|record| record["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["OK", "INTERNAL"]);
}

#[test]
fn a_release_build_has_no_place_to_die_at() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let names_a_place = |assertions: &str| {
        let object = dir.path().join(format!("{assertions}.o"));
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let built = Command::new(rustc)
            .args(["--edition", "2024", "--crate-type", "lib", "--emit", "obj", "-Copt-level=3"])
            .arg(format!("-Cdebug-assertions={assertions}"))
            .arg(root.join("server/src/failpoint.rs"))
            .arg("-o")
            .arg(&object)
            .status();
        assert!(built.unwrap().success());
        let code = std::fs::read(object).unwrap();
        code.windows(18).any(|bytes| bytes == b"TOLLGATE_FAILPOINT")
    };
    assert!(names_a_place("on") && !names_a_place("off"));
    let profiles = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(!profiles.contains("debug-assertions"), "the release profile is as cargo has it");
}
