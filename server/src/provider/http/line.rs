//! A TCP connection to an upstream that notices quickly when its peer has gone without a word.
//!
//! A firewall that forgets a kept connection, or a machine that loses its power, sends no RST: what is written then
//! waits for the kernel's many minutes of retransmissions. So the first write after a pause must be acknowledged
//! within `LIMIT`, else the kernel ends the connection. Acknowledged, not answered: a model may think for as long as
//! it likes, and the limit is lifted as soon as it can no longer be the peer's kernel that is silent.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use super::Protocol;

/// A pause after which the peer may be gone.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long the peer's kernel may leave the first bytes after a pause unacknowledged. Ours counts from when it sends
/// them again for the first time, a round trip and 200 ms after the write: a single lost packet does no harm.
const LIMIT: Duration = Duration::from_millis(600);
/// When the kernel would have ended the connection if the limit had been passed, timers' inaccuracy included.
const LIFTED: Duration = Duration::from_millis(1300);
/// More than this may be stopped by a peer that is alive and slow to read: its window has usually 64 KiB.
const SURELY_TAKEN: usize = 32 * 1024;
/// What holds otherwise: a peer that takes nothing for so long is gone.
pub(super) const USUAL: Duration = Duration::from_secs(30);

/// Asks a shared connection to watch the next write. A pause says nothing there: a ping or a request after one must
/// not put the streams at risk that wait beside it.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<AtomicBool>);

impl Watch {
    pub(super) fn next_write(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One connection. Timers and socket options are touched only after a pause.
pub(super) struct Line {
    socket: TcpStream,
    /// Of the last byte in either direction.
    last: Instant,
    armed: Option<Armed>,
    /// Of a shared connection.
    watch: Option<Watch>,
}

struct Armed {
    sent: usize,
    lifted: Pin<Box<Sleep>>,
}

impl Line {
    /// Takes a connection that was just made.
    pub(super) fn new(socket: TcpStream, protocol: Protocol) -> Self {
        let watch = (protocol == Protocol::Http2).then(Watch::default);
        Self { socket, last: Instant::now(), armed: None, watch }
    }

    fn before_write(&mut self, bytes: usize) {
        let now = Instant::now();
        let doubtful = match &self.watch {
            Some(watch) => watch.0.swap(false, Ordering::Relaxed),
            None => now.duration_since(self.last) >= PAUSE,
        };
        self.last = now;
        match &mut self.armed {
            Some(armed) if armed.sent + bytes > SURELY_TAKEN => self.disarm(),
            Some(armed) => armed.sent += bytes,
            None if doubtful && bytes <= SURELY_TAKEN && set_limit(&self.socket, LIMIT) => {
                self.armed = Some(Armed { sent: bytes, lifted: Box::pin(tokio::time::sleep(LIFTED)) });
            }
            None => {}
        }
    }

    fn disarm(&mut self) {
        if self.armed.take().is_some() {
            set_limit(&self.socket, USUAL);
        }
    }

    fn lift(&mut self, cx: &mut Context<'_>) {
        if let Some(armed) = &mut self.armed
            && armed.lifted.as_mut().poll(cx).is_ready()
        {
            self.disarm();
        }
    }
}

#[cfg(target_os = "linux")]
fn set_limit(socket: &TcpStream, limit: Duration) -> bool {
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(limit)).is_ok()
}

/// Other systems have no such limit: there a connection that died costs a timeout.
#[cfg(not(target_os = "linux"))]
fn set_limit(_: &TcpStream, _: Duration) -> bool {
    false
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.last = Instant::now();
            self.disarm();
        } else if read.is_pending() {
            self.lift(cx);
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.before_write(data.len());
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.before_write(data.iter().map(|slice| slice.len()).sum());
        Pin::new(&mut self.socket).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        let connected = self.socket.connected();
        match &self.watch {
            Some(watch) => connected.extra(watch.clone()),
            None => connected,
        }
    }
}

#[cfg(test)]
mod tests;
