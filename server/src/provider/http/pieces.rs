//! The body of a request to an upstream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::call::{Tail, TailError};

/// A piece of this size is a frame of its own.
const LARGE: usize = 4 * 1024;

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

    /// Makes a second body of the same pieces, without copying them; none if something is still coming in, which
    /// cannot be sent twice.
    pub(super) fn again(&self) -> Option<Self> {
        self.tail.is_none().then(|| Self { left: self.left.clone(), bytes: self.bytes, tail: None })
    }

    /// Joins small pieces that follow one another. Over HTTP/2 each piece is a frame, and peers that guard against
    /// floods of small frames end connections on which many requests of several small pieces arrive at once.
    #[must_use]
    pub(super) fn coalesced(self) -> Self {
        let (mut pieces, mut small) = (Vec::new(), BytesMut::new());
        for piece in self.left {
            if piece.len() < LARGE {
                small.extend_from_slice(&piece);
                continue;
            }
            pieces.extend([small.split().freeze(), piece]);
        }
        pieces.push(small.freeze());
        Self::new(pieces).with_tail(self.tail)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_become_one_and_large_ones_stay() {
        let large = Bytes::from(vec![b'x'; LARGE]);
        let small = || Bytes::from_static(b"abc");
        let body = Pieces::new(vec![small(), small(), large.clone(), small(), small()]).coalesced();
        let pieces = body.whole().unwrap();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [6, LARGE, 6]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr(), "a large piece is not copied");
        assert_eq!(Pieces::new(vec![small(); 3]).coalesced().whole().unwrap().len(), 1);
        assert_eq!(Pieces::default().coalesced().whole().unwrap().len(), 0);
    }
}
