//! Answers of providers that bill them to their end though the caller has gone: they are read on, so that the record has
//! what is billed. Only so many at a time, and only so much of each: the others are cancelled as usual.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::Metered;
use crate::{call::Item, error::Error};

/// Most answers that are read on at a time.
static ROOM: Semaphore = Semaphore::const_new(256);
/// The longest that one is read on; the call's own deadline holds too.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Most items of one that are read on.
const MOST_ITEMS: usize = 1 << 20;

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
        let Some(mut items) = self.0.take().filter(|items| items.is_to_be_read_on()) else { return };
        let (Ok(permit), Ok(runtime)) = (ROOM.try_acquire(), Handle::try_current()) else { return };
        items.abandon();
        runtime.spawn(async move {
            // What is not over by then is settled as far as it came.
            let _ = timeout(LONGEST, items.take(MOST_ITEMS).for_each(async |_| ())).await;
            drop(permit);
        });
    }
}
