//! The one HTTP client to upstreams: connections, time and size limits, and failures in the words of `Kind`.
//!
//! HTTP/1.1 only. With HTTP/2 all streams to a host share one connection: one slow caller holds up the others, and
//! peers that guard against floods of small DATA frames (which token streams are) kill every stream at once. A
//! connection per running stream isolates them for the price of a socket.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error as ClientError, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tower::Service;

use super::{Error, Kind};
use crate::call::{Tail, TailError};

/// The most that is read of an error's body.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;
/// The most that a whole answer may have.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const READ_BUFFER_BYTES: usize = 64 * 1024;
const MAX_RESPONSE_HEADERS: usize = 200;
const IDLE: Duration = Duration::from_secs(90);
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Reading on after the answer is complete, so that the connection can be used again.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 64 * 1024;

type BoxError = Box<dyn StdError + Send + Sync>;
type Connector = Timed<HttpsConnector<HttpConnector>>;

/// The client of one provider. Keeps connections open for reuse; follows no redirect and reads no proxy environment.
#[derive(Clone)]
pub struct Http(Client<Connector, Pieces>);

impl Http {
    /// Builds the client. Root certificates are loaded only if `https` is needed, once per process.
    ///
    /// # Errors
    /// A message for operators if the platform has no usable root certificates.
    pub fn new(connect_timeout: Duration, https: bool) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_connect_timeout(Some(connect_timeout));
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(https)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(READ_BUFFER_BYTES)
            .http1_max_headers(MAX_RESPONSE_HEADERS)
            // A pooled connection that died before anything was sent on it is replaced unseen.
            .retry_canceled_requests(true)
            .build(Timed { inner: tls, limit: connect_timeout });
        Ok(Self(client))
    }

    /// Sends a request and returns the response's head with its unread body. Dropping the future or the body closes
    /// the connection, which tells the upstream to stop.
    ///
    /// # Errors
    /// `Timeout` if no connection was made in time, `Unavailable` for everything else.
    pub async fn send(&self, request: Request<Pieces>) -> Result<Response<Incoming>, Error> {
        self.0.request(request).await.map_err(|error| send_error(&error))
    }
}

fn tls_config(https: bool) -> Result<ClientConfig, String> {
    static PLATFORM: OnceLock<Result<ClientConfig, String>> = OnceLock::new();
    let builder = || {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))
    };
    if !https {
        return Ok(builder()?.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    PLATFORM
        .get_or_init(|| {
            let verified = builder()?
                .try_with_platform_verifier()
                .map_err(|error| format!("the system's root certificates cannot be loaded: {error}"))?;
            Ok(verified.with_no_client_auth())
        })
        .clone()
}

/// A connector whose whole work (name, TCP, TLS) is bounded: TCP's own timeout leaves a silent TLS peer unbounded.
#[derive(Clone)]
struct Timed<C> {
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

/// A request body of a few pieces, sent without joining them, and perhaps a tail that is still coming in.
#[derive(Default)]
pub struct Pieces {
    left: std::vec::IntoIter<Bytes>,
    bytes: u64,
    tail: Option<Tail>,
}

impl Pieces {
    /// Wraps the pieces; empty ones are left out.
    pub fn new(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { left: pieces.into_iter(), bytes, tail: None }
    }

    /// Adds what is still to come.
    #[must_use]
    pub fn with_tail(self, tail: Option<Tail>) -> Self {
        Self { tail, ..self }
    }

    /// Returns what is left to be sent, for signatures; what is still coming in cannot be signed.
    pub fn whole(&self) -> Option<&[Bytes]> {
        self.tail.is_none().then_some(self.left.as_slice())
    }

    /// Joins what is left, for tests and merges.
    pub fn join(self) -> Bytes {
        let pieces: Vec<Bytes> = self.left.collect();
        pieces.concat().into()
    }
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl From<String> for Pieces {
    fn from(body: String) -> Self {
        body.into_bytes().into()
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(body: Vec<u8>) -> Self {
        Self::new(vec![body.into()])
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = TailError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(piece) = self.left.next() {
            self.bytes -= piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut self.tail {
            Some(tail) => tail.as_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes == 0 && self.tail.as_ref().is_none_or(|tail| tail.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.tail.as_ref().map_or(Some(0), |tail| tail.size_hint().exact());
        rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(self.bytes + rest))
    }
}

/// Reads a whole answer.
///
/// # Errors
/// `Unavailable` if it breaks off, `BadResponse` if it has more than `limit` bytes.
pub async fn read_all<B>(mut body: B, limit: usize) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    // An answer of one frame is handed on as it is; only longer ones are joined.
    let mut only: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| cut(error.into().as_ref()))?;
        let Ok(data) = frame.into_data() else { continue };
        let read = only.as_ref().map_or(0, Bytes::len) + joined.len();
        if read + data.len() > limit {
            return Err(Error::new(Kind::BadResponse, format!("the answer has more than {limit} bytes")));
        }
        if read == 0 {
            only = Some(data);
            continue;
        }
        if let Some(first) = only.take() {
            let told = usize::try_from(body.size_hint().lower()).unwrap_or(limit).min(limit);
            joined.reserve(first.len() + data.len() + told);
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
    }
    Ok(only.unwrap_or_else(|| joined.freeze()))
}

/// Reads the start of an error's body, at most `MAX_ERROR_BYTES`; what cannot be read is left out.
pub async fn read_error<B>(mut body: B) -> Bytes
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = BytesMut::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let room = MAX_ERROR_BYTES - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() >= room {
                return;
            }
        }
    };
    // An upstream that stalls within an error has still said enough to be judged by its status.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
    read.freeze()
}

/// Reads a body whose answer is complete to its end, so that the connection can be used again. Bounded in time and
/// size, never waited for, and its failures mean nothing.
pub fn drain<B>(mut body: B)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let mut cx = Context::from_waker(std::task::Waker::noop());
    // Mostly the end has already arrived with the last event.
    if matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None | Some(Err(_)))) {
        return;
    }
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, async move {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    }));
}

