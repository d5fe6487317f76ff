//! A connection that neither trickles its first request head nor stops reading for ever.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::pace::Pace;

/// Longest wait for the first request head, which covers the detection of the protocol too.
const FIRST_HEAD: Duration = Duration::from_secs(10);
/// What ends a request head, and is part of HTTP/2's preface too.
const END_OF_HEAD: &[u8; 4] = b"\r\n\r\n";

/// A stream with both limits.
pub(super) struct Stall<T> {
    inner: T,
    /// Runs until the first head has come.
    head: Option<Pin<Box<Sleep>>>,
    /// How many bytes of the end of the head were seen last.
    matched: usize,
    /// Longest time for which the caller may leave what is to be written: it does not read, or is gone without a word.
    patience: Duration,
    pace: Pace,
    /// Runs while a write waits. Kept when none does, because a new timer costs more than a reset.
    write: Option<Pin<Box<Sleep>>>,
}

impl<T> Stall<T> {
    /// Starts the wait for the first head.
    pub(super) fn new(inner: T, patience: Duration) -> Self {
        let (head, pace) = (Some(Box::pin(sleep(FIRST_HEAD))), Pace::default());
        Self { inner, head, matched: 0, patience, pace, write: None }
    }

    fn look_for_head(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.matched = match (self.matched, *byte) {
                (at, byte) if byte == END_OF_HEAD[at] => at + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.matched == END_OF_HEAD.len() {
                self.head = None;
                return;
            }
        }
    }

    /// Watches the outcome of a write.
    fn wrote(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Poll::Ready(Ok(bytes)) = outcome else { return self.watch(cx, outcome) };
        self.pace.took(bytes, Instant::now());
        outcome
    }

    /// Watches the end of all writes.
    fn flushed(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if outcome.is_ready() {
            self.pace.caught_up();
        }
        self.watch(cx, outcome)
    }

    /// Ends the wait for a caller that has been behind for too long.
    fn watch<R>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            return outcome;
        }
        let now = Instant::now();
        self.pace.ready(now);
        let ends = self.pace.ends(self.patience).unwrap_or(now);
        let timer = self.write.get_or_insert_with(|| Box::pin(sleep_until(ends)));
        if timer.deadline() != ends {
            timer.as_mut().reset(ends);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the caller does not read")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stall<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.inner).poll_read(cx, buf);
        let Some(head) = this.head.as_mut() else { return outcome };
        if outcome.is_pending() {
            ready!(head.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "no request came")));
        }
        this.look_for_head(&buf.filled()[before..]);
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stall<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.flushed(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_is_dropped_after_the_limit() {
        let (_caller, ours) = duplex(16);
        let started = Instant::now();
        let error = Stall::new(ours, PATIENCE).write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed()), (ErrorKind::TimedOut, PATIENCE));
    }

    /// Writes without end to a caller that takes so many bytes a second, for up to an hour.
    async fn written_to(bytes_a_second: usize) -> Duration {
        let (mut caller, ours) = duplex(64);
        let reading = async {
            let mut buf = vec![0; bytes_a_second];
            loop {
                sleep(Duration::from_secs(1)).await;
                caller.read_exact(&mut buf).await.unwrap();
            }
        };
        let started = Instant::now();
        let mut ours = Stall::new(ours, PATIENCE);
        let writing = async {
            while started.elapsed() < Duration::from_secs(3600) {
                if ours.write_all(&[0; 64]).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn crumbs_buy_no_time_and_a_slow_reader_is_served() {
        assert_eq!(written_to(10).await, PATIENCE);
        assert!(written_to(1024).await >= Duration::from_secs(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_has_all_there_is_may_be_slow_the_next_time() {
        let (mut caller, ours) = duplex(16);
        let mut ours = Stall::new(ours, PATIENCE);
        for _ in 0..10 {
            let write = async {
                ours.write_all(&[0; 32]).await.unwrap();
                ours.flush().await.unwrap();
            };
            let read = async {
                sleep(PATIENCE * 3 / 4).await;
                caller.read_exact(&mut [0; 32]).await.unwrap();
            };
            tokio::join!(write, read);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickled_head_is_cut_and_a_whole_one_ends_the_wait() {
        let (mut caller, ours) = duplex(64);
        let mut ours = Stall::new(ours, PATIENCE);
        let mut buf = [0; 64];
        caller.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(ours.read(&mut buf).await.unwrap(), 16);
        assert_eq!(ours.read(&mut buf).await.unwrap_err().kind(), ErrorKind::TimedOut);

        let (mut caller, ours) = duplex(64);
        let mut ours = Stall::new(ours, PATIENCE);
        for piece in [&b"GET / HTTP/1.1\r\n\r"[..], b"\n"] {
            caller.write_all(piece).await.unwrap();
            assert!(ours.read(&mut buf).await.unwrap() > 0);
        }
        let idle = tokio::time::timeout(10 * FIRST_HEAD, ours.read(&mut buf)).await;
        assert!(idle.is_err(), "an idle connection is not the head's business");
    }
}
