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
use socket2::{SockRef, TcpKeepalive};
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
/// Longest patience with a caller that is out of reach without a word. Pings and keep-alives find it within a quarter
/// more than that, which is below 30 s.
const LOST: Duration = Duration::from_secs(20);
/// Patience where nobody has told one.
const USUAL: Duration = LOST;
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
    patience: Duration,
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
                    return Ok(Self { socket, addr, tls, most: usize::MAX, patience: USUAL }.watched());
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

    /// Sets how long a caller may leave what is to be written to it, or be out of reach.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }.watched()
    }

    /// Has the kernel look after callers that go without a word. Connections inherit that from the socket.
    fn watched(self) -> Self {
        if let Err(error) = keep_watch(&self.socket, self.lost()) {
            tracing::warn!(%error, "the kernel will not tell soon of callers that go without a word");
        }
        self
    }

    /// Returns how long a caller may be out of reach, in bounds that make sense.
    fn lost(&self) -> Duration {
        self.patience.clamp(Duration::from_secs(1), LOST)
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
        let server = Arc::new(server(limits, self.lost()));
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
                patience: self.patience,
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
    patience: Duration,
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
        let io = TokioIo::new(Stall::new(stream, self.patience));
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

fn server(limits: Limits, lost: Duration) -> Builder<TokioExecutor> {
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
        .keep_alive_interval(lost / 2)
        .keep_alive_timeout(lost * 3 / 4)
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

/// Ends connections whose peer has acknowledged nothing for so long, and asks those that are silent whether they are
/// there.
fn keep_watch(socket: &TcpListener, lost: Duration) -> std::io::Result<()> {
    // The kernel counts in whole seconds, and takes no zero.
    let second = Duration::from_secs(1);
    let probes = TcpKeepalive::new()
        .with_time((lost / 2).max(second))
        .with_interval((lost / 4).max(second))
        .with_retries(3);
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(lost))?;
    Ok(())
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
mod lost;
#[cfg(test)]
mod tests;
