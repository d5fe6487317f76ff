//! Every call ends in exactly one record: on crash, drain, and every ordinary ending.

use std::{collections::HashSet, process::Command};

use http_body_util::BodyExt as _;

use crate::{
    chat, gateway, records,
    support::{
        KEY,
        http::Caller,
        upstream::{Step, Upstream, chunk, delta, end, finish, stream_head},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_200_streams_leaves_one_record_for_each() {
    // Half of the streams end; the other half are in the middle when the process dies.
    let upstream = Upstream::start(|seen| {
        let mut steps = vec![stream_head(), chunk(delta("one")), chunk(delta(" two"))];
        if seen.json()["user"] == "ends" {
            steps.extend([chunk(finish(7, 2)), end()]);
        } else {
            steps.push(Step::Hold);
        }
        steps
    })
    .await;
    let mut gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let mut held = Vec::new();
    let mut whole = HashSet::new();
    for number in 0..200 {
        let user = if number % 2 == 0 { "ends" } else { "stays" };
        let body = chat(true).replace("\"stream\"", &format!("\"user\":\"{user}\",\"stream\""));
        let answer = caller.open("/v1/chat/completions", body, &[]).await;
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        if number % 2 == 0 {
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(text.ends_with(b"data: [DONE]\n\n"));
            whole.insert(id);
        } else {
            let mut body = answer.into_body();
            let first = body.frame().await.unwrap().unwrap();
            assert!(first.is_data());
            held.push((id, body));
        }
    }
    gateway.kill();
    gateway.restart();

    let records = records(&gateway).await;
    let ids: HashSet<_> = records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((records.len(), ids.len()), (200, 200), "each once");
    for record in &records {
        let id = record["id"].as_str().unwrap();
        if whole.contains(id) {
            assert_eq!(record["status"], "OK");
            assert_eq!(record["usage"]["input_tokens"], "7");
            assert_eq!(record["usage"]["output_tokens"], "2");
        } else {
            assert!(held.iter().any(|(held, _)| held == id), "{record}");
            assert_eq!(
                (&record["recovered"], &record["status"]),
                (&true.into(), &"UNAVAILABLE".into()),
                "{record}"
            );
            assert_eq!(record["usage"]["source"], "SOURCE_ESTIMATED");
        }
    }
    // A second restart must not recover anything twice.
    gateway.kill();
    gateway.restart();
    assert_eq!(self::records(&gateway).await.len(), 200);
}

#[tokio::test]
async fn sigterm_lets_calls_in_flight_finish_and_exits_with_0() {
    let upstream = Upstream::start(|_| {
        vec![stream_head(), chunk(delta("one")), Step::Await(1), chunk(finish(3, 1)), end()]
    })
    .await;
    let mut gateway = gateway(&upstream);
    let mut body =
        Caller::new(gateway.addr, KEY).open("/v1/chat/completions", chat(true), &[]).await.into_body();
    body.frame().await.unwrap().unwrap();
    let signalled = Command::new("kill").args(["-TERM", &gateway.pid().to_string()]).status().unwrap();
    assert!(signalled.success());
    upstream.release();
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(gateway.wait(), Some(0));
    gateway.restart();
    let records = records(&gateway).await;
    assert_eq!((records.len(), &records[0]["status"]), (1, &"OK".into()));
}

#[tokio::test]
async fn refusals_are_recorded_and_failed_authentication_is_not() {
    let upstream = Upstream::start(|_| vec![Step::Close]).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    assert_eq!(caller.post("/v1/chat/completions", "{\"model\":").await.status, 400);
    let unknown = caller.post("/v1/chat/completions", chat(true).replace("\"m\"", "\"mm\"")).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("`m`"), "{}", unknown.text());
    let stranger = Caller::new(gateway.addr, "tg_nobody000000_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG");
    assert_eq!(stranger.post("/v1/chat/completions", chat(true)).await.status, 401);
    let reasons: Vec<_> =
        records(&gateway).await.iter().map(|record| record["error_reason"].clone()).collect();
    assert_eq!(reasons, ["MODEL_NOT_FOUND", "INVALID_REQUEST"]);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn usage_sums_what_the_records_say() {
    let upstream =
        Upstream::start(|_| vec![stream_head(), chunk(delta("a")), chunk(finish(10, 4)), end()]).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    for feature in ["search", "search", "chat"] {
        let tags = format!("feature={feature}");
        let headers = [("x-tollgate-tags", tags.as_str())];
        let answer = caller.try_post("/v1/chat/completions", chat(true), &headers).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let sums = caller.get("/v1/usage?group_by=tag:feature&bucket=none").await.json();
    let mut rows: Vec<_> = sums["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["group"]["tag:feature"].as_str().unwrap(),
                row["request_count"].as_str().unwrap(),
                row["usage"]["input_tokens"].as_str().unwrap(),
            )
        })
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [("chat", "1", "10"), ("search", "2", "20")]);
}
