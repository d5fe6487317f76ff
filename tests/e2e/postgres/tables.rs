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
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tollgate.yaml");
    std::fs::write(&config, format!("store: \"{store}\"\nlisten: 127.0.0.1:0\nops_listen: 127.0.0.1:0\n"))
        .unwrap();
    let third = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("--config")
        .arg(&config)
        .arg("--data-dir")
        .arg(dir.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(third.status.code() == Some(1) && told.contains("use a newer one"), "{told}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_that_are_over_go_and_their_sums_stay() {
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    let first = replica(&upstream, &store, "");
    let made = BTreeSet::from([call(&Caller::new(first.addr, KEY)).await]);
    has_exactly(&store, &made).await;
    drop(first);
    // Twenty months ago the same was called.
    sql(
        &store,
        "CREATE TABLE tollgate.records_2025_03 (LIKE tollgate.records INCLUDING DEFAULTS);
         ALTER TABLE tollgate.records ATTACH PARTITION tollgate.records_2025_03
            FOR VALUES FROM (1740787200000) TO (1743465600000);
         INSERT INTO tollgate.records SELECT nextval('tollgate.records_seq'), gen_random_uuid(), 1741000000000, key_id,
            team_id, requested_model, model, provider, target, operation, surface, status, error_reason, streamed,
            cache_status, recovered, source, input_tokens, output_tokens, cache_read, cache_write, reasoning, cost_nanos,
            saved_nanos, price_version, estimated, unpriced, tags, record FROM tollgate.records",
    )
    .await;
    let second = replica(&upstream, &store, "ledger: { retain: 60d }\n");
    until("the old month is gone", async || {
        sql(&store, "SELECT to_regclass('tollgate.records_2025_03') IS NULL").await == ["t"]
    })
    .await;
    has_exactly(&store, &made).await;
    let caller = Caller::new(second.addr, crate::ADMIN_KEY);
    let sums = caller.get("/v1/usage?bucket=month").await.json();
    let counts: Vec<_> =
        sums["rows"].as_array().unwrap().iter().map(|row| row["request_count"].clone()).collect();
    assert_eq!(counts, ["1", "1"], "{sums}");
}

#[tokio::test]
async fn tags_that_postgres_cannot_hold_are_no_obstacle() {
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    let gateway = replica(&upstream, &store, "");
    let caller = Caller::new(gateway.addr, KEY);
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"user":"a\u0000b","metadata":{"k":"v\u0000w"}}"#;
    let answer = caller.post("/v1/chat/completions", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    has_exactly(&store, &[answer.header("x-request-id").to_owned()].into()).await;
    // Asking for one is asking for what is there in its place.
    let answer = caller.get("/v1/usage?filters[tag:k]=%00&group_by=tag:%00").await;
    assert!(matches!(answer.status.as_u16(), 200 | 400), "{}", answer.text());
}
