//! Conformance with recorded provider traffic: each OpenAI-shaped exchange of `TOLLGATE_WIRE_DIR` (default
//! `../shared/wire`) is replayed as the upstream of the real binary, whole and cut at random bytes, and both surfaces
//! must tell their callers, and the ledger, what the recording says.
//!
//! Prints `<dialect>: <passed>/<n> exchanges` for each dialect and names each failure by its exchange id.

#![allow(unreachable_pub, reason = "a test binary has no callers")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failing step is the test's failure, and its output the result"
)]

mod exchange;
mod grpc_caller;
mod openai_caller;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use exchange::Exchange;
use support::{
    Gateway,
    upstream::{Seen, Step, Upstream, chunk, end, head},
};

/// How the upstream cuts its answer into pieces. Each cut is a chunk of its own, so the gateway reads it by itself.
const CUTS: [&str; 3] = ["whole", "random1", "random2"];

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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let results = runtime.block_on(run(exchange::read_all(&folder)));
    report(&results)
}

async fn run(exchanges: Vec<Exchange>) -> Vec<(Exchange, Vec<String>)> {
    let by_id: Arc<HashMap<String, Exchange>> =
        Arc::new(exchanges.iter().map(|exchange| (exchange.id.clone(), exchange.clone())).collect());
    let served = by_id.clone();
    let upstream = Upstream::start(move |seen| replay(&served, seen)).await;
    let gateway = Gateway::start(&format!(
        "telemetry: {{ log: error }}\nproviders:\n{}models:\n  \"wire/*\": {{ targets: [{{ provider: wire, model: \"*\" }}] }}\n",
        upstream.provider("wire")
    ));
    let mut results = Vec::new();
    for exchange in exchanges {
        let mut failures = Vec::new();
        for cut in CUTS {
            let alias = format!("wire/{cut}:{}", exchange.id);
            let openai = openai_caller::check(&gateway, &upstream, &exchange, &alias).await;
            failures.extend(openai.err().map(|why| format!("openai, {cut}: {why}")));
            let grpc = grpc_caller::check(&gateway, &exchange, &alias).await;
            failures.extend(grpc.err().map(|why| format!("grpc, {cut}: {why}")));
        }
        results.push((exchange, failures));
    }
    results
}

fn report(results: &[(Exchange, Vec<String>)]) -> ExitCode {
    let mut dialects: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut failed = 0;
    for (exchange, failures) in results {
        let (passed, all) = dialects.entry(&exchange.dialect).or_default();
        *all += 1;
        *passed += usize::from(failures.is_empty());
        failed += usize::from(!failures.is_empty());
        for failure in failures {
            println!("FAILED {}: {failure}", exchange.id);
        }
    }
    for (dialect, (passed, all)) in dialects {
        println!("{dialect}: {passed}/{all} exchanges");
    }
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed == 0 && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Serves the exchange that the request's model names, cut as it says.
fn replay(exchanges: &HashMap<String, Exchange>, seen: &Seen) -> Vec<Step> {
    let model = seen.model();
    let (cut, id) = model.split_once(':').unwrap();
    let exchange = &exchanges[id];
    let mut steps = vec![head(exchange.status, &exchange.content_type)];
    let mut random = Random::new(id, cut);
    let mut rest = exchange.body.as_slice();
    while !rest.is_empty() {
        let length = if cut == "whole" { rest.len() } else { random.below(48) + 1 };
        let (piece, left) = rest.split_at(length.min(rest.len()));
        steps.push(chunk(piece));
        rest = left;
    }
    steps.push(end());
    steps
}

/// A small repeatable generator (splitmix64), so that a failing cut can be had again.
struct Random(u64);

impl Random {
    fn new(id: &str, cut: &str) -> Self {
        Self(
            id.bytes()
                .chain(cut.bytes())
                .fold(7, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte))),
        )
    }

    fn below(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).unwrap()
    }
}
