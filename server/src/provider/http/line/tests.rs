//! A line against a peer that goes without a word.

use std::net::SocketAddr;

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    super::{
        Http, Protocol,
        testing::{
            Plain, get,
            http2::{Http2Upstream, Step},
            in_own_network, lose,
        },
    },
    *,
};

/// A call on a connection that is kept while every packet of it is lost, without a word to either side.
async fn cost_of_a_dead_line(http: Http, addr: SocketAddr, peers: impl Fn() -> Vec<SocketAddr>) -> Duration {
    let url = || format!("http://{addr}/");
    assert_eq!(get(http.clone(), url()).await.unwrap(), "ok");
    // The pause is what is tested.
    tokio::time::sleep(PAUSE).await;
    for peer in peers() {
        lose(peer.port());
    }
    let began = Instant::now();
    assert_eq!(get(http, url()).await.unwrap(), "ok");
    assert_eq!(peers().len(), 2);
    began.elapsed()
}

/// Whoever it costs more is held up by the machine: in one of some tries it is under a second.
async fn is_cheap(one: impl AsyncFn() -> Duration) {
    let mut costs = Vec::new();
    while costs.len() < 4 {
        let cost = one().await;
        if cost < Duration::from_secs(1) {
            return;
        }
        costs.push(cost);
    }
    panic!("{costs:?}");
}

#[tokio::test]
async fn a_kept_connection_that_died_unnoticed_costs_under_a_second() {
    let me = "provider::http::line::tests::a_kept_connection_that_died_unnoticed_costs_under_a_second";
    if !in_own_network(me) {
        return;
    }
    is_cheap(async || {
        let plain = Plain::start().await;
        plain.release();
        let http = Http::new(Duration::from_secs(1), false).unwrap();
        cost_of_a_dead_line(http, plain.addr, || plain.peers()).await
    })
    .await;
    is_cheap(async || {
        let upstream = Http2Upstream::start(100, |_| vec![Step::Send(Bytes::from_static(b"ok"))]).await;
        let http = Http::speaking(Protocol::Http2, Duration::from_secs(1), false).unwrap();
        cost_of_a_dead_line(http, upstream.addr, || upstream.peers()).await
    })
    .await;
}

async fn pair() -> (Line, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    set_limit(&line, USUAL);
    (Line::new(line, Protocol::Http1), listener.accept().await.unwrap().0)
}

fn limit(line: &Line) -> Duration {
    SockRef::from(&line.socket).tcp_user_timeout().unwrap().unwrap()
}

fn pause(line: &mut Line) {
    line.last = line.last.checked_sub(PAUSE).unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_limit_holds_from_the_first_write_after_a_pause_to_the_next_read() {
    let (mut line, mut peer) = pair().await;
    line.write_all(b"busy").await.unwrap();
    assert_eq!(limit(&line), USUAL);
    pause(&mut line);
    line.write_all(b"after a pause").await.unwrap();
    assert_eq!(limit(&line), LIMIT);
    peer.write_all(b"answer").await.unwrap();
    line.read_exact(&mut [0; 6]).await.unwrap();
    assert_eq!(limit(&line), USUAL);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_shared_connection_is_watched_only_when_that_is_asked_for() {
    let (mut line, _peer) = pair().await;
    let watch = Watch::default();
    line.watch = Some(watch.clone());
    pause(&mut line);
    line.write_all(b"a ping beside waiting streams").await.unwrap();
    assert_eq!(limit(&line), USUAL);
    watch.next_write();
    line.write_all(b"the first request for long").await.unwrap();
    assert_eq!(limit(&line), LIMIT);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_request_is_never_cut() {
    let (mut line, _peer) = pair().await;
    pause(&mut line);
    line.write_all(&[0; SURELY_TAKEN + 1]).await.unwrap();
    assert_eq!(limit(&line), USUAL);
    let (mut line, _peer) = pair().await;
    pause(&mut line);
    line.write_all(b"head").await.unwrap();
    assert_eq!(limit(&line), LIMIT);
    line.write_all(&[0; SURELY_TAKEN]).await.unwrap();
    assert_eq!(limit(&line), USUAL);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_peer_that_thinks_is_left_alone() {
    let (mut line, _peer) = pair().await;
    pause(&mut line);
    line.write_all(b"a hard question").await.unwrap();
    let thinking = tokio::time::timeout(LIFTED * 2, line.read_u8()).await;
    assert!(thinking.is_err(), "there is no answer yet");
    assert_eq!(limit(&line), USUAL);
}
