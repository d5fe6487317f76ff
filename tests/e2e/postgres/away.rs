//! PostgreSQL stops, hangs, has no connection left, or is not there yet: calls go on, and nothing is lost or twice.

use std::time::{Duration, Instant};

use tollgate_api::v1;
use tollgate_server::meter::Ledger;

use super::{Load, call, has_exactly, ids, ready, replica, unshipped, until};
use crate::{
    serving,
    support::{
        KEY,
        http::Caller,
        postgres::{Postgres, database},
        upstream::Upstream,
    },
};

/// Long enough for the gateway to notice, to fail often, and to have many records waiting; it stands for ten minutes.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_down_calls_go_on_and_all_records_are_there_afterwards_once() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let (store, upstream) = (server.database().await, Upstream::start(serving).await);
    let gateway = replica(&upstream, &store, "");
    until("ready", async || ready(&gateway).await.0 == 200).await;
    let load = Load::start(&gateway);
    until("some records are there", async || !ids(&store).await.is_empty()).await;
    server.stop();
    until("it is seen", async || ready(&gateway).await.1.contains("degraded")).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(ready(&gateway).await.0, 200, "it still serves");
    assert!(unshipped(&gateway).await > 0);
    server.launch();
    until("it is well again", async || ready(&gateway).await.1 == "ready\n").await;
    let made = load.stop().await;
    has_exactly(&store, &made).await;
    until("nothing waits", async || unshipped(&gateway).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_hangs_delays_nobody_and_gets_what_it_missed() {
    let server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let (store, upstream) = (server.database().await, Upstream::start(serving).await);
    let gateway = replica(&upstream, &store, "");
    let caller = Caller::new(gateway.addr, KEY);
    let mut made = std::collections::BTreeSet::from([call(&caller).await]);
    has_exactly(&store, &made).await;
    server.signal("STOP");
    let load = Load::start(&gateway);
    tokio::time::sleep(A_WHILE).await;
    made.extend(load.stop().await);
    assert!(made.len() > 10 && unshipped(&gateway).await > 0, "{}", made.len());
    server.signal("CONT");
    has_exactly(&store, &made).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_connection_left_calls_go_on_and_records_wait() {
    let few = ["max_connections=3", "superuser_reserved_connections=0", "max_wal_senders=0"];
    let server = tokio::task::spawn_blocking(move || Postgres::start(&few)).await.unwrap();
    let store = server.database().await;
    let mut taken = Vec::new();
    until("all connections are taken", async || {
        match tokio_postgres::connect(&store, tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                taken.push(client);
                false
            }
            Err(_) => true,
        }
    })
    .await;
    let upstream = Upstream::start(serving).await;
    let gateway = replica(&upstream, &store, "");
    assert_eq!(ready(&gateway).await.0, 503, "it has never been there");
    let caller = Caller::new(gateway.addr, KEY);
    let made = [call(&caller).await, call(&caller).await].into();
    until("they wait", async || unshipped(&gateway).await == 2).await;
    taken.clear();
    has_exactly(&store, &made).await;
    until("ready", async || ready(&gateway).await == (200, "ready\n".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_before_postgres_becomes_ready_by_itself() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let store = server.database().await;
    server.stop();
    let upstream = Upstream::start(serving).await;
    let gateway = replica(&upstream, &store, "");
    let (status, text) = ready(&gateway).await;
    assert!(status == 503 && text.contains("PostgreSQL"), "{status} {text}");
    server.launch();
    until("ready", async || ready(&gateway).await == (200, "ready\n".to_owned())).await;
    let made = [call(&Caller::new(gateway.addr, KEY)).await].into();
    has_exactly(&store, &made).await;
}

/// A record of that number.
fn settled(number: u128) -> v1::UsageRecord {
    let usage = v1::Usage { input_tokens: Some(7), output_tokens: Some(3), ..Default::default() };
    v1::UsageRecord {
        id: uuid::Uuid::from_u128(number).to_string(),
        create_time: Some(std::time::SystemTime::now().into()),
        key_id: format!("key{}", number % 50),
        team_id: format!("team{}", number % 5),
        requested_model: format!("model{}", number % 7),
        status: "OK".to_owned(),
        usage: Some(usage),
        tags: [("feature".to_owned(), format!("f{}", number % 3))].into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_waiting_records_are_there_soon_though_the_gateway_is_killed_on_the_way() {
    const WAITING: u128 = 20_000;
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    // One start makes the data directory; then it is filled as a long outage would have filled it.
    let mut gateway = replica(&upstream, &store, "");
    gateway.kill();
    let local = gateway.data_dir().join("tollgate.db");
    tokio::task::spawn_blocking(move || {
        let ledger = Ledger::open(&local).unwrap();
        (1..=WAITING).for_each(|number| ledger.append(settled(number)));
    })
    .await
    .unwrap();
    let began = Instant::now();
    gateway.restart();
    until("some are there", async || !ids(&store).await.is_empty()).await;
    gateway.kill();
    gateway.restart();
    let expected = (1..=WAITING).map(|number| uuid::Uuid::from_u128(number).to_string()).collect();
    has_exactly(&store, &expected).await;
    let took = began.elapsed();
    eprintln!("{WAITING} records, two starts and a kill: {took:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
}
