//! Those who wait for a place behind a gate.

use std::{pin::pin, sync::Arc, time::Instant};

use futures_util::future::{Either, select};
use tokio::{sync::oneshot, time::timeout_at};

use super::{Busy, Gate, Place};
use crate::{call::now, load::queue::Ticket, telemetry};

/// Somebody in the queue, until dropped.
pub(in crate::load) struct Waiting {
    pub(super) gate: Arc<Gate>,
    pub(super) ticket: Ticket,
    pub(super) until: Instant,
    pub(super) place: oneshot::Receiver<Place>,
}

impl Waiting {
    /// Waits for the place.
    ///
    /// # Errors
    /// `Busy` if none came in time, or a more modest one came instead.
    pub(in crate::load) async fn place(mut self) -> Result<Place, Busy> {
        let began = now();
        let place = timeout_at(self.until.into(), self.is_called()).await;
        telemetry::metrics::queue_waited(&self.gate.name, now().saturating_duration_since(began));
        match place {
            Ok(Ok(place)) => Ok(place),
            // A place that comes at this very moment goes on to the next with the receiver.
            Ok(Err(_)) | Err(_) => Err(self.gate.busy()),
        }
    }

    async fn is_called(&mut self) -> Result<Place, oneshot::error::RecvError> {
        loop {
            if let Some(opens_at) = self.gate.opens_at() {
                if let Ok(place) = timeout_at(opens_at.into(), &mut self.place).await {
                    return place;
                }
                // Time calls nobody by itself: whoever waits for it does.
                self.gate.call_next();
                continue;
            }
            let watch_gone = pin!(self.gate.watch_gone.notified());
            if let Either::Left((place, _)) = select(&mut self.place, watch_gone).await {
                return place;
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        let left = inside.queue.leave(&self.ticket);
        self.gate.left(&mut inside);
        let is_watched_for = inside.thaw.opens_at(now()).is_some();
        drop(inside);
        drop(left);
        if is_watched_for {
            // One who came before there was a pause does not look at the clock yet.
            self.gate.watch_gone.notify_one();
        }
    }
}
