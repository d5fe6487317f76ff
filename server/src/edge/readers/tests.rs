//! What becomes of streams that are not read.

use futures_util::{FutureExt as _, stream};
use tokio::{sync::oneshot, time::sleep};
use tollgate_api::v1;

use super::*;
use crate::call::{Event, Item, Items};

const PATIENCE: Duration = Duration::from_secs(20);

fn readers() -> Readers<Result<Item, Error>> {
    Readers::start(PATIENCE, Wording { farewell: Err, size: |_| 10 })
}

/// A deadline that no test waits for.
fn far() -> std::time::Instant {
    after(Duration::from_secs(3600))
}

fn after(wait: Duration) -> std::time::Instant {
    (Instant::now() + wait).into_std()
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
    let mut items = readers.follow(items, far());
    assert!(items.next().await.unwrap().is_ok());
    let started = Instant::now();
    assert!(dropped.await.is_err(), "the sender is dropped with the stream");
    assert!(started.elapsed().abs_diff(PATIENCE) <= 2 * BREATH, "{:?}", started.elapsed());
    assert_eq!(items.next().await.unwrap().unwrap_err().reason(), Reason::Cancelled);
    assert!(items.next().await.is_none(), "the farewell is said once");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_caller_never_begins_to_read_is_ended() {
    let (items, dropped) = one_text();
    let readers = readers();
    let _items = readers.follow(items, far());
    let started = Instant::now();
    assert!(dropped.await.is_err(), "the sender is dropped with the stream");
    assert!(started.elapsed().abs_diff(PATIENCE) <= 2 * BREATH, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_the_provider_is_left_alone() {
    let readers = readers();
    let (items, mut dropped) = one_text();
    let mut items = readers.follow(items, far());
    assert!(items.next().await.unwrap().is_ok());
    assert!(items.next().now_or_never().is_none(), "the caller waits");
    sleep(10 * PATIENCE).await;
    assert!(dropped.try_recv() == Err(oneshot::error::TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn ended_streams_are_forgotten() {
    let readers = readers();
    drop(readers.follow(one_text().0, far()));
    sleep(PATIENCE).await;
    assert!(readers.room.list.lock().unwrap().streams.is_empty());
}

/// A stream that always has a text, and the time after which a caller that takes one every so often is given up.
async fn given_up_after(pause: Duration, size: fn(&Result<Item, Error>) -> usize) -> Option<Duration> {
    let wording = Wording { farewell: Err, size };
    let readers = Readers::start(PATIENCE, wording);
    let mut items = readers.follow(Box::pin(stream::repeat_with(text)), far());
    let started = Instant::now();
    while started.elapsed() < 10 * PATIENCE {
        if items.next().await?.is_err() {
            return Some(started.elapsed());
        }
        sleep(pause).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn crumbs_buy_no_time_and_a_slow_reader_is_served() {
    let second = Duration::from_secs(1);
    let cut = given_up_after(second, |_| 10).await.expect("ten bytes a second are not reading");
    assert!(cut <= PATIENCE + 2 * second, "{cut:?}");
    assert_eq!(given_up_after(second, |_| 1024).await, None);
}

/// A call that ends by itself at its deadline, when somebody polls it.
fn timed(deadline: std::time::Instant) -> (Items, oneshot::Receiver<()>) {
    let (alive, dropped) = oneshot::channel::<()>();
    let over = async move {
        tokio::time::sleep_until(deadline.into()).await;
        drop(alive);
        Err(Error::new(Reason::CallerDeadlineExceeded, "too late"))
    };
    (Box::pin(stream::iter([text()]).chain(stream::once(over))), dropped)
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_though_nobody_reads() {
    let readers = readers();
    // The first is the later one, and the sweep must not sleep through the other.
    for (limit, reads) in [(9_000, 1), (700, 0), (400, 1)] {
        let limit = Duration::from_millis(limit);
        let started = Instant::now();
        let (items, dropped) = timed(after(limit));
        let mut items = readers.follow(items, after(limit));
        for _ in 0..reads {
            assert!(items.next().await.unwrap().is_ok());
        }
        assert!(dropped.await.is_err(), "the sender is dropped with the call");
        let off = started.elapsed().abs_diff(limit);
        assert!(off <= Duration::from_millis(50), "{off:?}");
        sleep(BREATH).await;
        let told = items.next().await.unwrap().unwrap_err();
        assert_eq!(told.reason(), Reason::CallerDeadlineExceeded);
        assert!(items.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_comes_while_the_caller_waits_is_left_to_the_call() {
    let readers = readers();
    let (items, _dropped) = timed(after(Duration::from_secs(1)));
    let mut items = readers.follow(items, after(Duration::from_secs(1)));
    assert!(items.next().await.unwrap().is_ok());
    assert_eq!(items.next().await.unwrap().unwrap_err().reason(), Reason::CallerDeadlineExceeded);
    assert!(items.next().await.is_none());
}
