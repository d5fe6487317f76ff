//! The caller's deadline and cancellation reach the provider, in every phase and on both surfaces.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use serde_json::Value;
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient};
use tonic::Code;

use crate::{
    chat,
    client_faults::settled,
    gateway, records,
    support::{
        Gateway, KEY,
        callers::{Ask, Surface, call},
        http::Caller,
        in_time,
        lateness::{PROMISE, assert_kept},
        upstream::{Step, Upstream, chunk, delta, stream_head, whole},
    },
};

fn started() -> Vec<Step> {
    vec![stream_head(), chunk(delta("one")), chunk(delta(" two")), Step::Hold]
}

fn request() -> v1::StreamCompleteRequest {
    let text = v1::Part { kind: Some(v1::part::Kind::Text("hello".to_owned())), ..Default::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![text], ..Default::default() };
    let input = v1::ChatInput { model: "m".to_owned(), messages: vec![message], ..Default::default() };
    v1::StreamCompleteRequest { input: Some(input), ..Default::default() }
}

#[tokio::test]
async fn a_caller_that_leaves_while_waiting_closes_the_upstream() {
    for streamed in [false, true] {
        let upstream = Upstream::start(|_| vec![Step::Hold]).await;
        let gateway = gateway(&upstream);
        let mut asked = 0;
        assert_kept(PROMISE, 10, &[gateway.pid()], async || {
            asked += 1;
            let caller = Caller::new(gateway.addr, KEY);
            let call =
                tokio::spawn(async move { caller.open("/v1/chat/completions", chat(streamed), &[]).await });
            upstream.asked(asked).await;
            let left = Instant::now();
            call.abort();
            upstream.hung_up(asked).await[asked - 1].duration_since(left)
        })
        .await;
        for record in settled(&gateway, asked).await {
            let told = (&record["status"], &record["attempts"][0]["outcome"]);
            assert_eq!(told, (&"CANCELLED".into(), &"cancelled".into()), "{record}");
        }
    }
}

#[tokio::test]
async fn a_caller_that_leaves_mid_stream_closes_the_upstream_and_pays_for_what_it_got() {
    let upstream = Upstream::start(|_| started()).await;
    let gateway = gateway(&upstream);
    let mut asked = 0;
    assert_kept(PROMISE, 10, &[gateway.pid()], async || {
        asked += 1;
        let caller = Caller::new(gateway.addr, KEY);
        let mut body = caller.open("/v1/chat/completions", chat(true), &[]).await.into_body();
        let mut got = Vec::new();
        while got.len() < delta("one").len() + delta(" two").len() {
            got.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        let left = Instant::now();
        drop(body);
        drop(caller);
        upstream.hung_up(asked).await[asked - 1].duration_since(left)
    })
    .await;
    for record in settled(&gateway, asked).await {
        let usage = (&record["usage"]["output_tokens"], &record["usage"]["source"]);
        assert_eq!(
            (&record["status"], usage),
            (&"CANCELLED".into(), (&"2".into(), &"SOURCE_ESTIMATED".into()))
        );
    }
}

#[tokio::test]
async fn a_grpc_cancel_closes_the_upstream_in_every_phase() {
    for steps in [vec![Step::Hold], started()] {
        let waiting = steps.len() == 1;
        let upstream = Upstream::start(move |_| steps.clone()).await;
        let gateway = gateway(&upstream);
        let mut asked = 0;
        assert_kept(PROMISE, 10, &[gateway.pid()], async || {
            asked += 1;
            let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
            let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
            let call = tokio::spawn(async move {
                let mut stream = client.stream_complete(request()).await?.into_inner();
                while stream.message().await?.is_some() {
                    told.send(()).unwrap();
                }
                Ok::<_, tonic::Status>(())
            });
            upstream.asked(asked).await;
            if !waiting {
                heard.recv().await.unwrap();
            }
            let left = Instant::now();
            call.abort();
            upstream.hung_up(asked).await[asked - 1].duration_since(left)
        })
        .await;
        let records = settled(&gateway, asked).await;
        assert!(records.iter().all(|record| record["status"] == "CANCELLED"), "{records:?}");
    }
}

#[tokio::test]
async fn a_deadline_holds_inside_a_stream_and_closes_the_upstream() {
    let upstream = Upstream::start(|_| started()).await;
    let gateway = gateway(&upstream);
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let limit = Duration::from_millis(400);
    let mut ended = 0;
    assert_kept(Duration::from_millis(50), 5, &[gateway.pid()], async || {
        let mut request = tonic::Request::new(request());
        request.metadata_mut().insert("grpc-timeout", "400m".parse().unwrap());
        let sent = Instant::now();
        // Else all of the time had gone before the first token came.
        let Ok(stream) = client.stream_complete(request).await else { return limit };
        let mut stream = stream.into_inner();
        let status = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended as success"),
                Err(status) => break status,
            }
        };
        let took = sent.elapsed();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        ended += 1;
        took.abs_diff(limit)
    })
    .await;
    upstream.hung_up(ended).await;
    let is_told = |record: &&Value| record["error_reason"] == "CALLER_DEADLINE_EXCEEDED";
    let told = async { while records(&gateway).await.iter().filter(is_told).count() < ended {} };
    in_time("a record of each", told).await;
}

#[tokio::test]
async fn a_deadline_in_a_header_bounds_the_wait_for_the_first_token() {
    let upstream = Upstream::start(|_| vec![Step::Hold]).await;
    let gateway = gateway(&upstream);
    let caller = Caller::new(gateway.addr, KEY);
    for streamed in [false, true] {
        let headers = [("x-tollgate-timeout-ms", "200")];
        let answer = caller.try_post("/v1/chat/completions", chat(streamed), &headers).await.unwrap();
        assert_eq!(answer.status, 504, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "caller_deadline_exceeded");
    }
    upstream.hung_up(upstream.seen().len()).await;
}

