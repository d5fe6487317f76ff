//! Reports read PostgreSQL: any replica tells what all of them did, in the same words as SQLite would.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio_stream::StreamExt as _;
use tollgate_api::v1::{self, usage_service_client::UsageServiceClient};

use super::{call, has_exactly, replica};
use crate::{
    record, records, serving,
    support::{ADMIN_KEY, Gateway, KEY, http::Caller, postgres::database, upstream::Upstream},
};

/// Questions of every kind: by sums, by tag, by records, by time.
const QUESTIONS: [&str; 7] = [
    "",
    "group_by=team&group_by=model&group_by=tag:feature",
    "group_by=tag:feature&bucket=month",
    "group_by=key&bucket=day",
    "group_by=model&bucket=hour&filters[team]=team3",
    "group_by=tag:absent&group_by=key&filters[tag:feature]=f1&page_size=7",
    "group_by=surface&filters[status]=OK&start_time=2026-01-01T00:00:00Z",
];

/// What a gateway answers to all of them.
pub(super) async fn answers(gateway: &Gateway) -> Vec<Value> {
    let caller = Caller::new(gateway.addr, ADMIN_KEY);
    let mut answers = Vec::new();
    for question in QUESTIONS {
        let answer = caller.get(&format!("/v1/usage?{question}")).await;
        assert_eq!(answer.status, 200, "{question}: {}", answer.text());
        let mut json = answer.json();
        // Of whose pages it is.
        json.as_object_mut().unwrap().remove("next_page_token");
        answers.push(json);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_replica_tells_what_all_of_them_did() {
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    let (one, other) = (replica(&upstream, &store, ""), replica(&upstream, &store, ""));
    let watching = UsageServiceClient::new(one.channel(ADMIN_KEY).await)
        .watch_usage(v1::WatchUsageRequest::default())
        .await
        .unwrap();
    let (here, there) = (Caller::new(one.addr, KEY), Caller::new(other.addr, KEY));
    let mut made = BTreeSet::new();
    for _ in 0..3 {
        made.insert(call(&here).await);
        made.insert(call(&there).await);
    }
    // Whoever saw a call succeed sees its record, on the same replica at once.
    let own = call(&there).await;
    assert_eq!(record(&other, &own).await["status"], "OK");
    made.insert(own);
    has_exactly(&store, &made).await;
    for gateway in [&one, &other] {
        let listed: BTreeSet<String> =
            records(gateway).await.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, made);
        let sums = &answers(gateway).await[0]["rows"][0];
        assert_eq!((&sums["request_count"], &sums["usage"]["input_tokens"]), (&"7".into(), &"7".into()));
    }
    let mut watched = BTreeSet::new();
    let mut stream = watching.into_inner();
    while watched.len() < made.len() {
        let told = stream.next().await.unwrap().unwrap();
        assert!(watched.insert(told.record.unwrap().id), "each once");
    }
    assert_eq!(watched, made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_records_go_on_where_the_last_one_ended() {
    let (store, upstream) = (database().await, Upstream::start(serving).await);
    let gateway = replica(&upstream, &store, "");
    let caller = Caller::new(gateway.addr, KEY);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, call(&caller).await);
    }
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let page = caller.get(&format!("/v1/usage/records?page_size=2&page_token={token}")).await.json();
        let ids = page["records"].as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap());
        listed.extend(ids.map(str::to_owned));
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, made);
    let foreign = caller.get("/v1/usage/records/00000000-0000-7000-8000-000000000000").await;
    assert_eq!(foreign.status, 404);
}
