//! One HTTP/2 connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, Uri};
use hyper::{
    client::conn::http2::{Builder, Connection, SendRequest},
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::connect::Connection as _,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::oneshot;
use tower::Service;

use super::super::{Pieces, connect::Connector, failure::Failed, line::Watch};

/// The most streams that share a connection, whatever more the peer allows.
pub(super) const MOST_STREAMS: usize = 50;
/// What a stalled reader leaves unread. A stream's throughput is this in a round trip.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Never used up: the streams' own windows are 12.5 MiB together. Half of it is the budget that h2 has for frames of
/// less than 256 bytes that were not read yet: 5 MiB for each stream, which 256 KiB of 12-byte frames do not exhaust.
const CONNECTION_WINDOW: u32 = 512 * 1024 * 1024;
const MAX_RESPONSE_HEADER_BYTES: u32 = 64 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

type Stream = <Connector as Service<Uri>>::Response;
type Driver = Connection<Announcing<Stream>, Pieces, TokioExecutor>;

/// An open connection, whose peer has told its limits.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) sender: SendRequest<Pieces>,
    driver: Arc<Mutex<Option<Driver>>>,
    watch: Watch,
}

impl Link {
    /// Opens a connection and waits for the peer's settings, which tell that it speaks HTTP/2 and how many streams it
    /// takes. The second part has to be run for anything to be sent.
    ///
    /// # Errors
    /// No connection within the time, or a peer that does not speak HTTP/2.
    pub(super) async fn open(
        id: u64,
        mut connector: Connector,
        origin: Uri,
        limit: Duration,
    ) -> Result<(Self, Running), Failed> {
        let opening = async {
            let secure = origin.scheme_str() == Some("https");
            let stream = connector.call(origin).await.map_err(|error| Failed::connecting(error.as_ref()))?;
            if secure && !stream.connected().is_negotiated_h2() {
                return Err(no_http2());
            }
            let mut extras = Extensions::new();
            stream.connected().get_extras(&mut extras);
            let watch = extras.remove().unwrap_or_default();
            let (told, settings) = oneshot::channel();
            let stream = Announcing { stream, has_read: false, told: Some(told) };
            let (sender, driver) = builder().handshake(stream).await.map_err(|_| no_http2())?;
            settings.await.map_err(|_| no_http2())?;
            let driver = Arc::new(Mutex::new(Some(driver)));
            Ok((Self { id, sender, driver: driver.clone(), watch }, Running(driver)))
        };
        let timed_out = |_| Err(Failed::connecting(&io::Error::from(io::ErrorKind::TimedOut)));
        let (link, running) = tokio::time::timeout(limit, opening).await.unwrap_or_else(timed_out)?;
        match link.streams() {
            0 => Err(Failed::unsent("cannot connect: the host allows no HTTP/2 streams")),
            _ => Ok((link, running)),
        }
    }

    /// Returns how many streams may run on it now: the peer may change its limit.
    pub(super) fn streams(&self) -> usize {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        driver.as_ref().map_or(0, |driver| driver.current_max_send_streams().min(MOST_STREAMS))
    }

    /// Has the next request noticed soon if the peer has gone: nothing else runs on the connection that would suffer
    /// from a hasty verdict.
    pub(super) fn watch(&self) {
        self.watch.next_write();
    }

    /// Tells whether it takes no more streams.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

fn no_http2() -> Failed {
    Failed::unsent("cannot connect: the host does not speak HTTP/2")
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // Until the peer has told its limit.
        .initial_max_send_streams(1)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_RESPONSE_HEADER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    builder
}

/// What hands requests to the connection. Ends when the connection takes no more, or nobody can send any.
pub(super) struct Running(Arc<Mutex<Option<Driver>>>);

impl Future for Running {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut driver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = driver.as_mut() else { return Poll::Ready(()) };
        // How it ended is told to each of its streams.
        let ended = Pin::new(running).poll(cx).map(|_| ());
        if ended.is_ready() {
            // Requests that it had taken and not sent come back to their callers as it is dropped.
            *driver = None;
        }
        ended
    }
}

/// A stream that announces when the peer's first frames have been dealt with: the reader that comes back for more
/// has applied the settings, which come first.
struct Announcing<S> {
    stream: S,
    has_read: bool,
    told: Option<oneshot::Sender<()>>,
}

impl<S: Read + Unpin> Read for Announcing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_read
            && let Some(told) = self.told.take()
        {
            let _ = told.send(());
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.has_read |= matches!(read, Poll::Ready(Ok(())));
        read
    }
}

impl<S: Write + Unpin> Write for Announcing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }
}
