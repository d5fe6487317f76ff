//! Callers that stop reading one HTTP/2 stream: the socket goes on, so no write stalls, and nobody polls the call any
//! more, so its own timers sleep too. A sweep ends such calls and frees what they hold.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream::BoxStream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::{Error, Reason};

/// Longest time for which a caller may leave an item that is ready.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The streams of one surface, which hand on `T`.
pub struct Readers<T> {
    list: Arc<Mutex<List<T>>>,
    /// What a caller finds that comes back too late.
    farewell: fn(Error) -> T,
}

type List<T> = Vec<Weak<Mutex<Read<T>>>>;

// Derived, it would ask for `T: Clone`.
impl<T> Clone for Readers<T> {
    fn clone(&self) -> Self {
        Self { list: self.list.clone(), farewell: self.farewell }
    }
}

/// A stream and how its caller reads it.
struct Read<T> {
    /// Absent once the caller was given up.
    stream: Option<BoxStream<'static, T>>,
    /// When the last item was handed on, or the stream was begun; absent while the caller waits for the next.
    handed: Option<Instant>,
}

impl<T: Send + 'static> Readers<T> {
    /// Starts the sweep, which ends with the last clone. `farewell` makes the last item of a stream that was ended.
    pub fn start(patience: Duration, farewell: fn(Error) -> T) -> Self {
        let list: Arc<Mutex<List<T>>> = Arc::default();
        let weak = Arc::downgrade(&list);
        tokio::spawn(async move {
            let mut tick = interval(patience / 4);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(list) = weak.upgrade() else { return };
                sweep(&list, patience, Instant::now());
            }
        });
        Self { list, farewell }
    }

    /// Follows the stream of a call. A caller that does not read it loses the call, which is settled as cancelled.
    pub fn follow(&self, stream: BoxStream<'static, T>) -> BoxStream<'static, T> {
        // With a window of zero, a caller makes sure that nobody ever asks for the first item.
        let read = Arc::new(Mutex::new(Read { stream: Some(stream), handed: Some(Instant::now()) }));
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&read));
        Box::pin(Followed { read, farewell: Some(self.farewell) })
    }
}

fn sweep<T>(list: &Mutex<List<T>>, patience: Duration, now: Instant) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    let mut given_up = Vec::new();
    list.retain(|weak| {
        let Some(read) = weak.upgrade() else { return false };
        // A stream that is being polled right now is being read.
        let Ok(mut read) = read.try_lock() else { return true };
        if read.handed.is_some_and(|at| now.saturating_duration_since(at) >= patience) {
            given_up.extend(read.stream.take());
        }
        read.stream.is_some()
    });
    let room = list.len() * 2;
    list.shrink_to(room);
    drop(list);
    if !given_up.is_empty() {
        tracing::info!(
            streams = given_up.len(),
            ?patience,
            "callers do not read their streams; the calls are ended"
        );
    }
}

struct Followed<T> {
    read: Arc<Mutex<Read<T>>>,
    /// Absent once it was handed on.
    farewell: Option<fn(Error) -> T>,
}

impl<T> Stream for Followed<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        let mut read = this.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = read.stream.as_mut() else {
            let last = this.farewell.take().map(|farewell| {
                farewell(Error::new(
                    Reason::Cancelled,
                    "the call was ended because its caller did not read the stream",
                ))
            });
            return Poll::Ready(last);
        };
        let next = stream.as_mut().poll_next(cx);
        read.handed = next.is_ready().then(Instant::now);
        next
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use tokio::{sync::oneshot, time::sleep};
    use tollgate_api::v1;

    use super::*;
    use crate::call::{Event, Item, Items};

    fn readers() -> Readers<Result<Item, Error>> {
        Readers::start(PATIENCE, Err)
    }

    fn text() -> Result<Item, Error> {
        Ok(Item::Event(Event::Text(v1::TextDelta::default())))
    }

    /// Yields a text, then nothing for ever; the receiver learns when the stream is dropped.
    fn one_text() -> (Items, oneshot::Receiver<()>) {
        let (alive, dropped) = oneshot::channel::<()>();
        let items = stream::iter([text()]).chain(stream::pending()).map(move |item| {
            let _ = &alive;
            item
        });
        (Box::pin(items), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_caller_stops_reading_is_ended() {
        let readers = readers();
        let (items, dropped) = one_text();
        let mut items = readers.follow(items);
        assert!(items.next().await.unwrap().is_ok());
        let started = Instant::now();
        assert!(dropped.await.is_err(), "the sender is dropped with the stream");
        assert!(started.elapsed() < 2 * PATIENCE);
        assert_eq!(items.next().await.unwrap().unwrap_err().reason(), Reason::Cancelled);
        assert!(items.next().await.is_none(), "the farewell is said once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_caller_never_begins_to_read_is_ended() {
        let (items, dropped) = one_text();
        let readers = readers();
        let _items = readers.follow(items);
        let started = Instant::now();
        assert!(dropped.await.is_err(), "the sender is dropped with the stream");
        assert!(started.elapsed() < 2 * PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_waits_for_the_provider_is_left_alone() {
        let readers = readers();
        let (items, mut dropped) = one_text();
        let mut items = readers.follow(items);
        assert!(items.next().await.unwrap().is_ok());
        assert!(items.next().now_or_never().is_none(), "the caller waits");
        sleep(10 * PATIENCE).await;
        assert!(dropped.try_recv() == Err(oneshot::error::TryRecvError::Empty));
    }

    #[tokio::test(start_paused = true)]
    async fn ended_streams_are_forgotten() {
        let readers = readers();
        drop(readers.follow(one_text().0));
        sleep(PATIENCE).await;
        assert!(readers.list.lock().unwrap().is_empty());
    }
}
