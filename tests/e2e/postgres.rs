//! PostgreSQL as the ledger of all replicas: what is settled anywhere is there once, whatever happens to it meanwhile.

mod away;
mod cli;
mod reports;
mod room;
mod tables;
mod tls;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    chat, gateway_with,
    support::{Gateway, KEY, PATIENCE, http::Caller, postgres, upstream::Upstream},
};

/// A gateway that keeps its records there.
fn replica(upstream: &Upstream, store: &str, more: &str) -> Gateway {
    gateway_with(upstream, &format!("store: \"{store}\"\n{more}"))
}

/// Makes a call, which must succeed, and returns its id.
async fn call(caller: &Caller) -> String {
    let answer = caller.post("/v1/chat/completions", chat(false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-request-id").to_owned()
}

/// Calls as fast as answers come, in the background, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(gateway: &Gateway) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let callers = (0..4).map(|_| {
            let (stop, caller) = (stop.clone(), Caller::new(gateway.addr, KEY));
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    ids.push(call(&caller).await);
                }
                ids
            })
        });
        Self { callers: callers.collect(), stop }
    }

    /// Waits for the last answers and returns the ids of all calls.
    async fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ids = BTreeSet::new();
        for caller in self.callers {
            ids.extend(caller.await.unwrap());
        }
        ids
    }
}

/// Asks until it is so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < patience, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The number that an operator reads at `/metrics`.
async fn unshipped(gateway: &Gateway) -> u64 {
    let metrics = crate::metrics(gateway).await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("tollgate_ledger_unshipped "));
    line.map_or(u64::MAX, |count| count.parse().unwrap())
}

/// What `/readyz` says.
async fn ready(gateway: &Gateway) -> (u16, String) {
    let answer = Caller::new(gateway.ops, KEY).get("/readyz").await;
    (answer.status.as_u16(), answer.text())
}

/// The ids of all records in PostgreSQL, none of which may be there twice. Before the tables are made there are none.
async fn ids(store: &str) -> BTreeSet<String> {
    let all = postgres::try_sql(store, "SELECT id FROM tollgate.records").await.unwrap_or_default();
    let ids: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(ids.len(), all.len(), "each once");
    ids
}

/// Checks that PostgreSQL has, or soon has, exactly these.
async fn has_exactly(store: &str, expected: &BTreeSet<String>) {
    until("all records are in PostgreSQL", async || {
        let count = postgres::try_sql(store, "SELECT count(*) FROM tollgate.records").await;
        count.is_ok_and(|count| count[0].parse::<usize>().unwrap() >= expected.len())
    })
    .await;
    assert_eq!(&ids(store).await, expected);
}
