//! The ways in which replicas share a Redis, each with real servers: TLS, a cluster, sentinels, and servers in trouble.

mod cluster;
mod sentinel;
mod slow;
mod tls;
mod trouble;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    shared_limits::{LIMITED, WELL, chat, stands_for, start, until_ready, upstream},
    support::{Gateway, KEY, http::Caller, upstream::Upstream},
};

/// A key with a limit that fails closed when Redis is away.
const HARD: &str = "tg_testhard0001_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
/// What may be called with it.
const ALL: usize = 50;
/// Patient enough for a busy machine.
const PATIENCE: &str = "timeouts: { shared: 250ms }\n";

/// Two replicas that share this Redis while calls are made that must not fail.
struct Pair {
    gateways: [Gateway; 2],
    admitted: usize,
    stop: Arc<AtomicBool>,
    load: Vec<tokio::task::JoinHandle<i64>>,
    _upstream: Upstream,
}

impl Pair {
    async fn start(shared: &str) -> Self {
        let upstream = upstream().await;
        // The list of keys goes on with a second one.
        let limits = format!(
            "limits: {{ requests_per_minute: 100k }} }}\n- {{ name: hard, key: {HARD}, limits: {{ requests_per_day: {ALL} }}"
        );
        let gateways = [(); 2].map(|()| start(shared, &limits, PATIENCE, &upstream));
        for gateway in &gateways {
            until_ready(gateway, WELL).await;
        }
        let stop = Arc::<AtomicBool>::default();
        let load = gateways.iter().map(|gateway| {
            let (caller, stop) = (Caller::new(gateway.addr, LIMITED), stop.clone());
            tokio::spawn(async move {
                let mut served = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = caller.post("/v1/chat/completions", chat()).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    served += 1;
                }
                served
            })
        });
        Self { load: load.collect(), gateways, admitted: 0, stop, _upstream: upstream }
    }

    /// Tries with the key that fails closed, once at each replica.
    async fn try_hard(&mut self) {
        for gateway in &self.gateways {
            let answer = Caller::new(gateway.addr, HARD).post("/v1/chat/completions", chat()).await;
            assert!(matches!(answer.status.as_u16(), 200 | 429), "{}", answer.text());
            self.admitted += usize::from(answer.status == 200);
        }
        assert!(self.admitted <= ALL, "{} of {ALL}", self.admitted);
    }

    /// Calls with it until so many calls were admitted.
    async fn spend(&mut self, count: usize) {
        while self.admitted < count {
            self.try_hard().await;
        }
    }

    /// Waits until the readiness of both is this.
    async fn until(&self, readiness: &str) {
        for gateway in &self.gateways {
            until_ready(gateway, readiness).await;
        }
    }

    /// What the first says of its Redis.
    async fn detail(&self) -> String {
        detail(&self.gateways[0]).await
    }

    /// All is as if nothing had happened: both know of every call, and what is left of the hard limit can be had, and no more.
    async fn ends_whole(mut self) {
        self.until(WELL).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut served = 0;
        for load in self.load.drain(..) {
            served += load.await.unwrap();
        }
        for gateway in &self.gateways {
            while stands_for(gateway, LIMITED).await.0 != served {
                tokio::task::yield_now().await;
            }
        }
        self.spend(ALL).await;
        for _ in 0..3 {
            self.try_hard().await;
        }
        assert_eq!(self.admitted, ALL);
    }
}

/// What a replica says of its Redis in the status.
async fn detail(gateway: &Gateway) -> String {
    let status = Caller::new(gateway.ops, KEY).get("/status").await.json();
    let stores = status["stores"].as_array().unwrap();
    let redis = stores.iter().find(|store| store["name"] == "redis").unwrap();
    redis["detail"].as_str().unwrap_or_default().to_owned()
}

/// Asks until it says this. A minute is a failure.
async fn until_told(gateway: &Gateway, expected: &str) -> String {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let told = detail(gateway).await;
        if told.contains(expected) {
            return told;
        }
        assert!(Instant::now() < patience, "not {expected:?}: {told:?}");
        tokio::task::yield_now().await;
    }
}