/// Makes the failure of an answer that broke off.
pub fn cut(error: &(dyn StdError + 'static)) -> Error {
    Error::new(Kind::Unavailable, format!("the connection broke before the answer's end ({})", cause(error)))
}

/// Makes the failure of a redirect, which is never followed: the key belongs to the configured host alone.
pub fn redirected(status: StatusCode) -> Error {
    let mut error = Error::new(
        Kind::BadResponse,
        format!("HTTP {status}: redirects are not followed; correct the provider's `base_url`"),
    );
    error.http_status = status.as_u16();
    error
}

fn send_error(error: &ClientError) -> Error {
    let cause = cause(error);
    if !error.is_connect() {
        let message = format!("the connection broke before the answer began ({cause})");
        return Error::new(Kind::Unavailable, message);
    }
    let error = if cause == TIMED_OUT {
        Error::new(Kind::Timeout, "no connection within `timeouts.connect`")
    } else {
        Error::new(Kind::Unavailable, format!("cannot connect: {cause}"))
    };
    Error { unsent: true, ..error }
}

const TIMED_OUT: &str = "timed out";

/// Names the innermost cause in fixed words where it is known, so that no address or header gets into a message.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut at: Option<&(dyn StdError + 'static)> = Some(error);
    let mut innermost = String::new();
    while let Some(error) = at {
        if let Some(tls) = find_tls(error) {
            return format!("TLS: {tls}");
        }
        innermost = error.to_string();
        if let Some(word) = error.downcast_ref::<io::Error>().and_then(io_word) {
            return word.to_owned();
        }
        if innermost.starts_with("dns error") || innermost.contains("lookup address") {
            return "the host's name cannot be resolved".to_owned();
        }
        at = error.source();
    }
    innermost
}

fn find_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error
        .downcast_ref::<rustls::Error>()
        .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()))
}

fn io_word(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::BrokenPipe => "broken pipe",
        io::ErrorKind::UnexpectedEof => "unexpected end",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn error_of(url: String, limit: Duration) -> Error {
        let http = Http::new(limit, false).unwrap();
        http.send(Request::get(url).body(Pieces::default()).unwrap()).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_refused_connection_is_unavailable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = error_of(format!("http://{address}/"), Duration::from_secs(5)).await;
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

    /// A body of given frames, without a socket.
    fn frames(list: Vec<&'static [u8]>) -> impl Body<Data = Bytes, Error = io::Error> + Unpin {
        let frames = list.into_iter().map(|data| Ok(Frame::data(Bytes::from_static(data))));
        http_body_util::StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_whole_answer_is_joined_and_bounded() {
        assert_eq!(read_all(frames(vec![b"ab", b"", b"cd", b"e"]), 5).await.unwrap(), "abcde");
        assert_eq!(read_all(frames(vec![b"ab", b"cd"]), 3).await.unwrap_err().kind, Kind::BadResponse);
        assert_eq!(read_all(frames(vec![]), 3).await.unwrap(), "");
        let one: &'static [u8] = b"abc";
        assert_eq!(
            read_all(frames(vec![one]), 3).await.unwrap().as_ptr(),
            one.as_ptr(),
            "one frame is not copied"
        );
    }

    #[tokio::test]
    async fn an_errors_body_is_cut_at_its_bound() {
        let large: &'static [u8] = Box::leak(vec![b'x'; MAX_ERROR_BYTES].into_boxed_slice());
        assert_eq!(read_error(frames(vec![b"a", large])).await.len(), MAX_ERROR_BYTES);
    }
}
