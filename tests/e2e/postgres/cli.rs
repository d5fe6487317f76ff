//! `tollgate store`: what an operator does beside a running gateway.

use std::{collections::BTreeSet, path::Path, process::Command};

use super::{call, has_exactly, replica};
use crate::{
    serving,
    support::{
        KEY,
        http::Caller,
        postgres::{database, sql},
        upstream::Upstream,
    },
};

/// Runs `tollgate store` with these arguments; returns the exit code and what it said.
async fn store(url: &str, data: &Path, arguments: &str) -> (i32, String) {
    let config = data.join("store.yaml");
    std::fs::write(&config, format!("store: \"{url}\"\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("--config").arg(&config).arg("--data-dir").arg(data).arg("store");
    command.args(arguments.split_whitespace());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_makes_the_tables_ahead_and_check_wants_them() {
    let (url, data) = (database().await, tempfile::tempdir().unwrap());
    let (code, said) = store(&url, data.path(), "check").await;
    assert!(code == 1 && said.contains("store migrate"), "{code} {said}");
    let (code, said) = store(&url, data.path(), "migrate").await;
    assert!(code == 0 && said.contains("made the tables"), "{code} {said}");
    let (code, said) = store(&url, data.path(), "migrate").await;
    assert!(code == 0 && said.contains("up to date"), "{code} {said}");
    let (code, said) = store(&url, data.path(), "check").await;
    assert!(code == 0 && !said.contains("WRONG"), "{code} {said}");
}

#[tokio::test]
async fn check_says_that_there_is_no_store_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let config = folder.path().join("c.yaml");
    std::fs::write(&config, "store: \"sqlite://tollgate.db\"\n").unwrap();
    command.arg("--config").arg(config).arg("--data-dir").arg(&absent).args(["store", "check"]);
    let output = command.output().await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("the folder {} does not exist", absent.display())), "{said}");
    assert!(!absent.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_finds_sums_that_are_not_those_of_the_records() {
    let (url, upstream) = (database().await, Upstream::start(serving).await);
    let gateway = replica(&upstream, &url, "");
    has_exactly(&url, &[call(&Caller::new(gateway.addr, KEY)).await].into()).await;
    let (code, said) = store(&url, &gateway.data_dir().join("data"), "check").await;
    assert!(code == 0 && said.contains("1 records") && said.contains("0 records wait"), "{code} {said}");
    sql(&url, "UPDATE tollgate.rolled SET seq = 1").await;
    let (code, said) = store(&url, &gateway.data_dir().join("data"), "check").await;
    assert!(code == 1 && said.contains("sums by hour have 0 calls"), "{code} {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_writes_every_record_once_as_lines() {
    let (url, upstream) = (database().await, Upstream::start(serving).await);
    let gateway = replica(&upstream, &url, "");
    let caller = Caller::new(gateway.addr, KEY);
    let made = BTreeSet::from([call(&caller).await, call(&caller).await]);
    has_exactly(&url, &made).await;
    let ids = |json: &str| -> BTreeSet<String> {
        let records = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    };
    // The local ledger has the same.
    for from in [&*url, "sqlite://tollgate.db"] {
        let (code, said) = store(from, &gateway.data_dir().join("data"), "export").await;
        assert_eq!((code, ids(&said)), (0, made.clone()), "{said}");
    }
    let file = gateway.data_dir().join("out.csv");
    let (code, said) = store(
        &url,
        &gateway.data_dir().join("data"),
        &format!("export --format csv --output {}", file.display()),
    )
    .await;
    assert!(code == 0 && said.contains("2 records"), "{code} {said}");
    let written = std::fs::read_to_string(&file).unwrap();
    let first = written.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned());
    assert_eq!(first.collect::<BTreeSet<_>>(), made);
    let (code, said) = store(&url, &gateway.data_dir().join("data"), "export --to 2020-01-01").await;
    assert_eq!((code, said.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_told_by_the_exit_code() {
    let data = tempfile::tempdir().unwrap();
    let away = "postgres://u:s3cret@127.0.0.1:1/d?connect_timeout=2";
    for (url, arguments, code) in [
        (away, "check", 1),
        (away, "migrate", 1),
        (away, "export", 1),
        ("postgres://u:s3cret@h/d?sslmode=maybe", "check", 78),
        (away, "export --format parquet", 64),
        (away, "improve", 64),
    ] {
        let (found, said) = store(url, data.path(), arguments).await;
        assert_eq!(found, code, "{url} {arguments}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
