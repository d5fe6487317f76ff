//! The body of an answer as it comes in.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{one::Loan, two::Lease};

/// The body of an answer, with the connection that it has to itself, or its place on a shared one. Dropping it before
/// its end tells the upstream to stop.
pub struct Incoming {
    body: hyper::body::Incoming,
    source: Source,
}

enum Source {
    Alone(Loan),
    Shared(#[expect(dead_code, reason = "held for its drop")] Lease),
    /// The body has ended.
    None,
}

impl Incoming {
    /// Wraps a body that has its connection to itself.
    pub(super) fn alone(body: hyper::body::Incoming, loan: Loan) -> Self {
        Self { body, source: Source::Alone(loan) }
    }

    /// Wraps a body that is one stream of a connection.
    pub(super) fn leased(body: hyper::body::Incoming, lease: Lease) -> Self {
        Self { body, source: Source::Shared(lease) }
    }

    /// Lets go of the connection: the answer was read to its end.
    fn end(&mut self) {
        if let Source::Alone(loan) = std::mem::replace(&mut self.source, Source::None) {
            loan.give_back();
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("shared", &matches!(self.source, Source::Shared(_)))
            .finish_non_exhaustive()
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Alone(loan) => loan.poll(cx, |cx| Pin::new(&mut this.body).poll_frame(cx)),
            Source::Shared(_) | Source::None => Pin::new(&mut this.body).poll_frame(cx),
        };
        match frame {
            Poll::Ready(None) => this.end(),
            Poll::Ready(Some(Err(_))) => this.source = Source::None,
            _ => {}
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

impl Drop for Incoming {
    fn drop(&mut self) {
        // Whoever knows the length need not come for the end.
        if self.body.is_end_stream() {
            self.end();
        }
    }
}
