//! The sockets: accepting, TLS, HTTP/1.1 and HTTP/2 on one port, limits on what a connection may cost, and draining.

use std::{
    any::Any, convert::Infallible, net::SocketAddr, panic::AssertUnwindSafe, path::PathBuf, pin::pin,
    sync::Arc, time::Duration,
};

use axum::{Router, body::Body, response::Response, routing::future::RouteFuture};
use futures_util::{
    FutureExt as _,
    future::{self, CatchUnwind, Either, Map, Ready},
};
use http::{HeaderValue, Request, StatusCode, header::CONNECTION};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Limits,
    crowd::{Crowd, Seat},
    grpc, openai,
    stall::Stall,
    tls,
};

/// Connections that wait to be accepted; a burst of thousands must not be refused by the kernel.
const BACKLOG: u32 = 16_384;
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for the next request head on an HTTP/1.1 connection: idle or trickling. Longer than the idle time of
/// common load balancers and SDKs, so that they close first and never meet a connection that we just closed.
const NEXT_HEAD: Duration = Duration::from_secs(75);
/// Pings that keep HTTP/2 connections open, and find dead ones.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));
/// Pause after an accept error: with no file descriptors left, trying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time between "not serving" and the first GOAWAY, so that health checks are answered with the news.
const LAME_DUCK: Duration = Duration::from_millis(100);

/// TLS for callers.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// PEM file with the authorities that must have signed callers' certificates; absent: callers need none.
    pub client_ca: Option<PathBuf>,
}

/// A bound socket.
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    tls: Option<TlsAcceptor>,
    most: usize,
}

impl Listener {
    /// Binds an address, port 0 for any.
    ///
    /// # Errors
    /// A message for the operator that names the address or the file, and what to do.
    pub async fn bind(addr: &str, tls: Option<&Tls>) -> Result<Self, String> {
        let tls = tls.map(tls::acceptor).transpose()?;
        let resolved = lookup_host(addr).await;
        let resolved = resolved
            .map_err(|error| format!("`{addr}` is no address to listen on ({error}); write host:port"))?;
        let mut failed = format!("`{addr}` stands for no address");
        for candidate in resolved {
            match bind_one(candidate) {
                Ok(socket) => {
                    let addr = socket.local_addr().map_err(|error| error.to_string())?;
                    return Ok(Self { socket, addr, tls, most: usize::MAX });
                }
                Err(error) => failed = explain(addr, &error),
            }
        }
        Err(failed)
    }

    /// Returns the address, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Bounds the connections there are at a time.
    #[must_use]
    pub fn at_most(mut self, connections: usize) -> Self {
        self.most = connections;
        self
    }

    /// Serves until `draining` is cancelled, then lets running requests end for up to `grace`, then cuts them off.
    pub async fn serve(self, app: Router, limits: Limits, draining: CancellationToken, grace: Duration) {
        let (connections, goodbye, mut crowd) =
            (TaskTracker::new(), CancellationToken::new(), Crowd::new(self.most));
        let cut = CancellationToken::new();
        let server = Arc::new(server(limits));
        loop {
            let room = tokio::select! {
                () = draining.cancelled() => break,
                room = crowd.room() => room,
            };
            let stream = tokio::select! {
                () = draining.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let connection = Connection {
                server: server.clone(),
                app: app.clone(),
                header: limits.header,
                seat: crowd.seat(room, &goodbye),
                tls: self.tls.clone(),
            };
            let cut = cut.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = connection.run(stream) => {}
                }
            });
        }
        sleep(LAME_DUCK.min(grace)).await;
        drop(self.socket);
        goodbye.cancel();
        connections.close();
        if timeout(grace, connections.wait()).await.is_err() {
            tracing::warn!(
                ?grace,
                "connections are cut off: their requests did not end within the grace period"
            );
        }
        cut.cancel();
    }
}

struct Connection {
    server: Arc<Builder<TokioExecutor>>,
    app: Router,
    header: usize,
    seat: Seat,
    tls: Option<TlsAcceptor>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let Some(tls) = &self.tls else { return self.http(stream).await };
        let handshake = tokio::select! {
            handshake = timeout(HANDSHAKE, tls.accept(stream)) => handshake,
            () = self.seat.go.cancelled() => return,
        };
        match handshake {
            Ok(Ok(stream)) => self.http(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let io = TokioIo::new(Stall::new(stream));
        let connection = self.server.serve_connection(io, Guard { app: self.app, header: self.header });
        let alone = GracefulShutdown::new();
        let mut connection = pin!(alone.watch(connection.into_owned()));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.seat.go.cancelled() => {
                // It ends when what it does is done.
                tokio::select! {
                    ended = &mut connection => ended,
                    () = alone.shutdown() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

/// The app behind the limit on request heads, which hyper holds to the byte on HTTP/2 only, and with a bottom: what
/// panics fails for its own caller only, who is told so.
struct Guard {
    app: Router,
    header: usize,
}

/// What became of a request.
type Outcome = Result<Response, Infallible>;
type Survived = CatchUnwind<AssertUnwindSafe<RouteFuture<Infallible>>>;
type Tell = fn(Result<Outcome, Box<dyn Any + Send>>) -> Outcome;

impl hyper::service::Service<Request<Incoming>> for Guard {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Map<Survived, Tell>, Ready<Outcome>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        let uri = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        if fields.sum::<usize>() + uri <= self.header {
            // The hook of `telemetry::log` has told the place; the panic's message may quote the request.
            let tell: Tell = if grpc::is_grpc(request.headers()) {
                |outcome| outcome.unwrap_or_else(|_| Ok(grpc::broken()))
            } else {
                |outcome| outcome.unwrap_or_else(|_| Ok(openai::broken()))
            };
            let answer = tower::Service::call(&mut self.app.clone(), request);
            return Either::Left(AssertUnwindSafe(answer).catch_unwind().map(tell));
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Either::Right(future::ready(Ok(response)))
    }
}

fn server(limits: Limits) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_HEAD)
        .max_buf_size(limits.header.max(64 * 1024))
        // A caller that closes its side has gone: its call is cancelled.
        .half_close(false)
        .pipeline_flush(false);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .max_concurrent_streams(200)
        .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
        // Small per stream, so that one upload cannot fill our memory; large per connection, because h2's guard
        // against small DATA frames takes its budget from there.
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        // What a slow reader may leave with us, per stream.
        .max_send_buf_size(64 * 1024);
    server
}

fn bind_one(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

fn explain(addr: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{addr} is in use by another process; stop it, or choose another address")
        }
        ErrorKind::PermissionDenied => {
            format!("{addr} may not be bound by this user; ports below 1024 need a privilege")
        }
        ErrorKind::AddrNotAvailable => format!("{addr} is not an address of this machine"),
        _ => format!("{addr} cannot be listened on: {error}"),
    }
}

#[cfg(test)]
mod tests {
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
        let app =
            Router::new().route("/", post(|body: String| async move { body }).get(|| async { "hello" }));
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
        timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
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
}
