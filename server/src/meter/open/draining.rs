//! Answers of providers that bill them to their end though the caller has gone: they are read on, so that the record has
//! what is billed. Only so many at a time, and each only so long: the others are cancelled as usual.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    runtime::Handle,
    time::{timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Metered;
use crate::{call::Item, error::Error, telemetry::metrics::read_on};

/// Most answers that are read on at a time.
const ROOM: usize = 256;
/// Most of them of one key, so that one that opens streams and drops them leaves room for the others.
const ROOM_OF_KEY: usize = ROOM / 8;
/// The longest that one is read on; the call's own deadline holds too.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The answers that are read on.
#[derive(Default)]
pub(in crate::meter) struct Drains {
    running: Arc<Running>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How many are read on, by the key's id.
type Running = Mutex<HashMap<String, usize>>;

impl Drains {
    /// Waits until then for those that are read on; what is not over by then is settled as far as it came.
    pub(in crate::meter) async fn end(&self, until: Instant) {
        self.tasks.close();
        let _ = timeout_at(until.into(), self.tasks.wait()).await;
        self.stop.cancel();
        self.tasks.wait().await;
    }

    fn read_on(&self, mut items: Pin<Box<Metered>>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.stop.is_cancelled() {
            return;
        }
        let Some(place) = self.place(&items.open().call.caller.key_id) else { return read_on("no_room") };
        items.abandon();
        let stop = self.stop.clone();
        let work = async move {
            let end = timeout(LONGEST, items.for_each(async |_| ()));
            // What is not over by then is dropped, which settles it as far as it came.
            let is_over = tokio::select! {
                end = end => end.is_ok(),
                () = stop.cancelled() => false,
            };
            read_on(if is_over { "drained" } else { "timed_out" });
            drop(place);
        };
        self.tasks.spawn_on(work, &runtime);
    }

    fn place(&self, key: &str) -> Option<Place> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = running.get(key).copied().unwrap_or(0);
        if of_key >= ROOM_OF_KEY || running.values().sum::<usize>() >= ROOM {
            return None;
        }
        running.insert(key.to_owned(), of_key + 1);
        Some(Place { running: self.running.clone(), key: key.to_owned() })
    }
}

/// The place of an answer that is read on.
struct Place {
    running: Arc<Running>,
    key: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_key) = running.get_mut(&self.key) {
            *of_key -= 1;
            if *of_key == 0 {
                running.remove(&self.key);
            }
        }
    }
}

/// The items of a call, read on when nobody wants them any more.
pub(super) struct Draining(Option<Pin<Box<Metered>>>);

impl Draining {
    pub(super) fn new(items: Pin<Box<Metered>>) -> Self {
        Self(Some(items))
    }
}

impl Stream for Draining {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().map_or(Poll::Ready(None), |items| items.poll_next_unpin(cx))
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        if let Some(items) = self.0.take().filter(|items| items.is_to_be_read_on()) {
            let meter = items.open().meter.clone();
            meter.drains.read_on(items);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_has_an_eighth_of_the_room_and_all_have_the_whole() {
        let drains = Drains::default();
        let mut places: Vec<_> = (0..ROOM_OF_KEY).map_while(|_| drains.place("a")).collect();
        assert_eq!((places.len(), drains.place("a").is_some()), (ROOM_OF_KEY, false));
        places.extend((ROOM_OF_KEY..ROOM).map_while(|number| drains.place(&format!("{}", number % 50))));
        assert_eq!((places.len(), drains.place("b").is_some()), (ROOM, false));
        places.remove(0);
        assert!(drains.place("a").is_some());
        drop(places);
        assert!(drains.running.lock().unwrap().is_empty());
    }
}
