//! Upstreams that are spoken to by HTTP/2: shared connections that nobody notices.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::select_all;
use http_body_util::BodyExt as _;

use crate::{
    chat, record, records,
    support::{
        Gateway, KEY,
        http::{Answer, Caller},
        http2::{Http2Upstream, Step},
        upstream::{delta, finish},
    },
};

fn send(text: String) -> Step {
    Step::Send(Bytes::from(text))
}

/// A short answer that is sent when `Await(1)` lets it.
fn awaited() -> Vec<Step> {
    vec![send(delta("one")), Step::Await(1), send(delta(" two")), send(finish(3, 2))]
}

fn at_once() -> Vec<Step> {
    vec![send(delta("one")), send(finish(3, 1))]
}

/// With time for hundreds of connections at once on a machine that has other things to do.
fn gateway(upstream: &Http2Upstream) -> Gateway {
    Gateway::start(&format!(
        "timeouts: {{ connect: 60s }}\nproviders:\n{}models:\n  m: {{ targets: [{{ provider: up, model: m-1 }}] }}\n",
        upstream.provider("up")
    ))
}

async fn ask(caller: Caller) -> Answer {
    caller.post("/v1/chat/completions", chat(true)).await
}

/// So many streams through the gateway at once, all of them running before the first may end.
async fn at_the_same_time(most_streams: u32, count: usize) -> usize {
    let upstream = Http2Upstream::start(most_streams, |_| awaited()).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let mut calls: Vec<_> = (0..count).map(|_| tokio::spawn(ask(caller.clone()))).collect();
    tokio::select! {
        () = upstream.running(count) => {}
        (early, ..) = select_all(&mut calls) => panic!("ended too soon: {}", early.unwrap().text()),
    }
    upstream.release();
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.status == 200 && answer.text().ends_with("[DONE]\n\n"), "{}", answer.text());
    }
    upstream.connections_used()
}

#[tokio::test]
async fn three_hundred_streams_to_one_host_do_not_stall_at_a_connections_limit() {
    assert!(at_the_same_time(100, 300).await <= 10, "they share connections");
    assert_eq!(at_the_same_time(1, 300).await, 300);
}

#[tokio::test]
async fn a_caller_who_does_not_read_harms_no_sibling() {
    const FRAMES: usize = 20_000;
    let long: Arc<[Step]> = (0..FRAMES).map(|_| send(delta("x"))).chain([send(finish(3, 20_000))]).collect();
    let upstream = Http2Upstream::start(100, move |asked| match asked.before {
        0..4 => long.to_vec(),
        _ => awaited(),
    })
    .await;
    let gateway = gateway(&upstream);
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let caller = Caller::new(gateway.addr, KEY);
        stalled.push(caller.open("/v1/chat/completions", chat(true), &[]).await);
    }
    let caller = Caller::new(gateway.addr, KEY);
    let others: Vec<_> = (0..40).map(|_| tokio::spawn(ask(caller.clone()))).collect();
    upstream.running(44).await;
    upstream.release();
    for other in others {
        let answer = other.await.unwrap();
        assert!(answer.status == 200 && answer.text().ends_with("[DONE]\n\n"), "{}", answer.text());
    }
    assert_eq!(upstream.connections_used(), 1, "they shared one connection");
    for late in stalled {
        let body = late.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"[DONE]\n\n"), "late, but whole");
    }
}

#[tokio::test]
async fn a_goaway_in_the_middle_is_not_seen() {
    let upstream = Http2Upstream::start(100, |asked| match asked.before {
        0 => [vec![Step::GoAway], awaited()].concat(),
        _ => at_once(),
    })
    .await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    let first = tokio::spawn(ask(caller.clone()));
    upstream.running(1).await;
    // When the gateway has read the GOAWAY it opens another connection; until then the first one still serves.
    while upstream.connections_used() < 2 {
        assert_eq!(ask(caller.clone()).await.status, 200);
    }
    upstream.release();
    let answer = first.await.unwrap();
    assert!(answer.status == 200 && answer.text().ends_with("[DONE]\n\n"), "{}", answer.text());
    for record in records(&gateway).await {
        assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
    }
}

#[tokio::test]
async fn a_refused_stream_is_retried_once_unseen_and_unbilled() {
    let upstream = Http2Upstream::start(100, |asked| match asked.before {
        0 => vec![Step::Refuse],
        _ => at_once(),
    })
    .await;
    let gateway = gateway(&upstream);
    let answer = ask(Caller::new(gateway.addr, KEY)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.seen().len(), 2);
    let record = record(&gateway, answer.header("x-request-id")).await;
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
    assert_eq!(record["usage"]["input_tokens"], "3", "{record}");
    assert_eq!(records(&gateway).await.len(), 1);
}
