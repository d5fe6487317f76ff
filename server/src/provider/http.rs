//! The one HTTP client to upstreams: connections, time and size limits, and failures in the words of `Kind`.
//!
//! HTTP/1.1 unless the configuration says otherwise. With HTTP/2 streams to a host share connections: a slow caller
//! may hold up others, and libraries that guard against floods of small DATA frames (which token streams are) kill
//! every stream of a connection at once. A connection per running stream isolates them for the price of a socket.
//! `two` says how HTTP/2 is made bearable.

mod connect;
mod failure;
mod incoming;
mod line;
mod one;
mod pieces;
mod reach;
mod read;
#[cfg(test)]
pub(crate) mod testing;
mod tls;
mod two;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{Request, Response};

pub use failure::{cut, redirected};
pub use incoming::Incoming;
pub use pieces::Pieces;
pub use reach::Reach;
pub use read::{MAX_ANSWER_BYTES, MAX_ERROR_BYTES, drain, read_all, read_error};

use self::{
    failure::{Cure, Failed},
    one::One,
    tls::{Loaded, Roots},
    two::Two,
};
use super::Error;

const READ_BUFFER_BYTES: usize = 64 * 1024;
const MAX_RESPONSE_HEADERS: usize = 200;
/// How long a connection that nobody uses is kept: shorter than the 60 s after which the usual load balancer or
/// server ends it, so that a request rarely meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(50);
/// How many connections that nobody uses are kept to a host after a burst.
const MOST_IDLE: usize = 512;

/// The version of HTTP that a provider is spoken to by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: a connection for each running call.
    #[default]
    Http1,
    /// HTTP/2: calls share connections.
    Http2,
}

/// The client of one provider. Keeps connections open for reuse; follows no redirect and reads no proxy environment.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    connect_timeout: Duration,
    protocol: Protocol,
    roots: &'static Roots,
    /// The connections in use. Replaced as a whole when those that are kept open cannot be trusted any more; calls
    /// that run on the old ones go on.
    pool: RwLock<Arc<Pool>>,
}

struct Pool {
    wire: Wire,
    /// Which reading of the root certificates it was made with; absent: none, as TLS is not spoken.
    reading: Option<u64>,
}

enum Wire {
    One(One),
    Two(Two),
}

impl Http {
    /// Builds a client that speaks HTTP/1.1. Root certificates are loaded only if `https` is needed.
    ///
    /// # Errors
    /// A message for operators if the platform has no usable root certificates.
    pub fn new(connect_timeout: Duration, https: bool) -> Result<Self, String> {
        Self::speaking(Protocol::Http1, connect_timeout, https)
    }

    /// Builds a client that speaks this version of HTTP.
    ///
    /// # Errors
    /// As `new`.
    pub fn speaking(protocol: Protocol, connect_timeout: Duration, https: bool) -> Result<Self, String> {
        Self::trusting(&tls::PLATFORM, protocol, connect_timeout, https)
    }

    fn trusting(
        roots: &'static Roots,
        protocol: Protocol,
        connect_timeout: Duration,
        https: bool,
    ) -> Result<Self, String> {
        let loaded = https.then(|| roots.current()).transpose()?;
        let pool = RwLock::new(Arc::new(Pool::new(protocol, connect_timeout, loaded)?));
        Ok(Self(Arc::new(Inner { connect_timeout, protocol, roots, pool })))
    }

