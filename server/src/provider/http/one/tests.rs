use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpListener, time::timeout};

use super::super::{
    Http,
    testing::{get, read_request, say_ok},
};
use super::*;

#[test]
fn a_request_is_addressed_to_its_host() {
    for (url, host, path) in [
        ("http://a.test/v1/chat?x=1", "a.test", "/v1/chat?x=1"),
        ("http://a.test:80/", "a.test", "/"),
        ("https://a.test:443/v1", "a.test", "/v1"),
        ("https://user:word@a.test:80/", "a.test:80", "/"),
        ("http://[::1]:8000/v1", "[::1]:8000", "/v1"),
    ] {
        let mut request = Request::get(url).body(Pieces::default()).unwrap();
        let origin = address(&mut request).unwrap();
        assert_eq!(
            (request.headers()[HOST].to_str().unwrap(), request.uri().to_string()),
            (host, path.into())
        );
        assert!(url.contains(origin.1.as_str()));
    }
    let mut signed = Request::get("http://a.test/").header(HOST, "b.test").body(Pieces::default()).unwrap();
    address(&mut signed).unwrap();
    assert_eq!(signed.headers()[HOST], "b.test", "what was signed stays");
}

#[tokio::test]
async fn a_connection_that_the_peer_closes_is_forgotten_and_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let http = Http::new(Duration::from_secs(5), false).unwrap();
    for _ in 0..3 {
        let (answer, ()) = tokio::join!(get(http.clone(), url.clone()), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await.unwrap();
            say_ok(&mut socket).await.unwrap();
            socket.shutdown().await.unwrap();
            // Closed from our side too as soon as that is seen.
            timeout(Duration::from_secs(60), read_request(&mut socket)).await.unwrap();
        });
        assert_eq!(answer.unwrap(), "ok");
    }
}

#[tokio::test]
async fn pieces_that_arrived_together_are_found_without_waiting() {
    use http_body_util::BodyExt as _;
    const PIECES: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let http = Http::new(Duration::from_secs(5), false).unwrap();
    let peer = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all((head.to_owned() + &"2\r\nok\r\n".repeat(PIECES)).as_bytes()).await.unwrap();
        socket
    });
    let request = Request::get(url).body(Pieces::default()).unwrap();
    let mut body = http.send(request).await.unwrap().into_body();
    let _socket = peer.await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for _ in 1..PIECES {
        let next = std::pin::Pin::new(&mut body.frame()).poll(&mut cx);
        assert!(next.is_ready(), "no other task has to run in between");
    }
    assert!(std::pin::Pin::new(&mut body.frame()).poll(&mut cx).is_pending());
}
