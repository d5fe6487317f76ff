//! Reading the bodies of answers within bounds.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

use super::failure::cut;
use crate::provider::{Error, Kind};

/// The most that is read of an error's body.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;
/// The most that a whole answer may have.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Reading on after the answer is complete, so that the connection can be used again.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 64 * 1024;

/// Reads a whole answer.
///
/// # Errors
/// `Unavailable` if it breaks off, `BadResponse` if it has more than `limit` bytes.
pub async fn read_all<B>(mut body: B, limit: usize) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
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

#[cfg(test)]
mod tests {
    use std::io;

    use http_body::Frame;

    use super::*;

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
