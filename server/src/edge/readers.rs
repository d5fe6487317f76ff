//! Callers that stop reading one HTTP/2 stream: the socket goes on, so no write stalls, and nobody polls the call any
//! more, so its own timers sleep too. A sweep ends such calls and frees what they hold.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    call::{Item, Items},
    error::{Error, Reason},
};

/// Longest time for which a caller may leave an item that is ready.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The streams of one surface.
#[derive(Clone)]
pub struct Readers {
    list: Arc<Mutex<Vec<Weak<Mutex<Read>>>>>,
}

/// A stream and how its caller reads it.
struct Read {
    /// Absent once the caller was given up.
    items: Option<Items>,
    /// When the last item was handed on; absent while the caller waits for the next.
    handed: Option<Instant>,
}

impl Readers {
    /// Starts the sweep, which ends with the last clone.
    pub fn start(patience: Duration) -> Self {
        let list = Arc::default();
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
        Self { list }
    }

    /// Follows the items of a call. A caller that does not read them loses the call, which is settled as cancelled.
    pub fn follow(&self, items: Items) -> Items {
        let read = Arc::new(Mutex::new(Read { items: Some(items), handed: None }));
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&read));
        Box::pin(Followed(read))
    }
}

fn sweep(list: &Mutex<Vec<Weak<Mutex<Read>>>>, patience: Duration, now: Instant) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    let mut given_up = Vec::new();
    list.retain(|weak| {
        let Some(read) = weak.upgrade() else { return false };
        // A stream that is being polled right now is being read.
        let Ok(mut read) = read.try_lock() else { return true };
        if read.handed.is_some_and(|at| now.saturating_duration_since(at) >= patience) {
            given_up.extend(read.items.take());
        }
        read.items.is_some()
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

struct Followed(Arc<Mutex<Read>>);

impl Stream for Followed {
    type Item = Result<Item, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(items) = read.items.as_mut() else {
            let error = Error::new(
                Reason::Cancelled,
                "the call was ended because its caller did not read the stream",
            );
            return Poll::Ready(Some(Err(error)));
        };
        let next = items.as_mut().poll_next(cx);
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
    use crate::call::Event;

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
        let readers = Readers::start(PATIENCE);
        let (items, dropped) = one_text();
        let mut items = readers.follow(items);
        assert!(items.next().await.unwrap().is_ok());
        let started = Instant::now();
        assert!(dropped.await.is_err(), "the sender is dropped with the stream");
        assert!(started.elapsed() < 2 * PATIENCE);
        assert_eq!(items.next().await.unwrap().unwrap_err().reason(), Reason::Cancelled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_waits_for_the_provider_is_left_alone() {
        let readers = Readers::start(PATIENCE);
        let (items, mut dropped) = one_text();
        let mut items = readers.follow(items);
        assert!(items.next().await.unwrap().is_ok());
        assert!(items.next().now_or_never().is_none(), "the caller waits");
        sleep(10 * PATIENCE).await;
        assert!(dropped.try_recv() == Err(oneshot::error::TryRecvError::Empty));
    }

    #[tokio::test(start_paused = true)]
    async fn ended_streams_are_forgotten() {
        let readers = Readers::start(PATIENCE);
        drop(readers.follow(one_text().0));
        sleep(PATIENCE).await;
        assert!(readers.list.lock().unwrap().is_empty());
    }
}
