//! One HTTP/1.1 connection.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::task::{ArcWake, AtomicWaker, waker_ref};
use http::{Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, Connection, SendRequest},
    },
};
use tower::Service;

use super::super::{MAX_RESPONSE_HEADERS, Pieces, READ_BUFFER_BYTES, connect::Connector, failure::Failed};

type Stream = <Connector as Service<Uri>>::Response;

/// An open connection.
pub(super) struct Link {
    sender: SendRequest<Pieces>,
    /// What moves its bytes, until the connection ends.
    work: Option<Connection<Stream, Pieces>>,
    bell: Arc<Bell>,
}

impl Link {
    /// Opens a connection.
    ///
    /// # Errors
    /// No connection within the connector's time.
    pub(super) async fn open(mut connector: Connector, uri: Uri) -> Result<Self, Failed> {
        let stream = connector.call(uri).await.map_err(|error| Failed::connecting(error.as_ref()))?;
        let mut builder = Builder::new();
        builder.max_buf_size(READ_BUFFER_BYTES).max_headers(MAX_RESPONSE_HEADERS);
        let (sender, work) = builder.handshake(stream).await.map_err(|error| Failed::connecting(&error))?;
        Ok(Self { sender, work: Some(work), bell: Arc::default() })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// What broke the connection, with the request if nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Pieces>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (work, bell) = (&mut self.work, &self.bell);
        poll_fn(|cx| poll(work, bell, cx, |cx| answer.as_mut().poll(cx))).await
    }

    /// Works on the connection, and looks at what that has brought.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        look: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        poll(&mut self.work, &self.bell, cx, look)
    }

    /// Tells whether it can take a request now: the last answer was read to its end, and the peer has not closed it.
    pub(super) fn is_free(&mut self) -> bool {
        let Some(work) = &mut self.work else { return false };
        let ended = Pin::new(work).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        !ended && self.sender.is_ready()
    }
}

fn poll<T>(
    work: &mut Option<Connection<Stream, Pieces>>,
    bell: &Arc<Bell>,
    cx: &mut Context<'_>,
    mut look: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    bell.task.register(cx.waker());
    let waker = waker_ref(bell);
    let mut inner = Context::from_waker(&waker);
    // Whoever looks for the first time asks for something by that, which is work.
    for _ in 0..2 {
        bell.begin();
        // How it ended is told to whoever looks.
        if work.as_mut().is_some_and(|work| Pin::new(work).poll(&mut inner).is_ready()) {
            *work = None;
        }
        let found = look(&mut inner);
        let has_rung = bell.end();
        if found.is_ready() || !has_rung {
            return found;
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Wakes the task that waits, unless that is at work here: both ends of the connection are in its hands, and what it
/// does at one would wake it for the other.
#[derive(Default)]
struct Bell {
    is_at_work: AtomicBool,
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    fn begin(&self) {
        self.is_at_work.store(true, Ordering::SeqCst);
        self.has_rung.store(false, Ordering::SeqCst);
    }

    /// Returns whether it has rung since the work began.
    fn end(&self) -> bool {
        self.is_at_work.store(false, Ordering::SeqCst);
        self.has_rung.load(Ordering::SeqCst)
    }
}

impl ArcWake for Bell {
    fn wake_by_ref(bell: &Arc<Self>) {
        bell.has_rung.store(true, Ordering::SeqCst);
        if !bell.is_at_work.load(Ordering::SeqCst) {
            bell.task.wake();
        }
    }
}
