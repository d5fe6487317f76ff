//! The room of PostgreSQL by itself: time limits, what it tells, TLS.

use std::time::{Duration, Instant};

use tokio::{runtime::Handle, sync::mpsc};
use tollgate_server::postgres::{Address, Heard, Postgres as Store, Trouble};

use crate::support::postgres::{Postgres, database, sql};

const PATIENCE: Duration = Duration::from_secs(60);

fn store(url: &str) -> Store {
    Store::new(Address::parse(url).unwrap(), Handle::current()).unwrap()
}

async fn number(store: &Store, sql: &'static str) -> Result<i32, Trouble> {
    store.call(PATIENCE, move |session| Ok(session.query_one(sql, &[])?.try_get(0)?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_ends_in_its_time_and_the_next_one_works() {
    let store = store(&database().await);
    let began = Instant::now();
    let slow = store.call(Duration::from_secs(1), |session| session.batch("SELECT pg_sleep(60)")).await;
    assert!(matches!(slow, Err(Trouble::Away(_))), "{slow:?}");
    assert!(began.elapsed() < Duration::from_secs(50));
    assert_eq!(number(&store, "SELECT 7").await.unwrap(), 7);
    let wrong = number(&store, "SELECT nothing").await;
    assert!(matches!(&wrong, Err(Trouble::Refused { .. })), "{wrong:?}");
    assert!(store.is_reachable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_had_little_time_does_not_tell_that_postgres_is_away() {
    let store = store(&database().await);
    assert_eq!(number(&store, "SELECT 7").await.unwrap(), 7);
    let hasty = store.call(Duration::from_millis(250), |session| session.batch("SELECT pg_sleep(60)")).await;
    assert!(matches!(hasty, Err(Trouble::Away(_))) && store.is_reachable(), "{hasty:?}");
    let patient = store.call(Duration::from_secs(5), |session| session.batch("SELECT pg_sleep(60)")).await;
    assert!(matches!(patient, Err(Trouble::Away(_))) && !store.is_reachable(), "{patient:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_fails_leaves_nothing() {
    let store = store(&database().await);
    let failed = store.call(PATIENCE, |session| {
        session.batch("CREATE TABLE t (n INTEGER)")?;
        session.transaction(|session| {
            session.execute("INSERT INTO t VALUES ($1)", &[&1])?;
            session.batch("SELECT 1 / 0")
        })
    });
    assert!(matches!(failed.await, Err(Trouble::Refused { .. })));
    assert_eq!(number(&store, "SELECT count(*)::integer FROM t").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_is_heard_and_a_lost_connection_is_made_again() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let url = server.database().await;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let own = store(&url);
    let listening = tokio::spawn(async move {
        own.listen(&["keys"], move |what| sender.send(what).unwrap()).await;
    });
    assert_eq!(heard.recv().await, Some(Heard::Connected));
    let told = |payload: &str| Heard::Told { channel: "keys".to_owned(), payload: payload.to_owned() };
    sql(&url, "NOTIFY keys, 'one'").await;
    assert_eq!(heard.recv().await, Some(told("one")));
    server.stop();
    assert_eq!(heard.recv().await, Some(Heard::Lost));
    server.launch();
    assert_eq!(heard.recv().await, Some(Heard::Connected));
    sql(&url, "NOTIFY keys, 'two'").await;
    assert_eq!(heard.recv().await, Some(told("two")));
    listening.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_away_fails_at_once_until_it_is_tried_again() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let store = store(&server.database().await);
    server.stop();
    let away = number(&store, "SELECT 1").await;
    assert!(matches!(away, Err(Trouble::Away(_))) && !store.was_reached(), "{away:?}");
    server.launch();
    let patience = Instant::now() + PATIENCE;
    while number(&store, "SELECT 1").await.is_err() {
        assert!(Instant::now() < patience, "it is not tried again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(store.is_reachable() && store.was_reached());
}
