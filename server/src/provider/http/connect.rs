//! Making connections: name, TCP, TLS, bounded as a whole.

use std::{
    error::Error as StdError,
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::GaiResolver},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use super::{
    Protocol,
    line::{Line, USUAL},
};

/// Most dead idle connections are found by these before they are used: after 10 s without a byte, every 3 s.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;
/// Makes connections to the hosts of one provider.
pub(super) type Connector = Timed<HttpsConnector<Lines<HttpConnector<GaiResolver>>>>;

/// Makes the connector of one client.
pub(super) fn connector(limit: Duration, tls: ClientConfig, protocol: Protocol) -> Connector {
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let tcp = Lines { tcp: tcp(GaiResolver::new(), limit), protocol };
    // Only what will be spoken is offered, so that a host that cannot fails while connecting.
    let inner = match protocol {
        Protocol::Http1 => tls.enable_http1().wrap_connector(tcp),
        Protocol::Http2 => tls.enable_http2().wrap_connector(tcp),
    };
    Timed { inner, limit }
}

/// Makes the part that knows names and TCP. It shares the time out among a name's addresses.
fn tcp<R>(resolver: R, limit: Duration) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(USUAL));
    tcp.set_connect_timeout(Some(limit));
    tcp
}

/// Makes a `Line` of every connection.
#[derive(Clone)]
pub(super) struct Lines<C> {
    tcp: C,
    protocol: Protocol,
}

impl<C> Service<Uri> for Lines<C>
where
    C: Service<Uri, Response = TokioIo<TcpStream>>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = TokioIo<Line>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let protocol = self.protocol;
        Box::pin(async move {
            let socket = connecting.await.map_err(Into::into)?;
            Ok(TokioIo::new(Line::new(socket.into_inner(), protocol)))
        })
    }
}

/// A connector whose whole work (name, TCP, TLS) is bounded: TCP's own timeout leaves a silent TLS peer unbounded.
#[derive(Clone)]
pub(super) struct Timed<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let limit = self.limit;
        Box::pin(async move {
            tokio::time::timeout(limit, connecting)
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}

#[cfg(test)]
mod tests;