    /// Sends a request and returns the response's head with its unread body. Dropping the future or the body ends the
    /// stream or its connection, which tells the upstream to stop. A request that meets a connection that had died
    /// unnoticed, or a certificate that only newer roots know, is sent once more if it can be.
    ///
    /// # Errors
    /// `Timeout` if no connection was made in time, `Unavailable` for everything else.
    pub async fn send(&self, request: Request<Pieces>) -> Result<Response<Incoming>, Error> {
        let spare = copy(&request);
        let pool = self.pool();
        let failed = match pool.send(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let (Some(cure), Some(spare)) = (failed.cure, spare) else { return Err(failed.into()) };
        if !self.renew(&pool, cure).await {
            return Err(failed.into());
        }
        Ok(self.pool().send(spare).await?)
    }

    fn pool(&self) -> Arc<Pool> {
        self.0.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the pool by one without the old one's connections, unless somebody has already. Tells whether there
    /// is another now.
    async fn renew(&self, old: &Arc<Pool>, cure: Cure) -> bool {
        let roots = match (cure, old.reading) {
            (Cure::Roots, Some(reading)) => {
                let roots = self.0.roots;
                let read = tokio::task::spawn_blocking(move || roots.newer(reading));
                let Ok(Some(newer)) = read.await else { return false };
                Some(newer)
            }
            (Cure::Roots, None) => return false,
            (Cure::Fresh, reading) => reading.and_then(|_| self.0.roots.current().ok()),
        };
        let Ok(new) = Pool::new(self.0.protocol, self.0.connect_timeout, roots) else { return false };
        let mut pool = self.0.pool.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&pool, old) {
            *pool = Arc::new(new);
        }
        true
    }
}

impl Pool {
    fn new(protocol: Protocol, connect_timeout: Duration, roots: Option<Loaded>) -> Result<Self, String> {
        let (config, reading) = match roots {
            Some(roots) => (roots.config, Some(roots.reading)),
            None => (tls::nobody()?, None),
        };
        let connector = connect::connector(connect_timeout, config, protocol);
        let wire = match protocol {
            Protocol::Http1 => Wire::One(One::new(connector)),
            Protocol::Http2 => Wire::Two(Two::new(connector, connect_timeout)),
        };
        Ok(Self { wire, reading })
    }

    async fn send(&self, request: Request<Pieces>) -> Result<Response<Incoming>, Failed> {
        match &self.wire {
            Wire::One(one) => one.send(request).await,
            Wire::Two(two) => two.send(request).await,
        }
    }
}

/// Copies a request that can be sent twice.
fn copy(request: &Request<Pieces>) -> Option<Request<Pieces>> {
    let mut copy = Request::new(request.body().again()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::provider::Kind;

    async fn error_of(url: String, limit: Duration) -> Error {
        let http = Http::new(limit, false).unwrap();
        http.send(Request::get(url).body(Pieces::default()).unwrap()).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_refused_connection_is_unavailable() {
        let port = crate::port::Port::hold();
        let error = error_of(format!("http://{}/", port.addr), Duration::from_secs(5)).await;
        assert_eq!(error.kind, Kind::Unavailable);
        assert_eq!(error.message, "cannot connect: connection refused");
    }

    #[tokio::test]
    async fn a_silent_tls_peer_is_a_connect_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let error = error_of(format!("https://{address}/"), Duration::from_millis(50)).await;
        assert_eq!(error.kind, Kind::Timeout);
    }

    #[tokio::test]
    async fn a_peer_that_is_no_http_server_is_unavailable() {
        use tokio::io::AsyncWriteExt as _;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            socket
        });
        let error = error_of(format!("http://{address}/"), Duration::from_secs(5)).await;
        assert_eq!(error.kind, Kind::Unavailable);
        drop(peer.await.unwrap());
    }

    #[tokio::test]
    async fn many_calls_at_once_get_a_connection_each_and_leave_few_behind() {
        const CALLS: usize = MOST_IDLE + 100;
        let plain = testing::Plain::start().await;
        // So many at once may take a while on a machine that has other things to do.
        let http = Http::new(Duration::from_secs(60), false).unwrap();
        let calls: Vec<_> = (0..CALLS)
            .map(|_| tokio::spawn(testing::get(http.clone(), format!("http://{}/", plain.addr))))
            .collect();
        plain.running(CALLS).await;
        plain.release();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "ok");
        }
        plain.open_at_most(MOST_IDLE).await;
        testing::get(http.clone(), format!("http://{}/", plain.addr)).await.unwrap();
        assert_eq!(plain.peers().len(), CALLS, "one that was kept is used again");
        drop(http);
        plain.open_at_most(0).await;
    }
}
