//! PostgreSQL stops, hangs, has no connection left, or is not there yet: calls go on, and nothing is lost or twice.

use std::{
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use tollgate_api::v1;
use tollgate_server::meter::Ledger;

use super::{Load, call, has_exactly, ids, ready, replica, reports::answers, unshipped, until};
use crate::{
    limits_reset, serving,
    support::{
        Gateway, KEY,
        http::Caller,
        postgres::{Postgres, database, sql},
        upstream::Upstream,
    },
};

/// Many records that wait; they stand for ten minutes.
const MANY: u64 = 200;

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
    until("many wait", async || unshipped(&gateway).await > MANY).await;
    assert_eq!(ready(&gateway).await.0, 200, "it still serves");
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
    until("many wait", async || unshipped(&gateway).await > MANY).await;
    until("it is seen", async || ready(&gateway).await.1.contains("degraded")).await;
    made.extend(load.stop().await);
    server.signal("CONT");
    has_exactly(&store, &made).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_connection_left_calls_go_on_and_records_wait() {
    let few = ["max_connections=8", "superuser_reserved_connections=0", "max_wal_senders=0"];
    let server = tokio::task::spawn_blocking(move || Postgres::start(&few)).await.unwrap();
    let store = server.database().await;
    let upstream = Upstream::start(serving).await;
    let mut mine: tokio_postgres::Config = store.parse().unwrap();
    mine.application_name("mine");
    let connect = async || {
        let (client, connection) = mine.connect(tokio_postgres::NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    };
    let mut taken = vec![connect().await.unwrap()];
    let gateway = replica(&upstream, &store, "");
    until("ready", async || ready(&gateway).await.0 == 200).await;
    until("all connections are taken", async || {
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND application_name <> 'mine'";
        taken[0].simple_query(others).await.unwrap();
        taken.extend(connect().await);
        // More than the gateway ever holds, so that the test can look when they are free again.
        taken.len() == 8
    })
    .await;
    let caller = Caller::new(gateway.addr, KEY);
    let made = [call(&caller).await, call(&caller).await].into();
    until("they wait", async || unshipped(&gateway).await == 2).await;
    until("it is told", async || ready(&gateway).await.1.contains("degraded")).await;
    let stranger = Caller::new(gateway.addr, "tg_testnobody01_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG");
    until("who is not known is not told from who is new", async || {
        stranger.post("/v1/chat/completions", crate::chat(false)).await.status == 503
    })
    .await;
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
    assert!(status == 503 && text.contains("starting"), "{status} {text}");
    server.launch();
    until("ready", async || ready(&gateway).await == (200, "ready\n".to_owned())).await;
    let made = [call(&Caller::new(gateway.addr, KEY)).await].into();
    has_exactly(&store, &made).await;
}

/// When all of them were made.
static NOW: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// A record of that number.
fn settled(number: u128) -> v1::UsageRecord {
    let usage = v1::Usage { input_tokens: Some(7), output_tokens: Some(3), ..Default::default() };
    v1::UsageRecord {
        id: uuid::Uuid::from_u128(number).to_string(),
        create_time: Some((*NOW).into()),
        key_id: format!("key{}", number % 50),
        team_id: format!("team{}", number % 5),
        requested_model: format!("model{}", number % 7),
        status: "OK".to_owned(),
        usage: Some(usage),
        tags: [("feature".to_owned(), format!("f{}", number % 3))].into(),
        ..Default::default()
    }
}

/// Puts that many records into a local ledger, as a long outage would have left them there.
async fn fill(local: PathBuf, waiting: u128) {
    let fill = tokio::task::spawn_blocking(move || {
        let ledger = Ledger::open(&local).unwrap();
        (1..=waiting).for_each(|number| ledger.append(settled(number)));
    });
    fill.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_there_soon_though_the_gateway_is_killed_on_the_way_and_sums_are_as_sqlites() {
    // More than are summed up at once.
    const WAITING: u128 = 35_000;
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    // The first start makes the data directory.
    let mut gateway = replica(&upstream, &store, "");
    gateway.kill();
    let (local, same) = (gateway.data_dir().join("data/tollgate.db"), gateway.data_dir().join("same.db"));
    fill(local, WAITING).await;
    fill(same.clone(), WAITING).await;
    let began = Instant::now();
    gateway.restart();
    until("some are there", async || !ids(&store).await.is_empty()).await;
    gateway.kill();
    gateway.restart();
    let expected = (1..=WAITING).map(|number| uuid::Uuid::from_u128(number).to_string()).collect();
    has_exactly(&store, &expected).await;
    let took = began.elapsed();
    eprintln!("{WAITING} records, two starts and a kill: {took:?}");
    assert!(took < Duration::from_secs(300), "{took:?}");
    until("they are summed up", async || sql(&store, "SELECT seq > 0 FROM tollgate.totalled").await == ["t"])
        .await;
    let alone = replica(&upstream, &format!("sqlite://{}", same.display()), "");
    assert_eq!(answers(&gateway).await, answers(&alone).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_or_after_a_batch_is_there_loses_and_doubles_nothing() {
    let upstream = Upstream::start(serving).await;
    for step in ["ship:before", "ship:after"] {
        let store = database().await;
        let yaml = format!(
            "store: \"{store}\"\nproviders:\n{}models: {{ m: {{ targets: [{{ provider: up, model: m-1 }}] }} }}\n",
            upstream.provider("up")
        );
        let mut gateway = Gateway::start_with_env(&yaml, &[("TOLLGATE_FAILPOINT", step)]);
        let made = [call(&Caller::new(gateway.addr, KEY)).await].into();
        assert_eq!(gateway.wait(), None, "{step}: it died");
        assert_eq!(ids(&store).await.len(), usize::from(step == "ship:after"));
        gateway.restart();
        has_exactly(&store, &made).await;
        until("it is noted", async || unshipped(&gateway).await == 0).await;
        assert_eq!(ids(&store).await, made);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_call_with_a_budget_is_served_though_postgres_hangs_and_what_others_spent_counts_afterwards()
 {
    let server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let (store, upstream) = (server.database().await, Upstream::start(limits_reset::by_kind).await);
    let yaml = format!("store: \"{store}\"\n");
    let (one, other) = (limits_reset::replica(&yaml, &upstream), limits_reset::replica(&yaml, &upstream));
    for gateway in [&one, &other] {
        until("ready", async || ready(gateway).await.0 == 200).await;
    }
    for _ in 0..3 {
        assert_eq!(limits_reset::call(&one).await, 200);
    }
    until("others can know of it", async || ids(&store).await.len() == 3).await;
    server.signal("STOP");
    assert_eq!(limits_reset::call(&other).await, 200, "its budget was never asked for here");
    server.signal("CONT");
    limits_reset::until(&other, |[used, ..]| used == 4 * limits_reset::CALL).await;
    assert_eq!(limits_reset::call(&other).await, 200);
    assert_eq!(limits_reset::call(&other).await, 429, "all of it is spent");
}
