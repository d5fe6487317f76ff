//! Reports over many records: exact, and from sums, in SQLite and in PostgreSQL. `TOLLGATE_USAGE_ROWS=10000000` asks for
//! the size of the promise.

use std::time::{Duration, Instant};

use tollgate_api::v1::{self, usage_service_client::UsageServiceClient};

use crate::support::{ADMIN_KEY, Gateway, gateway::Client, postgres::Postgres, rows::Books};

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

/// How many records are asked for, if anybody asks.
fn asked() -> Option<i64> {
    std::env::var("TOLLGATE_USAGE_ROWS").ok().and_then(|rows| rows.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_by_team_model_and_tag_is_exact_and_comes_from_sums() {
    let mut gateway = Gateway::start("");
    gateway.kill();
    let books = Books::Sqlite(gateway.data_dir().join("data/tollgate.db"));
    prove(gateway, &books, asked().unwrap_or(100_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_in_postgresql_is_exact_and_comes_from_sums() {
    let server = tokio::task::spawn_blocking(|| Postgres::start(&[])).await.unwrap();
    let url = server.database().await;
    let mut gateway = Gateway::start(&format!("store: \"{url}\"\n"));
    gateway.kill();
    prove(gateway, &Books::Postgres(url), asked().unwrap_or(40_000)).await;
}

/// Fills the store of a gateway that was stopped, starts it, and asks it.
async fn prove(mut gateway: Gateway, books: &Books, number: i64) {
    let started = Instant::now();
    books.fill(number, "2026_07", (JULY.0 * 1_000, JULY.1 * 1_000)).await;
    eprintln!("{number} rows made in {:?}", started.elapsed());
    gateway.restart();
    sum_up(books, number).await;
    let mut client = UsageServiceClient::new(gateway.channel(ADMIN_KEY).await);
    the_month_is_exact(&mut client, books).await;
    others_are_answered(&mut client).await;
    let sums = "SELECT count(*) || ' ' || sum(calls) FROM tag_totals WHERE tag = 'feature' AND level = 2";
    let [groups, calls] = books.numbers(sums).await;
    assert!(groups <= 40_000 && calls > number - STEP, "{groups} {calls}");
    let unbounded = "SELECT count(*) || '' FROM tag_totals WHERE tag = 'request'";
    let [unbounded] = books.numbers(unbounded).await;
    assert!(
        unbounded <= 2 * number.min(400_000),
        "a tag without bound does not make sums without bound: {unbounded}"
    );
}

/// Waits for records that nobody summed up yet, as an older version leaves them, to be caught up with.
async fn sum_up(books: &Books, number: i64) {
    let started = Instant::now();
    let patience = Duration::from_secs(300) + Duration::from_millis(u64::try_from(number).unwrap());
    while books.totalled().await + STEP <= number {
        assert!(started.elapsed() < patience, "summed up {} of {number}", books.totalled().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("summed up in {:?}", started.elapsed());
    if let Books::Postgres(_) = books {
        // As the server does by itself in the background.
        books.ask("ANALYZE totals; ANALYZE tag_totals; ANALYZE rollups; SELECT ''").await;
    }
}

/// Pages through the report that is promised, to the nano-dollar.
async fn the_month_is_exact(client: &mut UsageServiceClient<Client>, books: &Books) {
    let asked = asked();
    let mut request = report(&["team", "model", "tag:feature"], JULY, "none");
    let (mut calls, mut cost, mut slowest, mut groups) = (0, 0, Duration::ZERO, 0);
    loop {
        let started = Instant::now();
        let page = client.query_usage(request.clone()).await.unwrap().into_inner();
        slowest = slowest.max(started.elapsed());
        groups += page.rows.len();
        calls += page.rows.iter().map(|row| row.request_count).sum::<i64>();
        cost += page.rows.iter().map(cost_of).sum::<i64>();
        if request.page_token.is_empty() {
            is_what_the_records_say(books, &page.rows[0]).await;
        }
        if page.next_page_token.is_empty() || groups >= 5_000 && asked.is_some() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    eprintln!("a month by team, model and tag: {groups} groups, a page in {slowest:?} at most");
    if asked.is_none() {
        let all = "SELECT count(*) || ' ' || sum(cost_nanos) FROM records";
        assert_eq!([calls, cost], books.numbers(all).await, "to the nano-dollar");
    }
    if asked.is_some_and(|asked| asked >= 10_000_000) {
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    }
}

/// Asks further questions, and for pages of records, which are found by their place, however far back.
async fn others_are_answered(client: &mut UsageServiceClient<Client>) {
    let odd = (JULY.0 + 40_000, JULY.1 - 40_000);
    for (name, request) in [
        ("by team and model", report(&["team", "model"], JULY, "none")),
        ("by key", report(&["key"], JULY, "none")),
        ("by day and team", report(&["team"], JULY, "day")),
        ("by hour", report(&[], JULY, "hour")),
        ("30 odd days by tag", report(&["tag:feature"], odd, "none")),
        ("30 odd days by team and model", report(&["team", "model"], odd, "none")),
        ("a day by the unbounded tag", report(&["tag:request"], (JULY.0, JULY.0 + 86_400), "none")),
    ] {
        let started = Instant::now();
        let answer = client.query_usage(request).await;
        let rows = answer.map(|answer| answer.into_inner().rows.len());
        eprintln!("{name}: {:?} {rows:?}", started.elapsed());
    }
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
}

fn cost_of(row: &v1::UsageRow) -> i64 {
    row.usage.as_ref().and_then(|usage| usage.cost.as_ref()).unwrap().amount_nanos
}

/// Counts the records of a row of the report one by one.
async fn is_what_the_records_say(books: &Books, row: &v1::UsageRow) {
    let of = |name: &str| &row.group[name];
    let sum = format!(
        "SELECT count(*) || ' ' || sum(cost_nanos) FROM records WHERE team_id = '{}' AND requested_model = '{}' \
         AND tags ->> 'feature' = '{}'",
        of("team"),
        of("model"),
        of("tag:feature")
    );
    assert_eq!([row.request_count, cost_of(row)], books.numbers(&sum).await, "{row:?}");
}
