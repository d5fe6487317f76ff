//! Callers that go without a word, in a network of their own that loses every packet.

use std::time::Instant;

use axum::routing::get;
use futures_util::stream;
use http_body_util::{BodyExt as _, Empty};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::interval,
};

use super::*;
use crate::{
    edge::testing::LIMITS,
    provider::http::testing::{in_own_network, lose},
};

/// Short, so that the test is. Everything scales with it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Tells when it is dropped.
struct Watched(&'static str, mpsc::UnboundedSender<(&'static str, Instant)>);

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.1.send((self.0, Instant::now()));
    }
}

/// A gateway whose `/waits` never answers and whose `/talks` never stops.
async fn start() -> (SocketAddr, mpsc::UnboundedReceiver<(&'static str, Instant)>) {
    let (gone, goes) = mpsc::unbounded_channel();
    let talks = gone.clone();
    let waits = async move |request: Request<Body>| {
        let name = if request.version() == http::Version::HTTP_2 { "two" } else { "one" };
        let _watched = Watched(name, gone.clone());
        future::pending::<()>().await;
    };
    let talks = async move || {
        let state = (Watched("talk", talks.clone()), interval(Duration::from_millis(100)));
        Body::from_stream(stream::unfold(state, async |mut state| {
            state.1.tick().await;
            Some((Ok::<_, Infallible>("word "), state))
        }))
    };
    let app = Router::new().route("/waits", get(waits)).route("/talks", get(talks));
    let listener = Listener::bind("127.0.0.1:0", None).await.unwrap().patient(PATIENCE);
    let addr = listener.local_addr();
    tokio::spawn(listener.serve(app, LIMITS, CancellationToken::new(), Duration::ZERO));
    (addr, goes)
}

#[tokio::test]
async fn c07_a_caller_that_is_gone_without_a_word_is_given_up_within_the_time() {
    if !in_own_network(
        "edge::listen::lost::c07_a_caller_that_is_gone_without_a_word_is_given_up_within_the_time",
    ) {
        return;
    }
    let (addr, mut goes) = start().await;
    let mut callers = Vec::new();
    for path in ["waits", "talks"] {
        let mut caller = TcpStream::connect(addr).await.unwrap();
        caller.write_all(format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        callers.push(caller);
    }
    assert!(callers[1].read(&mut [0; 1024]).await.unwrap() > 0);
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut ports: Vec<u16> = callers.iter().map(|caller| caller.local_addr().unwrap().port()).collect();
    ports.push(stream.local_addr().unwrap().port());
    let (mut two, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let asking = tokio::spawn(async move {
        let request = Request::get("http://localhost/waits").body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = two.send_request(request).await;
        drop(answer.map(|answer| answer.into_body().boxed()));
    });
    // All of them are being served.
    sleep(Duration::from_millis(300)).await;
    assert!(goes.try_recv().is_err());
    ports.into_iter().for_each(lose);
    let lost = Instant::now();
    for _ in 0..3 {
        let (name, at) = timeout(2 * PATIENCE, goes.recv()).await.expect("a caller is waited for").unwrap();
        let took = at - lost;
        println!("{name}: given up after {took:?}");
        // As 30 s are to 20 s.
        assert!(took <= PATIENCE * 3 / 2, "{name}: {took:?}");
    }
    drop((callers, asking));
}
