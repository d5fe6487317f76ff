//! Callers that stop reading: nobody polls their call any more, so its own timers sleep. On HTTP/2 the socket goes on
//! besides, so that no write stalls. A sweep ends such calls when they have been left for too long, and wakes those
//! whose deadline comes meanwhile.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    Stream, StreamExt as _,
    stream::BoxStream,
    task::{ArcWake, AtomicWaker, waker},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::pace::Pace;
use crate::error::{Error, Reason};

/// Shortest time between two sweeps, so that many deadlines cost few of them.
const BREATH: Duration = Duration::from_millis(15);
/// How long a call may take to end after its deadline. It takes no time at all unless something is wrong.
const ENDING: Duration = Duration::from_secs(1);

/// The streams of one surface, which hand on `T`.
pub struct Readers<T> {
    room: Arc<Room<T>>,
    wording: Wording<T>,
}

/// What is to be known of the items of a surface.
pub struct Wording<T> {
    /// What a caller finds that comes back too late.
    pub farewell: fn(Error) -> T,
    /// The size of an item, in bytes.
    pub size: fn(&T) -> usize,
}

struct Room<T> {
    list: Mutex<List<T>>,
    /// Told when the next sweep is to come sooner.
    sooner: Notify,
}

struct List<T> {
    streams: Vec<Weak<Mutex<Read<T>>>>,
    next_sweep: Instant,
}

// Derived, they would ask for `T: Clone`.
impl<T> Clone for Readers<T> {
    fn clone(&self) -> Self {
        Self { room: self.room.clone(), wording: self.wording }
    }
}

impl<T> Clone for Wording<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Wording<T> {}

/// A stream and how its caller reads it.
struct Read<T> {
    /// Absent once the caller was given up.
    stream: Option<BoxStream<'static, T>>,
    pace: Pace,
    bell: Arc<Bell>,
    deadline: Instant,
    /// The call is being ended at its deadline: how it ends is not known yet.
    is_ending: bool,
    /// How the call ended at its deadline, which the caller has not come for yet.
    last: Option<T>,
}

/// Rings when something is ready for a stream that had nothing. What is around it may have read ahead, so that it seems
/// to wait though its caller has long stopped reading: then it is not polled again when the bell has rung.
#[derive(Default)]
struct Bell {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl ArcWake for Bell {
    fn wake_by_ref(bell: &Arc<Self>) {
        bell.has_rung.store(true, Ordering::Release);
        bell.task.wake();
    }
}

impl<T: Send + 'static> Readers<T> {
    /// Starts the sweep, which ends with the last clone.
    pub fn start(patience: Duration, wording: Wording<T>) -> Self {
        let list = List { streams: Vec::new(), next_sweep: Instant::now() + patience / 4 };
        let room = Arc::new(Room { list: Mutex::new(list), sooner: Notify::new() });
        tokio::spawn(keep_sweeping(Arc::downgrade(&room), patience));
        Self { room, wording }
    }

    /// Follows the stream of a call. A caller that does not read it loses the call, which is settled as cancelled, or
    /// as its deadline has it if that comes first.
    pub fn follow(
        &self,
        stream: BoxStream<'static, T>,
        deadline: std::time::Instant,
    ) -> BoxStream<'static, T> {
        let (mut pace, deadline) = (Pace::default(), Instant::from_std(deadline));
        // With a window of zero, a caller makes sure that nobody ever asks for the first item.
        pace.ready(Instant::now());
        let read = Arc::new(Mutex::new(Read {
            stream: Some(stream),
            pace,
            bell: Arc::default(),
            deadline,
            is_ending: false,
            last: None,
        }));
        let mut list = self.room.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.streams.push(Arc::downgrade(&read));
        if deadline < list.next_sweep {
            list.next_sweep = deadline;
            self.room.sooner.notify_one();
        }
        drop(list);
        Box::pin(Followed { read, wording: self.wording, said_farewell: false })
    }
}

