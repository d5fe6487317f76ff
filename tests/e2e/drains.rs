//! Answers that are read on though their callers have gone: what they hold, and what becomes of them when the process ends.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::net::TcpStream;

use crate::{
    chat,
    client_faults::settled,
    signals::signal,
    support::{
        Gateway, KEY,
        http::Caller,
        in_time,
        upstream::{Step, Upstream, chunk, completion, delta, end, finish, stream_head, whole},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_takes_no_place_and_what_is_read_on_ends_before_the_process_does() {
    let upstream = Upstream::start(|seen| {
        if seen.json()["stream"] != true {
            return whole(200, "application/json", completion("hi", 1, 1));
        }
        let rest = [chunk(delta(" two")), chunk(finish(7, 30)), end()];
        [stream_head(), chunk(delta("one")), Step::Await(1)].into_iter().chain(rest).collect()
    })
    .await;
    let provider = upstream.provider("up").replace("api_key:", "on_cancel: drain, api_key:");
    let mut gateway = Gateway::start(&format!(
        "load: {{ max_lag: 0s, max_wait: 60s, concurrent: 1 }}\ntimeouts: {{ grace: 60s }}\nproviders:\n{provider}models:\n  \
         m: {{ targets: [{{ provider: up, model: m-1 }}] }}\n"
    ));
    let leaves = Caller::new(gateway.addr, KEY);
    let mut body = leaves.open("/v1/chat/completions", chat(true), &[]).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), delta("one"));
    drop((body, leaves));
    // The only place of the gateway is free again.
    let other = Caller::new(gateway.addr, KEY).post("/v1/chat/completions", chat(false)).await;
    assert_eq!(other.status, 200, "{}", other.text());
    signal(gateway.pid(), "TERM");
    let closed = async {
        while TcpStream::connect(gateway.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("the port is closed", closed).await;
    // Longer than a process takes to end that waits for nothing; this one has a minute.
    tokio::time::sleep(Duration::from_secs(1)).await;
    upstream.release();
    assert_eq!(gateway.wait(), Some(0));
    gateway.restart();
    let records = settled(&gateway, 2).await;
    let left = records.iter().find(|record| record["status"] == "CANCELLED").unwrap();
    assert_eq!(
        (&left["recovered"], &left["attempts"][0]["outcome"]),
        (&false.into(), &"ok".into()),
        "{left}"
    );
    let usage = (&left["usage"]["output_tokens"], &left["usage"]["source"]);
    assert_eq!(usage, (&"30".into(), &"SOURCE_PROVIDER".into()), "{left}");
}
