//! The HTTP/2 client against a real peer.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::super::{
    Http, Incoming, Pieces, Protocol, read_all,
    testing::http2::{Http2Upstream, Step},
};
use crate::provider::{Error, Kind};

const TOKEN: Bytes =
    Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"token\"}}]}\n\n");

fn client() -> Http {
    Http::speaking(Protocol::Http2, Duration::from_secs(60), false).unwrap()
}

async fn ask(http: &Http, addr: std::net::SocketAddr) -> Result<Incoming, Error> {
    let request =
        Request::post(format!("http://{addr}/v1/chat")).body(Pieces::from("hello".to_owned())).unwrap();
    Ok(http.send(request).await?.into_body())
}

async fn text(http: &Http, addr: std::net::SocketAddr) -> Result<Bytes, Error> {
    read_all(ask(http, addr).await?, 1 << 20).await
}

/// Starts so many streams and waits until all of them run at once.
async fn many_at_once(most_streams: u32, count: usize) -> usize {
    let peer = Http2Upstream::start(most_streams, |_| vec![Step::Await(1), Step::Send(TOKEN)]).await;
    let http = client();
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let (http, addr) = (http.clone(), peer.addr);
            tokio::spawn(async move { text(&http, addr).await })
        })
        .collect();
    peer.running(count).await;
    peer.release();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), TOKEN);
    }
    peer.connections_used()
}

#[tokio::test]
async fn streams_beyond_a_connections_limit_get_another() {
    assert_eq!(many_at_once(100, 300).await, 300 / super::link::MOST_STREAMS, "our own limit");
}

#[tokio::test]
async fn a_peer_of_one_stream_at_a_time_holds_nobody_up() {
    assert_eq!(many_at_once(1, 100).await, 100);
}

#[tokio::test]
async fn connections_are_used_again() {
    let peer = Http2Upstream::start(100, |_| vec![Step::Send(TOKEN)]).await;
    let http = client();
    for _ in 0..3 {
        assert_eq!(text(&http, peer.addr).await.unwrap(), TOKEN);
    }
    assert_eq!(peer.connections_used(), 1);
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_on_another_connection() {
    let peer = Http2Upstream::start(100, |asked| match asked.before {
        0 => vec![Step::Refuse],
        _ => vec![Step::Send(TOKEN)],
    })
    .await;
    assert_eq!(text(&client(), peer.addr).await.unwrap(), TOKEN);
    let seen = peer.seen();
    assert_eq!(seen.iter().map(|asked| asked.connection).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(seen[1].body, b"hello");
}

#[tokio::test]
async fn a_stream_that_is_refused_twice_is_unavailable_and_unsent() {
    let peer = Http2Upstream::start(100, |_| vec![Step::Refuse]).await;
    let error = text(&client(), peer.addr).await.unwrap_err();
    assert_eq!(
        (error.kind, error.unsent, peer.seen().len()),
        (Kind::Unavailable, true, 2),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn after_a_goaway_running_streams_finish_and_new_ones_go_elsewhere() {
    let peer = Http2Upstream::start(100, |asked| match asked.before {
        0 => vec![Step::Send(TOKEN), Step::GoAway, Step::Await(1), Step::Send(TOKEN)],
        _ => vec![Step::Send(TOKEN)],
    })
    .await;
    let http = client();
    let mut first = ask(&http, peer.addr).await.unwrap();
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), TOKEN);
    // The GOAWAY is sent at once but not acknowledged to anybody: a call may still be served by the first connection.
    while peer.connections_used() < 2 {
        assert_eq!(text(&http, peer.addr).await.unwrap(), TOKEN);
    }
    peer.release();
    assert_eq!(read_all(first, 1 << 20).await.unwrap(), TOKEN);
}

/// A peer of raw frames: its settings, then after the first bytes of a request whatever is to be told.
async fn raw(frames: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut seen = Vec::new();
        // HEADERS, with the end of them, on stream 1.
        while !seen.windows(6).any(|bytes| bytes == [1, 4, 0, 0, 0, 1]) {
            socket.read_buf(&mut seen).await.unwrap();
        }
        socket.write_all(frames).await.unwrap();
        // From now on every connection is another peer's.
        let other = Http2Upstream::start(100, |_| vec![Step::Send(TOKEN)]).await;
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut to = tokio::net::TcpStream::connect(other.addr).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    addr
}

#[tokio::test]
async fn a_request_that_a_goaway_left_unprocessed_is_sent_again() {
    let addr = raw(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert_eq!(text(&client(), addr).await.unwrap(), TOKEN);
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not() {
    let addr = raw(&[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2]).await;
    let error = text(&client(), addr).await.unwrap_err();
    assert_eq!((error.kind, error.unsent), (Kind::Unavailable, false), "{}", error.message);
}

#[tokio::test]
async fn a_host_of_another_protocol_is_unavailable_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let peer = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        socket.read_buf(&mut seen).await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
        while socket.read_buf(&mut seen).await.unwrap() > 0 {}
        seen
    });
    let error = text(&client(), addr).await.unwrap_err();
    assert_eq!((error.kind, error.unsent), (Kind::Unavailable, true));
    assert_eq!(error.message, "cannot connect: the host does not speak HTTP/2");
    let seen = peer.await.unwrap();
    assert!(!seen.windows(5).any(|bytes| bytes == b"hello"), "the request was sent");
}

#[tokio::test]
async fn a_dropped_body_resets_its_stream_and_no_other() {
    let peer = Http2Upstream::start(100, |asked| match asked.before {
        0 => vec![Step::Send(TOKEN), Step::Hold],
        _ => vec![Step::Send(TOKEN)],
    })
    .await;
    let http = client();
    drop(ask(&http, peer.addr).await.unwrap());
    peer.reset(1).await;
    assert_eq!(text(&http, peer.addr).await.unwrap(), TOKEN);
    assert_eq!(peer.connections_used(), 1);
}

/// Of 50 streams on one connection, so many are not read at all; all the others get everything they are sent.
async fn stalled(count: usize) {
    // More than the window holds: the server is stopped by it.
    const FRAMES: usize = 4700;
    let peer = Http2Upstream::start(100, |_| vec![Step::Send(TOKEN); FRAMES]).await;
    let http = client();
    let mut bodies = Vec::new();
    for _ in 0..super::link::MOST_STREAMS {
        bodies.push(ask(&http, peer.addr).await.unwrap());
    }
    let reading = bodies.split_off(count);
    for (at, body) in reading.into_iter().enumerate() {
        let read =
            read_all(body, 1 << 20).await.unwrap_or_else(|error| panic!("stream {at}: {}", error.message));
        assert_eq!(read.len(), FRAMES * TOKEN.len());
    }
    assert_eq!(peer.connections_used(), 1);
    for body in bodies {
        assert_eq!(read_all(body, 1 << 20).await.unwrap().len(), FRAMES * TOKEN.len(), "late, but whole");
    }
}

#[tokio::test]
async fn a_stalled_reader_harms_no_sibling() {
    stalled(1).await;
}

#[tokio::test]
async fn many_stalled_readers_harm_no_sibling() {
    stalled(4).await;
    stalled(super::link::MOST_STREAMS - 1).await;
}
