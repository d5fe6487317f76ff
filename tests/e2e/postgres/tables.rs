//! The tables: migrations beside a newer version, partitions, texts that PostgreSQL cannot hold.

use std::collections::BTreeSet;

use super::{call, has_exactly, ready, replica, until};
use crate::{
    serving,
    support::{
        KEY,
        http::Caller,
        postgres::{database, sql},
        upstream::Upstream,
    },
};

#[tokio::test]
async fn a_newer_schema_that_serves_this_version_is_worked_with_and_another_is_not() {
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    let first = replica(&upstream, &store, "");
    let mut made = BTreeSet::from([call(&Caller::new(first.addr, KEY)).await]);
    has_exactly(&store, &made).await;
    // What a newer version does in a rollout, while the older one runs.
    sql(
        &store,
        "ALTER TABLE tollgate.records ADD COLUMN newer TEXT; CREATE TABLE tollgate.newer (id INTEGER);
         INSERT INTO tollgate.migrations (version, name, serves, applied_by) VALUES (1000, 'newer', 1, '9.9.9')",
    )
    .await;
    made.insert(call(&Caller::new(first.addr, KEY)).await);
    has_exactly(&store, &made).await;
    let second = replica(&upstream, &store, "");
    made.insert(call(&Caller::new(second.addr, KEY)).await);
    has_exactly(&store, &made).await;
    assert_eq!(ready(&second).await.0, 200);
    // What only a newer one can work with.
    sql(&store, "UPDATE tollgate.migrations SET serves = 1000 WHERE version = 1000").await;
    let third = replica(&upstream, &store, "");
    call(&Caller::new(third.addr, KEY)).await;
    until("it waits", async || super::unshipped(&third).await == 1).await;
    assert_eq!(ready(&third).await.0, 503);
    has_exactly(&store, &made).await;
}

#[tokio::test]
async fn many_that_start_at_once_make_the_tables_once() {
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    let replicas: Vec<_> = (0..3).map(|_| replica(&upstream, &store, "")).collect();
    let mut made = BTreeSet::new();
    for replica in &replicas {
        made.insert(call(&Caller::new(replica.addr, KEY)).await);
    }
    has_exactly(&store, &made).await;
    let told = sql(&store, "SELECT count(*) = max(version) FROM tollgate.migrations").await;
    assert_eq!(told, ["t"]);
    let replicas = sql(&store, "SELECT count(*) FROM tollgate.replicas WHERE shipped_seq = 1").await;
    assert_eq!(replicas, ["3"]);
    let ahead =
        sql(&store, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'tollgate.records'::regclass");
    assert_eq!(ahead.await, ["3"], "this month and the next two");
}
