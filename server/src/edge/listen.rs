//! The sockets: accepting, TLS, HTTP/1.1 and HTTP/2 on one port, limits on what a connection may cost, and draining.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Limits, stall::Stall, tls};

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
                    return Ok(Self { socket, addr, tls });
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

    /// Serves until `draining` is cancelled, then lets running requests end for up to `grace`, then cuts them off.
    pub async fn serve(self, app: Router, limits: Limits, draining: CancellationToken, grace: Duration) {
        let graceful = GracefulShutdown::new();
        let cut = CancellationToken::new();
        let server = Arc::new(server(limits));
        loop {
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
                watcher: graceful.watcher(),
                tls: self.tls.clone(),
            };
            let cut = cut.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = connection.run(stream) => {}
                }
            });
        }
        sleep(LAME_DUCK.min(grace)).await;
        drop(self.socket);
        if timeout(grace, graceful.shutdown()).await.is_err() {
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
    watcher: hyper_util::server::graceful::Watcher,
    tls: Option<TlsAcceptor>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let Some(tls) = &self.tls else { return self.http(stream).await };
        match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let io = TokioIo::new(Stall::new(stream));
        let connection = self.server.serve_connection(io, TowerToHyperService::new(self.app));
        if let Err(error) = self.watcher.watch(connection.into_owned()).await {
            tracing::debug!(%error, "a connection ended with an error");
        }
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
            format!("{addr} is in use by another process; stop it, or choose another address with --listen")
        }
        ErrorKind::PermissionDenied => {
            format!("{addr} may not be bound by this user; ports below 1024 need a privilege")
        }
        ErrorKind::AddrNotAvailable => format!("{addr} is not an address of this machine"),
        _ => format!("{addr} cannot be listened on: {error}"),
    }
}
