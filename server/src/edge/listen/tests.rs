//! Connections of all kinds against a real port.

use std::{fs, path::Path};

use axum::routing::post;
use http::Version;
use http_body_util::{BodyExt as _, Empty};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::edge::testing::{Running, serve};

async fn echo() -> Running {
    let app = Router::new().route("/", post(|body: String| async move { body }).get(|| async { "hello" }));
    serve(app, CancellationToken::new(), None).await
}

/// Sends bytes and reads until the server closes.
async fn exchange(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn h2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> (Version, String) {
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://localhost/").body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    let version = response.version();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (version, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn one_port_speaks_http_1_and_http_2() {
    let running = echo().await;
    let answer = exchange(running.addr, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
    let stream = TcpStream::connect(running.addr).await.unwrap();
    assert_eq!(h2(stream).await, (Version::HTTP_2, "hello".to_owned()));
}

#[tokio::test]
async fn smuggling_attempts_are_refused_and_the_connection_closed() {
    let running = echo().await;
    for head in [
        "content-length: 1\r\ncontent-length: 2",
        "content-length: 1, 2",
        "content-length: +1",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: xchunked",
        "x: 1\r\n folded",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\nabGET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = exchange(running.addr, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let running = echo().await;
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(16 * 1024));
    let answer = exchange(running.addr, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_panic_fails_its_own_call_and_spares_the_connection() {
    async fn fall() -> String {
        panic!("of a test")
    }
    let app = Router::new().route("/fall", post(fall)).route("/", post(|| async { "stands" }));
    let running = serve(app, CancellationToken::new(), None).await;
    let request = "POST /fall HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n";
    let next = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let answer = exchange(running.addr, format!("{request}\r\n{next}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("x-should-retry: true") && answer.contains(r#""code":"internal_error""#));
    assert!(!answer.contains("of a test") && answer.ends_with("stands"), "{answer}");
    let grpc = "content-type: application/grpc\r\nconnection: close\r\n";
    let answer = exchange(running.addr, format!("{request}{grpc}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status: 13"), "{answer}");
}

#[tokio::test]
async fn the_operator_is_told_why_an_address_cannot_be_bound() {
    let running = echo().await;
    let taken = running.addr.to_string();
    let message = Listener::bind(&taken, None).await.err().unwrap();
    assert!(message.contains(&taken) && message.contains("in use"), "{message}");
    let message = Listener::bind("nonsense", None).await.err().unwrap();
    assert!(message.contains("`nonsense`"), "{message}");
    let nowhere = Tls { cert: "nowhere.pem".into(), key: "nowhere.key".into(), client_ca: None };
    let message = Listener::bind("127.0.0.1:0", Some(&nowhere)).await.err().unwrap();
    assert!(message.contains("nowhere.pem"), "{message}");
}

#[tokio::test]
async fn connections_are_cut_after_the_grace_period() {
    let (entered, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let handler = async move || {
        entered.send(()).unwrap();
        std::future::pending::<String>().await
    };
    let app = Router::new().route("/", post(handler));
    let draining = CancellationToken::new();
    let listener = Listener::bind("127.0.0.1:0", None).await.unwrap();
    let addr = listener.local_addr();
    let limits = crate::edge::testing::LIMITS;
    let served = tokio::spawn(listener.serve(app, limits, draining.clone(), Duration::from_millis(50)));
    let hung = tokio::spawn(async move {
        exchange(addr, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await
    });
    arrived.recv().await.unwrap();
    draining.cancel();
    timeout(Duration::from_secs(60), served).await.unwrap().unwrap();
    assert_eq!(hung.await.unwrap(), "");
}

fn certificate(dir: &Path) -> (Tls, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (Tls { cert, key, client_ca: None }, roots)
}

async fn connect(addr: SocketAddr, roots: RootCertStore, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn tls_offers_both_protocols() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, roots) = certificate(dir.path());
    let app = Router::new().route("/", axum::routing::get(|| async { "hello" }));
    let running = serve(app, CancellationToken::new(), Some(&tls)).await;
    let stream = connect(running.addr, roots.clone(), b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(h2(stream).await, (Version::HTTP_2, "hello".to_owned()));
    let mut stream = connect(running.addr, roots, b"http/1.1").await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}
