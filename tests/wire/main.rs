//! Conformance with recorded provider traffic: every exchange of `TOLLGATE_WIRE_DIR` (default `../shared/wire`) is
//! replayed as the upstream of the real binary, whole and cut at every kind of place, and every surface must tell its
//! callers, and the ledger, what an independent reading of the recording says.
//!
//! `family` says which wire an exchange is of, `read` what its answer says, `replay` serves it, `targets` configures the
//! gateway, `callers` ask and compare, `quirks` says where each known oddity is tested.
//!
//! Prints `<dialect>: <passed>/<n> exchanges` for each dialect and names each failure by its exchange id.
//! `TOLLGATE_WIRE_QUICK` leaves bodies whole, `TOLLGATE_WIRE_SHOW=<id>` prints what an exchange becomes, `BLESS=1` keeps it.
//! `TOLLGATE_WIRE_ONLY` restricts a run to exchanges whose dialect or id contains it.

#![allow(unreachable_pub, reason = "a test binary has no callers")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a failing step is the test's failure, and its output the result"
)]

mod asked;
mod callers;
mod canonical;
mod exchange;
mod family;
mod framing;
mod quirks;
mod read;
mod replay;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod targets;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use callers::Bench;
use exchange::Exchange;
use futures_util::{StreamExt as _, stream};
use replay::Replay;
use support::Gateway;

/// Exchanges that are replayed at the same time.
const AT_ONCE: usize = 8;

fn main() -> ExitCode {
    // As other tests do, this one stays quiet when another is asked for by name.
    let mut filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    if filters.next().is_some_and(|filter| !"wire".contains(&filter)) {
        return ExitCode::SUCCESS;
    }
    let folder = std::env::var_os("TOLLGATE_WIRE_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/wire")),
        PathBuf::from,
    );
    if !folder.is_dir() {
        let message =
            format!("{} is not there; set TOLLGATE_WIRE_DIR to the recorded traffic", folder.display());
        if std::env::var_os("CI").is_some() {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
        println!("wire: NOT RUN: {message}");
        return ExitCode::SUCCESS;
    }
    let mut exchanges = exchange::read_all(&folder);
    let unclaimed = quirks::unclaimed(&exchanges);
    if let Ok(only) = std::env::var("TOLLGATE_WIRE_ONLY") {
        exchanges.retain(|exchange| exchange.dialect.contains(&only) || exchange.id.contains(&only));
    }
    let started = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let results = runtime.block_on(run(exchanges));
    println!("the run took {:.0} s", started.elapsed().as_secs_f64());
    report(&results, &unclaimed)
}

async fn run(exchanges: Vec<Exchange>) -> Vec<(Exchange, Vec<String>)> {
    let replay = Replay::start(&exchanges).await;
    let (config, missing) = targets::config(&exchanges, replay.upstream.addr);
    let bench = Bench::new(Gateway::start(&config), replay).await;
    let checks = exchanges.into_iter().map(|exchange| async {
        let failures = if missing.contains(&exchange.provider()) {
            vec!["no registered dialect serves it".to_owned()]
        } else {
            callers::check(&bench, &exchange).await
        };
        (exchange, failures)
    });
    let results = stream::iter(checks).buffered(AT_ONCE).collect().await;
    bench.tally.print();
    bench.snapshots.finish();
    results
}

fn report(results: &[(Exchange, Vec<String>)], unclaimed: &[String]) -> ExitCode {
    let mut dialects: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut failed = 0;
    for (exchange, failures) in results {
        let (passed, all) = dialects.entry(&exchange.dialect).or_default();
        *all += 1;
        *passed += usize::from(failures.is_empty());
        failed += usize::from(!failures.is_empty());
        // The same failure of several callers and cuts is told once.
        let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for failure in failures {
            let (whose, why) = failure.split_once(": ").unwrap_or(("", failure));
            told.entry(why).or_default().push(whose);
        }
        for (why, whose) in told {
            println!("FAILED {}/{}: {why} ({})", exchange.dialect, exchange.id, whose.join("; "));
        }
    }
    for quirk in unclaimed {
        println!("FAILED quirk {quirk}: no check or test claims it");
    }
    for (dialect, (passed, all)) in dialects {
        println!("{dialect}: {passed}/{all} exchanges");
    }
    println!("{} passed, {failed} failed", results.len() - failed);
    let passed = failed == 0 && unclaimed.is_empty() && !results.is_empty();
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