async fn keep_sweeping<T: Send + 'static>(room: Weak<Room<T>>, patience: Duration) {
    loop {
        let Some(here) = room.upgrade() else { return };
        let next = here.list.lock().unwrap_or_else(PoisonError::into_inner).next_sweep;
        let sooner = tokio::select! {
            () = sleep_until(next) => false,
            () = here.sooner.notified() => true,
        };
        if !sooner {
            sweep(&here.list, patience);
            drop(here);
            tokio::time::sleep(BREATH).await;
        }
    }
}
/// Looks at every stream once: ends the calls whose callers or deadlines are over, and forgets those that have ended.
fn sweep<T: Send + 'static>(list: &Mutex<List<T>>, patience: Duration) {
    let now = Instant::now();
    let (mut given_up, mut late) = (Vec::new(), Vec::new());
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = now + patience / 4;
    list.streams.retain(|weak| {
        let Some(shared) = weak.upgrade() else { return false };
        let Ok(mut read) = shared.try_lock() else {
            // It is being polled right now, and may be left the next moment.
            next = next.min(now + BREATH);
            return true;
        };
        if read.bell.has_rung.load(Ordering::Acquire) {
            read.pace.ready(now);
        }
        let ends = read.pace.ends(patience);
        if ends.is_some_and(|ends| ends <= now) {
            given_up.extend(read.stream.take());
        } else if ends.is_some() && read.deadline <= now {
            read.is_ending = read.stream.is_some();
            late.extend(read.stream.take().map(|stream| (stream, weak.clone())));
        } else {
            let times = [ends, Some(read.deadline)].into_iter().flatten();
            next = times.filter(|at| *at > now).fold(next, Instant::min);
            // Its own timer rings at the deadline, but perhaps a moment after this.
            if read.deadline <= now && now < read.deadline + 4 * BREATH {
                next = next.min(now + BREATH);
            }
        }
        read.stream.is_some()
    });
    let room = list.streams.len() * 2;
    list.streams.shrink_to(room);
    list.next_sweep = next;
    drop(list);
    if !given_up.is_empty() {
        tracing::info!(
            streams = given_up.len(),
            ?patience,
            "callers do not read their streams; the calls are ended"
        );
    }
    for (stream, read) in late {
        tokio::spawn(end(stream, read));
    }
}

/// Lets a call end by itself whose deadline is over, and keeps its last word for the caller.
async fn end<T>(mut stream: BoxStream<'static, T>, read: Weak<Mutex<Read<T>>>) {
    let mut last = None;
    let ending = async {
        while let Some(item) = stream.next().await {
            last = Some(item);
        }
    };
    if timeout(ENDING, ending).await.is_err() {
        last = None;
    }
    if let Some(read) = read.upgrade() {
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        (read.last, read.is_ending) = (last, false);
        // The caller may have come meanwhile.
        read.bell.task.wake();
    }
}

struct Followed<T> {
    read: Arc<Mutex<Read<T>>>,
    wording: Wording<T>,
    said_farewell: bool,
}

impl<T> Stream for Followed<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut guard = this.read.lock().unwrap_or_else(PoisonError::into_inner);
        let read = &mut *guard;
        let Some(stream) = read.stream.as_mut() else {
            if read.is_ending {
                read.bell.task.register(cx.waker());
                return Poll::Pending;
            }
            if std::mem::replace(&mut this.said_farewell, true) {
                return Poll::Ready(None);
            }
            let last = read.last.take();
            return Poll::Ready(Some(last.unwrap_or_else(|| (this.wording.farewell)(not_read()))));
        };
        read.bell.has_rung.store(false, Ordering::Release);
        read.bell.task.register(cx.waker());
        let bell = waker(read.bell.clone());
        let next = stream.as_mut().poll_next(&mut Context::from_waker(&bell));
        match &next {
            Poll::Pending => read.pace.caught_up(),
            Poll::Ready(item) => {
                let now = Instant::now();
                read.pace.ready(now);
                read.pace.took(item.as_ref().map_or(0, this.wording.size), now);
            }
        }
        next
    }
}

fn not_read() -> Error {
    Error::new(Reason::Cancelled, "the call was ended because its caller did not read the stream")
}

#[cfg(test)]
mod tests;
