//! Those who wait for a place behind a gate.

use std::{sync::Arc, time::Instant};

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
            let Some(opens_at) = self.gate.opens_at() else { return (&mut self.place).await };
            if let Ok(place) = timeout_at(opens_at.into(), &mut self.place).await {
                return place;
            }
            // Time calls nobody by itself: whoever waits for it does.
            self.gate.call_next();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        let left = inside.queue.leave(&self.ticket);
        self.gate.left(&mut inside);
        drop(inside);
        drop(left);
    }
}