/// Makes a call whose caller goes away as soon as it is `there`, and tells when that was.
pub(crate) async fn leaves(gateway: &Gateway, ask: &Ask, there: impl Future) -> Instant {
    let mut call = Box::pin(call(gateway, ask));
    tokio::select! {
        saw = &mut call => panic!("{saw:?}"),
        _ = there => {}
    }
    let left = Instant::now();
    drop(call);
    left
}

/// Waits until a gauge or counter has this value.
pub(crate) async fn until_metric(gateway: &Gateway, line: &str) {
    let ops = Caller::new(gateway.ops, "");
    let wanted = format!("\n{line}\n");
    let so = async {
        while !ops.get("/metrics").await.text().contains(&wanted) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(line, so).await;
}

/// One call runs, and another waits behind it for the only place.
async fn a_caller_in_a_queue_leaves(load: &str, target: &str) {
    for surface in [Surface::Chat, Surface::Grpc] {
        let upstream = Upstream::start(|_| vec![Step::Hold]).await;
        let gateway = Gateway::start(&format!(
            "load: {{ max_lag: 0s, max_wait: 60s{load} }}\nproviders:\n{}models:\n  m: {{ targets: [{{ provider: up, model: m-1{target} }}] }}\n",
            upstream.provider("up")
        ));
        let first = Ask::new(surface, "m", "first");
        let mut running = Box::pin(call(&gateway, &first));
        tokio::select! {
            saw = &mut running => panic!("{saw:?}"),
            _ = upstream.asked(1) => {}
        }
        let left = assert_kept(PROMISE, 10, &[gateway.pid()], async || {
            let ask = Ask::new(surface, "m", "leaves");
            let left = leaves(&gateway, &ask, until_metric(&gateway, "tollgate_inflight_requests 2")).await;
            until_metric(&gateway, "tollgate_inflight_requests 1").await;
            left.elapsed()
        })
        .await;
        drop(running);
        upstream.hung_up(1).await;
        until_metric(&gateway, "tollgate_inflight_requests 0").await;
        assert_eq!(upstream.seen().len(), 1, "who has left is never served");
        let records = settled(&gateway, left + 1).await;
        assert!(records.iter().all(|record| record["status"] == "CANCELLED"));
    }
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_waits_for_a_full_target_is_forgotten() {
    a_caller_in_a_queue_leaves("", ", concurrent: 1").await;
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_waits_at_the_gate_is_forgotten() {
    a_caller_in_a_queue_leaves(", concurrent: 1", "").await;
}

#[tokio::test]
async fn a_caller_that_leaves_in_a_pause_between_attempts_is_forgotten() {
    for surface in [Surface::Chat, Surface::Grpc] {
        let upstream = Upstream::start(|_| whole(503, "application/json", "{}")).await;
        let gateway = Gateway::start(&format!(
            "load: {{ max_lag: 0s }}\ntimeouts: {{ connect: 60s, total: 2000h }}\nbreaker: {{ failures: 1000, min_calls: 1000 }}\nproviders:\n{}models:\n  m:\n    targets: [{{ provider: up, model: m-1 }}]\n    retry: {{ backoff: 1000h, max_backoff: 1000h, budget: 100% }}\n",
            upstream.provider("up")
        ));
        let mut asked = 0;
        // The pause is drawn from nothing to the whole of it: that one is over at once is as good as out of the question.
        assert_kept(PROMISE, 10, &[gateway.pid()], async || {
            asked += 1;
            let paused = async {
                upstream.asked(asked).await;
                // The refusal has come, and the pause has begun.
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            let left = leaves(&gateway, &Ask::new(surface, "m", "leaves"), paused).await;
            until_metric(&gateway, "tollgate_inflight_requests 0").await;
            left.elapsed()
        })
        .await;
        assert_eq!(upstream.seen().len(), asked, "nobody is asked again for one who has left");
        for record in records(&gateway).await {
            assert_eq!(record["status"], "CANCELLED", "{record}");
            assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{record}");
        }
    }
}

#[tokio::test]
async fn a_caller_that_leaves_a_hedged_call_closes_both_upstreams() {
    for surface in [Surface::Chat, Surface::Grpc] {
        let (one, two) =
            (Upstream::start(|_| vec![Step::Hold]).await, Upstream::start(|_| vec![Step::Hold]).await);
        let gateway = Gateway::start(&format!(
            "load: {{ max_lag: 0s }}\nproviders:\n{}{}models:\n  m:\n    targets: [{{ provider: one, model: m-1 }}, {{ provider: two, model: m-1 }}]\n    hedge: {{ after: 20ms, at_most: 100% }}\n",
            one.provider("one"),
            two.provider("two")
        ));
        let mut asked = 0;
        assert_kept(PROMISE, 10, &[gateway.pid()], async || {
            asked += 1;
            let both = futures_util::future::join(one.asked(asked), two.asked(asked));
            let left = leaves(&gateway, &Ask::new(surface, "m", "leaves"), both).await;
            let (first, second) = futures_util::future::join(one.hung_up(asked), two.hung_up(asked)).await;
            let (first, second) = (first[asked - 1], second[asked - 1]);
            first.max(second).saturating_duration_since(left)
        })
        .await;
        until_metric(&gateway, "tollgate_inflight_requests 0").await;
        for record in records(&gateway).await {
            let attempts = record["attempts"].as_array().unwrap();
            assert_eq!((&record["status"], attempts.len()), (&"CANCELLED".into(), 2), "{record}");
            assert!(attempts.iter().all(|attempt| attempt["outcome"] == "cancelled"), "{record}");
        }
    }
}
