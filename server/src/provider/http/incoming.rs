//! The body of an answer as it comes in.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::two::Lease;

/// The body of an answer, with its place on a shared connection if it has one. Dropping it before its end tells the
/// upstream to stop.
pub struct Incoming {
    body: hyper::body::Incoming,
    lease: Option<Lease>,
}

impl Incoming {
    /// Wraps a body that has its connection to itself.
    pub(super) fn alone(body: hyper::body::Incoming) -> Self {
        Self { body, lease: None }
    }

    /// Wraps a body that is one stream of a connection.
    pub(super) fn leased(body: hyper::body::Incoming, lease: Lease) -> Self {
        Self { body, lease: Some(lease) }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("shared", &self.lease.is_some()).finish_non_exhaustive()
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.lease = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
