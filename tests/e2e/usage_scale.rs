//! Reports over many records: exact, and from sums. `TOLLGATE_USAGE_ROWS=10000000` asks for the size of the promise.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tollgate_api::v1::{self, usage_service_client::UsageServiceClient};

use crate::support::{ADMIN_KEY, Gateway, rows};

/// 2026-07-01 and 2026-08-01, in seconds since 1970.
const JULY: (i64, i64) = (1_782_864_000, 1_785_542_400);
/// Records that are summed up at once: fewer than that are left over.
const STEP: i64 = 32_768;

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn report(words: &[&str], (from, until): (i64, i64), bucket: &str) -> v1::QueryUsageRequest {
    v1::QueryUsageRequest {
        start_time: at(from),
        end_time: at(until),
        bucket: bucket.to_owned(),
        group_by: words.iter().map(|word| (*word).to_owned()).collect(),
        page_size: 1_000,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_by_team_model_and_tag_is_exact_and_comes_from_sums() {
    let asked = std::env::var("TOLLGATE_USAGE_ROWS").ok().and_then(|rows| rows.parse::<i64>().ok());
    let number = asked.unwrap_or(100_000);
    let mut gateway = Gateway::start("");
    gateway.kill();
    let store = gateway.data_dir().join("data/tollgate.db");
    let started = Instant::now();
    rows::fill(&store, number, JULY.0 * 1_000, JULY.1 * 1_000);
    eprintln!("{number} rows made in {:?}", started.elapsed());
    let started = Instant::now();
    gateway.restart();
    // Records that nobody summed up yet, as an older version leaves them, are caught up with.
    let patience = Duration::from_secs(60) + Duration::from_micros(u64::try_from(number).unwrap() * 200);
    while rows::totalled(&store) + STEP <= number {
        assert!(started.elapsed() < patience, "summed up {} of {number}", rows::totalled(&store));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("summed up in {:?}", started.elapsed());

    let mut client = UsageServiceClient::new(gateway.channel(ADMIN_KEY).await);
    let mut request = report(&["team", "model", "tag:feature"], JULY, "none");
    let (mut calls, mut cost, mut slowest, mut groups) = (0, 0, Duration::ZERO, 0);
    loop {
        let started = Instant::now();
        let page = client.query_usage(request.clone()).await.unwrap().into_inner();
        slowest = slowest.max(started.elapsed());
        groups += page.rows.len();
        for row in page.rows {
            calls += row.request_count;
            cost += row.usage.unwrap().cost.unwrap().amount_nanos;
        }
        if page.next_page_token.is_empty() || groups >= 5_000 && asked.is_some() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    eprintln!("a month by team, model and tag: {groups} groups, a page in {slowest:?} at most");
    let connection = Connection::open(&store).unwrap();
    if asked.is_none() {
        let all = "SELECT count(*), sum(cost_nanos) FROM records";
        let all = connection.query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((calls, cost), all, "to the nano-dollar");
    }
    let pairs: Vec<(&str, v1::QueryUsageRequest)> = vec![
        ("by team and model", report(&["team", "model"], JULY, "none")),
        ("by key", report(&["key"], JULY, "none")),
        ("by day and team", report(&["team"], JULY, "day")),
        ("by hour", report(&[], JULY, "hour")),
        ("30 odd days by tag", report(&["tag:feature"], (JULY.0 + 40_000, JULY.1 - 40_000), "none")),
        (
            "30 odd days by team and model",
            report(&["team", "model"], (JULY.0 + 40_000, JULY.1 - 40_000), "none"),
        ),
        ("a day by the unbounded tag", report(&["tag:request"], (JULY.0, JULY.0 + 86_400), "none")),
    ];
    for (name, request) in pairs {
        let started = Instant::now();
        let answer = client.query_usage(request).await;
        eprintln!(
            "{name}: {:?} {:?}",
            started.elapsed(),
            answer.map(|answer| answer.into_inner().rows.len())
        );
    }
    if asked.is_some_and(|asked| asked >= 10_000_000) {
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    }

    // Pages of records are found by their place, however far back.
    let mut list = v1::ListUsageRecordsRequest {
        start_time: at(JULY.0),
        end_time: at(JULY.1),
        page_size: 1_000,
        ..Default::default()
    };
    for _ in 0..3 {
        let started = Instant::now();
        let page = client.list_usage_records(list.clone()).await.unwrap().into_inner();
        eprintln!("a page of {} records: {:?}", page.records.len(), started.elapsed());
        assert_eq!(page.records.len(), 1_000);
        list.page_token = page.next_page_token;
    }
    let sums: (i64, i64) = connection
        .query_row(
            "SELECT count(*), sum(calls) FROM tag_totals WHERE tag = 'feature' AND level = 2",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert!(sums.0 <= 40_000 && sums.1 > number - STEP, "{sums:?}");
    let unbounded = "SELECT count(*) FROM tag_totals WHERE tag = 'request'";
    let unbounded: i64 = connection.query_row(unbounded, [], |row| row.get(0)).unwrap();
    assert!(
        unbounded <= 2 * number.min(400_000),
        "a tag without bound does not make sums without bound: {unbounded}"
    );
}
